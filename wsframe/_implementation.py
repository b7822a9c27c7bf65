"""Which implementation runs, and why: a single decision, made on first use."""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

from wsframe._switches import read_switches

__all__ = ["ASYNCIO_EXTENSIONS", "EXTENSIONS", "IMPLEMENTATION", "REASON", "choose_implementation"]

EXTENSIONS = (
    "wsframe.codec._masking_c",
    "wsframe.codec._utf8_c",
    "wsframe.codec._message_c",
    "wsframe.codec._framing_c",
    "wsframe.messages._messenger_c",
)
"""The compiled twins without I/O: either all of them run, or none."""

ASYNCIO_EXTENSIONS = ("wsframe.asyncio.datapath._stream_c", "wsframe.asyncio.datapath._queue_c")
"""The compiled twins that run alongside. They import asyncio, so they are only located here, and imported on use."""


class _ExtensionsRequired(ImportError):
    """Extensions are required and cannot be imported."""


def choose_implementation() -> tuple[str, str]:
    """Decide between the compiled and the pure implementation.

    Returns:
        ``"c"`` or ``"python"``, and the reason in words.

    Raises:
        ValueError: If an environment switch has a value other than 0 or 1.
        ImportError: If ``WSFRAME_REQUIRE_EXTENSIONS=1`` is set and the extensions cannot be imported.
    """
    no_extensions, require_extensions = read_switches()
    if no_extensions:
        return "python", "WSFRAME_NO_EXTENSIONS=1 is set"
    try:
        for name in EXTENSIONS:
            importlib.import_module(name)
        for name in ASYNCIO_EXTENSIONS:
            if importlib.util.find_spec(name) is None:
                raise ImportError(f"No module named {name!r}")
    except _ExtensionsRequired:
        # The package of an extension has asked, and was told already.
        raise
    except ImportError as exc:
        if require_extensions:
            raise _ExtensionsRequired(f"WSFRAME_REQUIRE_EXTENSIONS=1 is set, but {exc}") from exc
        return "python", f"the compiled extensions cannot be imported: {exc}"
    return "c", "the compiled extensions were built and can be imported"


if TYPE_CHECKING:
    IMPLEMENTATION: str
    """``"c"`` or ``"python"``."""

    REASON: str
    """The reason, in words."""


def __getattr__(name: str) -> str:
    # Not at import: making the decision imports an extension's package, whose selector asks for the decision.
    if name not in ("IMPLEMENTATION", "REASON"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    global IMPLEMENTATION, REASON
    IMPLEMENTATION, REASON = choose_implementation()
    return IMPLEMENTATION if name == "IMPLEMENTATION" else REASON
