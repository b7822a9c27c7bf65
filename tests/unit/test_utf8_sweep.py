"""Text cut anywhere about the end of a kernel's block (RFC 3629 §3, RFC 6455 §8.1): validator, parser, messages.

The reference is CPython's incremental decoder. ``tests/kernels`` sweeps more of the same in C.
"""

from __future__ import annotations

import codecs
import functools
import itertools
import sys

import pytest
from support_deflate import Deflater, codec

from wsframe.codec import serialize_frame
from wsframe.constants import Opcode, Role, State
from wsframe.exceptions import Fault
from wsframe.limits import Limits

# One byte of each class that RFC 3629 §4 makes, and what the shortest of the sequences below are made of.
CLASSES = bytes.fromhex("41 80 9f bf c1 c2 e0 e1 ed f0 f1 f4 f5")
FEW = bytes.fromhex("41 80 bf c2 e1 f0 f4")
# Two lead bytes, the first of which has got less than it wants: 5 bytes at most.
BROKEN = [
    bytes.fromhex(text)
    for text in (
        "f0c280", "f4dfbf", "e2e282ac", "e282f0908080", "c3c3a9", "c3e282ac", "f09fc3a9", "f09f98c3a9", "f09f98e282ac",
        "edc280", "e0c280", "f0f09080", "c2f0908080",
    )
]  # fmt: skip
MASK = bytes.fromhex("37fa213d")
HEADS = ["x", "é", "漢"]


def sequences(alphabet, longest):
    return [bytes(s) for n in range(1, longest + 1) for s in itertools.product(alphabet, repeat=n)]


def offsets(*blocks, before, after=0):
    """Where a sequence begins: some places before and after the end of each block."""
    return [block + place for block in blocks for place in range(-before, after + 1)]


