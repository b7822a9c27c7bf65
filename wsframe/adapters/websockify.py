"""websockify: masking, which it performs with numpy or byte by byte."""

from __future__ import annotations

from typing import Any

from wsframe import apply_mask

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes."""
    from websockify.websocket import WebSocket  # noqa: PLC0415 - nothing else needs it

    return [(WebSocket, "_mask", mask), (WebSocket, "_unmask", mask)]


def mask(self: Any, buf: bytes, mask: bytes) -> bytes:
    """Stand in for ``WebSocket._mask`` and ``WebSocket._unmask``."""
    return apply_mask(buf, mask)
