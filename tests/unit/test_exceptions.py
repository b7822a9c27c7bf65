"""Faults as values (RFC 6455 §5, §7.4.1), and the exceptions with their messages."""

from __future__ import annotations

import copy
import pickle
import re
from types import SimpleNamespace

import pytest

from wsframe import exceptions
from wsframe.constants import CloseCode
from wsframe.exceptions import (
    Close,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DuplicateParameter,
    Fault,
    HeaderLineTooLong,
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderFormat,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidMethod,
    InvalidOrigin,
    InvalidParameterName,
    InvalidParameterValue,
    InvalidProtocol,
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidState,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
    ProxyError,
    RequestLineTooLong,
    SecurityError,
    StatusLineTooLong,
    TooManyFragments,
    TooManyHeaders,
    WebSocketException,
)

OK = Close(CloseCode.NORMAL_CLOSURE, "")
BYE = Close(1001, "bye")
RESPONSE = SimpleNamespace(status_code=404)

TREE = {
    WebSocketException: Exception,
    ConnectionClosed: WebSocketException,
    ConnectionClosedOK: ConnectionClosed,
    ConnectionClosedError: ConnectionClosed,
    InvalidURI: WebSocketException,
    InvalidProxy: WebSocketException,
    InvalidHandshake: WebSocketException,
    SecurityError: InvalidHandshake,
    RequestLineTooLong: SecurityError,
    StatusLineTooLong: SecurityError,
    HeaderLineTooLong: SecurityError,
    TooManyHeaders: SecurityError,
    ProxyError: InvalidHandshake,
    InvalidProxyMessage: ProxyError,
    InvalidProxyStatus: ProxyError,
    InvalidMessage: InvalidHandshake,
    InvalidMethod: InvalidHandshake,
    InvalidProtocol: InvalidHandshake,
    InvalidStatus: InvalidHandshake,
    InvalidHeader: InvalidHandshake,
    InvalidHeaderFormat: InvalidHeader,
    InvalidHeaderValue: InvalidHeader,
    InvalidOrigin: InvalidHeader,
    InvalidUpgrade: InvalidHeader,
    NegotiationError: InvalidHandshake,
    DuplicateParameter: NegotiationError,
    InvalidParameterName: NegotiationError,
    InvalidParameterValue: NegotiationError,
    ProtocolError: WebSocketException,
    PayloadTooBig: WebSocketException,
    TooManyFragments: WebSocketException,
    InvalidState: WebSocketException,
    ConcurrencyError: WebSocketException,
}

