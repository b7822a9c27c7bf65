"""Lazy loading of a package's names, on first use (PEP 562)."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Collection, Mapping
from typing import Any

__all__ = ["load_on_use"]


def load_on_use(
    package: str, homes: Mapping[str, str], submodules: Collection[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` for a package.

    Args:
        package: The package's name.
        homes: Public names, each with the module that defines it; ``module:name`` if the name there differs.
        submodules: Modules of the package to expose as attributes without an import.
    """
    namespace = vars(sys.modules[package])

    def load(name: str) -> Any:
        if name in homes:
            module, _, there = homes[name].partition(":")
            value = namespace[name] = getattr(importlib.import_module(module), there or name)
            return value
        if name in submodules:
            return importlib.import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    def names() -> list[str]:
        return sorted({*namespace, *homes, *submodules})

    return load, names
