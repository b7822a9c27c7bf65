"""Frames, with wsproto's names (RFC 6455 §5).

Connections use ``FrameProtocol``. It reads with ``reader.MessageReader``, and thus with ``wsframe.FrameParser``, and
writes with ``wsframe.serialize_frame``. Only with extensions that wsframe does not support, ``FrameDecoder`` calls them
for each frame.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

from wsframe import Fault, Frame as WholeFrame, FrameParser, Role, apply_mask, new_masking_key, serialize_frame
from wsframe.adapters.wsproto import wire
from wsframe.adapters.wsproto.extensions import Extension, PerMessageDeflate, new_codec
from wsframe.adapters.wsproto.reader import MessageReader, Piece, parse_close_payload
from wsframe.adapters.wsproto.wire import *  # noqa: F403
from wsframe.adapters.wsproto.wire import (
    FIN_MASK,
    LOCAL_ONLY_CLOSE_REASONS,
    MASK_MASK,
    MAX_PAYLOAD_NORMAL,
    NULL_MASK,
    OPCODE_MASK,
    PAYLOAD_LEN_MASK,
    RSV1_MASK,
    RSV2_MASK,
    RSV3_MASK,
    CloseReason,
    Frame,
    Header,
    Opcode,
    ParseFailed,
    RsvBits,
)

__all__ = [
    "Buffer",
    "FrameDecoder",
    "FrameProtocol",
    "MessageDecoder",
    "XorMaskerNull",
    "XorMaskerSimple",
    *wire.__all__,
]


class XorMaskerSimple:
    """Mask or unmask a stream of bytes (RFC 6455 §5.3).

    Args:
        masking_key: 4 bytes.
    """

    def __init__(self, masking_key: bytes | bytearray) -> None:
        self._masking_key = masking_key

    def process(self, data: bytes | bytearray) -> bytearray:
        """Return the next bytes of the stream, masked or unmasked."""
        key = self._masking_key
        result = bytearray(apply_mask(data, key))
        phase = len(result) & 3
        self._masking_key = key[phase:] + key[:phase]
        return result


class XorMaskerNull:
    """Leave a stream of bytes unchanged."""

    def process(self, data: bytearray) -> bytearray:
        """Return the next bytes of the stream."""
        return data


class Buffer:
    """Bytes that are consumed piece by piece, and restored unless the consumption is committed.

    Attributes:
        buffer: The bytes.
        bytes_used: How many of them are consumed.
    """

    def __init__(self, initial_bytes: bytes | None = None) -> None:
        self.buffer = bytearray(initial_bytes or b"")
        self.bytes_used = 0

    def __len__(self) -> int:
        return len(self.buffer)

    def feed(self, new_bytes: bytes) -> None:
        """Append bytes."""
        self.buffer += new_bytes

    def consume_at_most(self, nbytes: int) -> bytearray:
        """Consume up to that many bytes."""
        start = self.bytes_used
        data = self.buffer[start : start + nbytes]
        self.bytes_used = start + len(data)
        return data

    def consume_exactly(self, nbytes: int) -> bytearray | None:
        """Consume that many bytes; if there are fewer, consume none and return None."""
        if len(self.buffer) - self.bytes_used < nbytes:
            return None
        return self.consume_at_most(nbytes)

    def commit(self) -> None:
        """Drop the consumed bytes."""
        del self.buffer[: self.bytes_used]
        self.bytes_used = 0

    def rollback(self) -> None:
        """Restore the consumed bytes."""
        self.bytes_used = 0


class MessageDecoder:
    """Turn data frames into messages: check their order, decode text (RFC 6455 §5.4, §5.6).

    Attributes:
        opcode: The opcode of the message in progress; None if there is none.
        decoder: The decoder of its text; None if it is binary.
    """

    def __init__(self) -> None:
        self.opcode: Opcode | None = None
        self.decoder: codecs.IncrementalDecoder | None = None

    def process_frame(self, frame: Frame) -> Frame:
        """Return a data frame, or a part of one, with the opcode of its message and its text decoded.

        Raises:
            ParseFailed: If the frame is out of order, or its text is not UTF-8.
        """
        if self.opcode is None:
            if frame.opcode is Opcode.CONTINUATION:
                raise ParseFailed(Fault.CONTINUATION_WITHOUT_START.text)
            self.opcode = frame.opcode
            if frame.opcode is Opcode.TEXT:
                self.decoder = codecs.getincrementaldecoder("utf-8")()
        elif frame.opcode is not Opcode.CONTINUATION:
            raise ParseFailed(Fault.DATA_FRAME_INSIDE_MESSAGE.text)
        finished = frame.frame_finished and frame.message_finished
        payload = frame.payload
        if self.decoder is not None:
            assert isinstance(payload, (bytes, bytearray))
            try:
                payload = self.decoder.decode(payload, finished)
            except UnicodeDecodeError as exc:
                raise ParseFailed(Fault.INVALID_UTF8_TEXT.text, CloseReason.INVALID_FRAME_PAYLOAD_DATA) from exc
        opcode = self.opcode
        if finished:
            self.opcode = None
            self.decoder = None
        return Frame(opcode, payload, frame.frame_finished, finished)


class FrameDecoder:
    """Parse frames from a stream and let extensions decode them; parts of data frames are returned as bytes arrive.

    Args:
        client: Whether this end is the client.
        extensions: The negotiated extensions.
    """

    def __init__(self, client: bool, extensions: Sequence[Extension] | None = None) -> None:
        self.client = client
        self.extensions = extensions or []
        self.buffer = Buffer()
        self.header: Header | None = None
        self.effective_opcode = Opcode.CONTINUATION
        self.masker: XorMaskerSimple | XorMaskerNull = XorMaskerNull()
        self.payload_consumed = 0

    def receive_bytes(self, data: bytes) -> None:
        """Receive the next bytes of the stream."""
        self.buffer.feed(data)

    def process_buffer(self) -> Frame | None:
        """Return the next frame, or part of one; None if more bytes are needed.

        Raises:
            ParseFailed: If the peer has violated the protocol, or an extension reports a failure.
        """
        if self.header is None and not self.parse_header():
            return None
        header = self.header
        assert header is not None
        if header.opcode.iscontrol() and len(self.buffer) < header.payload_len:
            return None
        payload = self.buffer.consume_at_most(header.payload_len - self.payload_consumed)
        if not payload and header.payload_len:
            return None
        self.buffer.commit()
        self.payload_consumed += len(payload)
        finished = self.payload_consumed == header.payload_len
        data = bytes(self.masker.process(payload))
        for extension in self.extensions:
            data = _unless_failed(extension.frame_inbound_payload_data(self, data))
        if finished:
            for extension in self.extensions:
                data += _unless_failed(extension.frame_inbound_complete(self, header.fin)) or b""
        frame = Frame(self.effective_opcode, data, finished, header.fin)
        self.effective_opcode = Opcode.CONTINUATION
        if finished:
            self.header = None
        return frame

    def parse_header(self) -> bool:
        """Read a header; return whether it is complete.

        Raises:
            ParseFailed: See ``process_buffer``.
        """
        head = self.buffer.consume_exactly(2)
        if head is None:
            return False
        length_size = {126: 2, 127: 8}.get(head[1] & PAYLOAD_LEN_MASK, 0)
        is_masked = head[1] & MASK_MASK != 0
        size = 2 + length_size + (4 if is_masked else 0)
        head += self.buffer.consume_at_most(size - 2)
        self._judge(head)
        if len(head) < size:
            self.buffer.rollback()
            return False
        self.buffer.commit()
        opcode = Opcode(head[0] & OPCODE_MASK)
        length = int.from_bytes(head[2 : 2 + length_size], "big") if length_size else head[1] & PAYLOAD_LEN_MASK
        rsv = RsvBits(head[0] & RSV1_MASK != 0, head[0] & RSV2_MASK != 0, head[0] & RSV3_MASK != 0)
        self._ask_extensions(opcode, rsv, length)
        self.header = Header(head[0] & FIN_MASK != 0, rsv, opcode, length, None)
        self.effective_opcode = opcode
        self.masker = XorMaskerSimple(head[-4:]) if is_masked else XorMaskerNull()
        self.payload_consumed = 0
        return True

    def _judge(self, head: bytes | bytearray) -> None:
        """Check a header, or the beginning of one, except for the reserved bits and the order of fragments."""
        parser = FrameParser(Role.CLIENT if self.client else Role.SERVER, max_message_size=None)
        if head[0] & OPCODE_MASK == Opcode.CONTINUATION:
            parser.feed(serialize_frame(Opcode.BINARY, b"", fin=False, mask=None if self.client else NULL_MASK))
        parser.feed(bytes([head[0] & ~(RSV1_MASK | RSV2_MASK | RSV3_MASK)]) + head[1:])
        if parser.fault is not None:
            raise parse_failed(parser.fault)

    def _ask_extensions(self, opcode: Opcode, rsv: RsvBits, length: int) -> None:
        known = RsvBits(False, False, False)
        for extension in self.extensions:
            bits = _unless_failed(extension.frame_inbound_header(self, opcode, rsv, length))
            known = RsvBits(*map(max, known, bits))
        for bit, is_known, fault in zip(rsv, known, (Fault.RSV1_SET, Fault.RSV2_SET, Fault.RSV3_SET), strict=True):
            if bit and not is_known:
                raise parse_failed(fault)


T = TypeVar("T")


def _unless_failed(result: T | CloseReason) -> T:
    if isinstance(result, CloseReason):
        raise ParseFailed("an extension failed", result)
    return result


class ExtensionReader:
    """Read messages and control frames as ``MessageReader`` does, and call extensions for each frame.

    Args:
        decoder: Parses frames from the stream.
        messages: Turns them into messages.
        fail: See ``MessageReader``.
    """

    def __init__(self, decoder: FrameDecoder, messages: MessageDecoder, fail: Callable[[Fault], Exception]) -> None:
        self._decoder = decoder
        self._messages = messages
        self._fail = fail
        self._stopped = False

    def feed(self, data: bytes) -> None:
        """See ``MessageReader.feed``."""
        if not self._stopped:
            self._decoder.receive_bytes(data)

    def read(self) -> Piece | None:
        """See ``MessageReader.read``."""
        if self._stopped:
            return None
        # Reset below if everything succeeds.
        self._stopped = True
        frame = self._decoder.process_buffer()
        if frame is not None and frame.opcode == Opcode.CLOSE:
            assert isinstance(frame.payload, bytes)
            parser = FrameParser(Role.CLIENT)
            parser.feed(serialize_frame(Opcode.CLOSE, frame.payload))
            if parser.fault is not None:
                raise self._fail(parser.fault)
            return frame.opcode, parse_close_payload(frame.payload), True, True
        if frame is not None and not frame.opcode.iscontrol():
            frame = self._messages.process_frame(frame)
        self._stopped = False
        return frame


class FrameProtocol:
    """The frames of one connection, in both directions.

    Args:
        client: Whether this end is the client.
        extensions: Extensions; those that were not negotiated are ignored.

    Attributes:
        receive_bytes: Receives the next bytes of the stream.
        next_piece: Returns what ``received_frames`` would yield next, without creating a ``Frame``.
    """

    receive_bytes: Callable[[bytes], None]
    next_piece: Callable[[], Piece | None]

    def __init__(self, client: bool, extensions: Sequence[Extension]) -> None:
        self.client = client
        self.extensions = [extension for extension in extensions if extension.enabled()]
        self._codec = None
        # The type of our message in progress.
        self._outbound_opcode: Opcode | None = None
        role = Role.CLIENT if client else Role.SERVER
        reader: MessageReader | ExtensionReader
        if not self.extensions:
            reader = MessageReader(role, parse_failed)
        elif len(self.extensions) == 1 and type(self.extensions[0]) is PerMessageDeflate:
            self._codec = new_codec(self.extensions[0], client)
            reader = MessageReader(role, parse_failed, self._codec)
        else:
            reader = ExtensionReader(FrameDecoder(client, self.extensions), MessageDecoder(), parse_failed)
        self.receive_bytes = reader.feed
        self.next_piece = reader.read

    def received_frames(self) -> Generator[Frame, None, None]:
        """Yield the available frames, and parts of data frames.

        Raises:
            ParseFailed: If the peer has violated the protocol.
        """
        while (piece := self.next_piece()) is not None:
            opcode, payload, frame_finished, message_finished = piece
            if opcode == Opcode.CLOSE:
                payload = close_reason(payload[0]), payload[1]
            yield Frame(Opcode(opcode), payload, frame_finished, message_finished)

    def send_data(self, payload: bytes | bytearray | memoryview | str = b"", fin: bool = True) -> bytes:
        """Return a data frame: the next one of the message in progress, or the first one of a new message.

        Raises:
            TypeError: If the payload is neither text nor bytes, or not of the type that the message began with.
        """
        if isinstance(payload, str):
            opcode = Opcode.TEXT
            payload = payload.encode()
        elif isinstance(payload, (bytes, bytearray, memoryview)):
            opcode = Opcode.BINARY
        else:
            raise TypeError(f"a message is str or bytes-like, not {type(payload).__name__}")
        begun = self._outbound_opcode
        if begun is not None and begun is not opcode:
            raise TypeError("text and bytes are mixed in a message")
        frame_opcode = opcode if begun is None else Opcode.CONTINUATION
        if self.extensions:
            data = self._serialize(frame_opcode, payload, fin)
        else:
            data = serialize_frame(frame_opcode, payload, fin=fin, mask=new_masking_key() if self.client else None)
        # Only once the frame exists.
        self._outbound_opcode = None if fin else opcode
        return data

    def ping(self, payload: bytes = b"") -> bytes:
        """Return a Ping.

        Raises:
            ValueError: If the payload is longer than 125 bytes.
        """
        return self._serialize(Opcode.PING, payload)

    def pong(self, payload: bytes = b"") -> bytes:
        """Return a Pong.

        Raises:
            ValueError: If the payload is longer than 125 bytes.
        """
        return self._serialize(Opcode.PONG, payload)

    def close(self, code: int | None = None, reason: str | None = None) -> bytes:
        """Return a Close frame; too long a reason is truncated, and a code that cannot be sent is replaced.

        Raises:
            TypeError: If a reason is given without a code.
        """
        if code is CloseReason.NO_STATUS_RCVD:
            code = None
        if code is None:
            if reason:
                raise TypeError("there is a reason without a code")
            return self._serialize(Opcode.CLOSE, b"")
        if code in LOCAL_ONLY_CLOSE_REASONS:
            code = CloseReason.NORMAL_CLOSURE
        text = (reason or "").encode()
        if len(text) > MAX_PAYLOAD_NORMAL - 2:
            # Truncation may have left an incomplete character.
            text = text[: MAX_PAYLOAD_NORMAL - 2].decode(errors="ignore").encode()
        return self._serialize(Opcode.CLOSE, code.to_bytes(2, "big") + text)

    def _serialize(self, opcode: Opcode, payload: bytes | bytearray | memoryview, fin: bool = True) -> bytes:
        rsv = RsvBits(False, False, False)
        # Not bytes() alone, which turns a number into zeros.
        payload = bytes(memoryview(payload))
        if self._codec is not None:
            frame = self._codec.encode(WholeFrame(opcode, payload, fin))
            payload = frame.payload
            rsv = RsvBits(frame.rsv1, False, False)
        else:
            for extension in reversed(self.extensions):
                rsv, payload = extension.frame_outbound(self, opcode, rsv, bytes(memoryview(payload)), fin)
        if opcode.iscontrol() and len(payload) > MAX_PAYLOAD_NORMAL:
            raise ValueError("a control frame has more than 125 bytes of payload")
        mask = new_masking_key() if self.client else None
        return serialize_frame(opcode, payload, fin=fin, rsv1=rsv.rsv1, rsv2=rsv.rsv2, rsv3=rsv.rsv3, mask=mask)


def parse_failed(fault: Fault) -> ParseFailed:
    """Return the exception for a violation."""
    return ParseFailed(fault.text, CloseReason(fault.close_code))


def close_reason(code: int) -> int:
    """Return the enumeration member for a close code, if there is one, or the code itself."""
    try:
        return CloseReason(code)
    except ValueError:
        return code
