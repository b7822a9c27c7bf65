"""How a connection without I/O ends (RFC 6455 §5.5.1, §7). Rows X of the matrix, on bytes."""

from __future__ import annotations

import pytest
from support import both_roles, close_frame, frame, in_state, other, sent, sent_close

from wsframe import Close, CloseCode, Connection, Fault, Frame, InvalidState, Limits, Opcode, Role, State
from wsframe.exceptions import ConnectionClosedError, ConnectionClosedOK, PayloadTooBig, ProtocolError
from wsframe.messages.events import CloseReceived, Failed, Message

CONNECTING, OPEN, CLOSING, CLOSED = State


# The closing handshake


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
def test_x3_application_may_answer_with_its_own_code_and_reason(role):
    """RFC 6455 §5.5.1."""
    connection = Connection(role)
    connection.receive_data(close_frame(1000, to=role))
    connection.send_close(4000, "mine")
    assert sent_close(connection) == b"\x0f\xa0mine"
    assert connection.close_rcvd_then_sent is True
    assert connection.data_to_send() == b""


@both_roles
def test_x3_frames_sent_while_handling_events_precede_the_answer(role):
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
    with pytest.raises(ProtocolError, match="status code"):
        connection.send_close(code)
    with pytest.raises(ProtocolError, match="status code"):
        connection.fail(code)
    assert connection.state is OPEN
    assert not connection.failed


def test_x1_reason_fits_into_a_control_frame():
    """RFC 6455 §5.5, §5.5.1."""
    connection = Connection(Role.SERVER)
    with pytest.raises(ProtocolError, match="too long"):
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
def test_f13_data_after_a_close_is_discarded(role):
    """RFC 6455 §1.4, §5.5.1."""
    connection = Connection(role)
    data = close_frame(1000, to=role) + frame(Opcode.TEXT, b"a", to=role) + b"\xff\xff"
    assert connection.receive_data(data) == [CloseReceived(Close(1000))]
    assert connection.receive_data(frame(Opcode.PING, to=role)) == []
    assert sent_close(connection) == b"\x03\xe8"


@both_roles
def test_messages_before_the_answer_to_our_close_are_received(role):
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
def test_x6_x7_violation_is_reported_and_ends_processing(data, fault, role):
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
def test_x10_oversized_message_is_detected_from_the_header(role):
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
def test_x9_invalid_utf8_fails_at_the_first_invalid_byte(role):
    """RFC 6455 §8.1."""
    connection = Connection(role)
    connection.receive_data(frame(Opcode.TEXT, b"\xe2\x82", fin=False, to=role))
    data = frame(Opcode.CONTINUATION, b"\x28" + bytes(1000), to=role)
    header_size = len(data) - 1001
    assert connection.receive_data(data[:header_size]) == []
    assert connection.receive_data(data[header_size : header_size + 1]) == [Failed(Fault.INVALID_UTF8_TEXT)]
    assert sent_close(connection)[:2] == b"\x03\xef"


@both_roles
def test_violation_after_our_close_is_not_reported(role):
    """RFC 6455 §5.5.1: nothing after a Close frame."""
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
def test_fail_sends_a_close_frame_and_ends_processing(role):
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


def test_close_exc_is_unavailable_before_the_end():
    for state in (CONNECTING, OPEN, CLOSING):
        with pytest.raises(InvalidState, match="isn't closed"):
            _ = in_state(state).close_exc


@pytest.mark.parametrize(
    ("received", "answered", "kind"),
    [(1000, None, ConnectionClosedOK), (1001, 1000, ConnectionClosedOK), (1011, None, ConnectionClosedError)]
    + [(1000, 1011, ConnectionClosedError), (4000, None, ConnectionClosedError)],
)
def test_close_exception_depends_on_both_codes(received, answered, kind):
    connection = Connection(Role.CLIENT)
    connection.receive_data(close_frame(received, to=Role.CLIENT))
    if answered is not None:
        connection.send_close(answered)
    connection.data_to_send()
    connection.receive_eof()
    assert type(connection.close_exc) is kind
