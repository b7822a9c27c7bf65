"""A connection without I/O (RFC 6455 §5 to §7): state table, closing rules, and two ends on a pipe."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsframe import (
    Close,
    CloseCode,
    CloseReceived,
    Connection,
    ConnectionClosedError,
    ConnectionClosedOK,
    Failed,
    Fault,
    Frame,
    FrameParser,
    InvalidState,
    Limits,
    Message,
    Opcode,
    PayloadTooBig,
    PerMessageDeflateFactory,
    PingReceived,
    PongReceived,
    ProtocolError,
    Role,
    State,
    serialize_frame,
)

MASK = b"\x01\x02\x03\x04"


def frame(opcode, payload=b"", *, to=Role.SERVER, **bits):
    """Write a frame for the end with this role."""
    return serialize_frame(opcode, payload, mask=MASK if to is Role.SERVER else None, **bits)


def close_frame(code=None, reason="", *, to=Role.SERVER):
    payload = b"" if code is None else code.to_bytes(2, "big") + reason.encode()
    return frame(Opcode.CLOSE, payload, to=to)


def other(role):
    return Role.CLIENT if role is Role.SERVER else Role.SERVER


def sent(connection):
    """Read what a connection has to send as its peer would."""
    parser = FrameParser(other(connection.role), max_message_size=None)
    frames = parser.feed(connection.data_to_send())
    assert parser.fault is None
    assert parser.pending_bytes == 0
    return frames


def sent_close(connection):
    (answer,) = sent(connection)
    assert answer.opcode is Opcode.CLOSE
    return answer.payload


both_roles = pytest.mark.parametrize("role", list(Role))


# The state table

CONNECTING, OPEN, CLOSING, CLOSED = State


def in_state(state, role=Role.SERVER):
    connection = Connection(role, state=CONNECTING if state is CONNECTING else OPEN)
    if state is CLOSING:
        connection.send_close(1000)
        connection.data_to_send()
    elif state is CLOSED:
        connection.receive_eof()
    assert connection.state is state
    return connection


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
    # step: the state behind it for CONNECTING, OPEN, CLOSING and CLOSED, or the exception
    "open": (OPEN, InvalidState, InvalidState, InvalidState),
    "text": (InvalidState, OPEN, InvalidState, InvalidState),
    "binary": (InvalidState, OPEN, InvalidState, InvalidState),
    "ping": (InvalidState, OPEN, InvalidState, InvalidState),
    "pong": (InvalidState, OPEN, InvalidState, InvalidState),
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
def test_each_step_leads_where_the_table_says(step, state, role):
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
def test_messages_come_out(role):
    """RFC 6455 §5.6."""
    connection = Connection(role)
    data = frame(Opcode.TEXT, "h\xe9".encode(), to=role) + frame(Opcode.BINARY, b"\xff", to=role)
    assert connection.receive_data(data) == [Message(Opcode.TEXT, b"h\xc3\xa9"), Message(Opcode.BINARY, b"\xff")]
    assert connection.data_to_send() == b""


@both_roles
def test_messages_go_out(role):
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


@both_roles
def test_fragments_go_out(role):
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
    """RFC 6455 §5.5.1: nothing behind a Close frame."""
    connection = Connection(role)
    connection.hold_pongs = True
    connection.receive_data(frame(Opcode.PING, to=role))
    connection.send_close(1000)
    connection.hold_pongs = False
    assert len(sent(connection)) == 1


@both_roles
def test_ping_behind_our_close_is_not_answered(role):
    """RFC 6455 §5.5.1: nothing behind a Close frame."""
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
    with pytest.raises(ProtocolError, match="125"):
        send(b"x" * 126)
    with pytest.raises(ProtocolError, match="125"):
        send(memoryview(bytes(128)).cast("I"))
    assert connection.data_to_send() == b""


# Closing: rows X


@both_roles
@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
def test_x3_close_is_answered_with_its_code(code, role):
    """RFC 6455 §5.5.1; 1012 to 1014 are IANA's."""
    connection = Connection(role)
    close = Close(code, "why")
    assert connection.receive_data(close_frame(code, "why", to=role)) == [CloseReceived(close)]
    assert connection.state is OPEN
    assert sent_close(connection)[:2] == code.to_bytes(2, "big")
    assert connection.state is CLOSING
    assert connection.close_rcvd == close
    assert connection.close_rcvd_then_sent is True


