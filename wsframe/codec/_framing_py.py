"""Frames (RFC 6455 §5) in pure Python.

Twin of ``src/wsframe/codec/_framing_c.pyx``; the contract is in ``wsframe.codec``.
"""

from __future__ import annotations

import io
import operator
from typing import TYPE_CHECKING, Any

from wsframe._checks import as_view, check_count, check_role
from wsframe.codec._masking_py import apply_mask
from wsframe.codec._message_py import plain_bytes
from wsframe.codec._utf8_py import Utf8Validator
from wsframe.constants import SENDABLE_CLOSE_CODES, Opcode, Role
from wsframe.exceptions import Fault
from wsframe.limits import MAX_LENGTH

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Frame", "FrameParser", "serialize_frame"]


class Frame:
    """A frame as on the wire, unmasked (RFC 6455 §5.2).

    Attributes:
        opcode: An ``Opcode``.
        payload: The payload, as bytes.
        fin: Whether this is the final fragment of its message.
        rsv1: First reserved bit; permessage-deflate uses it (RFC 7692 §6).
        rsv2: Second reserved bit.
        rsv3: Third reserved bit.

    Raises:
        TypeError: If ``payload`` is not bytes.
        ValueError: If ``opcode`` is not one that RFC 6455 defines.
    """

    __slots__ = ("fin", "opcode", "payload", "rsv1", "rsv2", "rsv3")

    def __init__(
        self,
        opcode: int,
        payload: bytes = b"",
        fin: bool = True,
        rsv1: bool = False,
        rsv2: bool = False,
        rsv3: bool = False,
    ) -> None:
        # A member needs no check; the look-up costs more than everything else here.
        self.opcode = opcode if type(opcode) is Opcode else Opcode(opcode)
        self.payload = payload if type(payload) is bytes else plain_bytes(payload)
        self.fin = fin
        self.rsv1 = rsv1
        self.rsv2 = rsv2
        self.rsv3 = rsv3

    def __eq__(self, other: object) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        bits = "".join(f", {name}=True" for name in ("rsv1", "rsv2", "rsv3") if getattr(self, name))
        return f"Frame(Opcode.{self.opcode.name}, {self.payload!r}, fin={self.fin}{bits})"

    def _key(self) -> tuple[Opcode, bytes, bool, bool, bool, bool]:
        return self.opcode, self.payload, self.fin, self.rsv1, self.rsv2, self.rsv3