TEXTS = [
    (WebSocketException("anything"), "anything"),
    (ConnectionClosed(None, None), "no close frame received or sent"),
    (ConnectionClosedError(None, OK), "sent 1000 (OK); no close frame received"),
    (ConnectionClosedError(BYE, None), "received 1001 (going away) bye; no close frame sent"),
    (ConnectionClosedOK(BYE, BYE, True), "received 1001 (going away) bye; then sent 1001 (going away) bye"),
    (ConnectionClosedOK(OK, OK, False), "sent 1000 (OK); then received 1000 (OK)"),
    (InvalidURI("http://x", "not ws"), "http://x isn't a valid URI: not ws"),
    (InvalidProxy("foo", "unknown"), "foo isn't a valid proxy: unknown"),
    (InvalidHandshake("failed"), "failed"),
    (SecurityError("too much"), "too much"),
    (RequestLineTooLong("too long"), "too long"),
    (StatusLineTooLong("too long"), "too long"),
    (HeaderLineTooLong("too long"), "too long"),
    (TooManyHeaders("too many"), "too many"),
    (ProxyError("no"), "no"),
    (InvalidProxyMessage("not HTTP"), "not HTTP"),
    (InvalidProxyStatus(RESPONSE), "proxy rejected connection: HTTP 404"),
    (InvalidMessage("not HTTP"), "not HTTP"),
    (InvalidMethod("POST"), "unsupported HTTP method: POST"),
    (InvalidProtocol("HTTP/1.0"), "unsupported HTTP version: HTTP/1.0"),
    (InvalidStatus(RESPONSE), "server rejected WebSocket connection: HTTP 404"),
    (InvalidHeader("Host"), "missing Host header"),
    (InvalidHeader("Host", ""), "empty Host header"),
    (InvalidHeader("Host", "a b"), "invalid Host header: a b"),
    (
        InvalidHeaderFormat("Upgrade", "expected token", "a, ;", 3),
        "invalid Upgrade header: expected token at 3 in a, ;",
    ),
    (InvalidHeaderValue("Sec-WebSocket-Version", "12"), "invalid Sec-WebSocket-Version header: 12"),
    (InvalidOrigin(None), "missing Origin header"),
    (InvalidOrigin("http://evil"), "invalid Origin header: http://evil"),
    (InvalidUpgrade("Upgrade", "h2c"), "invalid Upgrade header: h2c"),
    (NegotiationError("no common subprotocol"), "no common subprotocol"),
    (DuplicateParameter("a"), "duplicate parameter: a"),
    (InvalidParameterName("a"), "invalid parameter name: a"),
    (InvalidParameterValue("a", None), "missing value for parameter a"),
    (InvalidParameterValue("a", ""), "empty value for parameter a"),
    (InvalidParameterValue("a", "|"), "invalid value for parameter a: |"),
    (ProtocolError("wrong", Fault.RSV1_SET), "wrong"),
    (PayloadTooBig("too big", fault=Fault.MESSAGE_TOO_BIG), "too big"),
    (PayloadTooBig(None, 4), "frame exceeds limit of 4 bytes"),
    (PayloadTooBig(5, 4), "frame with 5 bytes exceeds limit of 4 bytes"),
    (PayloadTooBig(5, 4, 3), "frame with 5 bytes after reading 3 bytes exceeds limit of 7 bytes"),
    (TooManyFragments(4), "fragmented message exceeds limit of 4 frames"),
    (TooManyFragments("too many", Fault.MESSAGE_TOO_BIG), "too many"),
    (InvalidState("closed"), "closed"),
    (ConcurrencyError("two at once"), "two at once"),
]


@pytest.mark.parametrize("fault", Fault)
def test_a_fault_has_a_close_code_a_text_and_a_section(fault):
    # RFC 6455 §7.4.1: 1002 for violations, 1007 for data inconsistent with its type, 1009 for size; 1008 is general.
    assert fault.close_code in (
        CloseCode.PROTOCOL_ERROR,
        CloseCode.INVALID_FRAME_PAYLOAD_DATA,
        CloseCode.MESSAGE_TOO_BIG,
        CloseCode.POLICY_VIOLATION,
    )
    assert type(fault.close_code) is CloseCode
    # RFC 6455 §5.5.1: a reason has at most 123 bytes.
    assert 0 < len(fault.text.encode()) <= 123
    assert re.fullmatch(r"RFC (6455|7692) §\d+(\.\d+)*", fault.section)


def test_faults_are_distinct():
    # Equal values would make the later one an alias.
    assert len(Fault) == len(Fault.__members__)
    assert len({fault.text for fault in Fault}) == len(Fault)


@pytest.mark.parametrize(
    ("fault", "code"), [("MESSAGE_TOO_BIG", 1009), ("FRAGMENT_TOO_BIG", 1009), ("INVALID_UTF8_TEXT", 1007)]
)
def test_close_codes_that_are_not_1002(fault, code):
    assert Fault[fault].close_code == code


@pytest.mark.parametrize(("cls", "base"), TREE.items())
def test_exceptions_have_their_bases(cls, base):
    assert issubclass(cls, base)
    assert cls.__doc__


def test_tree_lists_every_exception():
    defined = {value for value in vars(exceptions).values() if isinstance(value, type) and issubclass(value, Exception)}
    assert defined == set(TREE)
    assert {"Close", "Fault"} | {cls.__name__ for cls in defined} <= set(exceptions.__all__)
    assert {type(exc) for exc, _ in TEXTS} == defined


