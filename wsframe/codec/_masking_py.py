"""Masking (RFC 6455 §5.3) in pure Python.

Twin of ``src/wsframe/codec/_masking_c.pyx``; the contract is in ``wsframe.codec``.
"""

from __future__ import annotations

import functools
import operator
import os
import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING

from wsframe._checks import as_view

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["apply_mask", "apply_mask_inplace", "new_masking_key"]

POOL_SIZE = 4096
"""Random bytes fetched at a time: 1,024 keys per system call."""

TRANSLATE_FROM = 768
"""Payload length, in bytes, from which four strided ``bytes.translate`` calls beat one XOR of big integers."""

_REPEATERS = [int.from_bytes(b"\x01\x00\x00\x00" * words, "little") for words in range(TRANSLATE_FROM // 4 + 1)]
"""Factors that repeat a 32-bit number when multiplied with it, by the number of repetitions."""


def apply_mask(data: bytes | bytearray | memoryview, mask: bytes | bytearray) -> bytes:
    """Mask or unmask a payload (RFC 6455 §5.3).

    Args:
        data: The payload: any bytes-like object.
        mask: The masking key, 4 bytes.

    Returns:
        ``data`` XORed with ``mask`` repeated, as new bytes of the same length.

    Raises:
        TypeError: If ``data`` or ``mask`` is not bytes-like.
        ValueError: If ``mask`` is not 4 bytes long.
    """
    if type(mask) is not bytes or len(mask) != 4:
        mask = _check_mask(mask)
    payload = data if type(data) is bytes else _contiguous(data)
    length = len(payload)
    if length < TRANSLATE_FROM:
        words = (length + 3) >> 2
        xor = int.from_bytes(payload, "little") ^ int.from_bytes(mask, "little") * _REPEATERS[words]
        return xor.to_bytes(words << 2, "little")[:length]
    result = bytearray(payload)
    for i in range(4):
        result[i::4] = result[i::4].translate(_xor_table(mask[i]))
    return bytes(result)


def apply_mask_inplace(buffer: Buffer, mask: bytes | bytearray, phase: int = 0) -> None:
    """Mask or unmask a writable buffer in place (RFC 6455 §5.3).

    Args:
        buffer: The payload, or a part of it: any writable, C-contiguous bytes-like object.
        mask: The masking key, 4 bytes.
        phase: Index, 0 to 3, of the key byte for the first byte of ``buffer``.

    Raises:
        TypeError: If ``buffer`` is not bytes-like or not writable, or ``mask`` is not bytes-like.
        ValueError: If ``mask`` is not 4 bytes long, ``phase`` is out of range, or ``buffer`` is not contiguous.
    """
    mask = _check_mask(mask)
    if not 0 <= operator.index(phase) <= 3:
        raise ValueError("phase must be between 0 and 3")
    with as_view(buffer) as view:
        if view.readonly:
            raise TypeError("buffer must be writable")
        if not view.nbytes:
            return
        if not view.c_contiguous:
            raise ValueError("buffer must be contiguous")
        with view.cast("B") as target:
            target[:] = apply_mask(target, mask[phase:] + mask[:phase])


def new_masking_key() -> bytes:
    """Return an unpredictable masking key from a pool filled by ``os.urandom`` (RFC 6455 §5.3, §10.3).

    Returns:
        4 bytes. A forked child never reuses its parent's keys.
    """
    try:
        key: bytes = next(_pool)[0]
    except StopIteration:
        _refill_pool()
        key = next(_pool)[0]
    return key


_pool: Iterator[tuple[bytes]] = iter(())


def _refill_pool() -> None:
    global _pool
    fresh = os.urandom(POOL_SIZE)
    if not isinstance(fresh, bytes):
        raise TypeError(f"os.urandom() must return bytes, not {type(fresh).__name__}")
    if len(fresh) != POOL_SIZE:
        raise ValueError(f"os.urandom() must return {POOL_SIZE} bytes, not {len(fresh)}")
    _pool = struct.iter_unpack("4s", fresh)


def _forget_pool() -> None:
    global _pool
    _pool = iter(())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)


def _check_mask(mask: bytes | bytearray) -> bytes:
    if not isinstance(mask, (bytes, bytearray, memoryview)):
        raise TypeError(f"mask must be bytes-like, not {type(mask).__name__}")
    mask = bytes(mask)
    if len(mask) != 4:
        raise ValueError("mask must contain 4 bytes")
    return mask


def _contiguous(data: Buffer) -> bytes | bytearray | memoryview:
    """Return the bytes of any bytes-like object, without a copy where the layout allows it."""
    if type(data) is bytes or type(data) is bytearray:
        return data
    view = as_view(data)
    return view.cast("B") if view.c_contiguous else view.tobytes()


@functools.cache
def _xor_table(byte: int) -> bytes:
    return bytes(i ^ byte for i in range(256))
