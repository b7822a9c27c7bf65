"""A decoder of WebSocket streams written plainly from the RFCs, which imports nothing of wsframe.

It is slow and has no state between calls: ``decode`` reads a whole stream from its beginning, one byte after the
other, and says what is known by its end. What is not in the RFCs, bounds on sizes, comes in as arguments.
"""

from __future__ import annotations

import codecs
import dataclasses
import zlib

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

ALLOWED_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014})
"""Codes below 3000 that may stand in a Close frame: RFC 6455 §7.4.1 and IANA's registry."""


class Bad(Exception):
    """The stream breaks a rule: the close code that is right for it, and each kind of fault that is."""

    def __init__(self, close_code: int, *kinds: str) -> None:
        super().__init__(close_code, kinds)
        self.close_code = close_code
        self.kinds = frozenset(kinds)


class MoreNeeded(Exception):
    """The stream ends here; so many bytes of an incomplete frame have come."""


@dataclasses.dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes
    fin: bool
    rsv1: bool


@dataclasses.dataclass
class Result:
    """What is known at the end of a stream."""

    frames: list[Frame] = dataclasses.field(default_factory=list)
    bad: Bad | None = None
    pending: int = 0
    refused_length: int = 0


@dataclasses.dataclass(frozen=True)
class Rules:
    """What an endpoint demands.

    ``slack`` is what it allows data to grow by that an extension has encoded, as pairs (divisor, bytes).
    """

    masked: bool
    max_message: int | None = None
    max_fragment: int | None = None
    rsv1: bool = False
    slack: tuple[int, int] = (8, 64)
    max_fragments: int | None = None


SECOND_BYTES = {0xE0: (0xA0, 0xBF), 0xED: (0x80, 0x9F), 0xF0: (0x90, 0xBF), 0xF4: (0x80, 0x8F)}
"""Second bytes of UTF-8 where not all continuation bytes are allowed (RFC 3629 §4)."""


def is_utf8(data: bytes, whole: bool) -> bool:
    """Return whether bytes are UTF-8, or the beginning of UTF-8 if they are not the whole text (RFC 3629 §4).

    The incremental decoder of ``codecs`` holds back the first two bytes of a surrogate, which no third one can make
    right; so what is left after the last whole character is looked at here.
    """
    try:
        codecs.decode(data, "utf-8")
    except UnicodeDecodeError as exc:
        rest = data[exc.start :]
    else:
        return True
    if whole or len(rest) > 3:
        return False
    lead = rest[0]
    size = 2 if 0xC2 <= lead <= 0xDF else 3 if 0xE0 <= lead <= 0xEF else 4 if 0xF0 <= lead <= 0xF4 else 0
    if len(rest) >= size:
        return False
    if len(rest) > 1:
        low, high = SECOND_BYTES.get(lead, (0x80, 0xBF))
        if not low <= rest[1] <= high:
            return False
    return all(0x80 <= byte <= 0xBF for byte in rest[2:])


def unmask(payload: bytes, key: bytes) -> bytes:
    """RFC 6455 §5.3: octet i of the result is octet i XOR octet (i MOD 4) of the key."""
    size = len(payload)
    # The same as a loop over the octets, by long integers.
    repeated = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(size, "big")


def write(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    key: bytes | None = None,
    length: int | None = None,
    length_size: int | None = None,
) -> bytes:
    """Write a frame, RFC 6455 §5.2; with a wrong length, or in another form, on request."""
    length = len(payload) if length is None else length
    if length_size is None:
        length_size = 0 if length <= 125 else 2 if length <= 0xFFFF else 8
    seven_bits = {0: length & 0x7F, 2: 126, 8: 127}[length_size]
    head = bytes([fin << 7 | rsv << 4 | opcode, (key is not None) << 7 | seven_bits])
    if length_size:
        head += (length % 256**length_size).to_bytes(length_size, "big")
    if key is None:
        return head + payload
    return head + key + unmask(payload, key)


def decode(stream: bytes, rules: Rules) -> Result:
    """Read a stream from its beginning."""
    result = Result()
    reader = _Reader(stream)
    message = _Message()
    while reader.pos < len(stream):
        start = reader.pos
        try:
            frame = _read_frame(reader, rules, message, result)
        except MoreNeeded:
            result.pending = len(stream) - start
            return result
        except Bad as bad:
            result.bad = bad
            return result
        result.frames.append(frame)
        if frame.opcode == CLOSE:
            # RFC 6455 §1.4, §5.5.1: nothing after it is processed.
            return result
    return result


class _Reader:
    def __init__(self, stream: bytes) -> None:
        self.stream = stream
        self.pos = 0

    def take(self, size: int) -> bytes:
        if len(self.stream) - self.pos < size:
            raise MoreNeeded
        piece = self.stream[self.pos : self.pos + size]
        self.pos += size
        return piece


class _Message:
    """The message whose fragments come in."""

    def __init__(self) -> None:
        self.begun = False
        self.encoded = False
        self.size = 0
        # What has come of a text that is to be checked.
        self.text: bytes | None = None