@both_roles
def test_x3_close_without_code_is_answered_without_code(role):
    """RFC 6455 §5.5.1, §7.1.5."""
    connection = Connection(role)
    connection.receive_data(close_frame(to=role))
    assert sent_close(connection) == b""
    connection.receive_eof()
    assert connection.close_code == 1005
    assert connection.close_reason == ""
    assert isinstance(connection.close_exc, ConnectionClosedOK)


@both_roles
def test_x3_application_may_answer_with_other_words(role):
    """RFC 6455 §5.5.1."""
    connection = Connection(role)
    connection.receive_data(close_frame(1000, to=role))
    connection.send_close(4000, "mine")
    assert sent_close(connection) == b"\x0f\xa0mine"
    assert connection.close_rcvd_then_sent is True
    assert connection.data_to_send() == b""


@both_roles
def test_x3_what_is_sent_while_events_are_handled_goes_out_before_the_answer(role):
    """RFC 6455 §5.5.1: an endpoint may finish what it sends."""
    connection = Connection(role)
    events = connection.receive_data(frame(Opcode.TEXT, b"a", to=role) + close_frame(1000, to=role))
    assert [type(event) for event in events] == [Message, CloseReceived]
    connection.send_text("b")
    assert [received.opcode for received in sent(connection)] == [Opcode.TEXT, Opcode.CLOSE]


@both_roles
@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"\x03", Fault.CLOSE_PAYLOAD_TOO_SHORT),
        (b"\x03\xe8\xff", Fault.INVALID_UTF8_REASON),
        (b"\x03\xe8\xc3", Fault.INVALID_UTF8_REASON),
        *[(code.to_bytes(2, "big"), Fault.BAD_CLOSE_CODE) for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100)],
        *[(code.to_bytes(2, "big"), Fault.BAD_CLOSE_CODE) for code in (2000, 2999, 5000, 65535)],
    ],
)
def test_x1_x2_bad_close_payload_fails_the_connection(payload, fault, role):
    """RFC 6455 §5.5.1, §7.4."""
    connection = Connection(role)
    assert connection.receive_data(frame(Opcode.CLOSE, payload, to=role)) == [Failed(fault)]
    assert sent_close(connection)[:2] == fault.close_code.to_bytes(2, "big")
    assert connection.close_rcvd is None


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65536, -1])
def test_x2_bad_codes_are_not_sent(code):
    """RFC 6455 §7.4."""
    connection = Connection(Role.SERVER)
    with pytest.raises(ProtocolError, match="close code"):
        connection.send_close(code)
    with pytest.raises(ProtocolError, match="close code"):
        connection.fail(code)
    assert connection.state is OPEN
    assert not connection.failed


def test_x1_reason_fits_into_a_control_frame():
    """RFC 6455 §5.5, §5.5.1."""
    connection = Connection(Role.SERVER)
    with pytest.raises(ProtocolError, match="123"):
        connection.send_close(1000, "\xe9" * 62)
    with pytest.raises(ProtocolError, match="without a code"):
        connection.send_close(None, "why")
    connection.send_close(1000, "x" * 123)
    assert len(sent_close(connection)) == 125


def test_close_without_code_is_sent_empty():
    """RFC 6455 §5.5.1."""
    connection = Connection(Role.SERVER)
    connection.send_close()
    assert connection.data_to_send() == b"\x88\x00"
    assert connection.close_sent == Close(1005)


@both_roles
def test_close_handshake_that_we_start(role):
    """RFC 6455 §7.1.2."""
    connection = Connection(role)
    connection.send_close(CloseCode.GOING_AWAY, "bye")
    assert not connection.close_expected()
    assert connection.close_code is None
    assert connection.close_reason is None
    assert sent_close(connection) == b"\x03\xe9bye"
    connection.receive_data(close_frame(1001, "bye", to=role))
    assert connection.close_expected()
    assert connection.data_to_send() == b""
    assert connection.close_rcvd_then_sent is False
    connection.receive_eof()
    assert connection.close_expected()
    exc = connection.close_exc
    assert isinstance(exc, ConnectionClosedOK)
    assert str(exc) == "sent 1001 (going away) bye; then received 1001 (going away) bye"


