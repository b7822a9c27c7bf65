"""Frames: RFC 6455 §5.1 to §5.6, §7.4, §8.1 and §10.4, row by row of the RFC matrix (F1 to F14, X1, X2, X9, X10)."""

from __future__ import annotations

import array
import copy
import os
import pickle
import random
import sys
import tracemalloc

import pytest

from wsframe.constants import SENDABLE_CLOSE_CODES, Opcode, Role
from wsframe.exceptions import Fault

KEY = bytes.fromhex("37fa213d")
DATA = [Opcode.TEXT, Opcode.BINARY]
CONTROL = [Opcode.CLOSE, Opcode.PING, Opcode.PONG]
RESERVED = [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]


def header(first, length, masked=False, form=None):
    """Write a header in the minimal form, or with 16 or 64 bits of length, right or wrong."""
    form = form or (0 if length < 126 else 16 if length < 65536 else 64)
    mask = 0x80 if masked else 0
    if form == 0:
        return bytes([first, mask | length])
    return bytes([first, mask | (126 if form == 16 else 127)]) + length.to_bytes(form // 8, "big")


def parse(impl, wire, role=Role.CLIENT, **options):
    """Feed a stream whole and byte by byte; return the frames and the parser, which must agree."""
    parser = impl.framing.FrameParser(role, **options)
    frames = parser.feed(wire)
    slow = impl.framing.FrameParser(role, **options)
    slow_frames = [frame for i in range(len(wire)) for frame in slow.feed(wire[i : i + 1])]
    assert slow_frames == frames
    assert slow.fault is parser.fault
    assert slow.pending_bytes == parser.pending_bytes
    return frames, parser


def fault_of(impl, wire, role=Role.CLIENT, **options):
    frames, parser = parse(impl, wire, role, **options)
    assert frames == []
    return parser.fault


# Frame


def test_frame_has_defaults(impl):
    frame = impl.framing.Frame(Opcode.TEXT)
    assert (frame.opcode, frame.payload, frame.fin) == (Opcode.TEXT, b"", True)
    assert (frame.rsv1, frame.rsv2, frame.rsv3) == (False, False, False)


def test_frame_takes_its_fields_by_position_and_by_name(impl):
    by_position = impl.framing.Frame(2, b"x", False, True, False, True)
    by_name = impl.framing.Frame(opcode=2, payload=b"x", fin=False, rsv1=True, rsv2=False, rsv3=True)
    for frame in (by_position, by_name):
        assert frame.opcode is Opcode.BINARY
        assert (frame.payload, frame.fin, frame.rsv1, frame.rsv2, frame.rsv3) == (b"x", False, True, False, True)


@pytest.mark.parametrize("opcode", [*RESERVED, -1, 16, 2**70])
def test_frame_with_an_opcode_that_is_not_defined_is_a_value_error(impl, opcode):
    with pytest.raises(ValueError, match="is not a valid Opcode"):
        impl.framing.Frame(opcode)


def test_frames_are_equal_if_their_fields_are(impl):
    frame = impl.framing.Frame(Opcode.TEXT, b"x")
    assert frame == impl.framing.Frame(Opcode.TEXT, b"x")
    assert hash(frame) == hash(impl.framing.Frame(Opcode.TEXT, b"x"))
    for other in [
        impl.framing.Frame(Opcode.BINARY, b"x"),
        impl.framing.Frame(Opcode.TEXT, b"y"),
        impl.framing.Frame(Opcode.TEXT, b"x", fin=False),
        impl.framing.Frame(Opcode.TEXT, b"x", rsv1=True),
        impl.framing.Frame(Opcode.TEXT, b"x", rsv2=True),
        impl.framing.Frame(Opcode.TEXT, b"x", rsv3=True),
        (Opcode.TEXT, b"x", True, False, False, False),
    ]:
        assert frame != other
        assert not frame == other  # noqa: SIM201 - the other operator


def test_repr_shows_opcode_payload_and_bits(impl):
    assert repr(impl.framing.Frame(Opcode.TEXT, b"Hello")) == "Frame(Opcode.TEXT, b'Hello', fin=True)"
    assert (
        repr(impl.framing.Frame(Opcode.PING, b"", False, True, True, True))
        == "Frame(Opcode.PING, b'', fin=False, rsv1=True, rsv2=True, rsv3=True)"
    )


def test_frame_can_be_copied_and_pickled(impl):
    frame = impl.framing.Frame(Opcode.TEXT, b"x", False, True)
    assert copy.copy(frame) == frame
    assert pickle.loads(pickle.dumps(frame)) == frame


def test_frames_of_a_parser_have_fields_of_the_right_types(impl):
    frame = impl.framing.FrameParser(Role.CLIENT).feed(b"\x81\x01x")[0]
    assert type(frame) is impl.framing.Frame
    assert type(frame.opcode) is Opcode
    assert type(frame.payload) is bytes
    assert [type(bit) for bit in (frame.fin, frame.rsv1, frame.rsv2, frame.rsv3)] == [bool] * 4


# FrameParser: first byte


@pytest.mark.parametrize("opcode", Opcode)
@pytest.mark.parametrize(("bit", "fault"), [(0x40, Fault.RSV1_SET), (0x20, Fault.RSV2_SET), (0x10, Fault.RSV3_SET)])
def test_reserved_bit_without_extension_is_a_fault(impl, opcode, bit, fault):
    # RFC 6455 §5.2, row F1.
    assert fault_of(impl, bytes([0x80 | bit | opcode])) is fault


@pytest.mark.parametrize("opcode", DATA)
def test_rsv1_with_an_extension_is_passed_on(impl, opcode):
    frames, parser = parse(impl, bytes([0xC0 | opcode, 1, 0xFF]), rsv1=True)
    assert frames == [impl.framing.Frame(opcode, b"\xff", rsv1=True)]
    assert parser.fault is None


@pytest.mark.parametrize("opcode", [Opcode.CONTINUATION, *CONTROL])
def test_rsv1_on_a_continuation_or_a_control_frame_is_a_fault_even_with_an_extension(impl, opcode):
    # RFC 7692 §6.1, row D8.
    frames, parser = parse(impl, b"\x42\x00" + bytes([0xC0 | opcode]), rsv1=True)
    assert len(frames) == 1
    assert parser.fault is Fault.RSV1_SET


@pytest.mark.parametrize("opcode", DATA)
@pytest.mark.parametrize(("bit", "fault"), [(0x20, Fault.RSV2_SET), (0x10, Fault.RSV3_SET)])
def test_rsv2_and_rsv3_are_faults_even_with_an_extension(impl, opcode, bit, fault):
    assert fault_of(impl, bytes([0xC0 | bit | opcode]), rsv1=True) is fault


@pytest.mark.parametrize("opcode", RESERVED)
@pytest.mark.parametrize("fin", [0, 0x80])
def test_unknown_opcode_is_a_fault_from_the_first_byte(impl, opcode, fin):
    # RFC 6455 §5.2, row F2: regardless of the length that follows.
    assert fault_of(impl, bytes([fin | opcode])) is Fault.UNKNOWN_OPCODE


@pytest.mark.parametrize("opcode", CONTROL)
def test_fragmented_control_frame_is_a_fault(impl, opcode):
    # RFC 6455 §5.5, row F7.
    assert fault_of(impl, bytes([opcode])) is Fault.CONTROL_FRAME_FRAGMENTED


@pytest.mark.parametrize("fin", [0, 0x80])
def test_continuation_without_a_start_is_a_fault(impl, fin):
    # RFC 6455 §5.4, row F8: at the beginning, and after a whole message of one frame or more.
    assert fault_of(impl, bytes([fin])) is Fault.CONTINUATION_WITHOUT_START
    for before in (b"\x81\x00", b"\x01\x00\x80\x00"):
        _, parser = parse(impl, before + bytes([fin]))
        assert parser.fault is Fault.CONTINUATION_WITHOUT_START


@pytest.mark.parametrize("opcode", DATA)
@pytest.mark.parametrize("fin", [0, 0x80])
def test_new_data_frame_inside_a_message_is_a_fault(impl, opcode, fin):
    frames, parser = parse(impl, b"\x02\x01a" + bytes([fin | opcode]))
    assert frames == [impl.framing.Frame(Opcode.BINARY, b"a", fin=False)]
    assert parser.fault is Fault.DATA_FRAME_INSIDE_MESSAGE


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
def test_control_frames_may_come_inside_a_message(impl, opcode):
    # RFC 6455 §5.4, row F9.
    frames, parser = parse(impl, b"\x01\x01a" + bytes([0x80 | opcode, 1]) + b"p\x00\x01b" + b"\x80\x01c")
    assert [frame.opcode for frame in frames] == [Opcode.TEXT, opcode, Opcode.CONTINUATION, Opcode.CONTINUATION]
    assert [frame.fin for frame in frames] == [False, True, False, True]
    assert parser.fault is None


# FrameParser: mask


@pytest.mark.parametrize("opcode", [*DATA, *CONTROL])
def test_a_server_refuses_an_unmasked_frame(impl, opcode):
    # RFC 6455 §5.1, row F3.
    assert fault_of(impl, header(0x80 | opcode, 2), Role.SERVER) is Fault.UNMASKED_FRAME


@pytest.mark.parametrize("opcode", [*DATA, *CONTROL])
def test_a_client_refuses_a_masked_frame(impl, opcode):
    # RFC 6455 §5.1, row F4.
    assert fault_of(impl, header(0x80 | opcode, 2, masked=True), Role.CLIENT) is Fault.MASKED_FRAME


@pytest.mark.parametrize("length", [0, 1, 7, 63, 64, 65, 125, 126, 1000, 65535, 65536, 100_000])
def test_a_masked_payload_is_unmasked_wherever_the_stream_is_cut(impl, each_kernel, length):
    payload = os.urandom(length)
    wire = impl.framing.serialize_frame(Opcode.BINARY, payload, mask=KEY)
    for kernel in each_kernel:
        for cut in {0, 1, 2, 5, 6, 7, 8, 9, 10, 11, 15, length // 2, length - 1, length}:
            parser = impl.framing.FrameParser(Role.SERVER)
            frames = parser.feed(wire[: max(cut, 0)]) + parser.feed(wire[max(cut, 0) :])
            assert frames == [impl.framing.Frame(Opcode.BINARY, payload)], (kernel, cut)


# FrameParser: length


@pytest.mark.parametrize(
    ("length", "form"), [(0, 16), (5, 16), (125, 16), (0, 64), (5, 64), (125, 64), (126, 64), (65535, 64)]
)
@pytest.mark.parametrize("role", Role)
def test_a_length_that_is_not_minimal_is_a_fault(impl, length, form, role):
    # RFC 6455 §5.2, row F5.
    wire = header(0x82, length, role == Role.SERVER, form)
    assert fault_of(impl, wire, role) is Fault.LENGTH_NOT_MINIMAL


@pytest.mark.parametrize("length", [0, 5, 125, 126, 127, 65534, 65535, 65536, 65537])
def test_a_minimal_length_is_accepted(impl, length):
    payload = bytes(length)
    parser = impl.framing.FrameParser(Role.CLIENT)
    assert parser.feed(header(0x82, length) + payload) == [impl.framing.Frame(Opcode.BINARY, payload)]
    assert parser.fault is None


@pytest.mark.parametrize("length", [2**63, 2**63 + 5, 2**64 - 1])
@pytest.mark.parametrize("limit", [None, 2**62, 10])
def test_the_top_bit_of_a_64_bit_length_is_a_fault(impl, length, limit):
    # RFC 6455 §5.2, row F6.
    assert fault_of(impl, header(0x82, length), max_message_size=limit) is Fault.LENGTH_TOP_BIT_SET


@pytest.mark.parametrize(
    ("length", "fault"),
    [
        (2**63, Fault.LENGTH_TOP_BIT_SET),
        (2**63 - 1, Fault.FRAGMENT_TOO_BIG),
        (2**62, Fault.MESSAGE_TOO_BIG),
        (2**62 - 4, Fault.MESSAGE_TOO_BIG),
    ],
)
def test_the_largest_lengths_overflow_nothing_with_a_fragment_before(impl, length, fault):
    frames, parser = parse(impl, b"\x02\x05aaaaa" + header(0x80, length), max_message_size=None)
    assert len(frames) == 1
    assert parser.fault is fault


@pytest.mark.parametrize("opcode", CONTROL)
@pytest.mark.parametrize("form", [126, 127])
def test_a_control_frame_of_more_than_125_bytes_is_a_fault_from_its_second_byte(impl, opcode, form):
    # RFC 6455 §5.5, row F7.
    assert fault_of(impl, bytes([0x80 | opcode, form])) is Fault.CONTROL_FRAME_TOO_LONG


@pytest.mark.parametrize("opcode", [Opcode.PING, Opcode.PONG])
def test_a_control_frame_of_125_bytes_is_accepted(impl, opcode):
    frames, _ = parse(impl, header(0x80 | opcode, 125) + bytes(125))
    assert frames == [impl.framing.Frame(opcode, bytes(125))]


# FrameParser: limits


def test_a_message_over_its_limit_is_a_fault_from_the_header_alone(impl):
    # RFC 6455 §10.4, row X10.
    assert fault_of(impl, header(0x82, 11), max_message_size=10) is Fault.MESSAGE_TOO_BIG
    assert fault_of(impl, header(0x82, 2**20 + 1)) is Fault.MESSAGE_TOO_BIG
    assert fault_of(impl, header(0x82, 2**62)) is Fault.MESSAGE_TOO_BIG


def test_a_server_checks_the_length_before_the_masking_key_arrives(impl):
    assert fault_of(impl, header(0x82, 11, masked=True), Role.SERVER, max_message_size=10) is Fault.MESSAGE_TOO_BIG


def test_a_message_as_large_as_its_limit_is_accepted(impl):
    frames, parser = parse(impl, header(0x82, 10) + bytes(10), max_message_size=10)
    assert len(frames) == 1
    assert parser.fault is None


def test_a_limit_of_none_admits_a_message_of_any_size(impl):
    for length in (2**20 + 1, 2**40, 2**62):
        parser = impl.framing.FrameParser(Role.CLIENT, max_message_size=None)
        assert parser.feed(header(0x82, length) + b"abc") == []
        assert parser.fault is None
        assert parser.pending_bytes == 13


def test_no_limit_admits_more_than_2_to_the_62(impl):
    assert fault_of(impl, header(0x82, 2**62 + 1), max_message_size=None) is Fault.FRAGMENT_TOO_BIG


def test_fragments_count_together(impl):
    # RFC 6455 §10.4: so does an empty one; the next message starts from zero.
    frames, parser = parse(impl, b"\x02\x03aaa\x00\x00\x80\x02bb\x82\x05ccccc\x02\x05ddddd\x80\x01", max_message_size=5)
    assert len(frames) == 5
    assert parser.fault is Fault.MESSAGE_TOO_BIG


def test_a_frame_over_the_limit_on_fragments_is_a_fault(impl):
    frames, parser = parse(impl, b"\x02\x03aaa\x80\x04", max_fragment_size=3)
    assert len(frames) == 1
    assert parser.fault is Fault.FRAGMENT_TOO_BIG


@pytest.mark.parametrize("limit", [0, 1, 15, 16, 1000, 2**20])
@pytest.mark.parametrize("name", ["max_message_size", "max_fragment_size"])
def test_a_message_with_rsv1_may_exceed_a_limit_by_an_8th_and_64_bytes(impl, name, limit):
    """RFC 7692 §7.2.1: incompressible data grows; the limit on the original size is checked when it is decoded."""
    options = {"max_message_size": None, "rsv1": True, name: limit}
    fault = Fault.MESSAGE_TOO_BIG if name == "max_message_size" else Fault.FRAGMENT_TOO_BIG
    room = limit + limit // 8 + 64
    for first, most in ((0xC2, room), (0x82, limit)):
        assert parse(impl, header(first, most), **options)[1].fault is None
        assert fault_of(impl, header(first, most + 1), **options) is fault
    # Continuations are of the kind of their first frame, also after a message of the other kind.
    for begin, most in ((b"\x42\x00", room), (b"\xc2\x00\x02\x00", limit), (b"\x82\x00\x42\x00\x89\x00", room)):
        assert parse(impl, begin + header(0x80, most), **options)[1].fault is None
        assert parse(impl, begin + header(0x80, most + 1), **options)[1].fault is fault


def test_the_fragments_of_a_message_with_rsv1_do_not_count_together(impl):
    """RFC 7692 §7.2.1: each may end with a flush, so that small ones are larger than what comes out of them."""
    wire = b"\x42\x40" + bytes(64) + (b"\x00\x40" + bytes(64)) * 3 + b"\x80\x40" + bytes(64)
    frames, parser = parse(impl, wire * 2 + header(0x82, 2), max_message_size=1, rsv1=True)
    assert len(frames) == 10
    # The size of the next message starts from zero.
    assert parser.fault is Fault.MESSAGE_TOO_BIG


def test_the_largest_limit_and_an_8th_overflow_nothing(impl):
    for limit in (2**62, None):
        for name in ("max_message_size", "max_fragment_size"):
            options = {"max_message_size": None, "rsv1": True, name: limit}
            assert fault_of(impl, header(0xC2, 2**62), **options) is None
            assert fault_of(impl, header(0xC2, 2**63 - 1), **options) is Fault.FRAGMENT_TOO_BIG


def test_a_limit_of_0_admits_empty_messages_only(impl):
    frames, parser = parse(impl, b"\x82\x00\x89\x01p\x82\x01", max_message_size=0, max_fragment_size=None)
    assert len(frames) == 2
    assert parser.fault is Fault.MESSAGE_TOO_BIG


def test_control_frames_do_not_count(impl):
    frames, parser = parse(impl, b"\x02\x01a\x89\x05ppppp\x80\x01b", max_message_size=2, max_fragment_size=1)
    assert len(frames) == 3
    assert parser.fault is None


@pytest.mark.parametrize("limit", [-1, 2**62 + 1, 2**100, -(2**100)])
@pytest.mark.parametrize("name", ["max_message_size", "max_fragment_size"])
def test_a_limit_out_of_range_is_a_value_error(impl, name, limit):
    with pytest.raises(ValueError, match=r"a limit must be between 0 and 2\*\*62"):
        impl.framing.FrameParser(Role.SERVER, **{name: limit})


@pytest.mark.parametrize("length", [2**20, 2**30])
def test_a_header_alone_allocates_no_memory(impl, length):
    # RFC 6455 §10.4: memory grows with what has arrived, not with what is announced.
    parser = impl.framing.FrameParser(Role.CLIENT, max_message_size=None)
    tracemalloc.start()
    try:
        parser.feed(header(0x82, length))
        parser.feed(bytes(1000))
        assert tracemalloc.get_traced_memory()[1] < 20_000
        parser.feed(bytes(100_000))
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    assert parser.pending_bytes == 10 + 101_000


def test_a_large_payload_in_pieces_of_all_sizes(impl):
    rng = random.Random(5)
    payload = os.urandom(2**20)
    wire = impl.framing.serialize_frame(Opcode.BINARY, payload, mask=KEY)
    for largest in (100_000, 5000):
        parser = impl.framing.FrameParser(Role.SERVER)
        frames, pos = [], 0
        while pos < len(wire):
            piece = wire[pos : pos + rng.randrange(1, largest)]
            pos += len(piece)
            frames += parser.feed(piece)
            assert parser.pending_bytes == (0 if frames else pos)
        assert frames == [impl.framing.Frame(Opcode.BINARY, payload)]


# FrameParser: close


def test_an_empty_close_is_accepted(impl):
    # RFC 6455 §5.5.1, row X1.
    assert parse(impl, b"\x88\x00")[0] == [impl.framing.Frame(Opcode.CLOSE)]


def test_a_close_of_1_byte_is_a_fault_from_the_header_alone(impl):
    assert fault_of(impl, b"\x88\x01") is Fault.CLOSE_PAYLOAD_TOO_SHORT


def test_each_close_code(impl):
    # RFC 6455 §7.4.1 and §7.4.2, row X2.
    for code in range(65536):
        parser = impl.framing.FrameParser(Role.CLIENT)
        frames = parser.feed(b"\x88\x02" + code.to_bytes(2, "big"))
        if code in SENDABLE_CLOSE_CODES or 3000 <= code <= 4999:
            assert parser.fault is None
            assert len(frames) == 1
        else:
            assert parser.fault is Fault.BAD_CLOSE_CODE
            assert frames == []


@pytest.mark.parametrize("reason", ["", "bye", "größer 😀", "x" * 123])
def test_a_close_with_a_reason_is_accepted(impl, reason):
    payload = b"\x03\xe8" + reason.encode()
    wire = impl.framing.serialize_frame(Opcode.CLOSE, payload, mask=KEY)
    frames, parser = parse(impl, wire, Role.SERVER)
    assert frames == [impl.framing.Frame(Opcode.CLOSE, payload)]
    assert parser.fault is None


@pytest.mark.parametrize("reason", [b"\xff", b"a\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"x" * 100 + b"\x80"])
def test_a_close_reason_that_is_not_utf8_is_a_fault(impl, reason):
    payload = b"\x03\xe8" + reason
    assert fault_of(impl, header(0x88, len(payload)) + payload) is Fault.INVALID_UTF8_REASON


def test_a_bad_close_code_takes_precedence_over_a_bad_reason(impl):
    assert fault_of(impl, b"\x88\x03\x00\x00\xff") is Fault.BAD_CLOSE_CODE


def test_data_after_a_close_is_discarded(impl):
    # RFC 6455 §1.4 and §5.5.1, row F13: frames, garbage and violations alike.
    for rest in (b"\x81\x01a", b"\xff" * 100, b"\x88\x00"):
        frames, parser = parse(impl, b"\x88\x00" + rest)
        assert len(frames) == 1
        assert parser.fault is None
        assert parser.pending_bytes == 0
        assert parser.feed(b"\x81\x00") == []


def test_a_close_may_come_inside_a_message(impl):
    frames, parser = parse(impl, b"\x01\x02a\xc3\x88\x00")
    assert [frame.opcode for frame in frames] == [Opcode.TEXT, Opcode.CLOSE]
    assert parser.fault is None


# FrameParser: text


def test_invalid_utf8_is_a_fault_at_the_first_invalid_byte(impl):
    # RFC 6455 §8.1, row X9: in the middle of an incomplete frame.
    for size in (0, 1, 50, 200, 3000):
        text = b"x" * size + b"\xe2\x82\xac"
        start = header(0x81, size + 1000)
        for bad, settled in [(b"\xff", 1), (b"\xc0\xaf", 1), (b"\xed\xa0", 2), (b"\xf4\x90", 2), (b"\xe2\x82\x41", 3)]:
            parser = impl.framing.FrameParser(Role.CLIENT)
            assert parser.feed(start + text + bad[: settled - 1]) == []
            assert parser.fault is None
            assert parser.pending_bytes == len(start + text) + settled - 1
            assert parser.feed(bad[settled - 1 : settled]) == []
            assert parser.fault is Fault.INVALID_UTF8_TEXT
            assert parser.pending_bytes == 0


def test_text_that_ends_within_a_character_is_a_fault(impl):
    assert fault_of(impl, b"\x81\x02\xe2\x82") is Fault.INVALID_UTF8_TEXT
    assert fault_of(impl, b"\x81\x81\x00\x00\x00\x00\xc3", Role.SERVER) is Fault.INVALID_UTF8_TEXT
    frames, parser = parse(impl, b"\x01\x02\xe2\x82\x80\x00")
    assert len(frames) == 1
    assert parser.fault is Fault.INVALID_UTF8_TEXT


UTF8_STREAMS = {
    # RFC 6455 §5.6: a fragment need not be valid UTF-8, the message must.
    "a character may be cut by fragments and control frames": (
        b"\x01\x01\xf0\x89\x01\xff\x00\x00\x00\x01\x9f\x8a\x00\x80\x02\x98\x80\x81\x01a",
        7,
        None,
    ),
    "continuations of text are checked": (b"\x01\x01a\x80\x05a\xff", 1, Fault.INVALID_UTF8_TEXT),
    "continuations are checked after a ping": (b"\x01\x01a\x89\x01\xff\x80\x05a\xff", 2, Fault.INVALID_UTF8_TEXT),
    "the check restarts with each message": (
        b"\x81\x02\xc3\xa9\x82\x01\xc3\x81\x01a\x02\x00\x80\x01\xff\x81\x01\xa9",
        5,
        Fault.INVALID_UTF8_TEXT,
    ),
    "binary messages, pings and pongs are not checked": (
        b"\x82\x01\xff\x89\x01\xff\x8a\x01\xff\x02\x01\xff\x80\x01\xff",
        5,
        None,
    ),
}


@pytest.mark.parametrize(("stream", "completed", "fault"), UTF8_STREAMS.values(), ids=UTF8_STREAMS)
def test_utf8_is_checked_in_text_messages_only(impl, stream, completed, fault):
    frames, parser = parse(impl, stream)
    assert len(frames) == completed
    assert parser.fault is fault


def test_text_with_rsv1_is_not_checked(impl):
    # RFC 7692 §6: compressed data is not text yet.
    frames, parser = parse(impl, b"\x41\x01\xff\x80\x02\xff\xfe\x81\x01\xff", rsv1=True)
    assert len(frames) == 2
    assert parser.fault is Fault.INVALID_UTF8_TEXT


# FrameParser: the stream


def test_frames_completed_before_a_fault_are_returned(impl):
    frames, parser = parse(impl, b"\x81\x01a\x82\x01b\x83\x81\x01c")
    assert [frame.payload for frame in frames] == [b"a", b"b"]
    assert parser.fault is Fault.UNKNOWN_OPCODE


def test_a_fault_stops_the_parser_permanently(impl):
    parser = impl.framing.FrameParser(Role.CLIENT)
    assert parser.feed(b"\x83") == []
    assert parser.feed(b"\x81\x01a") == []
    assert parser.fault is Fault.UNKNOWN_OPCODE
    assert parser.pending_bytes == 0


def test_many_frames_in_one_piece(impl):
    payloads = [os.urandom(i % 300) for i in range(2000)]
    wire = b"".join(impl.framing.serialize_frame(2, payload, mask=os.urandom(4)) for payload in payloads)
    frames = impl.framing.FrameParser(Role.SERVER).feed(wire)
    assert [frame.payload for frame in frames] == payloads


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_pieces_of_any_bytes_like_kind(impl, kind):
    parser = impl.framing.FrameParser(Role.SERVER)
    wire = impl.framing.serialize_frame(Opcode.TEXT, b"Hello", mask=KEY)
    frames = [frame for cut in (wire[:3], b"", wire[3:8], wire[8:] + wire) for frame in parser.feed(kind(cut))]
    assert frames == [impl.framing.Frame(Opcode.TEXT, b"Hello")] * 2


def test_pieces_of_items_larger_than_a_byte(impl):
    parser = impl.framing.FrameParser(Role.CLIENT)
    assert parser.feed(array.array("H", b"\x82\x04abcd")) == [impl.framing.Frame(Opcode.BINARY, b"abcd")]


@pytest.mark.parametrize("piece", ["text", 5, None, [1, 2]])
@pytest.mark.parametrize("before", [b"", b"\x82", b"\x82\x05", b"\x82\x05a"])
def test_a_piece_that_is_not_bytes_like_is_a_type_error(impl, before, piece):
    parser = impl.framing.FrameParser(Role.CLIENT)
    parser.feed(before)
    with pytest.raises(TypeError):
        parser.feed(piece)
    assert parser.pending_bytes == len(before)


def test_a_piece_is_not_kept(impl):
    piece = bytearray(b"\x82\x02ab\x82\x05a")
    parser = impl.framing.FrameParser(Role.CLIENT)
    frames = parser.feed(piece)
    # Impossible while anything holds the buffer.
    piece.clear()
    piece += b"x" * 10
    assert frames[0].payload == b"ab"
    assert parser.feed(b"bcde")[0].payload == b"abcde"


def test_a_parser_can_be_dropped_within_a_frame(impl):
    for wire in (b"\x82", b"\x82\x7e\xff\xff" + bytes(5000), b"\x81\x7f"):
        parser = impl.framing.FrameParser(Role.CLIENT)
        parser.feed(wire)
        del parser


def test_initializing_again_resets_the_parser(impl):
    parser = impl.framing.FrameParser(Role.CLIENT)
    for wire in (b"\x83", b"\x88\x00", b"\x01\x05\xe2a", b"\x01\x01\xe2\x00", b"\x82\x7f"):
        parser.feed(wire)
        parser.__init__(Role.CLIENT)
        assert parser.fault is None
        assert parser.pending_bytes == 0
        assert len(parser.feed(b"\x81\x01a")) == 1


def test_parser_survives_running_out_of_memory(impl):
    # Wherever it happens, the parser has consumed nothing, or stops; it never takes payload for a header.
    if impl.name == "py":
        pytest.skip("which objects the pure twin allocates is CPython's affair")
    if sys.gettrace() is not None:
        pytest.skip("a tracer needs memory, too")
    _testcapi = pytest.importorskip("_testcapi")
    wire = (b"\x82\x7e\x10\x00" + bytes(4096)) * 2 + b"\x81\x7e\xff\xff" + b"x" * 65535
    # In the last piece more frames than objects that were freed before may serve again.
    wire += (b"\x82\x7e\x02\x58" + bytes(600)) * 8
    pieces = [wire[:3000], wire[3000:7000], wire[7000:60_000], wire[60_000:]]
    failures = 0
    for start in range(10):
        parser = impl.framing.FrameParser(Role.CLIENT)
        frames = []
        for piece in pieces:
            before = parser.pending_bytes
            _testcapi.set_nomemory(start, start + 1)
            try:
                got = parser.feed(piece)
            except MemoryError:
                failures += 1
                break
            finally:
                _testcapi.remove_mem_hooks()
            frames += got
        else:
            assert [len(frame.payload) for frame in frames] == [4096, 4096, 65535, *[600] * 8]
            continue
        assert parser.pending_bytes in (0, before)
        assert parser.fault is None
    assert failures >= 3


# serialize_frame


@pytest.mark.parametrize(
    ("length", "start"),
    [
        (0, "8200"),
        (1, "8201"),
        (125, "827d"),
        (126, "827e007e"),
        (127, "827e007f"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
        (100_000, "827f00000000000186a0"),
    ],
)
def test_own_lengths_are_minimal(impl, length, start):
    # RFC 6455 §5.2, row F5.
    payload = os.urandom(length)
    assert impl.framing.serialize_frame(2, payload) == bytes.fromhex(start) + payload
    masked = impl.framing.serialize_frame(2, payload, mask=KEY)
    head = bytearray.fromhex(start)
    head[1] |= 0x80
    assert masked == bytes(head) + KEY + impl.masking.apply_mask(payload, KEY)


def test_each_bit_of_the_first_byte(impl):
    for first in range(256):
        frame = impl.framing.serialize_frame(
            first & 15, b"x", fin=first >= 128, rsv1=bool(first & 64), rsv2=bool(first & 32), rsv3=bool(first & 16)
        )
        assert frame == bytes([first, 1]) + b"x"


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("opcode", [*DATA, Opcode.PING, Opcode.PONG])
def test_serialized_frames_are_parsed_back(impl, role, opcode):
    mask = KEY if role is Role.SERVER else None
    frames, parser = parse(impl, impl.framing.serialize_frame(opcode, b"Hello", mask=mask), role)
    assert frames == [impl.framing.Frame(opcode, b"Hello")]
    assert parser.fault is None


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("mask", [None, KEY, bytearray(KEY), memoryview(KEY)])
def test_payloads_and_masks_of_any_bytes_like_kind(impl, kind, mask):
    frame = impl.framing.serialize_frame(1, kind(b"Hello"), mask=mask)
    assert frame == bytes.fromhex("810548656c6c6f" if mask is None else "818537fa213d7f9f4d5158")
    assert type(frame) is bytes


def test_payloads_of_another_layout(impl):
    assert impl.framing.serialize_frame(1, memoryview(b"H.e.l.l.o.")[::2]) == b"\x81\x05Hello"
    masked = impl.framing.serialize_frame(1, memoryview(b"H.e.l.l.o.")[::2], mask=KEY)
    assert masked == bytes.fromhex("818537fa213d7f9f4d5158")
    assert impl.framing.serialize_frame(2, array.array("H", b"abcd")) == b"\x82\x04abcd"


@pytest.mark.parametrize("opcode", [-1, 16, 256, 2**100])
def test_serializing_an_opcode_out_of_range_is_a_value_error(impl, opcode):
    with pytest.raises(ValueError, match="opcode must be between 0 and 15"):
        impl.framing.serialize_frame(opcode, b"")


@pytest.mark.parametrize("payload", ["text", 5, None, [1, 2]])
def test_serializing_a_payload_that_is_not_bytes_like_is_a_type_error(impl, payload):
    with pytest.raises(TypeError):
        impl.framing.serialize_frame(1, payload)


@pytest.mark.parametrize("payload", [b"", b"Hello", bytearray(b"Hello")])
def test_serializing_with_a_wrong_mask(impl, payload):
    for mask in (b"", b"abc", b"abcde"):
        with pytest.raises(ValueError, match="mask must contain 4 bytes"):
            impl.framing.serialize_frame(1, payload, mask=mask)
    for mask in ("abcd", 5):
        with pytest.raises(TypeError):
            impl.framing.serialize_frame(1, payload, mask=mask)