def _read_frame(reader: _Reader, rules: Rules, message: _Message, result: Result) -> Frame:
    (first,) = reader.take(1)
    fin, rsv, opcode = first >> 7 == 1, first >> 4 & 7, first & 15
    _check_first_byte(fin, rsv, opcode, rules, message)
    (second,) = reader.take(1)
    # RFC 6455 §5.1: a server closes on an unmasked frame, a client on a masked one.
    if (second >> 7 == 1) != rules.masked:
        raise Bad(1002, "unmasked" if rules.masked else "masked")
    length = second & 0x7F
    control = opcode >= 8
    if control and length > 125:
        raise Bad(1002, "control too long")
    if opcode == CLOSE and length == 1:
        # RFC 6455 §5.5.1: if there is a body, its first two bytes are the status code.
        raise Bad(1002, "close of one byte")
    if length == 126:
        length = int.from_bytes(reader.take(2), "big")
        if length <= 125:
            raise Bad(1002, "length not minimal")
    elif length == 127:
        length = int.from_bytes(reader.take(8), "big")
        if length >= 1 << 63:
            raise Bad(1002, "length with top bit")
        if length <= 0xFFFF:
            raise Bad(1002, "length not minimal")
    if not control:
        _check_size(length, opcode, rsv == 4, rules, message, result)
    key = reader.take(4) if rules.masked else bytes(4)
    if not control:
        if opcode != CONTINUATION:
            message.begun = True
            message.encoded = rsv == 4
            message.size = 0
            message.text = b"" if opcode == TEXT and not message.encoded else None
        if not message.encoded:
            message.size += length
    arrived = unmask(reader.stream[reader.pos : reader.pos + length], key)
    if not control and message.text is not None:
        # RFC 6455 §8.1: the connection fails as soon as the text cannot be UTF-8.
        message.text += arrived
        if not is_utf8(message.text, fin and len(arrived) == length):
            raise Bad(1007, "text not UTF-8")
    payload = unmask(reader.take(length), key)
    if opcode == CLOSE and payload:
        _check_close(payload)
    if not control and fin:
        message.begun = message.encoded = False
        message.size = 0
        message.text = None
    return Frame(opcode, payload, fin, rsv == 4)


def _check_first_byte(fin: bool, rsv: int, opcode: int, rules: Rules, message: _Message) -> None:
    # RFC 6455 §5.2: reserved bits are 0 unless an extension defines them. RFC 7692 §6, §6.1: RSV1 is for the first
    # frame of a data message.
    wrong = set()
    if rsv & 4 and not (rules.rsv1 and opcode in (TEXT, BINARY)):
        wrong.add("rsv1")
    if rsv & 2:
        wrong.add("rsv2")
    if rsv & 1:
        wrong.add("rsv3")
    if wrong:
        raise Bad(1002, *wrong)
    if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
        raise Bad(1002, "unknown opcode")
    # RFC 6455 §5.4, §5.5.
    if opcode >= 8:
        if not fin:
            raise Bad(1002, "control fragmented")
    elif opcode == CONTINUATION:
        if not message.begun:
            raise Bad(1002, "nothing to continue")
    elif message.begun:
        raise Bad(1002, "message inside message")


def _check_size(length: int, opcode: int, rsv1: bool, rules: Rules, message: _Message, result: Result) -> None:
    encoded = message.encoded if opcode == CONTINUATION else rsv1

    def bound(limit: int) -> int:
        return limit + limit // rules.slack[0] + rules.slack[1] if encoded else limit

    kinds = set()
    if rules.max_fragment is not None and length > bound(rules.max_fragment):
        kinds.add("fragment too big")
    before = message.size if opcode == CONTINUATION else 0
    if rules.max_message is not None and before + length > bound(rules.max_message):
        kinds.add("message too big")
    # No endpoint has a limit above 2**62, of neither kind.
    if before + length > bound(1 << 62):
        kinds = {"fragment too big", "message too big"}
    if kinds:
        result.refused_length = length
        raise Bad(1009, *kinds)


def _check_close(payload: bytes) -> None:
    # RFC 6455 §7.4.2: 0 to 999 are not used, 1004 to 1006 and 1015 must not be sent, 1016 to 2999 have no meaning yet.
    code = int.from_bytes(payload[:2], "big")
    if code not in ALLOWED_CLOSE_CODES and not 3000 <= code <= 4999:
        raise Bad(1002, "close code")
    if not is_utf8(payload[2:], True):
        raise Bad(1007, "reason not UTF-8")


# Messages


@dataclasses.dataclass(frozen=True)
class Event:
    """What an endpoint learns: ``text``, ``binary``, ``ping``, ``pong``, ``close``, ``failed``."""

    kind: str
    value: object


@dataclasses.dataclass
class Outcome:
    """The events of a whole stream for an endpoint, and its automatic answers."""

    events: list[Event] = dataclasses.field(default_factory=list)
    bad: Bad | None = None
    pongs: list[bytes] = dataclasses.field(default_factory=list)
    close: tuple[int, str] | None = None


