"""gevent-websocket: masking, which it does byte by byte, and UTF-8 validation. Rank 6."""

from __future__ import annotations

from typing import Any

from wsframe import apply_mask
from wsframe.adapters.wsaccel.utf8validator import Utf8Validator

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return what ``wsframe.patch`` sets."""
    from geventwebsocket import websocket  # noqa: PLC0415 - nothing else needs it

    return [
        (websocket.Header, "mask_payload", mask_payload),
        (websocket.Header, "unmask_payload", mask_payload),
        (websocket, "Utf8Validator", Utf8Validator),
    ]


def mask_payload(self: Any, payload: bytes) -> bytes:
    """Stand in for ``Header.mask_payload``."""
    return apply_mask(payload, self.mask)
