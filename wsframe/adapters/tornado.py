"""tornado. Rank 6."""

from __future__ import annotations

from wsframe import apply_mask

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return what ``wsframe.patch`` sets in tornado."""
    import tornado.websocket  # noqa: PLC0415 - only where it is patched

    return [(tornado.websocket, "_websocket_mask", apply_mask)]
