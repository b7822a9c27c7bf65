"""Both implementations of ``Messenger``, in a ``Connection`` each, do the same for every sequence of calls.

What the peer sends is mostly right, with a few bytes damaged, and comes in pieces cut anywhere; what we send comes
between them. The frames that clients send are compared without their masks, which are random.
"""

from __future__ import annotations

import array
import random

import hypothesis.strategies as st
import pytest
from hypothesis import event, given, settings
from stacks import load
from support_deflate import codec

from wsframe.codec import Frame, _framing_py
from wsframe.constants import Opcode, Role, State
from wsframe.exceptions import Fault, InvalidState, ProtocolError
from wsframe.limits import Limits
from wsframe.messages.prepared import PreparedMessage

# Of an example that fails, with large messages in it.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

OPTIONS = {"deadline": None}
TEXT = st.text(max_size=40) | st.sampled_from(["a" * 126, "é" * 100, "€" * 3000, "\U0001f600" * 70, "x" * 70_000])
BYTES = st.binary(max_size=40) | st.sampled_from([125, 126, 1000, 4095, 4096, 65_535, 65_536]).map(bytes)
# Characters that end in the next fragment, or never.
PIECES_OF_TEXT = st.one_of(*[TEXT.map(str.encode)] * 4, st.sampled_from([b"\xc3", b"\xa9", b"a\xf0\x9f", b"\x98\x80"]))
PING = st.binary(max_size=5) | st.sampled_from([bytes(125), bytes(126)])
CODES = st.sampled_from([None, 1000, 1001, 1005, 1011, 2999, 3000, 4999, 5000])
REASON = st.sampled_from(["", "bye", "é" * 61, "é" * 62])
COMPRESS = st.sampled_from([None, None, True, False])
# Bytes-like objects, and others.
DATA = st.one_of(
    BYTES,
    BYTES.map(bytearray),
    BYTES.map(memoryview),
    BYTES.map(lambda data: memoryview(data)[::-2]),
    st.just(array.array("i", [1, 2, 3])),
    st.sampled_from([None, 3, [1, 2], "\ud800", "é"]),
)


def load_connection(twin):
    """Load ``Connection`` on top of the ``Messenger`` of one implementation."""
    connection = load("wsframe.messages.connection", {"wsframe.messages.messenger": twin.messenger}, twin)
    assert issubclass(connection.SansIOConnection, twin.messenger.Messenger)
    return connection.SansIOConnection


@pytest.fixture(scope="module")
def connections(twins):
    return [load_connection(twins.c), load_connection(twins.py)]


# What the peer sends


@st.composite
def wire(draw, role, deflate):
    """Write messages in fragments and control frames, perhaps damaged."""
    mask = b"\x01\x02\x03\x04" if role is Role.SERVER else None
    peer = codec() if deflate else None
    data = b""
    for kind in draw(
        st.lists(st.sampled_from(["text", "binary", "binary", "ping", "pong", "close", "raw"]), max_size=6)
    ):
        if kind in ("text", "binary"):
            pieces = draw(st.lists(BYTES if kind == "binary" else PIECES_OF_TEXT, min_size=1, max_size=3))
            compress = draw(COMPRESS)
            for i, piece in enumerate(pieces):
                opcode = Opcode.CONTINUATION if i else Opcode.TEXT if kind == "text" else Opcode.BINARY
                sent = Frame(opcode, piece, i == len(pieces) - 1)
                if peer is not None and compress is not False:
                    sent = peer.encode(sent, compress)
                data += _framing_py.serialize_frame(opcode, sent.payload, fin=sent.fin, rsv1=sent.rsv1, mask=mask)
                if draw(st.integers(0, 5)) == 0:
                    data += _framing_py.serialize_frame(Opcode.PING, draw(st.binary(max_size=5)), mask=mask)
        elif kind == "raw":
            bits = {name: draw(st.integers(0, 4)) > 3 for name in ("rsv1", "rsv2")}
            opcode = draw(st.sampled_from([0, 0, 1, 2, 8, 9, 11]))
            data += _framing_py.serialize_frame(
                opcode, draw(st.binary(max_size=30)), fin=draw(st.booleans()), mask=mask, **bits
            )
        else:
            payload = draw(st.binary(max_size=5))
            if kind == "close":
                code, reason = draw(CODES), draw(REASON)
                payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
            data += _framing_py.serialize_frame(Opcode[kind.upper()], payload, mask=mask)
    data = bytearray(data)
    for _ in range(draw(st.sampled_from([0, 0, 0, 0, 1, 2]))):
        place = draw(st.integers(0, max(0, min(len(data), 300) - 1)))
        data[place : place + 1] = draw(st.binary(max_size=2))
    return bytes(data)