def test_some_inherit_from_builtin_exceptions():
    assert issubclass(InvalidURI, ValueError)
    assert issubclass(InvalidHeaderValue, ValueError)
    assert issubclass(InvalidState, AssertionError)
    assert issubclass(ConcurrencyError, RuntimeError)


@pytest.mark.parametrize(("exc", "text"), TEXTS, ids=[f"{type(exc).__name__}: {text}" for exc, text in TEXTS])
def test_texts(exc, text):
    assert str(exc) == text


@pytest.mark.parametrize("exc", [exc for exc, _ in TEXTS], ids=[f"{type(exc).__name__}: {text}" for exc, text in TEXTS])
def test_exceptions_survive_copying_and_pickling(exc):
    # As they do on their way between processes.
    for twin in (copy.copy(exc), pickle.loads(pickle.dumps(exc))):
        assert type(twin) is type(exc)
        assert str(twin) == str(exc)
        assert twin.args == exc.args
        assert vars(twin) == vars(exc)


@pytest.mark.parametrize(
    ("rcvd", "sent", "order"), [(None, None, True), (OK, None, False), (None, OK, True), (OK, OK, None)]
)
def test_connection_closed_requires_an_order_for_two_close_frames(rcvd, sent, order):
    with pytest.raises(TypeError, match="rcvd_then_sent goes with both"):
        ConnectionClosed(rcvd, sent, order)


@pytest.mark.parametrize("arguments", [("too big", 4), (5,), ("too big", None, 3), (None,)])
def test_payload_too_big_has_a_size_and_a_limit_or_a_text(arguments):
    with pytest.raises(TypeError, match="goes with a size"):
        PayloadTooBig(*arguments)


def test_payload_too_big_counts_earlier_fragments():
    exc = PayloadTooBig(5, 4)
    assert (exc.message, exc.size, exc.max_size, exc.current_size, exc.fault) == (None, 5, 4, None, None)
    exc.set_current_size(None)
    assert (exc.max_size, exc.current_size) == (4, None)
    exc.set_current_size(3)
    assert (exc.max_size, exc.current_size) == (7, 3)
    text = PayloadTooBig("too big", fault=Fault.MESSAGE_TOO_BIG)
    assert (text.message, text.size, text.max_size) == ("too big", None, None)
    text.set_current_size(3)
    assert (str(text), text.fault) == ("too big", Fault.MESSAGE_TOO_BIG)


def test_connection_closed_has_code_and_reason_as_websockets_had():
    # RFC 6455 §7.1.5: 1006 if no Close frame came.
    for exc, code, reason in [(ConnectionClosed(BYE, None), 1001, "bye"), (ConnectionClosed(None, BYE), 1006, "")]:
        with pytest.warns(DeprecationWarning, match="use rcvd.code"):
            assert exc.code == code
        with pytest.warns(DeprecationWarning, match="use rcvd.reason"):
            assert exc.reason == reason


@pytest.mark.parametrize(
    ("close", "text"),
    [
        (Close(1000, ""), "1000 (OK)"),
        (Close(1002, "bad frame"), "1002 (protocol error) bad frame"),
        (Close(1006), "1006 (abnormal closure [internal])"),
        (Close(1016), "1016 (unknown)"),
        (Close(2999), "2999 (unknown)"),
        (Close(3000, "x"), "3000 (registered) x"),
        (Close(3999), "3999 (registered)"),
        (Close(4000), "4000 (private use)"),
        (Close(4999), "4999 (private use)"),
        (Close(5000), "5000 (unknown)"),
    ],
)
def test_str_of_close_names_its_code(close, text):
    # RFC 6455 §7.4.2.
    assert str(close) == text


@pytest.mark.parametrize("code", CloseCode)
def test_close_names_each_registered_code(code):
    assert "unknown" not in str(Close(code))
