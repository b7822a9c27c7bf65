"""Messages as events, in Python. Rank 1. Twin of ``src/_events_c.pyx``; the contract is in ``events``."""

from __future__ import annotations

import dataclasses

from wsframe.constants import Opcode

__all__ = ["Message"]


@dataclasses.dataclass(frozen=True)
class Message:
    """A message (RFC 6455 §5.6): all of it, or a fragment if ``Connection.stream_message`` has asked for them.

    Attributes:
        opcode: ``Opcode.TEXT`` or ``Opcode.BINARY``.
        payload: The bytes of all its fragments, or of this one; valid UTF-8 if it is text.
        fin: Whether this is all of it, or the last fragment.
        lengths: Bytes of each fragment, if it came in several and has been joined; None otherwise, and if there were
            more than 4,096 of them.

    Raises:
        TypeError: If ``payload`` is not bytes.
        ValueError: If ``opcode`` is another one.
    """

    opcode: Opcode
    payload: bytes
    fin: bool = dataclasses.field(default=True, kw_only=True)
    lengths: tuple[int, ...] | None = dataclasses.field(default=None, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.opcode not in (Opcode.TEXT, Opcode.BINARY):
            raise ValueError("a message is text or binary")
        if type(self.payload) is not bytes:
            object.__setattr__(self, "payload", plain_bytes(self.payload))

    @property
    def data(self) -> str | bytes:
        """The message as the application wants it: text as str, binary as bytes.

        A fragment of a text may begin or end within a character, which is a UnicodeDecodeError:
        decode such fragments with ``codecs.getincrementaldecoder``.
        """
        return self.payload.decode() if self.opcode is Opcode.TEXT else self.payload


def plain_bytes(data: bytes) -> bytes:
    """Return the bytes of an instance of bytes or of a subclass, as a bytes object.

    Raises:
        TypeError: If it is something else.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"payload must be bytes, not {type(data).__name__}")
    return memoryview(data).tobytes()
