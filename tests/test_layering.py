"""The folder listing is the architecture diagram: a package imports only what stands before it here."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import wsframe
from wsframe._moved import OLD_PATHS, install

PACKAGE = Path(wsframe.__file__).parent
CYTHON = Path(__file__).parents[1] / "src" / "wsframe"

# In the order in which a byte travels. Modules outside of packages are vocabulary; they come before all packages, in an
# order of their own.
VOCABULARY = [
    "_version",
    "_switches",
    "_lazy",
    "_moved",
    "_implementation",
    "_cimport",
    "constants",
    "_escape",
    "_checks",
    "_options",
    "limits",
    "exceptions",
    "typing",
]
PACKAGES = [
    "codec",
    "extensions",
    "messages",
    "opening",
    "asyncio.datapath",
    "asyncio",
    "sync",
    "testing",
    "adapters",
    "cli",
]
WITHOUT_IO = PACKAGES[: PACKAGES.index("asyncio.datapath")]
# Names of other projects, for programs that are written for those: nothing of ours imports them.
SHIMS = ["client", "datastructures", "frames", "http11", "metrics", "protocol", "proxy", "uri"]
# What imports whatever it wants: the package and the surface for hosts, when a name is used, and the command.
TOP = ["__init__", "__main__", "hosting"]
IO = {"asyncio", "multiprocessing", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time"}
SELECTORS = {"codec", "messages.messenger", "asyncio.datapath.stream", "asyncio.datapath.queue"}


def find_modules() -> dict[str, Path]:
    modules = {}
    for path in PACKAGE.rglob("*.py"):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        if len(parts) > 1 and parts[-1] == "__init__":
            parts.pop()
        modules[".".join(parts)] = path
    compiled = {".".join(path.relative_to(CYTHON).with_suffix("").parts): path for path in CYTHON.rglob("*.pyx")}
    return modules | compiled


MODULES = find_modules()


def layer(module: str) -> str:
    """Name the package that a module belongs to, or what it is else."""
    for package in PACKAGES:
        if module == package or module.startswith(f"{package}."):
            return package
    if module in SHIMS:
        return "shims"
    return "top" if module in TOP else "vocabulary"


LAYERS = ["vocabulary", *PACKAGES, "shims", "top"]


def absolute_imports(path: Path) -> set[str]:
    """Return what a module imports when it runs, wherever in it: dotted names, of modules or of what is in them."""
    if path.suffix == ".pyx":
        return cython_imports(path.read_text())
    found = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        pending.extend(ast.iter_child_nodes(node))
    return found


def cython_imports(source: str) -> set[str]:
    found = set(re.findall(r"^\s*c?import ([\w.]+)", source, re.MULTILINE))
    for module, names in re.findall(r"^\s*from ([\w.]+) c?import (\(.*?\)|.*?$)", source, re.MULTILINE | re.DOTALL):
        found.update(f"{module}.{name}" for name in re.findall(r"(\w+)(?: as \w+)?", names))
    return found


def own_imports(path: Path) -> set[str]:
    """Return the modules of wsframe that a module imports."""
    found = set()
    for name in absolute_imports(path):
        package, _, rest = name.partition(".")
        if package == "wsframe":
            while rest and rest not in MODULES:
                rest = rest.rpartition(".")[0]
            found.add(rest or "__init__")
    return found


IMPORTS = {module: own_imports(path) for module, path in MODULES.items()}


def test_every_module_has_a_layer() -> None:
    assert sorted(module for module in MODULES if layer(module) == "vocabulary") == sorted(VOCABULARY)
    assert set(SHIMS) | set(TOP) < set(MODULES)
    assert {layer(module) for module in MODULES} == set(LAYERS)


@pytest.mark.parametrize("module", [module for module in MODULES if layer(module) not in ("adapters", "shims", "top")])
def test_modules_import_only_earlier_layers(module: str) -> None:
    before = LAYERS[: LAYERS.index(layer(module)) + 1]
    assert {name for name in IMPORTS[module] if layer(name) not in before} == set()


@pytest.mark.parametrize("module", [module for module in MODULES if layer(module) == "adapters"])
def test_adapters_import_public_names(module: str) -> None:
    ours = {name for name in IMPORTS[module] if layer(name) != "adapters"}
    assert ours <= {"__init__", "asyncio.connection", "extensions", "hosting"}
    assert not {name for name in absolute_imports(MODULES[module]) if re.match(r"wsframe\._[a-z]", name)}


@pytest.mark.parametrize("module", VOCABULARY)
def test_vocabulary_imports_only_earlier_modules(module: str) -> None:
    assert IMPORTS[module] <= set(VOCABULARY[: VOCABULARY.index(module)])


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_have_no_import_cycles(package: str) -> None:
    left = {module: set(IMPORTS[module]) - {module} for module in MODULES if layer(module) == package}
    while left:
        free = [module for module, imports in left.items() if not imports & set(left)]
        assert free, f"they import one another: {sorted(left)}"
        for module in free:
            del left[module]


@pytest.mark.parametrize("module", [module for module in MODULES if layer(module) in WITHOUT_IO + ["vocabulary"]])
def test_does_no_io(module: str) -> None:
    assert {name.partition(".")[0] for name in absolute_imports(MODULES[module])} & IO == set()


@pytest.mark.parametrize("module", [name for name in MODULES if name.endswith(("_py", "_c"))])
def test_twin_imports_no_selector(module: str) -> None:
    assert IMPORTS[module] & SELECTORS == set()


@pytest.mark.parametrize("module", [name for name in MODULES if name.endswith("_py")])
def test_pure_twin_imports_no_compiled_one(module: str) -> None:
    assert not {name for name in IMPORTS[module] if name.endswith("_c")}


@pytest.mark.parametrize("module", [name for name in MODULES if not name.endswith("_c")])
def test_only_the_selectors_import_compiled_twins(module: str) -> None:
    compiled = {name for name in IMPORTS[module] if name.endswith("_c")}
    assert not compiled or module in SELECTORS


@pytest.mark.parametrize("module", [name for name in MODULES if name.endswith("_c")])
def test_twins_have_the_same_path(module: str) -> None:
    assert f"{module[:-2]}_py" in MODULES
    assert f"Twin of ``wsframe/{module[:-2].replace('.', '/')}_py.py``" in MODULES[module].read_text()
    pure = MODULES[f"{module[:-2]}_py"].read_text()
    assert f"Twin of ``src/wsframe/{module.replace('.', '/')}.pyx``" in pure


@pytest.mark.parametrize("module", SHIMS)
def test_shim_is_short_and_documented(module: str) -> None:
    source = MODULES[module].read_text()
    assert source.startswith('"""Only a name ')
    assert len(source.splitlines()) <= 10
    assert not [name for name, imports in IMPORTS.items() if module in imports]


