"""autobahn, and so daphne: masking and UTF-8 validation, which are all that can be exchanged in its parser. Rank 6."""

from __future__ import annotations

import sys

from wsframe.adapters.wsaccel.utf8validator import Utf8Validator
from wsframe.adapters.wsaccel.xormask import XorMaskerNull, createXorMasker

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return what ``wsframe.patch`` sets.

    ``autobahn.websocket.protocol`` must not be imported before the program has chosen between Twisted and asyncio; when
    it is imported later, it takes the names from where they are defined.
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
