"""What the tests of compression share: an end of ours, and a peer that is written with zlib itself."""

from __future__ import annotations

import random
import zlib

from wsframe.codec import Frame
from wsframe.constants import Opcode
from wsframe.extensions.deflate import PerMessageDeflate, PerMessageDeflateFactory

EMPTY_FINAL_BLOCK = b"\x03\x00"
JSON = b'{"jsonrpc": "2.0", "method": "subscribe", "params": ["ticker", "depth"], "id": 1234567890}'
RANDOM = random.Random(7692).randbytes(5000)


def codec(backend="zlib", *, remote_no=False, local_no=False, remote=15, local=15, **options):
    return PerMessageDeflate(
        PerMessageDeflateFactory(backend=backend, **options),
        remote_no_context_takeover=remote_no,
        local_no_context_takeover=local_no,
        remote_max_window_bits=remote,
        local_max_window_bits=local,
    )


def inflate_whole(payloads, wbits=15):
    """Inflate messages with zlib (RFC 7692 §7.2.2)."""
    inflater = zlib.decompressobj(-wbits)
    return b"".join(inflater.decompress(payload + b"\x00\x00\xff\xff") for payload in payloads)


class Deflater:
    """A peer that makes every kind of block (RFC 1951 §3.2.3), each of which may refer back over any other."""

    def __init__(self, wbits=15, takeover=True):
        self.wbits = wbits
        self.takeover = takeover
        self.history = b""

    def block(self, data, kind="sync"):
        if kind == "empty final":
            return EMPTY_FINAL_BLOCK
        level = 0 if kind.startswith("stored") else 9
        strategy = zlib.Z_FIXED if kind.startswith("fixed") else zlib.Z_DEFAULT_STRATEGY
        deflater = zlib.compressobj(level, zlib.DEFLATED, -self.wbits, 8, strategy, zdict=self.history)
        self.history = (self.history + data)[-(1 << self.wbits) :]
        mode = zlib.Z_FINISH if kind.endswith("final") else zlib.Z_SYNC_FLUSH
        return deflater.compress(data) + deflater.flush(mode)

    def message(self, *blocks, trailer=b"\x00"):
        """Write a message of pairs of data and kind; after a final block at the end comes the trailer."""
        if not self.takeover:
            self.history = b""
        wire = b"".join(self.block(data, kind) for data, kind in blocks)
        if blocks[-1][1].endswith("final"):
            return wire + trailer
        assert wire.endswith(b"\x00\x00\xff\xff")
        return wire[:-4]


def receive(extension, payload, *cuts, max_size=None, opcode=Opcode.TEXT):
    """Decode a message that comes in fragments, cut at the given places."""
    ends = [*cuts, len(payload)]
    output = b""
    for number, (begin, end) in enumerate(zip([0, *cuts], ends, strict=True)):
        room = None if max_size is None else max_size - len(output)
        frame = Frame(Opcode.CONTINUATION if number else opcode, payload[begin:end], number == len(cuts), number == 0)
        decoded = extension.decode(frame, max_size=room)
        assert (decoded.opcode, decoded.fin, decoded.rsv1) == (frame.opcode, frame.fin, False)
        output += decoded.payload
    return output
