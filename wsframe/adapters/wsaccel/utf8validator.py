"""``wsaccel.utf8validator``: incremental UTF-8 validation (RFC 3629). Rank 6."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe import Utf8Validator as _Utf8Validator

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Utf8Validator"]


class Utf8Validator:
    """Validate a stream of bytes; ``decode`` takes it byte by byte.

    Attributes:
        UTF8_ACCEPT: What ``decode`` returns at the end of a character.
        UTF8_REJECT: What it returns when the stream cannot be UTF-8 any more; within a character, something else.
    """

    UTF8_ACCEPT = 0
    UTF8_REJECT = 1

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin again."""
        self._validator = _Utf8Validator()
        self._total = 0
        # The beginning of a character whose end has not come.
        self._tail = b""

    def decode(self, b: int) -> int:
        """Take one byte; return ``UTF8_ACCEPT``, ``UTF8_REJECT``, or another number within a character."""
        valid, ends, _, _ = self.validate(bytes((b,)))
        return 2 if valid and not ends else self.UTF8_ACCEPT if valid else self.UTF8_REJECT

    def validate(self, ba: Buffer) -> tuple[bool, bool, int, int]:
        """Take the next bytes.

        Returns:
            Whether the stream can be UTF-8 still, whether it ends with a whole character, and the index of the first
            wrong byte, or behind the last one: within these bytes, and within the stream.
        """
        # Of a number, bytes() would make zeros.
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
            # The beginning of the character is not at fault.
            wrong = exc.end if exc.reason == "invalid continuation byte" else exc.start
        self._total += wrong - before
        return False, False, wrong - before, self._total


def _unfinished(end: bytes) -> bytes:
    """Return the beginning of a character at the end of valid UTF-8, of which at most 3 bytes matter."""
    for size in range(1, min(3, len(end)) + 1):
        byte = end[-size]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end[-size:] if size < length else b""
        if byte < 0x80:
            break
    return b""
