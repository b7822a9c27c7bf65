"""Messages out of frames (RFC 6455 §5.4), compressed ones among them (RFC 7692 §6.2)."""

from __future__ import annotations

import tracemalloc
import zlib

import pytest

from wsframe.codec import Frame, serialize_frame
from wsframe.constants import Opcode, Role, State
from wsframe.exceptions import Fault, ProtocolError
from wsframe.extensions.deflate import PerMessageDeflate, PerMessageDeflateFactory
from wsframe.limits import Limits


@pytest.fixture
def receiver(impl):
    """Make the receiving end of a client, which gives messages as pairs, and the fault."""

    class Receiver(impl.messenger.Messenger):
        def _receive_fault(self, fault, refused_length, refused_payload, read):
            return fault

        def add(self, frame):
            data = serialize_frame(frame.opcode, frame.payload, fin=frame.fin, rsv1=frame.rsv1)
            events = self.receive_data(data)
            return [event if isinstance(event, Fault) else (event.opcode, event.payload) for event in events]

    def make(extensions=(), *limits):
        return Receiver(Role.CLIENT, State.OPEN, Limits(*limits), extensions)

    return make


def test_single_frame_is_a_message(receiver):
    assert receiver().add(Frame(Opcode.TEXT, b"abc")) == [(Opcode.TEXT, b"abc")]


def test_fragments_are_joined_under_the_first_opcode(receiver):
    messages = receiver()
    for _ in range(2):
        assert messages.add(Frame(Opcode.BINARY, b"ab", fin=False)) == []
        assert messages.add(Frame(Opcode.CONTINUATION, b"cd", fin=False)) == []
        assert messages.add(Frame(Opcode.CONTINUATION, b"ef")) == [(Opcode.BINARY, b"abcdef")]
        assert messages.add(Frame(Opcode.TEXT, b"x")) == [(Opcode.TEXT, b"x")]


def test_empty_fragments_are_joined(receiver):
    """RFC 6455 §5.4: row F12."""
    messages = receiver()
    assert messages.add(Frame(Opcode.TEXT, b"", fin=False)) == []
    assert messages.add(Frame(Opcode.CONTINUATION, b"", fin=False)) == []
    assert messages.add(Frame(Opcode.CONTINUATION, b"")) == [(Opcode.TEXT, b"")]


def test_memory_does_not_depend_on_the_number_of_fragments(receiver):
    """RFC 6455 §10.4."""
    messages = receiver()
    messages.add(Frame(Opcode.TEXT, b"", fin=False))
    fragment, empty = Frame(Opcode.CONTINUATION, b"x", fin=False), Frame(Opcode.CONTINUATION, b"", fin=False)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            messages.add(fragment)
            messages.add(empty)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert messages.add(Frame(Opcode.CONTINUATION, b"")) == [(Opcode.TEXT, b"x" * 20_000)]


def pieces(messages):
    return [(message.payload, message.fin, message.lengths) for message in messages]


def fragment(payload, fin=False, opcode=Opcode.CONTINUATION):
    return serialize_frame(opcode, payload, fin=fin)


def test_lengths_of_fragments_are_kept(receiver):
    messages = receiver()
    wire = fragment(b"ab", opcode=Opcode.TEXT) + fragment(b"") + fragment(b"c", fin=True)
    assert pieces(messages.receive_data(wire)) == [(b"abc", True, (2, 0, 1))]
    assert pieces(messages.receive_data(fragment(b"x", True, Opcode.TEXT))) == [(b"x", True, None)]
    for count, kept in ((4096, True), (4097, False)):
        wire = fragment(b"x", opcode=Opcode.BINARY) + (count - 2) * fragment(b"x") + fragment(b"x", fin=True)
        assert pieces(messages.receive_data(wire)) == [(b"x" * count, True, (1,) * count if kept else None)]


def test_streaming_yields_fragments_as_they_arrive(receiver):
    messages = receiver()
    assert messages.stream_message() is None
    assert pieces(messages.receive_data(fragment(b"\xc3", opcode=Opcode.TEXT))) == [(b"\xc3", False, None)]
    assert messages.messages_received == 0
    wire = fragment(b"") + fragment(b"\xa9", fin=True) + fragment(b"a", opcode=Opcode.BINARY) + fragment(b"b", fin=True)
    events = messages.receive_data(wire)
    assert pieces(events) == [(b"", False, None), (b"\xa9", True, None), (b"ab", True, (1, 1))]
    assert [event.opcode for event in events] == [Opcode.TEXT, Opcode.TEXT, Opcode.BINARY]
    assert (messages.messages_received, messages.payload_bytes_received) == (2, 4)