class Inflater:
    """The receiving side of permessage-deflate (RFC 7692 §7.2.2), by zlib with the largest window."""

    def __init__(self, takeover: bool = True, max_final_blocks: int | None = None) -> None:
        self._takeover = takeover
        self._max_final_blocks = max_final_blocks
        self._history = b""
        self._final_blocks = 0
        self._stream = zlib.decompressobj(-15)
        # Whether the message so far ends with a final block.
        self._at_final = False

    def begin(self) -> None:
        """A message begins."""
        self._final_blocks = 0
        self._at_final = False
        if not self._takeover:
            self._history = b""
            self._stream = zlib.decompressobj(-15)

    def inflate(self, data: bytes, room: int | None = None) -> bytes:
        """Decompress a part of a message as far as it goes, and no further than what there is room for."""
        output = b""
        if data:
            self._at_final = False
        while True:
            try:
                piece = self._stream.decompress(data, 0 if room is None else room + 1 - len(output))
            except zlib.error:
                raise Bad(1007, "deflate") from None
            output += piece
            if room is not None and len(output) > room:
                raise Bad(1009, "fragment too big", "message too big")
            self._history = (self._history + piece)[-(1 << 15) :]
            if not self._stream.eof:
                return output
            # RFC 7692 §7.2.3.4: a block with BFINAL ends no message; what follows it is another block.
            data = self._stream.unused_data
            self._final_blocks += 1
            if self._max_final_blocks is not None and self._final_blocks > self._max_final_blocks:
                raise Bad(1008, "final blocks")
            self._stream = zlib.decompressobj(-15, zdict=self._history)
            if not data:
                self._at_final = True
                return output

    def finish(self) -> None:
        """Append the 4 bytes that the sender has left out; the message must end with a whole block.

        One that does not may go unnoticed by decoders that cannot look at their state: that is an "open end".
        """
        # RFC 7692 §7.2.3.4 has the sender append an empty block to a final one. Without it, nothing is missing.
        if self._at_final:
            return
        before = self._final_blocks
        output = self.inflate(b"\x00\x00\xff\xff")
        # They are the rest of an empty block, or their first bits are the end of a final one, where nothing is missing.
        if self._final_blocks > before:
            self._stream = zlib.decompressobj(-15, zdict=self._history)
            self._at_final = True
        elif not self._ends_block(self._stream.copy()):
            raise Bad(1007, "deflate", "open end")
        if output:
            raise Bad(1007, "deflate")

    @staticmethod
    def _ends_block(stream: object) -> bool:
        """Return whether a stream is between two blocks: there, an empty final block ends it at once."""
        try:
            output = stream.decompress(b"\x03\x00")  # type: ignore[attr-defined]
        except zlib.error:
            return False
        return output == b"" and stream.eof and stream.unused_data == b""  # type: ignore[attr-defined]


def receive(stream: bytes, rules: Rules, *, takeover: bool = True, max_final_blocks: int | None = None) -> Outcome:
    """Make messages of a stream as an endpoint receives it, RFC 6455 §5.4 to §5.6, §7.1, RFC 7692 §7.2.2."""
    decoded = decode(stream, rules)
    outcome = Outcome(bad=decoded.bad)
    inflater = Inflater(takeover, max_final_blocks)
    opcode, encoded, payload, fragments = 0, False, b"", 0
    for frame in decoded.frames:
        if frame.opcode == PING:
            outcome.events.append(Event("ping", frame.payload))
            outcome.pongs.append(frame.payload)
        elif frame.opcode == PONG:
            outcome.events.append(Event("pong", frame.payload))
        elif frame.opcode == CLOSE:
            # RFC 6455 §7.1.5: 1005 stands for no code.
            code = int.from_bytes(frame.payload[:2], "big") if frame.payload else 1005
            outcome.close = (code, frame.payload[2:].decode("utf-8"))
            outcome.events.append(Event("close", outcome.close))
        else:
            if frame.opcode != CONTINUATION:
                opcode, encoded, payload = frame.opcode, frame.rsv1, b""
                fragments = 0
                if encoded:
                    inflater.begin()
            piece = frame.payload
            try:
                if encoded:
                    rooms = [
                        rules.max_fragment,
                        None if rules.max_message is None else rules.max_message - len(payload),
                    ]
                    piece = inflater.inflate(piece, min((room for room in rooms if room is not None), default=None))
                    if frame.fin:
                        inflater.finish()
                if opcode == TEXT and not is_utf8(payload + piece, frame.fin):
                    raise Bad(1007, "text not UTF-8")
                fragments += 1
                whole = frame.fin and frame.opcode != CONTINUATION
                if not whole and rules.max_fragments is not None and fragments > rules.max_fragments:
                    raise Bad(1009, "too many fragments")
            except Bad as bad:
                outcome.bad = bad
                break
            payload += piece
            if frame.fin:
                outcome.events.append(Event("text", payload.decode()) if opcode == TEXT else Event("binary", payload))
    if outcome.bad is not None:
        outcome.events.append(Event("failed", outcome.bad.close_code))
    return outcome
