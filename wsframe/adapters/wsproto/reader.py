"""Messages from a stream of bytes, in pieces as the bytes arrive.

wsproto passes the available part of a data frame to the application without waiting for the rest, so that it can stream
messages of any size. ``FrameParser`` returns whole frames. It therefore parses and checks all data. Only the payload of
a frame that is still incomplete when all earlier frames have been taken is read here.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Any

from wsframe import (
    CloseCode,
    Fault,
    Frame,
    FrameParser,
    Opcode,
    PerMessageDeflate,
    ProtocolError,
    Role,
    apply_mask,
    serialize_frame,
)

__all__ = ["MessageReader", "Piece", "parse_close_payload"]

Piece = tuple[int, Any, bool, bool]
"""Opcode of the message or control frame; bytes, text, or code and reason; whether a frame ends, and a message."""

_NULL_KEY = bytes(4)

_new_decoder = codecs.getincrementaldecoder("utf-8")


class MessageReader:
    """Read messages and control frames.

    State     what is read                                            next
    frames    whole frames, by ``FrameParser``                        partial, when only part of a payload is left
    partial   the available payload of one data frame                 frames, with a new parser in the same state
    stopped   nothing: after a Close frame or a violation             stopped

    Args:
        role: The role of this endpoint.
        fail: Creates the exception to raise when the peer has violated the protocol.
        deflate: permessage-deflate as negotiated, or None.
    """

    __slots__ = (
        "_compressed",
        "_decoder",
        "_deflate",
        "_fail",
        "_fault",
        "_fin",
        "_frames",
        "_key",
        "_opcode",
        "_parser",
        "_received",
        "_remaining",
        "_role",
        "_stopped",
        "_tail",
    )

    def __init__(
        self, role: Role, fail: Callable[[Fault], Exception], deflate: PerMessageDeflate | None = None
    ) -> None:
        self._role = role
        self._fail = fail
        self._deflate = deflate
        self._stopped = False
        # The fault that the parser has found after the frames that it has returned.
        self._fault: Fault | None = None
        # Bytes not processed yet.
        self._received: list[bytes] = []
        # Whole frames not taken yet, the first one last; and the bytes after them, which the parser has received.
        self._frames: list[Frame] = []
        self._tail = b""
        # Missing bytes of the partial frame, 0 if there is none; its key, rotated for the next byte; its FIN bit.
        self._remaining = 0
        self._key = _NULL_KEY
        self._fin = False
        # The message in progress: its opcode, None if there is none; whether it is compressed; its text decoder.
        self._opcode: Opcode | None = None
        self._compressed = False
        self._decoder: codecs.IncrementalDecoder | None = None
        self._parser = self._new_parser()

    def feed(self, data: bytes) -> None:
        """Receive the next bytes of the stream; they are not processed until ``read``."""
        if data and not self._stopped:
            # Not bytes() alone, which turns a number into zeros.
            self._received.append(data if type(data) is bytes else bytes(memoryview(data)))

    def read(self) -> Piece | None:
        """Return the next piece, or None.

        If the peer has violated the protocol, raise an exception once; after that, return None.
        """
        frames = self._frames
        if not frames:
            if self._remaining:
                return self._read_payload()
            if self._received:
                frames = self._parse()
            if not frames:
                if self._fault is not None:
                    raise self._failure(self._fault)
                return self._begin_payload() if self._tail else None
        frame = frames.pop()
        opcode = frame.opcode
        if opcode >= Opcode.CLOSE:
            if opcode is Opcode.CLOSE:
                self._stop()
                return Opcode.CLOSE, parse_close_payload(frame.payload), True, True
            return opcode, frame.payload, True, True
        if self._opcode is None and frame.fin and not frame.rsv1:
            # The parser has checked that text is UTF-8.
            return opcode, frame.payload.decode() if opcode is Opcode.TEXT else frame.payload, True, True
        return self._piece(opcode, frame.payload, True, frame.fin, frame.rsv1)

    def _parse(self) -> list[Frame]:
        """Parse received bytes; return whole frames, the first one last."""
        received = self._received
        data = received[0] if len(received) == 1 else b"".join(received)
        received.clear()
        parser = self._parser
        frames = parser.feed(data)
        pending = parser.pending_bytes
        self._tail = (self._tail + data)[-pending:] if pending else b""
        self._fault = parser.fault
        if len(frames) > 1:
            frames.reverse()
        self._frames = frames
        return frames

    def _begin_payload(self) -> Piece | None:
        """Start reading a partial frame if a byte of its payload has arrived; the parser has checked its header."""
        tail = self._tail
        if len(tail) < 2 or tail[0] & 0x08:
            # RFC 6455 §5.5: control frames are short, and parts of them are of no use.
            return None
        length = tail[1] & 0x7F
        start = 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(tail[2:start], "big")
        if self._role is Role.SERVER:
            self._key = tail[start : start + 4]
            start += 4
        if len(tail) <= start:
            return None
        self._received = [tail[start:]]
        self._tail = b""
        self._remaining = length
        self._fin = tail[0] >= 0x80
        return self._read_payload(Opcode(tail[0] & 0x0F), tail[0] & 0x40 != 0)

    def _read_payload(self, opcode: Opcode = Opcode.CONTINUATION, rsv1: bool = False) -> Piece | None:
        received = self._received
        if not received:
            return None
        data = received[0] if len(received) == 1 else b"".join(received)
        remaining = self._remaining
        payload = data[:remaining]
        size = len(payload)
        self._received = [data[size:]] if size < len(data) else []
        self._remaining = remaining - size
        if self._role is Role.SERVER:
            key = self._key
            payload = apply_mask(payload, key)
            phase = size & 3
            self._key = key[phase:] + key[:phase]
        finished = size == remaining
        piece = self._piece(opcode, payload, finished, self._fin, rsv1)
        if finished:
            self._parser = self._new_parser()
        return piece

    def _new_parser(self) -> FrameParser:
        """Create a parser, and bring it into the state of the message in progress by feeding it a similar frame."""
        parser = FrameParser(self._role, max_message_size=None, rsv1=self._deflate is not None)
        opcode = self._opcode
        if opcode is not None:
            begun = b""
            if self._decoder is not None and not self._compressed:
                # The first bytes of an incomplete character.
                begun = self._decoder.getstate()[0]
            mask = _NULL_KEY if self._role is Role.SERVER else None
            parser.feed(serialize_frame(opcode, begun, fin=False, rsv1=self._compressed, mask=mask))
        return parser

    def _piece(self, opcode: Opcode, payload: bytes, frame_finished: bool, fin: bool, rsv1: bool) -> Piece:
        finished = frame_finished and fin
        if opcode is not Opcode.CONTINUATION:
            self._opcode = opcode
            self._compressed = rsv1
            self._decoder = _new_decoder() if opcode is Opcode.TEXT else None
        data: bytes | str = payload
        # Empty data is not a compressed message (RFC 7692 §7.2.3.6), but wsproto accepts it as an empty one.
        if self._compressed and not (rsv1 and finished and not payload):
            assert self._deflate is not None
            try:
                data = payload = self._deflate.decode(Frame(opcode, payload, finished, rsv1)).payload
            except ProtocolError as exc:
                raise self._failure(exc.fault or Fault.INVALID_DEFLATE) from exc
        if self._decoder is not None:
            try:
                data = self._decoder.decode(payload, finished)
            except UnicodeDecodeError as exc:
                raise self._failure(Fault.INVALID_UTF8_TEXT) from exc
        message = self._opcode
        assert message is not None
        if finished:
            self._opcode = None
            self._decoder = None
        return message, data, frame_finished, finished

    def _failure(self, fault: Fault) -> Exception:
        self._stop()
        return self._fail(fault)

    def _stop(self) -> None:
        self._stopped = True
        self._fault = None
        self._remaining = 0
        self._received.clear()
        self._frames.clear()
        self._tail = b""


def parse_close_payload(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a checked Close frame; 1005 for an empty one (RFC 6455 §7.1.5)."""
    if not payload:
        return CloseCode.NO_STATUS_RCVD, ""
    return payload[0] << 8 | payload[1], payload[2:].decode()