def test_streaming_can_start_in_the_middle_of_a_message(receiver):
    messages = receiver()
    assert messages.receive_data(fragment(b"ab", opcode=Opcode.TEXT) + fragment(b"c")) == []
    assert pieces([messages.stream_message()]) == [(b"abc", False, (2, 1))]
    assert messages.stream_message() is None
    assert pieces(messages.receive_data(fragment(b"d", fin=True))) == [(b"d", True, None)]


def test_whole_message_is_streamed_unchanged(receiver):
    messages = receiver()
    messages.stream_message()
    wire = fragment(b"a", True, Opcode.TEXT) + fragment(b"b", opcode=Opcode.TEXT) + fragment(b"c", fin=True)
    assert pieces(messages.receive_data(wire)) == [(b"a", True, None), (b"bc", True, (1, 1))]


def test_limits_hold_for_all_fragments_of_a_stream(receiver):
    """RFC 6455 §10.4."""
    messages = receiver((), 4)
    messages.stream_message()
    *events, fault = messages.receive_data(fragment(b"abc", opcode=Opcode.TEXT) + fragment(b"de"))
    assert pieces(events) == [(b"abc", False, None)]
    assert fault is Fault.MESSAGE_TOO_BIG
    messages = receiver([PerMessageDeflateFactory().accept_response([])], 4)
    messages.stream_message()
    (first,) = compress(b"abc", flushed=True)
    assert messages.add(first) == [(Opcode.BINARY, b"abc")]
    assert messages.add(Frame(Opcode.CONTINUATION, b"\0\2\0\xfd\xffde\0")) == [Fault.MESSAGE_TOO_BIG]


@pytest.mark.parametrize("count", range(4))
def test_streamed_fragments_can_be_joined(receiver, count):
    messages = receiver()
    assert messages.stream_message() is None
    frames = [fragment(b"a", opcode=Opcode.TEXT), fragment(b"bc"), fragment(b"d", fin=True)]
    taken = [event for frame in frames[:count] for event in messages.receive_data(frame)]
    if count == 3:
        taken_behind = messages.receive_data(fragment(b"x", opcode=Opcode.BINARY))
        assert taken_behind == []
    message = messages.join_message(taken)
    if count < 3:
        assert message is None
        (message,) = [event for frame in frames[count:] for event in messages.receive_data(frame)]
        assert pieces(messages.receive_data(frames[0] + frames[2])) == [(b"ad", True, (1, 1))]
    else:
        assert pieces(messages.receive_data(fragment(b"y", fin=True))) == [(b"xy", True, (1, 1))]
    assert pieces([message]) == [(b"abcd", True, (1, 2, 1))]
    assert message.opcode is Opcode.TEXT


def test_whole_message_is_joined_unchanged(receiver):
    messages = receiver()
    messages.stream_message()
    (message,) = messages.receive_data(fragment(b"a", True, Opcode.TEXT))
    assert messages.join_message([message]) is message


def test_many_streamed_fragments_can_be_joined(receiver):
    messages = receiver()
    messages.stream_message()
    taken = messages.receive_data(fragment(b"", opcode=Opcode.TEXT) + 5000 * fragment(b"x") + fragment(b"", fin=True))
    assert pieces([messages.join_message(taken)]) == [(b"x" * 5000, True, None)]


def compress(data, *cuts, opcode=Opcode.BINARY, flushed=False):
    """Make the frames of a message that is compressed as a whole, and then cut (RFC 7692 §6.1), or the first frame."""
    deflater = zlib.compressobj(wbits=-15)
    payload = deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)
    if flushed:
        return [Frame(opcode, payload, False, True)]
    payload = payload[:-4]
    ends = [*cuts, len(payload)]
    return [
        Frame(Opcode.CONTINUATION if number else opcode, payload[begin:end], number == len(cuts), number == 0)
        for number, (begin, end) in enumerate(zip([0, *cuts], ends, strict=True))
    ]


@pytest.fixture
def assemble(receiver):
    """Take compressed frames; return the messages, the fault, and how many frames it took."""

    def take(frames, *limits, backend="zlib"):
        messages = receiver([PerMessageDeflateFactory(backend=backend).accept_response([])], *limits)
        complete = []
        for number, frame in enumerate(frames, 1):
            for event in messages.add(frame):
                if isinstance(event, Fault):
                    return complete, event, number
                complete.append(event)
        return complete, None, len(frames)

    return take