class FrameParser:
    """Split a byte stream into frames (RFC 6455 §5.2).

    State        needs            next
    HEADER       2 bytes          LENGTH
    LENGTH       0, 2 or 8 bytes  KEY if the MASK bit is set, else PAYLOAD
    KEY          4 bytes          PAYLOAD
    PAYLOAD      payload_length   HEADER, or CLOSED after a Close frame
    CLOSED       nothing          CLOSED: data after a Close frame is discarded (RFC 6455 §1.4)

    A violation sets ``fault`` and stops the parser for good. Frames completed before it are
    still returned, so the result never depends on how the stream was cut into reads. Each check
    runs as soon as its bytes have arrived: a header is checked before its payload is accepted, and
    text is refused at the first byte that cannot be UTF-8.

    Args:
        role: The role of this endpoint: a server requires masked frames, a client unmasked ones (§5.1).
        max_message_size: Limit on the payload of a message over all its fragments, in bytes; None for no limit.
        max_fragment_size: Limit on the payload of one data frame, in bytes; None for no limit.
        rsv1: Whether an extension gives RSV1 a meaning, on the first frame of a message. The text of a
            message with RSV1 is not checked, since its UTF-8 appears only after the extension has decoded
            it. Each of its frames may exceed each limit by 1/8 plus 64 bytes, since incompressible data
            grows. Its total size over all fragments is not limited, since each fragment may grow. The
            extension enforces the limits on the decoded data.

    Attributes:
        fault: The ``Fault`` that stopped the parser, or None.
        refused_length: Payload length, in bytes, announced by the frame that exceeds a limit; 0 otherwise.
        refused_payload: The part received of a payload that is not UTF-8, unmasked; empty otherwise.
        pending_bytes: Bytes received of an incomplete frame.

    Raises:
        TypeError: If ``role`` is not a ``Role``, or a limit is not an int.
        ValueError: If a limit is negative or above 2**62.
    """

    def __init__(
        self,
        role: Role,
        *,
        max_message_size: int | None = 2**20,
        max_fragment_size: int | None = None,
        rsv1: bool = False,
    ) -> None:
        # Parse nothing while this runs, or after it has failed.
        self._closed: bool | None = None
        check_role(role)
        check_count("max_message_size: a limit", max_message_size)
        check_count("max_fragment_size: a limit", max_fragment_size)
        self.fault: Fault | None = None
        self.refused_length = 0
        self.refused_payload = b""
        self._mask_bit = 0x80 if role == Role.SERVER else 0
        self._max_message_size = limit = MAX_LENGTH if max_message_size is None else int(max_message_size)
        self._max_encoded_size = limit + limit // 8 + 64
        self._max_fragment_size = limit = MAX_LENGTH if max_fragment_size is None else int(max_fragment_size)
        self._max_encoded_fragment_size = limit + limit // 8 + 64
        self._first_faults = _FIRST_FAULTS[bool(rsv1)]
        # The bytes received of an incomplete header.
        self._header = b""
        # The message in progress: whether there is one, its size so far, whether its text is checked, and
        # whether an extension has encoded it.
        self._in_message = False
        self._message_size = 0
        self._check_text = False
        self._encoded = False
        self._utf8 = Utf8Validator()
        # The frame whose payload is incomplete: its first byte, key, unmasked payload so far, and length.
        self._partial: io.BytesIO | None = None
        self._partial_first = 0
        self._partial_key = b""
        self._partial_length = 0
        self._partial_header_size = 0
        self._closed = False

    @property
    def pending_bytes(self) -> int:
        if self._partial is None:
            return len(self._header)
        return self._partial_header_size + self._partial.tell()

    def feed(self, data: Buffer) -> list[Frame]:
        """Parse the next piece of the stream.

        Args:
            data: Any C-contiguous bytes-like object. It is not kept.

        Returns:
            The frames completed by this piece, in order; an empty list once ``fault`` is set or a
            Close frame was returned.
        """
        frames: list[Frame] = []
        if self._closed is not False or self.fault is not None:
            if self._closed is None:
                raise TypeError("FrameParser.__init__() has not been called, or has failed")
            return frames
        view = as_view(data).cast("B")
        try:
            self._parse(view if self._partial is not None or type(data) is not bytes else data, frames)
        except BaseException:
            # Out of memory, or interrupted: the position in the stream is lost, so the rest must not be parsed as
            # frames.
            self._closed = True
            self._partial = None
            self._header = b""
            raise
        return frames

    def _parse(self, data: bytes | memoryview, frames: list[Frame]) -> None:
        if self._partial is not None:
            data = self._continue_payload(memoryview(data), frames)
        # Slicing and indexing bytes is so much cheaper than a memoryview that the copy pays off.
        stream = data if isinstance(data, bytes) else bytes(data)
        if self._header:
            stream = self._header + stream
            self._header = b""
        end = len(stream)
        pos = 0
        while pos < end:
            pos = self._take_frame(stream, pos, end, frames)

    def _take_frame(self, stream: bytes, pos: int, end: int, frames: list[Frame]) -> int:
        """Parse one header and the available part of its payload; return where to continue, or the end to stop."""
        start = pos
        first = stream[pos]
        fault = self._first_faults[self._in_message][first]
        if fault is not None:
            return self._stop(fault, end)
        if pos + 2 > end:
            return self._wait(stream, start, end)
        length = stream[pos + 1]
        # RFC 6455 §5.1: a client masks every frame, a server masks none.
        if length & 0x80 != self._mask_bit:
            return self._stop(Fault.UNMASKED_FRAME if self._mask_bit else Fault.MASKED_FRAME, end)
        length &= 0x7F
        pos += 2
        if first & 0x08:
            # RFC 6455 §5.5: at most 125 bytes, so the extended forms are refused from this byte alone.
            if length > 125:
                return self._stop(Fault.CONTROL_FRAME_TOO_LONG, end)
            if length == 1 and first & 0x0F == Opcode.CLOSE:
                return self._stop(Fault.CLOSE_PAYLOAD_TOO_SHORT, end)
        else:
            if length == 126:
                if pos + 2 > end:
                    return self._wait(stream, start, end)
                length = stream[pos] << 8 | stream[pos + 1]
                pos += 2
                if length < 126:
                    return self._stop(Fault.LENGTH_NOT_MINIMAL, end)
            elif length == 127:
                if pos + 8 > end:
                    return self._wait(stream, start, end)
                length = int.from_bytes(stream[pos : pos + 8], "big")
                pos += 8
                if length >> 63:
                    return self._stop(Fault.LENGTH_TOP_BIT_SET, end)
                if length < 65536:
                    return self._stop(Fault.LENGTH_NOT_MINIMAL, end)
            # RFC 6455 §10.4: before any resource is spent on the payload.
            encoded = self._encoded if first & 0x0F == Opcode.CONTINUATION else first & 0x40
            if length > (self._max_encoded_fragment_size if encoded else self._max_fragment_size):
                self.refused_length = length
                return self._stop(Fault.FRAGMENT_TOO_BIG, end)
            limit = self._max_encoded_size if encoded else self._max_message_size
            if length > limit - self._message_size:
                self.refused_length = length
                return self._stop(Fault.MESSAGE_TOO_BIG, end)
        key = b""
        if self._mask_bit:
            if pos + 4 > end:
                return self._wait(stream, start, end)
            key = stream[pos : pos + 4]
            pos += 4
        if not first & 0x08:
            if first & 0x0F:
                self._in_message = True
                self._check_text = first & 0x4F == Opcode.TEXT
                self._encoded = bool(first & 0x40)
            if not self._encoded:
                self._message_size += length
        if end - pos < length:
            # Its contents become the frame's payload without another copy.
            self._partial = io.BytesIO()
            self._partial_first = first
            self._partial_key = key
            self._partial_length = length
            self._partial_header_size = pos - start
            self._extend_payload(memoryview(stream)[pos:])
            return end
        payload = stream[pos : pos + length]
        fault = self._complete(first, apply_mask(payload, key) if key else payload, frames)
        if fault is not None:
            return self._stop(fault, end)
        return end if self._closed else pos + length

    def _continue_payload(self, data: memoryview, frames: list[Frame]) -> memoryview:
        """Consume the rest of the incomplete payload; return the remaining data to parse, if any."""
        assert self._partial is not None
        nothing = data[:0]
        taken = self._partial_length - self._partial.tell()
        self._extend_payload(data[:taken])
        if self._partial is None or taken > len(data):
            return nothing
        payload = self._partial.getvalue()
        self._partial = None
        # The pieces of a text frame were validated as they arrived.
        fault = self._complete(self._partial_first, payload, frames, validated=True)
        if fault is not None:
            self.fault = fault
            return nothing
        return nothing if self._closed else data[taken:]

    def _extend_payload(self, piece: bytes | memoryview) -> None:
        assert self._partial is not None
        if self._partial_key:
            phase = self._partial.tell() & 3
            piece = apply_mask(piece, self._partial_key[phase:] + self._partial_key[:phase])
        self._partial.write(piece)
        # RFC 6455 §8.1: fail as soon as the text cannot be UTF-8.
        if self._check_text and not self._partial_first & 0x08 and not self._utf8.feed(piece):
            self.refused_payload = self._partial.getvalue()
            self._partial = None
            self.fault = Fault.INVALID_UTF8_TEXT

    def _complete(self, first: int, payload: bytes, frames: list[Frame], validated: bool = False) -> Fault | None:
        """Check a complete frame, and append it to ``frames`` unless it has a fault."""
        opcode = _OPCODES[first & 0x0F]
        fin = first >= 0x80
        if first & 0x08:
            if opcode is Opcode.CLOSE:
                fault = _check_close_payload(payload)
                if fault is not None:
                    if fault is Fault.INVALID_UTF8_REASON:
                        self.refused_payload = payload[2:]
                    return fault
                self._closed = True
        else:
            valid = not self._check_text or validated or self._utf8.feed(payload)
            if not valid or (self._check_text and fin and not self._utf8.finish()):
                self.refused_payload = payload
                return Fault.INVALID_UTF8_TEXT
            if fin:
                self._in_message = False
                self._message_size = 0
                self._check_text = False
        # The table of faults never lets RSV2 or RSV3 through.
        frames.append(Frame(opcode, payload, fin, bool(first & 0x40)))
        return None

    def _wait(self, stream: bytes, start: int, end: int) -> int:
        """Store an incomplete header until more of it arrives."""
        self._header = stream[start:]
        return end

    def _stop(self, fault: Fault, end: int) -> int:
        self.fault = fault
        return end


