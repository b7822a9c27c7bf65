"""Messages as events, in C.

Twin of ``wsframe/codec/_message_py.py``; the contract is in ``wsframe.codec``.
"""

cimport cython
from cpython.bytes cimport (
    PyBytes_AS_STRING,
    PyBytes_Check,
    PyBytes_CheckExact,
    PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)

from wsframe.codec._utf8_c cimport utf8_to_str

import functools

from wsframe.constants import Opcode

__all__ = ["Message"]

cdef object TEXT = Opcode.TEXT
cdef object BINARY = Opcode.BINARY


@cython.final
@cython.freelist(256)
# Its fields cannot form reference cycles.
@cython.no_gc
cdef class Message:
    # The first line is where inspect.signature() finds the arguments of a class in C.
    """Message(opcode, payload, *, fin=True, lengths=None)
--

A message (RFC 6455 §5.6), or one of its fragments if ``Connection.stream_message`` requested them.

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

    __match_args__ = ("opcode", "payload")

    def __cinit__(self):
        # Never None, even if __init__ fails or never runs.
        self.payload = b""

    def __init__(
        self, opcode: Opcode, payload: bytes, *, fin: bool = True, lengths: tuple[int, ...] | None = None
    ) -> None:
        if opcode not in (TEXT, BINARY):
            raise ValueError("a message is text or binary")
        self.payload = plain_bytes(payload)
        self.is_text = opcode == TEXT
        self.fin = fin
        self.lengths = lengths

    @property
    def opcode(self) -> Opcode:
        return TEXT if self.is_text else BINARY

    @property
    def data(self) -> str | bytes:
        """The message as the application receives it: text as str, binary as bytes.

        A fragment of a text message may begin or end within a character, which raises UnicodeDecodeError:
        decode such fragments with ``codecs.getincrementaldecoder``.
        """
        return message_data(self)

    def __eq__(self, other: object) -> bool:
        if type(other) is not Message:
            return NotImplemented
        return (
            self.is_text == (<Message>other).is_text
            and self.payload == (<Message>other).payload
            and self.fin == (<Message>other).fin
        )

    def __hash__(self) -> int:
        return hash((self.opcode, self.payload, self.fin))

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(Message, fin=self.fin, lengths=self.lengths), (self.opcode, self.payload)

    def __repr__(self) -> str:
        return f"Message(opcode={self.opcode!r}, payload={self.payload!r}, fin={self.fin})"


cdef bytes plain_bytes(object data):
    if PyBytes_CheckExact(data):
        return data
    if not PyBytes_Check(data):
        raise TypeError(f"payload must be bytes, not {type(data).__name__}")
    return PyBytes_FromStringAndSize(PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


@cython.nonecheck(False)
cdef Message new_message(bint is_text, bytes payload):
    cdef Message message = Message.__new__(Message)
    message.is_text = is_text
    message.payload = payload
    message.fin = True
    message.is_valid = True
    return message


@cython.nonecheck(False)
cdef object message_data(Message message):
    if not message.is_text:
        return message.payload
    if message.is_valid:
        return utf8_to_str(<const unsigned char *>PyBytes_AS_STRING(message.payload), PyBytes_GET_SIZE(message.payload))
    return message.payload.decode()
