"""websocket-client: frames serialized and unmasked in one pass, text validated at memory speed."""

from __future__ import annotations

from typing import Any

from wsframe import Utf8Validator, apply_mask, serialize_frame

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes."""
    import websocket._utils  # noqa: PLC0415 - the functions below need nothing of it
    from websocket import ABNF  # noqa: PLC0415

    unmasked = ABNF.format

    def format_frame(frame: Any) -> Any:
        return format_masked(frame) if frame.mask_value else unmasked(frame)

    return [
        (ABNF, "mask", staticmethod(mask)),
        (ABNF, "format", format_frame),
        (websocket._utils, "_validate_utf8", validate_utf8),
    ]


def mask(mask_key: str | bytes, data: str | bytes | None) -> bytes:
    """Stand in for ``ABNF.mask``."""
    if isinstance(mask_key, str):
        mask_key = mask_key.encode("latin-1")
    return apply_mask(b"" if data is None else _to_bytes(data), mask_key)


def format_masked(frame: Any) -> bytes:
    """Stand in for ``ABNF.format`` for a masked frame."""
    bits = frame.fin, frame.rsv1, frame.rsv2, frame.rsv3
    if any(bit not in (0, 1) for bit in bits):
        raise ValueError("not 0 or 1")
    if frame.opcode not in frame.OPCODES:
        raise ValueError("Invalid OPCODE")
    key = frame.get_mask_key(4)
    if isinstance(key, str):
        key = key.encode("utf-8")
    fin, rsv1, rsv2, rsv3 = map(bool, bits)
    return serialize_frame(frame.opcode, _to_bytes(frame.data), fin=fin, rsv1=rsv1, rsv2=rsv2, rsv3=rsv3, mask=key)


def validate_utf8(data: str | bytes) -> bool:
    """Stand in for ``websocket._utils._validate_utf8``."""
    validator = Utf8Validator()
    return validator.feed(_to_bytes(data)) and validator.finish()


def _to_bytes(data: str | bytes) -> bytes:
    return data.encode("latin-1") if isinstance(data, str) else data
