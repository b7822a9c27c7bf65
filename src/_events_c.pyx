"""Messages as events, in C. Rank 1. Twin of ``wsframe/_events_py.py``; the contract is in ``events``."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from wsframe._utf8_c cimport utf8_to_str

from wsframe.constants import Opcode

__all__ = ["Message"]

cdef object TEXT = Opcode.TEXT
cdef object BINARY = Opcode.BINARY


@cython.final
@cython.freelist(256)
cdef class Message:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Message(opcode, payload)
--

A whole message (RFC 6455 §5.6).

    Attributes:
        opcode: ``Opcode.TEXT`` or ``Opcode.BINARY``.
        payload: The bytes of all its fragments; valid UTF-8 if it is text.

    Raises:
        ValueError: If ``opcode`` is another one.
    """

    __match_args__ = ("opcode", "payload")

    def __init__(self, opcode: Opcode, payload: bytes) -> None:
        if opcode not in (TEXT, BINARY):
            raise ValueError("a message is text or binary")
        self.is_text = opcode == TEXT
        self.payload = payload

    @property
    def opcode(self) -> Opcode:
        return TEXT if self.is_text else BINARY

    @property
    def data(self) -> str | bytes:
        """The message as the application wants it: text as str, binary as bytes."""
        return message_data(self)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Message:
            return NotImplemented
        return self.is_text == (<Message>other).is_text and self.payload == (<Message>other).payload

    def __hash__(self) -> int:
        return hash((self.opcode, self.payload))

    def __repr__(self) -> str:
        return f"Message(opcode={self.opcode!r}, payload={self.payload!r})"


cdef Message new_message(bint is_text, bytes payload):
    cdef Message message = Message.__new__(Message)
    message.is_text = is_text
    message.payload = payload
    return message


cdef object message_data(Message message):
    if message.is_text:
        # The parser has made sure that it is valid.
        return utf8_to_str(<const unsigned char *>PyBytes_AS_STRING(message.payload), PyBytes_GET_SIZE(message.payload))
    return message.payload