def serialize_frame(
    opcode: int,
    payload: Buffer,
    *,
    fin: bool = True,
    rsv1: bool = False,
    rsv2: bool = False,
    rsv3: bool = False,
    mask: bytes | bytearray | None = None,
) -> bytes:
    """Serialize one frame (RFC 6455 §5.2), its length in the fewest bytes.

    Nothing else is checked, so that a conformance test can write frames that violate the protocol.

    Args:
        opcode: 0 to 15.
        payload: Any bytes-like object.
        fin: Whether this is the final fragment of its message.
        rsv1: First reserved bit.
        rsv2: Second reserved bit.
        rsv3: Third reserved bit.
        mask: The masking key, 4 bytes, or None for an unmasked frame. A client must use a fresh key from
            ``new_masking_key`` for each frame (RFC 6455 §5.3).

    Returns:
        The header followed by the payload, which is masked if there is a key.

    Raises:
        TypeError: If ``payload`` or ``mask`` is not bytes-like.
        ValueError: If ``opcode`` is out of range, or ``mask`` is not 4 bytes long.
    """
    if type(opcode) is not Opcode:
        opcode = operator.index(opcode)
    if not 0 <= opcode <= 15:
        raise ValueError("opcode must be between 0 and 15")
    if type(payload) is not bytes and type(payload) is not bytearray:
        payload = as_view(payload)
        payload = payload.cast("B") if payload.c_contiguous else payload.tobytes()
    first = opcode | (0x80 if fin else 0) | (0x40 if rsv1 else 0) | (0x20 if rsv2 else 0) | (0x10 if rsv3 else 0)
    mask_bit = 0 if mask is None else 0x80
    length = len(payload)
    if length < 126:
        header = bytes((first, mask_bit | length))
    elif length < 65536:
        header = bytes((first, mask_bit | 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, mask_bit | 127)) + length.to_bytes(8, "big")
    if mask is None:
        return b"".join((header, payload))
    return b"".join((header, mask, apply_mask(payload, mask)))