@both_roles
def test_both_sides_close_at_once(role):
    """RFC 6455 §7.1.2: each takes the other's Close frame for the answer."""
    connection = Connection(role)
    connection.send_close(1000)
    connection.data_to_send()
    assert connection.receive_data(close_frame(1001, to=role)) == [CloseReceived(Close(1001))]
    assert connection.data_to_send() == b""
    assert connection.close_expected()


@both_roles
def test_close_is_not_expected_while_open(role):
    assert not Connection(role).close_expected()


@both_roles
def test_f13_data_behind_a_close_is_discarded(role):
    """RFC 6455 §1.4, §5.5.1."""
    connection = Connection(role)
    data = close_frame(1000, to=role) + frame(Opcode.TEXT, b"a", to=role) + b"\xff\xff"
    assert connection.receive_data(data) == [CloseReceived(Close(1000))]
    assert connection.receive_data(frame(Opcode.PING, to=role)) == []
    assert sent_close(connection) == b"\x03\xe8"


@both_roles
def test_messages_before_the_answer_to_our_close_still_come(role):
    """RFC 6455 §5.5.1: the peer may have sent them before it saw our Close frame."""
    connection = in_state(CLOSING, role)
    assert connection.receive_data(frame(Opcode.TEXT, b"a", to=role)) == [Message(Opcode.TEXT, b"a")]


@both_roles
@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"\xc1\x80", Fault.RSV1_SET),
        (b"\xa2\x80", Fault.RSV2_SET),
        (b"\x99\x80", Fault.RSV3_SET),
        (b"\x83\xff", Fault.UNKNOWN_OPCODE),
        (b"\x80\x80", Fault.CONTINUATION_WITHOUT_START),
        (b"\x09\x80", Fault.CONTROL_FRAME_FRAGMENTED),
    ],
)
def test_x6_x7_violation_is_told_and_nothing_more_processed(data, fault, role):
    """RFC 6455 §7.1.7."""
    connection = Connection(role)
    events = connection.receive_data(
        frame(Opcode.TEXT, b"before", to=role) + data + frame(Opcode.TEXT, b"behind", to=role)
    )
    assert events == [Message(Opcode.TEXT, b"before"), Failed(fault)]
    assert connection.fault is fault
    assert connection.failed
    connection.send_text("answer")
    answers = sent(connection)
    assert [answer.opcode for answer in answers] == [Opcode.TEXT, Opcode.CLOSE]
    assert answers[1].payload == fault.close_code.to_bytes(2, "big") + fault.text.encode()
    assert connection.close_expected()
    assert connection.receive_data(close_frame(1002, to=role)) == []
    assert connection.data_to_send() == b""
    connection.receive_eof()
    exc = connection.close_exc
    assert isinstance(exc, ConnectionClosedError)
    assert type(exc.__cause__) is ProtocolError
    assert exc.__cause__.fault is fault
    assert connection.close_code == 1006


@both_roles
def test_f3_f4_wrong_masking_fails_the_connection(role):
    """RFC 6455 §5.1."""
    connection = Connection(role)
    (event,) = connection.receive_data(frame(Opcode.TEXT, b"a", to=other(role)))
    assert event == Failed(Fault.UNMASKED_FRAME if role is Role.SERVER else Fault.MASKED_FRAME)
    assert sent_close(connection)[:2] == b"\x03\xea"


@both_roles
def test_x10_too_big_is_told_from_the_header(role):
    """RFC 6455 §7.4.1, §10.4."""
    connection = Connection(role, limits=Limits(max_message_size=10, max_fragment_size=5))
    header = frame(Opcode.BINARY, bytes(6), to=role)[:2]
    assert connection.receive_data(header) == [Failed(Fault.FRAGMENT_TOO_BIG)]
    assert sent_close(connection)[:2] == b"\x03\xf1"
    connection.receive_eof()
    assert isinstance(connection.close_exc.__cause__, PayloadTooBig)

    connection = Connection(role, limits=Limits(max_message_size=10))
    connection.receive_data(frame(Opcode.BINARY, bytes(6), fin=False, to=role))
    assert connection.receive_data(frame(Opcode.CONTINUATION, bytes(5), to=role)) == [Failed(Fault.MESSAGE_TOO_BIG)]


