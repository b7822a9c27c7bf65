"""Messages out of frames (RFC 6455 §5.4). Rank 4."""

from __future__ import annotations

from collections.abc import Sequence

from wsframe.constants import Opcode
from wsframe.events import Message
from wsframe.exceptions import Fault, PayloadTooBig, ProtocolError
from wsframe.extensions import Extension
from wsframe.framing import Frame
from wsframe.utf8 import Utf8Validator

__all__ = ["MessageAssembler"]


class MessageAssembler:
    """Put the fragments of messages together, and have extensions decode them.

    Fragments are copied into one growing buffer, so what is held is the size of the message and not a
    matter of how many fragments it comes in. The parser has judged order and size of the frames, and the
    text of those that no extension has encoded.

    Args:
        extensions: The extensions agreed on.
        max_message_size: Bytes of a message when decoded; None for no limit.
        max_fragment_size: Bytes of a fragment when decoded; None for no limit.

    Attributes:
        fault: What was wrong with the message that ``add`` has refused, or None.
    """

    __slots__ = ("_buffer", "_extensions", "_max_fragment_size", "_max_message_size", "_opcode", "_utf8", "fault")

    def __init__(
        self,
        extensions: Sequence[Extension] = (),
        max_message_size: int | None = None,
        max_fragment_size: int | None = None,
    ) -> None:
        self.fault: Fault | None = None
        self._extensions = extensions
        self._max_message_size = max_message_size
        self._max_fragment_size = max_fragment_size
        self._opcode = Opcode.CONTINUATION
        self._buffer = bytearray()
        # Set while a text message comes in that an extension has encoded.
        self._utf8: Utf8Validator | None = None

    def add(self, frame: Frame) -> Message | None:
        """Take a data frame; return the message that it completes.

        None may also mean that ``fault`` is set: then the connection must be failed.
        """
        opcode = frame.opcode
        if self._extensions:
            decoded = self._decode(frame)
            if decoded is None:
                return None
            frame = decoded
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

    def _decode(self, frame: Frame) -> Frame | None:
        """Have the extensions decode a frame, and judge what comes out."""
        if frame.opcode is not Opcode.CONTINUATION:
            self._utf8 = Utf8Validator() if frame.rsv1 and frame.opcode is Opcode.TEXT else None
        room, too_big = self._max_message_size, Fault.MESSAGE_TOO_BIG
        if room is not None:
            room -= len(self._buffer)
        limit = self._max_fragment_size
        # As in the parser, a frame over both limits is a frame that is too big.
        if limit is not None and (room is None or limit <= room):
            room, too_big = limit, Fault.FRAGMENT_TOO_BIG
        try:
            for extension in reversed(self._extensions):
                frame = extension.decode(frame, max_size=room)
        except PayloadTooBig:
            self.fault = too_big
            return None
        except ProtocolError as exc:
            self.fault = exc.fault or Fault.INVALID_DEFLATE
            return None
        # RFC 6455 §8.1, RFC 7692 §6.2: it is the decoded text that must be UTF-8.
        if self._utf8 is not None and not (self._utf8.feed(frame.payload) and (not frame.fin or self._utf8.finish())):
            self.fault = Fault.INVALID_UTF8_TEXT
            return None
        return frame
