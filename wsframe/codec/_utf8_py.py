"""Incremental UTF-8 validation (RFC 3629, RFC 6455 §8.1) in pure Python.

Twin of ``src/wsframe/codec/_utf8_c.pyx``; the contract is in ``wsframe.codec``.
"""

from __future__ import annotations

from wsframe._checks import as_view

__all__ = ["Utf8Validator"]


class Utf8Validator:
    """Validate a byte stream as UTF-8, piece by piece (RFC 3629).

    Validation fails at the first byte after which no continuation can be valid: overlong forms, surrogates
    and code points above U+10FFFF are refused at their second byte at the latest.

    Attributes:
        valid: False once the stream cannot be UTF-8.
    """

    __slots__ = ("_tail", "valid")

    def __init__(self) -> None:
        self.valid = True
        self._tail = b""

    def feed(self, data: bytes | bytearray | memoryview) -> bool:
        """Validate the next piece of the stream.

        Args:
            data: Any C-contiguous bytes-like object.

        Returns:
            Whether the stream so far is, or can still become, valid UTF-8.
        """
        if not self.valid:
            return False
        piece = self._tail + (data if isinstance(data, (bytes, bytearray)) else as_view(data))
        self._tail = b""
        try:
            piece.decode()
        except UnicodeDecodeError as exc:
            if exc.reason == "unexpected end of data":
                self._tail = piece[exc.start :]
            else:
                self.valid = False
        return self.valid

    def finish(self) -> bool:
        """End the stream, return whether it is valid, and reset for the next one.

        Returns:
            Whether the whole stream is valid UTF-8 and does not end within a character.
        """
        verdict = self.valid and not self._tail
        self.valid = True
        self._tail = b""
        return verdict
