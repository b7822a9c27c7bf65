"""Both implementations of the whole package in one process, each as its users import it."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from types import SimpleNamespace

MODULES = {
    "base": "asyncio.datapath.lifecycle",
    "asyncio_connection": "asyncio.connection",
    "asyncio_protocol": "asyncio.protocol",
    "codec": "codec",
    "connection": "messages.connection",
    "constants": "constants",
    "datastructures": "opening.fields",
    "deflate": "extensions.deflate",
    "events": "messages.events",
    "exceptions": "exceptions",
    "extensions": "extensions",
    "handshake": "opening.handshake",
    "grammar": "opening.grammar",
    "limits": "limits",
    "prepared": "messages.prepared",
    "uri": "opening.uri",
}


_pure_alone = os.environ.get("WSFRAME_NO_EXTENSIONS") == "1"


def leave_out_compiled() -> None:
    """Test the pure implementation alone, as with ``WSFRAME_NO_EXTENSIONS=1``."""
    global _pure_alone
    _pure_alone = True


@functools.cache
def implementations() -> list[SimpleNamespace]:
    """Return the implementations to compare: the compiled one and the pure one, or the pure one alone.

    With ``WSFRAME_NO_EXTENSIONS=1`` there is only the pure one. Otherwise a missing extension is an ImportError. Each
    has its modules as attributes, and ``name``.
    """
    if importlib.import_module("wsframe").IMPLEMENTATION == "python" and _pure_alone:
        return [_load("py")]
    compiled = [] if _pure_alone else [_load("c")]
    # The second copy replaces the first while it is being imported.
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "wsframe"}
    switches = {name: os.environ.pop(name, None) for name in ("WSFRAME_NO_EXTENSIONS", "WSFRAME_REQUIRE_EXTENSIONS")}
    os.environ["WSFRAME_NO_EXTENSIONS"] = "1"
    try:
        pure = _load("py")
    finally:
        del os.environ["WSFRAME_NO_EXTENSIONS"]
        os.environ.update({name: value for name, value in switches.items() if value is not None})
        for name in [name for name in sys.modules if name.partition(".")[0] == "wsframe"]:
            del sys.modules[name]
        sys.modules.update(kept)
    return [*compiled, pure]


def _load(name: str) -> SimpleNamespace:
    package = importlib.import_module("wsframe")
    wanted = {"c": "c", "py": "python"}[name]
    if wanted != package.IMPLEMENTATION:
        reason = importlib.import_module("wsframe._implementation").REASON
        raise ImportError(f"the implementation {wanted!r} is to be tested, but {reason}")
    modules = {name: importlib.import_module(f"wsframe.{module}") for name, module in MODULES.items()}
    twins = {twin: importlib.import_module(f"wsframe.codec._{twin}_{name}") for twin in ("masking", "utf8")}
    kernels = [module for module in twins.values() if hasattr(module, "_kernels")]
    return SimpleNamespace(name=name, package=package, kernel_modules=kernels, utf8_twin=twins["utf8"], **modules)


def kernels(implementation: SimpleNamespace) -> list[str]:
    """Name the SIMD kernels that this processor can run; none for the pure implementation."""
    return list(dict.fromkeys(name for module in implementation.kernel_modules for name in module._kernels()))


def select_kernel(implementation: SimpleNamespace, name: str | None) -> None:
    """Use one kernel from now on; None for the best."""
    for module in implementation.kernel_modules:
        names = module._kernels()
        module._select_kernel(name if name in names else names[0])
