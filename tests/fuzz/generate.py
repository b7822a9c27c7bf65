"""Structured inputs out of decisions: text that is nearly UTF-8, frames, messages, compressed data, cuts, buffers."""

from __future__ import annotations

import array
import ctypes
import mmap
import zlib
from typing import Any

from .reference import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, write
from .source import Source

SIZES = (0, 1, 2, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 124, 125, 126, 127, 128, 129, 255, 256, 1000, 4095, 4096, 4097)
"""Sizes at the borders of headers, SIMD blocks and buffers."""

LARGE_SIZES = (8192, 16_383, 65_534, 65_535, 65_536, 65_537, 70_000)
"""Sizes around the long form of a length and around a read; each takes noticeable time."""

LENGTHS = (0, 1, 125, 126, 127, 65_535, 65_536, 2**31, 2**32, 2**62, 2**62 + 1, 2**63 - 1, 2**63, 2**64 - 1)
"""Lengths that a header may announce, whatever follows."""

CHARACTERS = (
    "a",
    "\x7f",
    "\x80",
    "é",
    "\u07ff",
    "\u0800",
    "€",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
)
"""At the borders of the encoding's sizes and of the surrogates, from the shortest on."""

LEADS = (0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF8, 0xFF)
TRAILS = (0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF)
PLAIN = (0x00, 0x41, 0x7F)
"""Representatives of every class of bytes in UTF-8 (RFC 3629 §4)."""


def size(source: Source, large: bool = False) -> int:
    """Draw a number of bytes, near a border more often than not."""
    kind = source.integer(0, 3 if large else 2)
    if kind == 0:
        return source.integer(0, 20)
    if kind == 1:
        return source.choice(SIZES)
    return source.integer(0, 300) if kind == 2 else source.choice(LARGE_SIZES)