def head_of(filler, size):
    """Make size bytes of whole characters."""
    character = filler.encode()
    return b"." * (size % len(character)) + character * (size // len(character))


ENDINGS = [bytes(s) for n in range(1, 4) for s in itertools.product(b"\x80\x90\xa0\xbf", repeat=n)]


@functools.cache
def verdict(data):
    """Decode: True, False, or None for valid so far but incomplete."""
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    try:
        decoder.decode(data)
    except UnicodeDecodeError:
        return False
    held = decoder.getstate()[0]
    # The decoder holds the first two bytes of a surrogate, too, which nothing can make valid.
    return (None if any(verdict(held + ending) for ending in ENDINGS) else False) if held else True


def cuts_of(sequence):
    """Cut into two pieces, then into three, which are not empty."""
    places = range(1, len(sequence))
    for cuts in [*itertools.combinations(places, 1), *itertools.combinations(places, 2)]:
        yield [sequence[a:b] for a, b in zip((0, *cuts), (*cuts, len(sequence)), strict=True)]


def test_a_validator_refuses_what_the_decoder_refuses(impl, each_kernel):
    validator = impl.utf8.Utf8Validator()
    feed, finish = validator.feed, validator.finish
    cut = [(sequence, list(cuts_of(sequence))) for sequence in [*sequences(CLASSES, 3), *BROKEN]]
    wide = impl.name == "c"
    places = offsets(16, 64, 256, before=4) if wide else offsets(64, before=3)
    for kernel in each_kernel:
        for filler, offset in itertools.product(HEADS[::2] if wide else HEADS[:1], places):
            head = head_of(filler, offset)
            for sequence, ways in cut:
                expected = verdict(sequence)
                assert feed(head + sequence) is (expected is not False), (kernel, offset, sequence)
                assert finish() is (expected is True), (kernel, offset, sequence)
                for first, *rest in ways:
                    so_far = first
                    if feed(head + first) is (verdict(first) is False):
                        pytest.fail(f"{kernel}, {offset}: {first.hex()} of {sequence.hex()}")
                    for piece in rest:
                        so_far += piece
                        if feed(piece) is (verdict(so_far) is False):
                            pytest.fail(f"{kernel}, {offset}: {piece.hex()} of {sequence.hex()}")
                    assert finish() is (expected is True), (kernel, offset, sequence, first, rest)


@pytest.mark.parametrize("way", ["fragments", "reads"])
def test_a_parser_refuses_what_the_decoder_refuses(impl, each_kernel, way):
    chosen = [*sequences(FEW, 3), *BROKEN]
    places = offsets(16, 64, 128, 256, before=3) if impl.name == "c" else offsets(64, before=2)
    for kernel in each_kernel:
        for offset, sequence in itertools.product(places, chosen):
            head = b"x" * offset
            for first, *rest in cuts_of(sequence):
                parser = impl.framing.FrameParser(Role.SERVER)
                payloads = [head + first, *rest]
                if way == "fragments":
                    last = len(rest)
                    wire = [
                        serialize_frame(1 if i == 0 else 0, payload, fin=i == last, mask=MASK)
                        for i, payload in enumerate(payloads)
                    ]
                else:
                    whole = serialize_frame(1, b"".join(payloads), mask=MASK)
                    begin, wire = 0, []
                    end = len(whole) - sum(map(len, payloads))
                    for payload in payloads:
                        end += len(payload)
                        wire.append(whole[begin:end])
                        begin = end
                so_far, got = b"", []
                for data, piece in zip(wire, [first, *rest], strict=True):
                    so_far += piece
                    got += parser.feed(data)
                    is_whole = so_far == sequence
                    valid = verdict(so_far) is True if is_whole else verdict(so_far) is not False
                    expected = None if valid else Fault.INVALID_UTF8_TEXT
                    assert parser.fault is expected, (kernel, offset, sequence, piece)
                    if not valid:
                        break
                else:
                    assert b"".join(frame.payload for frame in got) == head + sequence


def is_same(text, expected):
    """Compare two str in all that shows how they are stored."""
    # A str that has been encoded may keep the result, which counts.
    assert sys.getsizeof(text) == sys.getsizeof("".join(list(expected)))
    assert text == expected
    assert hash(text) == hash(expected)
    assert text.isascii() is expected.isascii()
    assert text.encode().decode() == text
    assert "".join(list(text)) == expected


@pytest.fixture
def receive(impl):
    """Make a receiver of frames, which returns the text of messages, or the fault."""

    class Receiver(impl.messenger.Messenger):
        def _receive_fault(self, fault, refused_length, refused_payload, read):
            return fault

    def make(extensions=()):
        receiver = Receiver(Role.SERVER, State.OPEN, Limits(), extensions)
        return lambda data: [event if isinstance(event, Fault) else event.data for event in receiver.receive_data(data)]

    return make


def check_messages(receive, pieces, wire):
    """Receive a message whose decoded fragments are the pieces, and compare it with what the decoder makes of them."""
    whole = b"".join(pieces)
    events = []
    for data in wire:
        events += receive(data)
        if events:
            break
    if verdict(whole) is True:
        (text,) = events
        is_same(text, whole.decode())
    else:
        assert events == [Fault.INVALID_UTF8_TEXT], pieces


def test_messages_equal_the_decoded_bytes(impl, each_kernel, receive):
    chosen = [*sequences(FEW, 2), *BROKEN, *(text.encode() for text in ("é", "ж", "漢", "😀", "\U0010ffff", "\ud7ff"))]
    tails = [b"", b"y" * 70] if impl.name == "c" else [b""]
    for _ in each_kernel:
        for filler, offset, tail in itertools.product(HEADS, offsets(64, 128, before=4), tails):
            head = head_of(filler, offset)
            for sequence in chosen:
                for first, second in [cut for cut in cuts_of(sequence) if len(cut) == 2] or [(sequence, b"")]:
                    pieces = [head + first, second + tail]
                    wire = [
                        serialize_frame(1, pieces[0], fin=False, mask=MASK),
                        serialize_frame(0, pieces[1], mask=MASK),
                    ]
                    check_messages(receive(), pieces, wire)
                whole = head + sequence + tail
                check_messages(receive(), [whole], [serialize_frame(1, whole, mask=MASK)])


def test_inflated_fragments_equal_the_decoded_bytes(impl, each_kernel, receive):
    # RFC 7692 §6.2: the fragments' payloads are one stream, each part of which inflates to a piece of text.
    chosen = [*BROKEN, *(text.encode() for text in ("é", "漢", "😀")), b"\xc2\xc2", b"\xf0\x80", b"\xe1\x80", b"\xf0A"]
    for _ in each_kernel:
        for offset, sequence in itertools.product(offsets(64, 128, before=4), chosen):
            for first, second in [cut for cut in cuts_of(sequence) if len(cut) == 2]:
                pieces = [b"x" * offset + first, second]
                peer = Deflater(takeover=False)
                deflated = [peer.block(pieces[0]), peer.message((second, "sync"))]
                wire = [
                    serialize_frame(Opcode.TEXT, deflated[0], fin=False, rsv1=True, mask=MASK),
                    serialize_frame(Opcode.CONTINUATION, deflated[1], mask=MASK),
                ]
                check_messages(receive([codec()]), pieces, wire)
