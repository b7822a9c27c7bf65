"""Messages as events, in Python.

Twin of ``src/wsframe/codec/_message_c.pyx``; the contract is in ``wsframe.codec``.
"""

from __future__ import annotations

import dataclasses

from wsframe.constants import Opcode

__all__ = ["Message"]


@dataclasses.dataclass(frozen=True)
class Message:
    """A message (RFC 6455 §5.6), or one of its fragments if ``Connection.stream_message`` requested them.

    Attributes:
        opcode: ``Opcode.TEXT`` or ``Opcode.BINARY``.
        payload: The bytes of all its fragments, or of this one; valid UTF-8 if it is text.
        fin: Whether this is the whole message, or its last fragment.
        lengths: Size of each fragment in bytes, if the message arrived in several and was joined; None otherwise, and
            if there were more than 4,096.

    Raises:
        TypeError: If ``payload`` is not bytes.
        ValueError: If ``opcode`` is anything else.
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
        """The message as the application receives it: text as str, binary as bytes.

        A fragment of a text message may begin or end within a character, which raises UnicodeDecodeError:
        decode such fragments with ``codecs.getincrementaldecoder``.
        """
        return self.payload.decode() if self.opcode is Opcode.TEXT else self.payload


def plain_bytes(data: bytes) -> bytes:
    """Return an instance of bytes or of a subclass as a plain bytes object.

    Raises:
        TypeError: If it is anything else.
    """
    if not isinstance(data, bytes):
        raise TypeError(f"payload must be bytes, not {type(data).__name__}")
    return memoryview(data).tobytes()
