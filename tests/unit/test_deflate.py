"""Compressing and decompressing messages (RFC 7692 §7.2). Rows D5, D6, D8 to D10, D13 and D14, on bytes."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import example, given, settings, strategies as st
from support_deflate import JSON, RANDOM, Deflater, codec, inflate_whole, receive

from wsframe.codec import Frame
from wsframe.constants import Opcode

TEXT, BINARY, CONTINUATION = Opcode.TEXT, Opcode.BINARY, Opcode.CONTINUATION

# Sending


def test_d14_context_is_kept_by_default(backend):
    """RFC 7692 §7.1.1: a message may refer to those before it."""
    sender = codec(backend)
    first, second = (sender.encode(Frame(TEXT, JSON)) for _ in range(2))
    assert first.rsv1
    assert second.rsv1
    assert len(second.payload) < len(first.payload) / 3
    assert inflate_whole([first.payload, second.payload]) == JSON * 2


def test_d5_without_takeover_each_message_inflates_alone(backend):
    """RFC 7692 §7.1.1.1, §7.1.1.2."""
    sender = codec(backend, local_no=True)
    first, second = (sender.encode(Frame(TEXT, JSON)).payload for _ in range(2))
    assert first == second
    assert inflate_whole([first]) == JSON
    assert not sender.holds_contexts


@pytest.mark.parametrize("bits", range(9, 16))
def test_d6_own_window_is_as_small_as_agreed(backend, bits):
    """RFC 7692 §7.1.2: nothing refers back farther than 2^bits bytes, as checked by zlib with such a window."""
    sender = codec(backend, local=bits, level=3)
    messages = [RANDOM[:400], RANDOM[:3000] + RANDOM[:3000], RANDOM, RANDOM, JSON * 500, JSON]
    inflater = zlib.decompressobj(-bits)
    for message in messages:
        payload = sender.encode(Frame(BINARY, message)).payload
        assert inflater.decompress(payload + b"\x00\x00\xff\xff") == message


def test_window_of_8_bits_is_never_used_for_compression():
    sender = codec(local=8)
    for compress in (None, True):
        frame = Frame(TEXT, JSON)
        assert sender.encode(frame, compress) is frame
    frame = Frame(TEXT, JSON, fin=False)
    assert sender.encode(frame) is frame
    assert sender.standalone_key(1000) is None


def test_threshold_decides_what_is_compressed():
    sender = codec(threshold=10)
    assert not sender.encode(Frame(TEXT, b"x" * 9)).rsv1
    assert sender.encode(Frame(TEXT, b"x" * 10)).rsv1
    # The length of a fragmented message is not known yet.
    assert sender.encode(Frame(TEXT, b"", fin=False)).rsv1
    sender.encode(Frame(CONTINUATION, b""))
    assert not sender.encode(Frame(TEXT, b"")).rsv1


def test_compress_overrides_the_threshold(backend):
    sender = codec(backend, threshold=10)
    message = sender.encode(Frame(TEXT, b"x"), compress=True)
    assert message.rsv1
    assert inflate_whole([message.payload]) == b"x"
    plain = Frame(TEXT, b"x" * 1000)
    assert sender.encode(plain, compress=False) is plain
    # RFC 7692 §6: continuations of an uncompressed message are not compressed either.
    first, second = Frame(TEXT, b"x" * 1000, fin=False), Frame(CONTINUATION, b"x" * 1000)
    assert sender.encode(first, compress=False) is first
    assert sender.encode(second) is second


def test_d10_empty_message_is_one_byte(backend):
    """RFC 7692 §7.2.3.6; ISA-L writes two."""
    sender = codec(backend, threshold=0)
    payloads = [sender.encode(Frame(TEXT, b"")).payload for _ in range(2)]
    assert payloads == [b"\x00", b"\x00"] or (backend == "isal" and list(map(len, payloads)) == [2, 2])


def test_empty_message_can_be_inflated(backend):
    sender = codec(backend, threshold=0)
    assert inflate_whole([sender.encode(Frame(TEXT, data)).payload for data in (b"", b"", b"abc", b"")]) == b"abc"


def test_d8_rsv1_is_on_the_first_frame_only(backend):
    """RFC 7692 §6.1: the message is compressed as a whole, and then cut."""
    sender = codec(backend)
    frames = [
        sender.encode(Frame(TEXT, JSON, fin=False)),
        sender.encode(Frame(CONTINUATION, b"", fin=False)),
        sender.encode(Frame(CONTINUATION, JSON, fin=False)),
        sender.encode(Frame(CONTINUATION, b"")),
    ]
    assert [(frame.opcode, frame.fin, frame.rsv1) for frame in frames] == [
        (TEXT, False, True),
        (CONTINUATION, False, False),
        (CONTINUATION, False, False),
        (CONTINUATION, True, False),
    ]
    assert inflate_whole([b"".join(frame.payload for frame in frames)]) == JSON * 2


@pytest.mark.parametrize("opcode", [Opcode.CLOSE, Opcode.PING, Opcode.PONG])
def test_d8_control_frames_are_not_touched(opcode):
    """RFC 7692 §6."""
    extension = codec(threshold=0)
    frame = Frame(opcode, JSON)
    assert extension.encode(frame) is frame
    assert extension.encode(frame, compress=True) is frame
    assert extension.decode(frame) is frame


def test_standalone_message_is_the_same_for_equal_settings(backend):
    one, two = codec(backend), codec(backend, local_no=True, remote=9, threshold=10)
    assert one.standalone_key(100) == two.standalone_key(100) is not None
    assert one.encode_standalone(JSON) == two.encode_standalone(JSON)
    assert inflate_whole([one.encode_standalone(JSON)]) == JSON
    assert one.standalone_key(50) is None
    for other in (codec(backend, local=10), codec(backend, level=2), codec(backend, memory_level=9)):
        assert other.standalone_key(100) != one.standalone_key(100)
    assert (one.standalone_key(100) == codec("zlib").standalone_key(100)) is (backend == "zlib")


# Receiving


def test_d9_uncompressed_message_is_legal():
    """RFC 7692 §6."""
    extension = codec()
    for frame in (Frame(TEXT, JSON), Frame(TEXT, b"\xff", fin=False), Frame(CONTINUATION, b"\xff")):
        assert extension.decode(frame, max_size=1) is frame
    assert not extension.holds_contexts


@pytest.mark.parametrize("kind", ["sync", "fixed", "stored", "final", "fixed final", "stored final"])
def test_d10_kinds_of_blocks(backend, kind):
    """RFC 7692 §7.2.3.1 to §7.2.3.5."""
    peer, extension = Deflater(), codec(backend)
    for _ in range(3):
        assert receive(extension, peer.message((JSON, kind))) == JSON
        assert receive(extension, peer.message((JSON, kind), (b"", kind), (JSON, kind))) == JSON * 2
        assert receive(extension, peer.message((b"", kind))) == b""


@pytest.mark.parametrize("trailer", [b"\x00", b""], ids=["with trailer", "without"])
@pytest.mark.parametrize("takeover", [True, False])
def test_d10_two_messages_in_a_row_that_end_with_a_final_block(backend, takeover, trailer):
    """RFC 7692 §7.2.3.4: most peers lose the second."""
    peer, extension = Deflater(takeover=takeover), codec(backend, remote_no=not takeover)
    sizes = []
    for _ in range(3):
        payload = peer.message((JSON, "final"), trailer=trailer)
        sizes.append(len(payload))
        assert receive(extension, payload) == JSON
    # With takeover, the later ones refer back over the final block.
    assert sizes[1] < sizes[0] / 3 if takeover else len(set(sizes)) == 1


@pytest.mark.parametrize("trailer", [b"\x00", b""], ids=["with trailer", "without"])
def test_d10_final_block_among_others(backend, trailer):
    peer, extension = Deflater(), codec(backend)
    for kinds in (
        ["final", "sync"],
        ["sync", "final"],
        ["final"] * 3,
        ["empty final", "final"],
        ["stored", "final", "final"],
    ):
        payload = peer.message(*((JSON, kind) for kind in kinds), trailer=trailer)
        assert receive(extension, payload) == JSON * sum(kind != "empty final" for kind in kinds), kinds
    assert receive(extension, peer.message((b"", "empty final"), trailer=trailer)) == b""
    assert receive(extension, peer.message((JSON, "sync"))) == JSON


@pytest.mark.parametrize("trailer", [b"\x00", b""], ids=["with trailer", "without"])
@pytest.mark.parametrize("takeover", [True, False])
def test_final_block_at_the_end_of_a_fragment(backend, takeover, trailer):
    peer, extension = Deflater(takeover=takeover), codec(backend, remote_no=not takeover)
    for _ in range(2):
        payload = peer.message((JSON, "final"), trailer=trailer)
        block = len(payload) - len(trailer)
        # An empty last fragment, too.
        assert receive(extension, payload, block) == JSON
        payload = peer.message((JSON, "final"), (JSON, "final"), trailer=trailer)
        assert receive(extension, payload, len(payload) - len(trailer)) == JSON * 2
        payload = peer.message((JSON, "sync"), trailer=trailer)
        assert receive(extension, payload, len(payload)) == JSON


def test_final_block_within_a_fragment_refers_to_the_fragments_before(backend):
    for takeover in (True, False):
        peer, extension = Deflater(takeover=takeover), codec(backend, remote_no=not takeover)
        for _ in range(2):
            payload = peer.message((RANDOM[:1000], "sync"), (RANDOM[:500], "final"), (RANDOM[:1000], "sync"))
            assert receive(extension, payload, 1010) == RANDOM[:1000] + RANDOM[:500] + RANDOM[:1000]


BLOCK_KINDS = ["sync", "sync", "fixed", "stored", "final", "fixed final", "stored final", "empty final"]
PIECES = st.one_of(
    st.binary(max_size=30),
    st.sampled_from([JSON, JSON[:40], RANDOM[:300], RANDOM, JSON * 60, b"\x00" * 9000, b"abc"]),
)
MESSAGES = st.lists(
    st.tuples(
        st.lists(st.tuples(PIECES, st.sampled_from(BLOCK_KINDS)), min_size=1, max_size=5),
        st.sampled_from([b"", b"\x00"]),
        st.lists(st.floats(0, 1), max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


def test_any_legal_stream_in_any_fragments_is_decoded(backend):
    """Rows D10, D13 and D14: kinds of blocks, back references, fragments, pings between them, released contexts."""

    @settings(max_examples=150, deadline=None)
    @given(messages=MESSAGES, wbits=st.integers(8, 15), takeover=st.booleans())
    @example(messages=[([(JSON, "final")], b"", [1.0], True)] * 2, wbits=9, takeover=False)
    def check(messages, wbits, takeover):
        # zlib's smallest window reaches no farther back than one of 8 bits.
        peer, extension = Deflater(max(9, wbits), takeover), codec(backend, remote_no=not takeover, remote=wbits)
        for blocks, trailer, places, release in messages:
            payload = peer.message(*blocks, trailer=trailer)
            cuts = sorted(int(place * len(payload)) for place in places)
            data = b"".join(data for data, kind in blocks if kind != "empty final")
            ends = [*cuts, len(payload)]
            output = b""
            for number, (begin, end) in enumerate(zip([0, *cuts], ends, strict=True)):
                frame = Frame(CONTINUATION if number else BINARY, payload[begin:end], number == len(cuts), number == 0)
                output += extension.decode(frame, max_size=len(data) - len(output)).payload
                extension.decode(Frame(Opcode.PING, b"?"))
                if release:
                    extension.release_contexts()
            assert output == data

    check()


def test_contexts_can_be_released_between_messages_and_fragments(backend):
    sender, receiver = codec(backend), codec(backend)
    for _ in range(3):
        for extension in (sender, receiver):
            extension.release_contexts()
            assert not extension.holds_contexts
        assert receiver.decode(sender.encode(Frame(TEXT, JSON))).payload == JSON
        again = sender.encode(Frame(TEXT, JSON))
        receiver.release_contexts()
        # It refers to the message before it, whose decompressor is gone: the window was kept.
        assert len(again.payload) < 30
        assert receiver.decode(again).payload == JSON
        assert sender.holds_contexts
        assert receiver.holds_contexts
        output = b""
        for opcode, fin in ((TEXT, False), (CONTINUATION, False), (CONTINUATION, True)):
            output += receiver.decode(sender.encode(Frame(opcode, JSON, fin))).payload
            sender.release_contexts()
            receiver.release_contexts()
        assert output == JSON * 3


def test_idle_connection_keeps_only_the_window():
    receiver = codec(remote=10)
    sender = Deflater(10)
    for _ in range(5):
        receive(receiver, sender.message((RANDOM, "sync")))
    receiver.release_contexts()
    assert len(receiver._window) == 1024
    # Without takeover, it is nothing.
    receiver = codec(remote=10, remote_no=True)
    receive(receiver, Deflater(10).message((RANDOM, "sync")), 100)
    receiver.release_contexts()
    assert len(receiver._window) == 0


def test_idle_timeout_is_that_of_the_options():
    assert codec(idle_timeout=3).idle_timeout == 3
    assert codec(idle_timeout=None).idle_timeout is None