@both_roles
def test_x9_text_that_is_not_utf8_fails_as_soon_as_it_is_certain(role):
    """RFC 6455 §8.1."""
    connection = Connection(role)
    connection.receive_data(frame(Opcode.TEXT, b"\xe2\x82", fin=False, to=role))
    data = frame(Opcode.CONTINUATION, b"\x28" + bytes(1000), to=role)
    header_size = len(data) - 1001
    assert connection.receive_data(data[:header_size]) == []
    assert connection.receive_data(data[header_size : header_size + 1]) == [Failed(Fault.INVALID_UTF8_TEXT)]
    assert sent_close(connection)[:2] == b"\x03\xef"


@both_roles
def test_violation_behind_our_close_is_not_told(role):
    """RFC 6455 §5.5.1: nothing behind a Close frame."""
    connection = in_state(CLOSING, role)
    assert connection.receive_data(b"\xff") == [Failed(Fault.RSV1_SET)]
    assert connection.data_to_send() == b""
    assert connection.close_expected()


@both_roles
def test_held_failure_waits_for_the_answers(role):
    """RFC 6455 §7.1.7: Autobahn's 3.2 and 4.* want what came before to be answered."""
    connection = Connection(role)
    connection.hold_failure = True
    assert not connection.failure_held
    connection.receive_data(frame(Opcode.TEXT, b"a", to=role) + b"\xff")
    assert connection.failure_held
    assert connection.data_to_send() == b""
    connection.send_text("answer")
    assert sent(connection) == [Frame(Opcode.TEXT, b"answer")]
    assert connection.receive_data(frame(Opcode.TEXT, b"b", to=role)) == []
    connection.hold_failure = False
    assert not connection.failure_held
    assert sent_close(connection)[:2] == b"\x03\xea"


@both_roles
def test_hold_failure_does_not_hold_the_answer_to_a_close(role):
    """RFC 6455 §5.5.1: as soon as practical."""
    connection = Connection(role)
    connection.hold_failure = True
    connection.receive_data(close_frame(1000, to=role))
    assert sent_close(connection) == b"\x03\xe8"


@both_roles
def test_fail_tells_the_peer_and_processes_nothing_more(role):
    """RFC 6455 §7.1.7."""
    connection = Connection(role)
    connection.fail(1011, "broken")
    assert sent_close(connection) == b"\x03\xf3broken"
    assert connection.failed
    assert connection.fault is None
    assert connection.close_expected()
    assert connection.receive_data(frame(Opcode.TEXT, b"a", to=role)) == []
    connection.receive_eof()
    assert connection.close_exc.__cause__ is None


@both_roles
def test_x8_code_is_1006_when_no_close_frame_came(role):
    """RFC 6455 §7.1.5."""
    connection = Connection(role)
    connection.send_text("lost")
    connection.receive_data(close_frame(to=role)[:1])
    connection.receive_eof()
    assert connection.close_code == 1006
    assert connection.close_reason == ""
    assert connection.data_to_send() == b""
    exc = connection.close_exc
    assert isinstance(exc, ConnectionClosedError)
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (None, None, None)


@both_roles
def test_end_of_tcp_before_the_answer_leaves_the_close_unsent(role):
    connection = Connection(role)
    connection.receive_data(close_frame(1000, to=role))
    connection.receive_eof()
    assert connection.data_to_send() == b""
    exc = connection.close_exc
    assert isinstance(exc, ConnectionClosedError)
    assert (exc.rcvd, exc.sent) == (Close(1000), None)


def test_there_is_no_close_exception_before_the_end():
    for state in (CONNECTING, OPEN, CLOSING):
        with pytest.raises(InvalidState, match="isn't closed"):
            _ = in_state(state).close_exc


