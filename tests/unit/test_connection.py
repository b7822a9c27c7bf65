"""A connection without I/O (RFC 6455 §5, §7): state table, messages, control frames, and two ends on a pipe."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings, strategies as st
from support import both_roles, close_frame, frame, in_state, sent

from wsframe import (
    Close,
    CloseReceived,
    Connection,
    Frame,
    InvalidState,
    Limits,
    Message,
    Opcode,
    PayloadTooBig,
    PingReceived,
    PongReceived,
    ProtocolError,
    Role,
    State,
)

# The state table

CONNECTING, OPEN, CLOSING, CLOSED = State

STEPS = {
    "open": lambda connection: connection.open(),
    "text": lambda connection: connection.send_text("a"),
    "binary": lambda connection: connection.send_binary(b"a"),
    "ping": lambda connection: connection.send_ping(),
    "pong": lambda connection: connection.send_pong(),
    "continuation": lambda connection: connection.send_continuation(b"", True),
    "close": lambda connection: connection.send_close(1000),
    "fail": lambda connection: connection.fail(1011),
    "eof": lambda connection: connection.receive_eof(),
    "receive": lambda connection: connection.receive_data(frame(Opcode.TEXT, b"a", to=connection.role)),
    "receive close": lambda connection: connection.receive_data(close_frame(1000, to=connection.role)),
    "receive fault": lambda connection: connection.receive_data(b"\xff"),
}

TABLE = {
    # step: the state after it for CONNECTING, OPEN, CLOSING and CLOSED, or the exception
    "open": (OPEN, InvalidState, InvalidState, InvalidState),
    **dict.fromkeys(("text", "binary", "ping", "pong"), (InvalidState, OPEN, InvalidState, InvalidState)),
    "continuation": (InvalidState, ProtocolError, InvalidState, InvalidState),
    "close": (InvalidState, CLOSING, InvalidState, InvalidState),
    "fail": (CONNECTING, CLOSING, CLOSING, CLOSED),
    "eof": (CLOSED, CLOSED, CLOSED, CLOSED),
    "receive": (InvalidState, OPEN, CLOSING, CLOSED),
    "receive close": (InvalidState, CLOSING, CLOSING, CLOSED),
    "receive fault": (InvalidState, CLOSING, CLOSING, CLOSED),
}


@both_roles
@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("step", STEPS)
def test_steps_follow_the_state_table(step, state, role):
    """RFC 6455 §4.1, §7.1."""
    connection = in_state(state, role)
    expected = TABLE[step][state]
    if isinstance(expected, State):
        STEPS[step](connection)
        connection.data_to_send()
        assert connection.state is expected
    else:
        with pytest.raises(expected):
            STEPS[step](connection)
        assert connection.state is state
        assert connection.data_to_send() == b""


def test_open_takes_the_subprotocol():
    connection = Connection(Role.SERVER, state=CONNECTING)
    connection.open("chat")
    assert connection.subprotocol == "chat"
    assert Connection(Role.SERVER, subprotocol="chat").subprotocol == "chat"


# Messages


@both_roles
def test_messages_are_received(role):
    """RFC 6455 §5.6."""
    connection = Connection(role)
    data = frame(Opcode.TEXT, "h\xe9".encode(), to=role) + frame(Opcode.BINARY, b"\xff", to=role)
    assert connection.receive_data(data) == [Message(Opcode.TEXT, b"h\xc3\xa9"), Message(Opcode.BINARY, b"\xff")]
    assert connection.data_to_send() == b""


@both_roles
def test_messages_are_sent(role):
    """RFC 6455 §5.6."""
    connection = Connection(role)
    connection.send_text("h\xe9")
    connection.send_text(b"abc")
    connection.send_binary(memoryview(b"\xff"))
    connection.send_binary(bytearray())
    assert sent(connection) == [
        Frame(Opcode.TEXT, b"h\xc3\xa9"),
        Frame(Opcode.TEXT, b"abc"),
        Frame(Opcode.BINARY, b"\xff"),
        Frame(Opcode.BINARY, b""),
    ]
    with pytest.raises(TypeError, match="bytes-like object is required, not 'str'"):
        connection.send_binary("text")


@pytest.mark.parametrize(
    ("limits", "fragments", "reason"),
    [
        ((4, None), [b"abcde"], "frame with 5 bytes exceeds limit of 4 bytes"),
        ((4, 3), [b"abcd"], "frame with 4 bytes exceeds limit of 3 bytes"),
        ((None, 3), [b"abcd"], "frame with 4 bytes exceeds limit of 3 bytes"),
        ((4, None), [b"abc", b"de"], "frame with 2 bytes after reading 3 bytes exceeds limit of 4 bytes"),
        ((None, None), [b"a", b"b\xff"], "invalid start byte at position 2"),
        ((None, None), [b"\xc3"], "unexpected end of data at position 0"),
    ],
)
@both_roles
def test_close_frame_carries_the_reason_of_the_failure(role, limits, fragments, reason):
    connection = Connection(role, limits=Limits(*limits))
    for number, payload in enumerate(fragments):
        fin = number == len(fragments) - 1
        connection.receive_data(frame(Opcode.CONTINUATION if number else Opcode.TEXT, payload, to=role, fin=fin))
    assert sent(connection)[0].payload[2:].decode() == reason
    connection.receive_eof()
    assert reason in str(connection.close_exc)
    assert type(connection.close_exc.__cause__) is (PayloadTooBig if "limit" in reason else UnicodeDecodeError)


@both_roles
def test_fragments_are_sent(role):
    """RFC 6455 §5.4, with a control frame between them."""
    connection = Connection(role)
    connection.send_text("a", fin=False)
    connection.send_ping(b"p")
    connection.send_continuation("\xe9", False)
    connection.send_continuation(b"", True)
    connection.send_binary(b"b", fin=True)
    assert sent(connection) == [
        Frame(Opcode.TEXT, b"a", fin=False),
        Frame(Opcode.PING, b"p"),
        Frame(Opcode.CONTINUATION, b"\xc3\xa9", fin=False),
        Frame(Opcode.CONTINUATION, b""),
        Frame(Opcode.BINARY, b"b"),
    ]


def test_new_message_inside_a_fragmented_one_is_refused():
    """RFC 6455 §5.4."""
    connection = Connection(Role.SERVER)
    connection.send_text("a", fin=False)
    for send in (connection.send_text, connection.send_binary):
        with pytest.raises(ProtocolError, match="in progress"):
            send(b"b")
    connection.send_continuation(b"", True)
    with pytest.raises(ProtocolError, match="no fragmented message"):
        connection.send_continuation(b"", True)


def test_text_that_cannot_be_encoded_is_refused_and_nothing_sent():
    """RFC 6455 §5.6: text is UTF-8."""
    connection = Connection(Role.SERVER)
    with pytest.raises(UnicodeEncodeError):
        connection.send_text("\ud800")
    assert connection.data_to_send() == b""


def test_c8_client_masks_each_frame_with_a_fresh_key():
    """RFC 6455 §5.1, §5.3."""
    connection = Connection(Role.CLIENT)
    keys = set()
    for send in (connection.send_text, connection.send_binary, connection.send_ping, connection.send_pong):
        send(b"a")
        data = connection.data_to_send()
        assert data[1] == 0x81
        keys.add(data[2:6])
    connection.send_close(1000)
    data = connection.data_to_send()
    assert data[1] == 0x82
    assert len(keys | {data[2:6]}) == 5


def test_server_masks_nothing():
    """RFC 6455 §5.1."""
    connection = Connection(Role.SERVER)
    connection.send_text("a")
    connection.send_close(1000)
    assert connection.data_to_send() == b"\x81\x01a\x88\x02\x03\xe8"


# Control frames


@both_roles
def test_f9_pings_are_answered_between_fragments(role):
    """RFC 6455 §5.4, §5.5.2."""
    connection = Connection(role)
    events = connection.receive_data(
        frame(Opcode.TEXT, b"a", fin=False, to=role)
        + frame(Opcode.PING, b"p", to=role)
        + frame(Opcode.CONTINUATION, b"b", to=role)
    )
    assert events == [PingReceived(b"p"), Message(Opcode.TEXT, b"ab")]
    assert sent(connection) == [Frame(Opcode.PONG, b"p")]


@both_roles
def test_f11_unsolicited_pongs_are_reported_and_not_answered(role):
    """RFC 6455 §5.5.3."""
    connection = Connection(role)
    assert connection.receive_data(frame(Opcode.PONG, b"p", to=role)) == [PongReceived(b"p")]
    assert connection.data_to_send() == b""


@both_roles
def test_f10_held_pongs_are_one_for_the_last_ping(role):
    """RFC 6455 §5.5.3."""
    connection = Connection(role)
    connection.hold_pongs = True
    assert connection.hold_pongs
    connection.receive_data(b"".join(frame(Opcode.PING, bytes([i]), to=role) for i in range(100)))
    assert connection.data_to_send() == b""
    connection.hold_pongs = False
    assert sent(connection) == [Frame(Opcode.PONG, bytes([99]))]
    connection.hold_pongs = True
    connection.hold_pongs = False
    assert connection.data_to_send() == b""


@both_roles
def test_held_pong_is_dropped_when_the_connection_closes(role):
    """RFC 6455 §5.5.1: nothing after a Close frame."""
    connection = Connection(role)
    connection.hold_pongs = True
    connection.receive_data(frame(Opcode.PING, to=role))
    connection.send_close(1000)
    connection.hold_pongs = False
    assert len(sent(connection)) == 1


@both_roles
def test_ping_after_our_close_is_not_answered(role):
    """RFC 6455 §5.5.1: nothing after a Close frame."""
    connection = in_state(CLOSING, role)
    assert connection.receive_data(frame(Opcode.PING, b"p", to=role)) == [PingReceived(b"p")]
    assert connection.data_to_send() == b""


@pytest.mark.parametrize("kind", ["ping", "pong"])
def test_f7_control_frames_with_more_than_125_bytes_are_not_sent(kind):
    """RFC 6455 §5.5."""
    connection = Connection(Role.SERVER)
    send = getattr(connection, f"send_{kind}")
    send(b"x" * 125)
    assert len(connection.data_to_send()) == 127
    with pytest.raises(ProtocolError, match="too long"):
        send(b"x" * 126)
    with pytest.raises(ProtocolError, match="too long"):
        send(memoryview(bytes(128)).cast("I"))
    assert connection.data_to_send() == b""


# Two ends on a pipe that cuts the stream anywhere: row F14

chunks = st.lists(st.integers(min_value=1, max_value=40), max_size=60)
fragments = st.lists(st.text(max_size=20), min_size=1, max_size=4)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("text"), fragments),
        st.tuples(st.just("binary"), st.lists(st.binary(max_size=300), min_size=1, max_size=4)),
        st.tuples(st.just("ping"), st.binary(max_size=125)),
        st.tuples(st.just("pong"), st.binary(max_size=125)),
    ),
    max_size=8,
)


def act(connection, action, payload):
    """Perform one action; return the event that the peer should see."""
    if action == "ping":
        connection.send_ping(payload)
        return PingReceived(payload)
    if action == "pong":
        connection.send_pong(payload)
        return PongReceived(payload)
    opcode = Opcode.TEXT if action == "text" else Opcode.BINARY
    send = connection.send_text if action == "text" else connection.send_binary
    first, *rest = payload
    send(first, fin=not rest)
    for i, piece in enumerate(rest, 1):
        connection.send_continuation(piece, i == len(rest))
    encoded = [piece.encode() if isinstance(piece, str) else piece for piece in payload]
    return Message(opcode, b"".join(encoded))


def pump(source, target, cuts):
    """Carry what there is to send over the pipe, in pieces; return the events."""
    data = source.data_to_send()
    events = []
    while data:
        size = cuts.pop() if cuts else len(data)
        events += target.receive_data(data[:size])
        data = data[size:]
    return events


@settings(deadline=None)
@given(actions, actions, chunks, st.sampled_from([1000, 1001, 3000, None]))
def test_f14_client_and_server_interoperate(from_client, from_server, cuts, code):
    """RFC 6455 §5.2: every split of the stream gives the same events."""
    client, server = Connection(Role.CLIENT), Connection(Role.SERVER)
    for source, target, doings in ((client, server, from_client), (server, client, from_server)):
        expected = [act(source, *doing) for doing in doings]
        pings = [event.payload for event in expected if isinstance(event, PingReceived)]
        assert pump(source, target, cuts) == expected
        assert pump(target, source, cuts) == [PongReceived(payload) for payload in pings]
    client.send_close(code)
    close = Close(1005 if code is None else code)
    assert pump(client, server, cuts) == [CloseReceived(close)]
    assert pump(server, client, cuts) == [CloseReceived(close)]
    for connection in (client, server):
        assert connection.close_expected()
        assert connection.data_to_send() == b""
        connection.receive_eof()
        assert connection.close_code == close.code
    assert client.close_rcvd_then_sent is False
    assert server.close_rcvd_then_sent is True


@settings(deadline=None)
@given(st.binary(max_size=300), chunks, st.sampled_from(list(Role)))
def test_f14_any_bytes_give_the_same_events_for_every_cutting(junk, cuts, role):
    """RFC 6455 §5.2: and no exception, whatever comes."""
    data = frame(Opcode.TEXT, b"start", to=role) + junk
    whole, cut = Connection(role), Connection(role)
    expected = whole.receive_data(data)
    events = []
    while data:
        size = cuts.pop() if cuts else len(data)
        events += cut.receive_data(data[:size])
        data = data[size:]
    assert events == expected
    answers = []
    for connection in (whole, cut):
        answers.append([(answer.opcode, answer.payload) for answer in sent(connection)])
    assert answers[0] == answers[1]


def test_connection_needs_no_network_and_no_clock():
    """Layering: in a fresh interpreter, with the package's __init__ (which is of asyncio) kept out."""
    program = """
import sys, types
package = types.ModuleType("wsframe")
package.__path__ = [sys.argv[1]]
sys.modules["wsframe"] = package
before = set(sys.modules)
import wsframe.messages.connection
loaded = set(sys.modules) - before
print(sorted(name for name in loaded if name.split(".")[0] in ("asyncio", "socket", "_socket", "ssl", "_ssl")))
for name, module in list(sys.modules.items()):
    if name.startswith("wsframe."):
        assert "time" not in vars(module), name
"""
    import wsframe

    result = subprocess.run(
        [sys.executable, "-c", program, wsframe.__path__[0]], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr == ""
    assert result.stdout == "[]\n"
