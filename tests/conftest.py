"""Which implementations the tests run on: both, unless an option or variable selects one."""

from __future__ import annotations

import importlib
import os
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from stacks import load_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

# Tests talk to this machine only, and without a detour; so do the programs that they start.
for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
    del os.environ[variable]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--impl",
        choices=("c", "py", "both"),
        default="both",
        help="implementation of the codec to test; WSFRAME_NO_EXTENSIONS=1 is the same as --impl=py",
    )


def chosen(config: pytest.Config) -> list[str]:
    option: str = config.getoption("--impl")
    if os.environ.get("WSFRAME_NO_EXTENSIONS") == "1":
        if option == "c":
            raise pytest.UsageError("--impl=c and WSFRAME_NO_EXTENSIONS=1 contradict each other")
        return ["py"]
    return ["c", "py"] if option == "both" else [option]


def load(name: str) -> SimpleNamespace:
    """Import one implementation: a missing C twin is an ImportError, so an error of each test that wants it."""
    packages = {
        "codec": ("masking", "utf8", "message", "framing"),
        "messages": ("messenger",),
        "asyncio.datapath": ("stream", "queue"),
    }
    twins = {
        module: importlib.import_module(f"wsframe.{package}._{module}_{name}")
        for package, modules in packages.items()
        for module in modules
    }
    return SimpleNamespace(name=name, **twins)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "impl" in metafunc.fixturenames:
        metafunc.parametrize("impl", chosen(metafunc.config), indirect=True, scope="session")


@pytest.fixture(scope="session")
def impl(request: pytest.FixtureRequest) -> SimpleNamespace:
    """The twin modules of one implementation, ``masking`` to ``queue``, and its ``name``."""
    return load(request.param)


@pytest.fixture(scope="session")
def stack(impl: SimpleNamespace) -> SimpleNamespace:
    """``core``, ``protocol`` and ``connection``: the classes on top of one implementation."""
    return load_stack(impl)


@pytest.fixture(scope="session")
def twins(request: pytest.FixtureRequest) -> SimpleNamespace:
    """Both implementations, as ``c`` and ``py``."""
    if chosen(request.config) == ["py"]:
        pytest.skip("compares the two implementations, and only the pure one is asked for")
    return SimpleNamespace(c=load("c"), py=load("py"))


@pytest.fixture
def each_kernel(impl: SimpleNamespace) -> Iterator[Iterator[str]]:
    """Iterate over the SIMD kernels that this processor can run, each of them in use meanwhile; one in pure Python."""
    if impl.name == "py":
        yield iter(["py"])
        return

    def select() -> Iterator[str]:
        for name in dict.fromkeys(impl.masking._kernels() + impl.utf8._kernels()):
            for module in (impl.masking, impl.utf8):
                if name in module._kernels():
                    module._select_kernel(name)
            yield name

    yield select()
    for module in (impl.masking, impl.utf8):
        module._select_kernel(module._kernels()[0])


# A backend that is not installed is an ImportError, and so an error in each test; PyPy has no wheels of them.
BACKENDS = ["zlib"] if sys.implementation.name == "pypy" else ["zlib", "zlib-ng", "isal"]


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a module that compresses."""
    return str(request.param)