@st.composite
def pieces(draw, role, deflate):
    """Cut what the peer sends into reads."""
    data = draw(wire(role, deflate))
    sizes = draw(st.sampled_from([[10**9], [1]]) | st.lists(st.integers(1, 60), min_size=1, max_size=8))
    # Byte by byte, as far as that takes no time.
    pos, reads = 0, []
    while pos < len(data):
        size = sizes[len(reads) % len(sizes)] if len(reads) < 300 else 10**9
        reads.append(("receive_data", data[pos : pos + size]))
        pos += size
    return reads


CALLS = st.one_of(
    st.tuples(st.just("send_text"), TEXT | DATA, st.booleans(), COMPRESS),
    st.tuples(st.just("send_text"), TEXT, st.just(True), COMPRESS),
    st.tuples(st.just("send_binary"), DATA, st.booleans(), COMPRESS),
    st.tuples(st.just("send_binary"), BYTES, st.just(True), COMPRESS),
    st.tuples(st.just("send_continuation"), TEXT | DATA, st.booleans()),
    st.tuples(st.just("send_prepared"), TEXT | BYTES),
    st.tuples(st.just("send_ping"), PING),
    st.tuples(st.just("send_pong"), PING),
    st.tuples(st.just("send_close"), CODES, REASON),
    st.tuples(st.just("fail"), st.just(1011), st.sampled_from(["", "on purpose"])),
    st.tuples(st.just("hold_pongs"), st.booleans()),
    st.tuples(st.just("hold_failure"), st.booleans()),
    st.just(("data_to_send",)),
    st.just(("data_to_send",)),
    st.just(("receive_eof",)),
    st.just(("log",)),
)


@st.composite
def scenario(draw):
    role = draw(st.sampled_from(Role))
    deflate = draw(st.booleans())
    limits = Limits(
        max_message_size=draw(st.sampled_from([None, 2**20, 1000, 10])),
        max_fragment_size=draw(st.sampled_from([None, None, 500, 10])),
    )
    calls = draw(pieces(role, deflate))
    for call in draw(st.lists(CALLS, max_size=8)):
        calls.insert(draw(st.integers(0, len(calls))), call)
    return role, deflate, limits, calls, draw(st.booleans())


# What both do


def seen_event(one):
    if type(one).__name__ == "Message":
        return (type(one).__name__, one.opcode, one.payload, one.data)
    return one


def seen_frame(one):
    return (one.opcode, one.payload, one.fin, one.rsv1, one.rsv2, one.rsv3)


COUNTERS = [
    f"{what}_{way}" for what in ("bytes", "frames", "messages", "payload_bytes") for way in ("received", "sent")
]
STATE = ["state", "failed", "failure_held", "fault", "close_rcvd", "close_sent", "close_rcvd_then_sent"]


def perform(connection, name, arguments):
    """Make one call; return what it comes to, its exception if it raises one."""
    if name in ("hold_pongs", "hold_failure"):
        setattr(connection, name, *arguments)
        return None
    if name == "send_prepared":
        arguments = [PreparedMessage(*arguments)]
    try:
        result = getattr(connection, name)(*arguments)
    except (InvalidState, ProtocolError) as exc:
        return (type(exc), str(exc))
    except (TypeError, UnicodeEncodeError, BufferError) as exc:
        return type(exc)
    if name == "receive_data":
        return [seen_event(one) for one in result]
    return result


def play(make, role, deflate, limits, calls, log):
    """Return everything that can be seen of a connection after each call."""
    connection = make(role, limits=limits, extensions=[codec()] if deflate else [])
    reader = _framing_py.FrameParser(
        Role.SERVER if role is Role.CLIENT else Role.CLIENT, max_message_size=None, rsv1=True
    )
    logged, seen = [], []
    frame_log = connection.frame_log = (lambda way, one: logged.append((way, seen_frame(one)))) if log else None
    for name, *arguments in [*calls, ("data_to_send",)]:
        if name == "log":
            connection.frame_log = None if connection.frame_log else frame_log
            continue
        result = perform(connection, name, arguments)
        if name == "data_to_send":
            frames = [seen_frame(one) for one in reader.feed(result)]
            assert reader.pending_bytes == 0
            result = (frames, len(result) if role is Role.CLIENT else result)
        state = [getattr(connection, attribute) for attribute in STATE]
        seen.append((name, result, state, [getattr(connection, counter) for counter in COUNTERS], len(logged)))
    return seen, logged


@settings(max_examples=400, **OPTIONS)
@given(scenario=scenario())
def test_every_sequence_of_calls(connections, scenario):
    compiled, pure = (play(make, *scenario) for make in connections)
    for mine, theirs in zip(compiled[0], pure[0], strict=True):
        assert mine == theirs
    assert compiled[1] == pure[1]
    event(f"deflate: {scenario[1]}, fault: {compiled[0][-1][2][3]}")


