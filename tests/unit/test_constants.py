"""Names and maxima of the wire protocol: RFC 6455 §5.2, §5.5, §7.4.1 and the registries of IANA."""

from __future__ import annotations

import pytest

from wsframe import constants
from wsframe.constants import OK_CLOSE_CODES, SENDABLE_CLOSE_CODES, CloseCode, Opcode, Role, State


def test_opcodes_are_those_of_the_rfc():
    # RFC 6455 §5.2 and §11.8.
    assert {opcode.name: opcode.value for opcode in Opcode} == {
        "CONTINUATION": 0,
        "TEXT": 1,
        "BINARY": 2,
        "CLOSE": 8,
        "PING": 9,
        "PONG": 10,
    }


def test_control_opcodes_have_the_top_bit():
    # RFC 6455 §5.5.
    assert [opcode.name for opcode in Opcode if opcode & 8] == ["CLOSE", "PING", "PONG"]


def test_close_codes_are_those_of_the_registry():
    # RFC 6455 §7.4.1 and §11.7.
    assert {code.value: code.name for code in CloseCode} == {
        1000: "NORMAL_CLOSURE",
        1001: "GOING_AWAY",
        1002: "PROTOCOL_ERROR",
        1003: "UNSUPPORTED_DATA",
        1005: "NO_STATUS_RCVD",
        1006: "ABNORMAL_CLOSURE",
        1007: "INVALID_FRAME_PAYLOAD_DATA",
        1008: "POLICY_VIOLATION",
        1009: "MESSAGE_TOO_BIG",
        1010: "MANDATORY_EXT",
        1011: "INTERNAL_ERROR",
        1012: "SERVICE_RESTART",
        1013: "TRY_AGAIN_LATER",
        1014: "BAD_GATEWAY",
        1015: "TLS_HANDSHAKE",
    }


@pytest.mark.parametrize(("name", "code"), [("INVALID_DATA", 1007), ("MANDATORY_EXTENSION", 1010)])
def test_close_codes_have_the_names_of_websockets_too(name, code):
    assert CloseCode[name] == code


@pytest.mark.parametrize("code", [1004, 1005, 1006, 1015])
def test_codes_that_must_not_be_sent(code):
    # RFC 6455 §7.4.1.
    assert code not in SENDABLE_CLOSE_CODES


def test_each_other_registered_code_may_be_sent():
    assert {code.value for code in CloseCode} - {1005, 1006, 1015} == SENDABLE_CLOSE_CODES


def test_ok_close_codes_are_registered():
    assert {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY, CloseCode.NO_STATUS_RCVD} == OK_CLOSE_CODES


def test_roles_and_states():
    assert [role.name for role in Role] == ["SERVER", "CLIENT"]
    # RFC 6455 §4.1 and §7.1, in the order in which a connection goes through them.
    assert [state.name for state in State] == ["CONNECTING", "OPEN", "CLOSING", "CLOSED"]
    assert list(State) == sorted(State)


def test_a_control_payload_has_at_most_125_bytes():
    # RFC 6455 §5.5.
    assert constants.MAX_CONTROL_PAYLOAD == 125


def test_handshake_constants():
    # RFC 6455 §1.3 and §4.1.
    assert constants.ACCEPT_GUID == b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    assert constants.WEBSOCKET_VERSION == "13"


def test_all_names_exist():
    for name in constants.__all__:
        assert hasattr(constants, name)
