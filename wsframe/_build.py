"""Which implementation runs, and why: the one decision, taken once at import. Rank 0."""

from __future__ import annotations

import importlib
import importlib.util

from wsframe._switches import read_switches

__all__ = ["ASYNCIO_EXTENSIONS", "EXTENSIONS", "IMPLEMENTATION", "REASON", "choose_implementation"]

EXTENSIONS = (
    "wsframe._masking_c",
    "wsframe._utf8_c",
    "wsframe._events_c",
    "wsframe._framing_c",
    "wsframe._core_c",
)
"""The compiled twins without I/O: all of them run, or none."""

ASYNCIO_EXTENSIONS = ("wsframe.asyncio._stream_c", "wsframe.asyncio._queue_c")
"""Those that run with them. They import asyncio, so they are looked for here and imported where they are used."""


def choose_implementation() -> tuple[str, str]:
    """Decide between the compiled and the pure implementation.

    Returns:
        ``"c"`` or ``"python"``, and the reason in words.

    Raises:
        ValueError: If one of the environment switches has another value than 0 or 1.
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
    except ImportError as exc:
        if require_extensions:
            raise ImportError(f"WSFRAME_REQUIRE_EXTENSIONS=1 is set, but {exc}") from exc
        return "python", f"the compiled extensions cannot be imported: {exc}"
    return "c", "the compiled extensions were built and can be imported"


IMPLEMENTATION, REASON = choose_implementation()