@settings(max_examples=100, **OPTIONS)
@given(scenario=scenario(), size=st.integers(1, 30))
def test_any_cutting_gives_the_same_events(connections, scenario, size):
    role, deflate, limits, calls, _ = scenario
    data = b"".join(call[1] for call in calls if call[0] == "receive_data")[:3000]
    results = []
    for make in connections:
        for step in (size, len(data) or 1):
            connection = make(role, limits=limits, extensions=[codec()] if deflate else [])
            events = []
            for i in range(0, len(data), step):
                events += [seen_event(one) for one in connection.receive_data(data[i : i + step])]
            results.append((events, connection.fault, connection.messages_received, connection.payload_bytes_received))
    assert results == results[:1] * 4


def test_compressed_text_that_ends_inside_a_character(connections):
    """RFC 6455 §8.1."""
    for make in connections:
        connection = make(Role.CLIENT, extensions=[codec()])
        sent = codec().encode(Frame(Opcode.TEXT, b"a\xe2\x82"), True)
        connection.receive_data(_framing_py.serialize_frame(Opcode.TEXT, sent.payload, rsv1=True))
        assert connection.fault is Fault.INVALID_UTF8_TEXT


def test_calls_before_the_opening_handshake(connections):
    for make in connections:
        connection = make(Role.CLIENT, state=State.CONNECTING)
        for name, *arguments in [
            ("receive_data", b"\x81\x00"),
            ("send_text", "a"),
            ("send_binary", b"a"),
            ("send_ping",),
        ]:
            with pytest.raises(InvalidState):
                getattr(connection, name)(*arguments)
        with pytest.raises(InvalidState):
            connection.send_prepared(PreparedMessage("a"))
        assert connection.data_to_send() == b""
        assert not any(getattr(connection, counter) for counter in COUNTERS)


def test_kept_frames_do_not_change_with_their_buffer(connections):
    """Payloads are copies: the read buffer is used again at once."""
    for make in connections:
        connection = make(Role.CLIENT)
        buffer = bytearray(b"\x82\x04abcd\x02\x02ef\x89\x02gh")
        events = connection.receive_data(buffer)
        buffer[:] = b"\xff" * len(buffer)
        events += connection.receive_data(b"\x80\x02ij")
        assert [getattr(one, "payload", None) for one in events] == [b"abcd", b"gh", b"efij"]


def test_long_payloads_sent_without_a_copy_stay_unchanged(connections):
    """A buffer that the application may change later is copied; so is a subclass of bytes."""

    class Bytes(bytes):
        pass

    for make in connections:
        connection = make(Role.SERVER)
        mutable = bytearray(b"x" * 5000)
        connection.send_binary(mutable)
        connection.send_binary(memoryview(mutable))
        connection.send_binary(Bytes(mutable))
        connection.send_binary(bytes(mutable))
        mutable[:] = b"y" * 5000
        frame = b"\x82\x7e\x13\x88" + b"x" * 5000
        assert connection.data_to_send() == frame * 4
        assert connection.bytes_sent == 4 * len(frame)


@pytest.mark.parametrize("seed", range(20))
def test_frames_of_all_sizes_are_sent_in_order(connections, seed):
    """Small ones are collected, large ones are not, and prepared ones come with their frame."""
    chooser = random.Random(seed)
    sizes = [0, 1, 125, 126, 1000, 1022, 1023, 4095, 4096, chooser.randrange(20_000)]
    if seed % 2:
        sizes = sizes[:4]
    for role in Role:
        messages = [chooser.randbytes(chooser.choice(sizes)) for _ in range(chooser.choice([1, 2, 3, 500]))]
        for make in connections:
            connection = make(role)
            parser = _framing_py.FrameParser(Role(1 - role))
            received = []
            chooser_of_ways = random.Random(seed)
            for message in messages:
                way = chooser_of_ways.choice(["binary", "binary", "binary", "text", "prepared", "flush"])
                if way == "prepared":
                    connection.send_prepared(PreparedMessage(message))
                elif way == "text":
                    connection.send_text(message.hex()[: len(message)])
                else:
                    connection.send_binary(message)
                if way == "flush":
                    unsent = connection.unsent_bytes
                    data = connection.data_to_send()
                    assert len(data) == unsent
                    received += parser.feed(data)
            received += parser.feed(connection.data_to_send())
            assert parser.fault is None
            assert connection.unsent_bytes == 0
            assert len(received) == len(messages)
            for frame, message in zip(received, messages, strict=True):
                sent = message if frame.opcode is Opcode.BINARY else message.hex()[: len(message)].encode()
                assert frame.payload == sent


def test_collected_frames_are_discarded_at_the_end(connections):
    for make in connections:
        connection = make(Role.SERVER)
        for _ in range(3):
            connection.send_binary(b"abc")
        assert connection.unsent_bytes == 15
        connection.receive_eof()
        assert connection.unsent_bytes == 0
        assert connection.data_to_send() == b""