def binary(source: Source, large: bool = False) -> bytes:
    """Draw bytes; long ones repeat a few, so that they cost few decisions."""
    total = size(source, large)
    if total <= 20:
        return source.bytes(total, total)
    seed = source.bytes(1, 8)
    return (seed * (total // len(seed) + 1))[:total]


def text(source: Source, large: bool = False) -> str:
    """Draw text: runs of characters of each size, so that blocks are cut inside of them."""
    pieces = []
    for _ in range(source.integer(0, 4)):
        character = source.choice(CHARACTERS)
        pieces.append(character * (source.integer(1, 4) if source.boolean() else source.integer(1, 140)))
    if large and source.chance(8):
        pieces.append(source.choice(CHARACTERS) * 20_000)
    return "".join(pieces)


def nearly_utf8(source: Source, large: bool = False) -> bytes:
    """Draw bytes that are UTF-8 but for what is wrong with a few of them, at any distance from a block's border."""
    data = bytearray(text(source, large).encode())
    for _ in range(source.integer(0, 2)):
        kind = source.integer(0, 4)
        if kind == 4:
            data += byte_classes(source)
            continue
        place = source.integer(0, len(data))
        if kind == 0:
            data[place:place] = byte_classes(source)
        elif kind == 1:
            del data[place:]
        elif kind == 2:
            del data[place : place + source.integer(1, 3)]
        else:
            data[place : place + 1] = byte_classes(source)
    return bytes(data)


def byte_classes(source: Source) -> bytes:
    """Draw up to 5 bytes of chosen classes."""
    return bytes(source.choice(source.choice((LEADS, TRAILS, TRAILS, PLAIN))) for _ in range(source.integer(1, 5)))


# Cuts


def cuts(source: Source, total: int, most: int = 12) -> list[int]:
    """Draw the places where a stream is cut into reads, in order; the last one is its end."""
    kind = source.integer(0, 4)
    if kind == 0:
        places = []
    elif kind == 1:
        places = [source.integer(0, total) for _ in range(source.integer(1, most))]
    elif kind == 2:
        # Within the first headers.
        places = list(range(1, min(total, 40)))
    elif kind == 3:
        # Within the last character.
        places = [max(0, total - source.integer(1, 7)) for _ in range(source.integer(1, 2))]
    else:
        step = source.integer(1, 200)
        places = [step * i for i in range(1, min(most, total // step) + 1)]
    return sorted({place for place in places if place < total} | {total})


def pieces(data: bytes, ends: list[int]) -> list[bytes]:
    return [data[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


# Frames


def key(source: Source, masked: bool) -> bytes | None:
    return source.bytes(4, 4) if masked else None


def close_payload(source: Source) -> bytes:
    kind = source.integer(0, 5)
    if kind == 0:
        return b""
    if kind == 1:
        return source.bytes(1, 1)
    code = source.choice(
        (1000, 1001, 1003, 1007, 1011, 1014, 3000, 4999, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535)
    )
    reason = text(source).encode()[:123] if kind < 4 else nearly_utf8(source)[:123]
    return code.to_bytes(2, "big") + reason


def control(source: Source, masked: bool) -> bytes:
    """Draw a Ping or a Pong, mostly right."""
    opcode = source.choice((PING, PONG))
    payload = source.bytes(0, 5) if source.boolean() else bytes(source.choice((0, 1, 124, 125, 126)))
    return write(opcode, payload, key=key(source, masked))


def odd_frame(source: Source, masked: bool) -> bytes:
    """Draw a frame with any header at all: bits, opcode, mask bit, length and its form."""
    opcode = source.integer(0, 15) if source.boolean() else source.choice((0, 1, 2, 8, 9, 10))
    payload = nearly_utf8(source) if source.boolean() else binary(source)
    length = source.choice(LENGTHS) if source.chance(3) else len(payload)
    return write(
        opcode,
        payload,
        fin=source.boolean(),
        rsv=source.choice((0, 0, 0, 0, 4, 2, 1, 7)),
        key=key(source, masked != source.chance(8)),
        length=length,
        length_size=source.choice((None, None, 0, 2, 8)),
    )


class Deflater:
    """The sending side of permessage-deflate (RFC 7692 §7.2.1), with every kind of block."""

    def __init__(self, takeover: bool = True, window_bits: int = 15) -> None:
        self._takeover = takeover
        self._bits = window_bits
        self._history = b""

    def begin(self) -> None:
        if not self._takeover:
            self._history = b""

    def block(self, source: Source, data: bytes, last: bool) -> bytes:
        """Write data as blocks of one kind; the last of a message without the end that the receiver appends."""
        level = source.choice((1, 9, 0))
        strategy = source.choice((zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY))
        stream = zlib.compressobj(level, zlib.DEFLATED, -self._bits, 8, strategy, zdict=self._history)
        self._history = (self._history + data)[-(1 << self._bits) :]
        output = stream.compress(data)
        if source.chance(4):
            # BFINAL in the middle or at the end of a message, RFC 7692 §7.2.3.4.
            output += stream.flush(zlib.Z_FINISH)
            return output + (b"\x00" if last and not source.chance(4) else b"")
        output += stream.flush(source.choice((zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH)))
        return output[:-4] if last else output


def message(source: Source, masked: bool, deflater: Deflater | None = None, large: bool = False) -> bytes:
    """Draw a message, in fragments cut anywhere, with control frames between them."""
    opcode = source.choice((TEXT, BINARY))
    if opcode == TEXT:
        payload = nearly_utf8(source, large) if source.chance(3) else text(source, large).encode()
    else:
        payload = binary(source, large)
    compressed = deflater is not None and not source.chance(4)
    data = payload
    if compressed:
        assert deflater is not None
        deflater.begin()
        middle = source.integer(0, len(payload)) if source.boolean() else 0
        data = b""
        if middle:
            data += deflater.block(source, payload[:middle], last=False)
        data += deflater.block(source, payload[middle:], last=True)
        if source.chance(6):
            data = flipped(source, data)
    ends = sorted(source.integer(0, len(data)) for _ in range(source.integer(0, 4))) + [len(data)]
    stream = b""
    for number, piece in enumerate(pieces(data, ends)):
        last = number == len(ends) - 1
        stream += write(
            CONTINUATION if number else opcode,
            piece,
            fin=last,
            rsv=4 if compressed and not number else 0,
            key=key(source, masked),
        )
        if not last and source.chance(3):
            stream += control(source, masked)
    return stream


def flipped(source: Source, data: bytes) -> bytes:
    """Flip a bit, or cut the end off."""
    if not data or source.chance(3):
        return data[: source.integer(0, len(data))]
    damaged = bytearray(data)
    damaged[source.integer(0, len(data) - 1)] ^= 1 << source.integer(0, 7)
    return bytes(damaged)


def stream(source: Source, masked: bool, deflater: Deflater | None = None, large: bool = False) -> bytes:
    """Draw what a peer sends: messages, control frames, at times an odd frame, a Close, damage, an open end."""
    data = b""
    for _ in range(source.integer(1, 5)):
        kind = source.integer(0, 9)
        if kind < 5:
            data += message(source, masked, deflater, large)
        elif kind < 7:
            data += control(source, masked)
        elif kind == 7:
            data += write(CLOSE, close_payload(source), key=key(source, masked))
        else:
            data += odd_frame(source, masked)
    if source.chance(4):
        damaged = bytearray(data)
        place = source.integer(0, min(len(data), 255))
        damaged[place : place + source.integer(0, 2)] = source.bytes(0, 3)
        data = bytes(damaged)
    if source.chance(6):
        data = data[: source.integer(0, len(data))]
    return data


# Buffers


class Bytes(bytes):
    """A subclass, as numpy.bytes_ is one."""


def odd_buffer(source: Source, data: bytes) -> tuple[Any, bytes]:
    """Draw an object that has the bytes, or some of them; return it, and what it has in C order."""
    kind = source.integer(0, 11)
    if kind == 0:
        return data, data
    if kind == 1:
        return bytearray(data), data
    if kind == 2:
        return memoryview(data), data
    if kind == 3:
        return Bytes(data), data
    if kind == 4:
        # Each second byte, or backwards.
        view = memoryview(data)[:: source.choice((2, -1, -3))]
        return view, view.tobytes()
    if kind == 5:
        code = source.choice(("H", "i", "d", "Q"))
        whole = array.array(code)
        whole.frombytes(data[: len(data) // whole.itemsize * whole.itemsize])
        return whole, whole.tobytes()
    if kind == 6:
        view = memoryview(array.array("H", range(len(data) % 50)))[:: source.choice((1, 2, -1))]
        return view, view.tobytes()
    if kind == 7:
        block = (ctypes.c_uint32 * (len(data) // 4))()
        ctypes.memmove(block, data, len(data) // 4 * 4)
        return block, bytes(block)
    if kind == 8:
        mapped = mmap.mmap(-1, max(1, len(data)))
        mapped[: len(data)] = data
        return mapped, bytes(mapped)
    if kind == 9 and data:
        rows = source.choice([n for n in (1, 2, 3, 4, 6) if len(data) % n == 0])
        return memoryview(data).cast("B", shape=[rows, len(data) // rows]), data
    if kind == 10:
        # Off the alignment of anything.
        offset = source.integer(1, 7)
        return memoryview(bytes(offset) + data)[offset:], data
    return memoryview(bytearray(data)).toreadonly(), data


NOT_BUFFERS = (None, 0, 3, "text", [1, 2], (1, 2), {}, object(), 1.5, True)
"""What must be refused with TypeError where bytes are wanted."""