def test_compressed_fragments_are_joined(assemble):
    frames = compress(b"abc" * 1000, 3, 9)
    assert assemble([*frames, Frame(Opcode.TEXT, b"x")]) == (
        [(Opcode.BINARY, b"abc" * 1000), (Opcode.TEXT, b"x")],
        None,
        4,
    )


def test_d12_message_limit_applies_to_the_decompressed_size(assemble):
    frames = compress(b"x" * 1000, 4, 5)
    assert assemble(frames, 1000)[0] == [(Opcode.BINARY, b"x" * 1000)]
    assert assemble(frames, 999)[1] is Fault.MESSAGE_TOO_BIG
    assert assemble(frames, None)[1] is None


@pytest.mark.parametrize(
    ("max_message_size", "max_fragment_size", "fault"),
    [
        (None, 1000, None),
        (1000, 1000, None),
        (None, 999, Fault.FRAGMENT_TOO_BIG),
        (2000, 999, Fault.FRAGMENT_TOO_BIG),
        (999, 999, Fault.FRAGMENT_TOO_BIG),
        (999, None, Fault.MESSAGE_TOO_BIG),
        (999, 1000, Fault.MESSAGE_TOO_BIG),
    ],
)
def test_d12_fragment_limit_applies_to_each_decompressed_fragment(
    assemble, backend, max_message_size, max_fragment_size, fault
):
    for frames in (compress(b"x" * 1000), compress(b"x" * 1000, 0)):
        assert assemble(frames, max_message_size, max_fragment_size, backend=backend)[1] is fault


def test_d12_message_limit_applies_to_the_rest_after_earlier_fragments(assemble, backend):
    first = compress(b"x" * 600, flushed=True)
    second = [Frame(Opcode.CONTINUATION, frame.payload) for frame in compress(b"y" * 600)]
    assert assemble(first + second, 1200, 600, backend=backend)[1:] == (None, 2)
    assert assemble(first + second, 1199, 600, backend=backend)[1:] == (Fault.MESSAGE_TOO_BIG, 2)
    assert assemble(first + second, 1200, 599, backend=backend)[1:] == (Fault.FRAGMENT_TOO_BIG, 1)


def test_compressed_text_must_be_utf_8(assemble):
    """RFC 6455 §8.1, RFC 7692 §6.2."""
    text = "h\xe9\u20ac\U0001f600".encode() * 20
    for cuts in ((), (1,), (5, 9), range(1, 20)):
        assert assemble(compress(text, *cuts, opcode=Opcode.TEXT)) == (
            [(Opcode.TEXT, text)],
            None,
            len(cuts) + 1,
        )
        for wrong in (text[:-1], text + b"\xff", b"\xed\xa0\x80"):
            assert assemble(compress(wrong, *cuts, opcode=Opcode.TEXT))[1] is Fault.INVALID_UTF8_TEXT
            # Binary messages are not checked.
            assert assemble(compress(wrong, *cuts))[1] is None


def test_compressed_text_fails_at_the_first_invalid_fragment(assemble):
    frames = compress(b"\xff" + bytes(range(256)) * 10, 1000, 2000, opcode=Opcode.TEXT)
    assert assemble(frames)[1:] == (Fault.INVALID_UTF8_TEXT, 1)


def test_d11_fault_of_an_extension_is_that_of_the_message(assemble):
    frames = [Frame(Opcode.BINARY, b"\x06", rsv1=True)]
    assert assemble(frames)[1] is Fault.INVALID_DEFLATE
    assert assemble([Frame(Opcode.BINARY, b"\x03\x00" * 300, rsv1=True)])[1] is Fault.TOO_MANY_FINAL_BLOCKS


def test_protocol_error_of_an_extension_without_a_fault(receiver):
    class Broken(PerMessageDeflate):
        def decode(self, frame, *, max_size=None):
            raise ProtocolError("what is this?")

    extension = Broken(
        PerMessageDeflateFactory(),
        remote_no_context_takeover=False,
        local_no_context_takeover=False,
        remote_max_window_bits=15,
        local_max_window_bits=15,
    )
    assert receiver([extension]).add(Frame(Opcode.BINARY, b"x")) == [Fault.INVALID_DEFLATE]