@pytest.mark.parametrize(
    ("received", "answered", "kind"),
    [(1000, None, ConnectionClosedOK), (1001, 1000, ConnectionClosedOK), (1011, None, ConnectionClosedError)]
    + [(1000, 1011, ConnectionClosedError), (4000, None, ConnectionClosedError)],
)
def test_kind_of_the_close_exception_is_a_matter_of_both_codes(received, answered, kind):
    connection = Connection(Role.CLIENT)
    connection.receive_data(close_frame(received, to=Role.CLIENT))
    if answered is not None:
        connection.send_close(answered)
    connection.data_to_send()
    connection.receive_eof()
    assert type(connection.close_exc) is kind


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
def test_f14_client_and_server_understand_each_other(from_client, from_server, cuts, code):
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
import wsframe.connection
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


# Extensions


def deflate(**options):
    """Agree on permessage-deflate; return the server's end and the client's."""
    factory = PerMessageDeflateFactory(**options)
    (offer,) = factory.offer()
    response, extension = factory.accept_offer(offer)
    return extension, factory.accept_response(response)


def compressed_pair(**options):
    server, client = deflate(**options)
    return Connection(Role.SERVER, extensions=[server]), Connection(Role.CLIENT, extensions=[client])


def pass_on(sender, receiver):
    return receiver.receive_data(sender.data_to_send())


def test_messages_are_compressed_both_ways():
    server, client = compressed_pair()
    for sender, receiver in ((server, client), (client, server)):
        for compress, size in ((None, 40), (None, 40), (True, 40), (False, 1006)):
            sender.send_text("abcd" * 250, compress=compress)
            wire = sender.data_to_send()
            assert len(wire) <= size + 2 + 4
            assert receiver.receive_data(wire) == [Message(Opcode.TEXT, b"abcd" * 250)]
        sender.send_binary(memoryview(bytes(1000))[::2])
        assert pass_on(sender, receiver) == [Message(Opcode.BINARY, bytes(500))]


def test_compress_is_for_the_whole_fragmented_message():
    server, client = compressed_pair()
    for compress, rsv1 in ((None, True), (True, True), (False, False)):
        server.send_text("ab", fin=False, compress=compress)
        server.send_continuation("cd", fin=False)
        server.send_ping()
        server.send_continuation("", fin=True)
        wire = server.data_to_send()
        assert bool(wire[0] & 0x40) is rsv1
        assert client.receive_data(wire) == [PingReceived(b""), Message(Opcode.TEXT, b"abcd")]
    # The one behind it is on its own again.
    server.send_text("x" * 100)
    assert server.data_to_send()[0] & 0x40


def test_compress_without_an_extension_changes_nothing():
    server = Connection(Role.SERVER)
    server.send_text("x" * 100, compress=True)
    assert server.data_to_send() == frame(Opcode.TEXT, b"x" * 100, to=Role.CLIENT)


def test_extensions_agreed_on_while_connecting_are_used():
    server, client = deflate()
    connection = Connection(Role.SERVER, state=State.CONNECTING)
    connection.open(extensions=[server])
    peer = Connection(Role.CLIENT, extensions=[client])
    peer.send_text("x" * 1000)
    assert pass_on(peer, connection) == [Message(Opcode.TEXT, b"x" * 1000)]
    assert connection.extensions == [server]


@both_roles
@pytest.mark.parametrize(("opcode", "behind"), [(0, b""), (8, b""), (9, b"a"), (10, b"")])
def test_d8_rsv1_on_a_continuation_or_a_control_frame_fails_the_connection(role, opcode, behind):
    """RFC 7692 §6.1, §6."""
    connection = Connection(role, extensions=[deflate()[role is Role.CLIENT]])
    connection.receive_data(frame(Opcode.TEXT, b"\x00", to=role, fin=False, rsv1=True))
    assert connection.receive_data(frame(opcode, behind, to=role, rsv1=True)) == [Failed(Fault.RSV1_SET)]
    assert sent_close(connection)[:2] == b"\x03\xea"


