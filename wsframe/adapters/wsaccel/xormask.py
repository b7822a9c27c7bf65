"""``wsaccel.xormask``: masking as objects (RFC 6455 §5.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe import apply_mask

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["XorMaskerNull", "XorMaskerSimple", "createXorMasker"]


class XorMaskerNull:
    """Count bytes, and leave them unchanged.

    Args:
        mask: Ignored.
    """

    def __init__(self, mask: Buffer | None = None) -> None:
        self._pointer = 0

    def pointer(self) -> int:
        """Return the number of bytes processed."""
        return self._pointer

    def reset(self) -> None:
        """Start over."""
        self._pointer = 0

    def process(self, data: Buffer) -> bytes:
        """Return the next bytes, masked."""
        result = bytes(memoryview(data))
        self._pointer += len(result)
        return result


class XorMaskerSimple(XorMaskerNull):
    """Mask a stream of bytes.

    Args:
        mask: The masking key, 4 bytes.

    Raises:
        ValueError: If the key does not have 4 bytes.
    """

    def __init__(self, mask: Buffer) -> None:
        super().__init__()
        # Not bytes() alone, which turns a number into a key of zeros.
        self._mask = bytes(memoryview(mask))
        if len(self._mask) != 4:
            raise ValueError("mask must contain 4 bytes")

    def process(self, data: Buffer) -> bytes:
        """Return the next bytes, masked."""
        phase = self._pointer & 3
        result = apply_mask(memoryview(data), self._mask[phase:] + self._mask[:phase])
        self._pointer += len(result)
        return result


def createXorMasker(mask: Buffer, length: int | None = None) -> XorMaskerSimple:  # noqa: N802 - wsaccel's name
    """Return an object that masks a stream of bytes.

    Args:
        mask: The masking key, 4 bytes.
        length: The length of the stream; ignored.
    """
    return XorMaskerSimple(mask)
