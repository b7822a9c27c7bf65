"""autobahn, and thus daphne: masking and UTF-8 validation, the only replaceable parts of its parser."""

from __future__ import annotations

import sys

from wsframe.adapters.wsaccel.utf8validator import Utf8Validator
from wsframe.adapters.wsaccel.xormask import XorMaskerNull, createXorMasker

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes.

    ``autobahn.websocket.protocol`` must not be imported before the program has chosen between Twisted and asyncio. When
    it is imported later, it imports the replaced names from the modules that define them.
    """
    from autobahn.websocket import utf8validator, xormasker  # noqa: PLC0415 - nothing else needs them

    modules = [xormasker, utf8validator, sys.modules.get("autobahn.websocket.protocol")]
    replacements = {
        "create_xor_masker": createXorMasker,
        "XorMaskerNull": XorMaskerNull,
        "Utf8Validator": Utf8Validator,
    }
    return [
        (module, name, value) for module in modules for name, value in replacements.items() if hasattr(module, name)
    ]