def _check_close_payload(payload: bytes) -> Fault | None:
    """Check the payload of a Close frame, which is empty or has at least 2 bytes (RFC 6455 §5.5.1, §7.4)."""
    if not payload:
        return None
    code = payload[0] << 8 | payload[1]
    if code not in SENDABLE_CLOSE_CODES and not 3000 <= code <= 4999:
        return Fault.BAD_CLOSE_CODE
    try:
        payload[2:].decode()
    except UnicodeDecodeError:
        return Fault.INVALID_UTF8_REASON
    return None


def _check_first_byte(first: int, in_message: bool, rsv1: bool) -> Fault | None:
    """Check the first byte of a frame: FIN, RSV1 to RSV3 and opcode (RFC 6455 §5.2, §5.4, §5.5)."""
    opcode = first & 0x0F
    # RFC 7692 §6: RSV1 belongs on the first frame of a message, never on a continuation or control frame.
    if first & 0x40 and not (rsv1 and opcode in (Opcode.TEXT, Opcode.BINARY)):
        return Fault.RSV1_SET
    if first & 0x20:
        return Fault.RSV2_SET
    if first & 0x10:
        return Fault.RSV3_SET
    if opcode not in _OPCODES:
        return Fault.UNKNOWN_OPCODE
    if opcode & 0x08:
        return None if first & 0x80 else Fault.CONTROL_FRAME_FRAGMENTED
    if opcode == Opcode.CONTINUATION:
        return None if in_message else Fault.CONTINUATION_WITHOUT_START
    return Fault.DATA_FRAME_INSIDE_MESSAGE if in_message else None


_OPCODES = {opcode.value: opcode for opcode in Opcode}

_FIRST_FAULTS = [
    [[_check_first_byte(first, in_message, rsv1) for first in range(256)] for in_message in (False, True)]
    for rsv1 in (False, True)
]
"""The fault of each first byte, by whether RSV1 has a meaning and whether a message is in progress."""
