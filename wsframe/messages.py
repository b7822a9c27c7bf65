"""Messages out of frames (RFC 6455 §5.4). Rank 3."""

from __future__ import annotations

from wsframe.constants import Opcode
from wsframe.events import Message
from wsframe.framing import Frame

__all__ = ["MessageAssembler"]


class MessageAssembler:
    """Put the fragments of messages together.

    Fragments are copied into one growing buffer, so what is held is the size of the message and not a
    matter of how many fragments it comes in. The parser has judged order and size of the frames.
    """

    __slots__ = ("_buffer", "_opcode")

    def __init__(self) -> None:
        self._opcode = Opcode.CONTINUATION
        self._buffer = bytearray()

    def add(self, frame: Frame) -> Message | None:
        """Take a data frame; return the message that it completes."""
        opcode = frame.opcode
        if opcode is not Opcode.CONTINUATION:
            if frame.fin:
                return Message(opcode, frame.payload)
            self._opcode = opcode
        self._buffer += frame.payload
        if not frame.fin:
            return None
        message = Message(self._opcode, bytes(self._buffer))
        self._buffer = bytearray()
        return message