@both_roles
@pytest.mark.parametrize("bit", ["rsv2", "rsv3"])
def test_f1_other_reserved_bits_stay_faults(role, bit):
    """RFC 6455 §5.2."""
    connection = Connection(role, extensions=[deflate()[role is Role.CLIENT]])
    (failed,) = connection.receive_data(frame(Opcode.TEXT, b"\x00", to=role, rsv1=True, **{bit: True}))
    assert failed.fault.close_code == 1002


@both_roles
@pytest.mark.parametrize(
    ("payload", "opcode", "code"),
    [
        (b"\x06", Opcode.BINARY, 1007),
        (b"\x03\x00" * 300, Opcode.BINARY, 1008),
        (bytes.fromhex("000100feffff00"), Opcode.TEXT, 1007),
    ],
)
def test_d11_message_that_cannot_be_decoded_fails_the_connection(role, payload, opcode, code):
    connection = Connection(role, extensions=[deflate()[role is Role.CLIENT]])
    wire = frame(Opcode.TEXT, b"before", to=role) + frame(opcode, payload, to=role, rsv1=True)
    before, failed = connection.receive_data(wire + frame(Opcode.TEXT, b"behind", to=role))
    assert before == Message(Opcode.TEXT, b"before")
    assert failed.fault is connection.fault
    assert failed.fault.close_code == code
    assert sent_close(connection)[:2] == code.to_bytes(2, "big")
    assert connection.receive_data(frame(Opcode.TEXT, b"behind", to=role)) == []
    connection.receive_eof()
    assert isinstance(connection.close_exc.__cause__, ProtocolError)


def test_d12_message_over_the_limit_fails_the_connection():
    for limits, fault in (
        (Limits(max_message_size=999), Fault.MESSAGE_TOO_BIG),
        (Limits(max_fragment_size=999), Fault.FRAGMENT_TOO_BIG),
    ):
        server, client = deflate()
        connection = Connection(Role.SERVER, limits=limits, extensions=[server])
        peer = Connection(Role.CLIENT, extensions=[client])
        peer.send_binary(bytes(999))
        assert pass_on(peer, connection) == [Message(Opcode.BINARY, bytes(999))]
        peer.send_binary(bytes(1000))
        assert pass_on(peer, connection) == [Failed(fault)]
        assert sent_close(connection)[:2] == b"\x03\xf1"
        connection.receive_eof()
        assert isinstance(connection.close_exc.__cause__, PayloadTooBig)


def test_message_at_the_limit_that_grows_when_it_is_compressed_is_taken():
    data = random.Random(1).randbytes(1000)
    server, client = deflate()
    connection = Connection(Role.SERVER, limits=Limits(max_message_size=1000), extensions=[server])
    peer = Connection(Role.CLIENT, extensions=[client])
    peer.send_binary(data)
    wire = peer.data_to_send()
    assert len(wire) - 8 > 1000
    assert connection.receive_data(wire) == [Message(Opcode.BINARY, data)]


def test_message_at_the_limit_in_tiny_fragments_that_grow_is_taken(backend):
    """RFC 7692 §7.2.1: each fragment of one byte ends with a flush, and has seven when it is compressed."""
    server, client = deflate(backend=backend)
    connection = Connection(Role.SERVER, limits=Limits(max_message_size=1000, max_fragment_size=1), extensions=[server])
    peer = Connection(Role.CLIENT, extensions=[client])
    for size in (1000, 1001):
        peer.send_binary(b"0", fin=False)
        for i in range(1, size):
            peer.send_continuation(b"%d" % (i % 10), fin=i == size - 1)
        wire = peer.data_to_send()
        assert len(wire) > size * 10
        expected = Message(Opcode.BINARY, b"0123456789" * 100) if size == 1000 else Failed(Fault.MESSAGE_TOO_BIG)
        assert connection.receive_data(wire) == [expected]


@pytest.mark.parametrize("data", [5, None, ["a"], 1.5])
def test_what_is_not_bytes_like_is_a_type_error_and_begins_no_message(data):
    for connection in (Connection(Role.SERVER), *compressed_pair()):
        for fin in (True, False):
            with pytest.raises(TypeError):
                connection.send_binary(data, fin=fin)
        assert connection.data_to_send() == b""
        connection.send_binary(b"a" * 100)
        with pytest.raises(ProtocolError):
            connection.send_continuation(b"b", fin=True)
