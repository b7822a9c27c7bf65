"""gevent-websocket: masking, which it performs byte by byte, and UTF-8 validation."""

from __future__ import annotations

from typing import Any

from wsframe import apply_mask
from wsframe.adapters.wsaccel.utf8validator import Utf8Validator

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes."""
    from geventwebsocket import websocket  # noqa: PLC0415 - nothing else needs it

    return [
        (websocket.Header, "mask_payload", mask_payload),
        (websocket.Header, "unmask_payload", mask_payload),
        (websocket, "Utf8Validator", Utf8Validator),
    ]


def mask_payload(self: Any, payload: bytes) -> bytes:
    """Stand in for ``Header.mask_payload``."""
    return apply_mask(payload, self.mask)