@pytest.mark.parametrize("old", OLD_PATHS)
def test_old_path_exports_the_current_objects(old: str) -> None:
    if old.endswith("_c") and wsframe.IMPLEMENTATION == "python":
        pytest.skip("there are no compiled modules")
    sys.modules.pop(old, None)
    there, here = importlib.import_module(OLD_PATHS[old]), importlib.import_module(old)
    for name in getattr(there, "__all__", []):
        assert getattr(here, name) is getattr(there, name)
    assert there.__spec__.name == OLD_PATHS[old]
    assert not [name for name, imports in IMPORTS.items() if old.removeprefix("wsframe.") in imports]


def test_old_names() -> None:
    assert importlib.import_module("wsframe.connection").Connection is wsframe.Connection
    assert importlib.import_module("wsframe.core").Core is importlib.import_module(OLD_PATHS["wsframe.core"]).Messenger
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("wsframe.no_such_module")
    finders = len(sys.meta_path)
    install()
    assert len(sys.meta_path) == finders


@pytest.mark.parametrize("package", [package for package in PACKAGES if package != "cli"])
def test_package_has_a_docstring_of_moderate_length(package: str) -> None:
    docstring = ast.get_docstring(ast.parse(MODULES[package].read_text())) or ""
    assert 3 <= len(docstring.splitlines()) <= 45


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("wsframe", {"asyncio", "h11", "wsframe.codec"}),
        ("wsframe.codec", {"asyncio", "h11", "socket", "ssl", "wsframe.messages.connection"}),
        ("wsframe.messages.connection", {"asyncio", "h11", "socket", "ssl"}),
        ("wsframe.opening.handshake", {"asyncio", "ssl"}),
        ("wsframe_pytest", {"asyncio", "wsframe"}),
    ],
)
def test_import_does_not_load_unneeded_modules(module: str, unwanted: set[str]) -> None:
    # pytest loads much itself.
    program = f"import pytest, sys; before = set(sys.modules); import {module}; print(*set(sys.modules) - before)"
    if module != "wsframe_pytest":
        program = program.replace("pytest, ", "")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & unwanted == set()
