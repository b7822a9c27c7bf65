"""The folder listing is the architecture diagram: a module imports only what stands before it here."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import wsframe

PACKAGE = Path(wsframe.__file__).parent
CYTHON = Path(__file__).parents[1] / "src"

# Within a rank too, a module imports only those before it.
RANKS = {
    0: ["_version", "_switches", "_build", "cimport", "constants", "_escape", "_checks"]
    + ["limits", "exceptions", "typing", "stats"],
    1: ["_masking_py", "_masking_c", "_utf8_py", "_utf8_c", "_events_py", "_events_c"]
    + ["masking", "utf8", "events", "headers", "uri", "protocol"],
    2: ["_framing_py", "_framing_c", "framing", "frame_log", "frames", "datastructures"],
    3: ["extensions", "extensions.base", "http11", "custom_headers", "heads", "handshake", "proxy", "client"],
    4: ["_core_py", "_core_c", "core", "deflate", "extensions.permessage_deflate", "prepared"]
    + ["connection", "fragments"],
    5: [
        "asyncio",
        "asyncio.keepalive",
        "asyncio.tls",
        "asyncio.timeouts",
        "asyncio.memory",
        "asyncio._stream_py",
        "asyncio._stream_c",
        "asyncio.stream",
        "asyncio._queue_py",
        "asyncio._queue_c",
        "asyncio.queue",
        "asyncio.data_path",
        "asyncio.base",
        "asyncio.connection",
        "asyncio.broadcast",
        "asyncio.protocol",
        "asyncio.proxy",
        "asyncio.client",
        "asyncio.auth",
        "asyncio.server",
        "asyncio.router",
        "metrics",
        "testing",
        "sync",
        "sync.utils",
        "sync.tls",
        "sync.wire",
        "sync.connection",
        "sync.proxy",
        "sync.client",
        "patching",
        "__init__",
    ],
    6: [
        "adapters",
        "adapters.tornado",
        "adapters.hypercorn",
        "adapters.wsproto.typing",
        "adapters.wsproto.events",
        "adapters.wsproto.utilities",
        "adapters.wsproto.wire",
        "adapters.wsproto.reader",
        "adapters.wsproto.extensions",
        "adapters.wsproto.frame_protocol",
        "adapters.wsproto.connection",
        "adapters.wsproto.handshake",
        "adapters.wsproto",
        "adapters.wsproto.installed",
        "adapters._uvicorn_http",
        "adapters._uvicorn_options",
        "adapters.uvicorn",
        "adapters.websockets",
        "adapters.websocket_client",
        "adapters.wsaccel.utf8validator",
        "adapters.wsaccel.xormask",
        "adapters.wsaccel",
        "adapters.autobahn",
        "adapters.gevent_websocket",
        "adapters.websockify",
        "pytest_plugin",
        "cli.common",
        "cli.wire",
        "cli.connect",
        "cli.echo",
        "cli.demo",
        "cli.patch",
        "cli.run",
        "cli",
    ],
    7: ["__main__"],
}
ORDER = [name for names in RANKS.values() for name in names]
LAST_RANK_WITHOUT_IO = 4
IO = {"asyncio", "multiprocessing", "select", "selectors", "signal", "socket", "ssl", "subprocess", "threading", "time"}
SELECTORS = {"_build", "masking", "utf8", "events", "framing", "core", "asyncio.stream", "asyncio.queue"}


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


def absolute_imports(path: Path) -> set[str]:
    """Return what a module imports when it runs, wherever in it: dotted names, of modules or of what is in them."""
    if path.suffix == ".pyx":
        return cython_imports(path.read_text())
    found = set()
    pending: list[ast.AST] = [ast.parse(path.read_text())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
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


def test_the_table_lists_all_modules() -> None:
    assert sorted(MODULES) == sorted(ORDER)


@pytest.mark.parametrize("module", ORDER)
def test_imports_only_modules_before_it(module: str) -> None:
    before = ORDER[: ORDER.index(module)]
    assert own_imports(MODULES[module]) <= set(before)


@pytest.mark.parametrize(("rank", "module"), [(rank, name) for rank, names in RANKS.items() for name in names])
def test_docstring_tells_the_rank(rank: int, module: str) -> None:
    source = MODULES[module].read_text()
    if module != "__init__":
        assert re.findall(r"\bRank (\d+)", source.split('"""', 2)[1]) == [str(rank)]


@pytest.mark.parametrize("module", [name for rank in range(LAST_RANK_WITHOUT_IO + 1) for name in RANKS[rank]])
def test_does_no_io(module: str) -> None:
    assert {name.partition(".")[0] for name in absolute_imports(MODULES[module])} & IO == set()


@pytest.mark.parametrize("module", [name for name in ORDER if name.endswith(("_py", "_c"))])
def test_twin_imports_no_selector(module: str) -> None:
    assert own_imports(MODULES[module]) & SELECTORS == set()


@pytest.mark.parametrize("module", [name for name in ORDER if name.endswith("_py")])
def test_pure_twin_imports_no_compiled_one(module: str) -> None:
    assert not {name for name in own_imports(MODULES[module]) if name.endswith("_c")}


@pytest.mark.parametrize("module", ORDER)
def test_only_the_selector_imports_the_compiled_twin(module: str) -> None:
    compiled = {name for name in own_imports(MODULES[module]) if name.endswith("_c")}
    if not module.endswith("_c"):
        package, _, name = module.rpartition(".")
        assert compiled <= {f"{package}._{name}_c".lstrip(".")}
