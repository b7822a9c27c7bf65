"""``wsaccel.utf8validator``: incremental UTF-8 validation (RFC 3629)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe import Utf8Validator as _Utf8Validator

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Utf8Validator"]


class Utf8Validator:
    """Validate a stream of bytes; ``decode`` processes it byte by byte.

    Attributes:
        UTF8_ACCEPT: Returned by ``decode`` at the end of a character.
        UTF8_REJECT: Returned when the stream can no longer be UTF-8. Within a character, other values are returned.
    """

    UTF8_ACCEPT = 0
    UTF8_REJECT = 1

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start over."""
        self._validator = _Utf8Validator()
        self._total = 0
        # The beginning of an incomplete character.
        self._tail = b""

    def decode(self, b: int) -> int:
        """Process one byte; return ``UTF8_ACCEPT``, ``UTF8_REJECT``, or another number within a character."""
        valid, ends, _, _ = self.validate(bytes((b,)))
        return 2 if valid and not ends else self.UTF8_ACCEPT if valid else self.UTF8_REJECT

    def validate(self, ba: Buffer) -> tuple[bool, bool, int, int]:
        """Process the next bytes.

        Returns:
            Whether the stream can still be UTF-8, whether it ends with a complete character, and the index of the first
            invalid byte, or past the last byte: within these bytes, and within the stream.
        """
        # Not bytes() alone, which turns a number into zeros.
        data = bytes(memoryview(ba))
        if not self._validator.valid:
            return False, False, 0, self._total
        before = len(self._tail)
        if self._validator.feed(data):
            self._total += len(data)
            self._tail = _unfinished(self._tail + data[-3:] if len(data) < 3 else data[-3:])
            return True, not self._tail, len(data), self._total
        try:
            (self._tail + data).decode()
        except UnicodeDecodeError as exc:
            # The error is not at the beginning of the character.
            wrong = exc.end if exc.reason == "invalid continuation byte" else exc.start
        self._total += wrong - before
        return False, False, wrong - before, self._total


def _unfinished(end: bytes) -> bytes:
    """Return the incomplete character at the end of valid UTF-8; only the last 3 bytes matter."""
    for size in range(1, min(3, len(end)) + 1):
        byte = end[-size]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end[-size:] if size < length else b""
        if byte < 0x80:
            break
    return b""
