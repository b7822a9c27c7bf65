"""Names and maxima of the wire protocol (RFC 6455 §5.2, §5.5, §7.4).

The protocol fixes all of them; defaults that you may want to change are in ``limits``.
"""

from __future__ import annotations

import enum

__all__ = [
    "ACCEPT_GUID",
    "MAX_CONTROL_PAYLOAD",
    "OK_CLOSE_CODES",
    "SENDABLE_CLOSE_CODES",
    "WEBSOCKET_VERSION",
    "CloseCode",
    "Opcode",
    "Role",
    "State",
]


class Opcode(enum.IntEnum):
    """What a frame's payload means (RFC 6455 §5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class CloseCode(enum.IntEnum):
    """Why a connection ended (RFC 6455 §7.4.1 and the IANA registry of close codes).

    ``INVALID_DATA`` and ``MANDATORY_EXTENSION`` are the ``websockets`` library's names for two members.
    """

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_FRAME_PAYLOAD_DATA = 1007
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXT = 1010
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


class Role(enum.IntEnum):
    """Which end of the connection this is (RFC 6455 §5.1): the client masks, the server does not."""

    SERVER = 0
    CLIENT = 1


class State(enum.IntEnum):
    """State of a connection (RFC 6455 §4.1, §7.1)."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


MAX_CONTROL_PAYLOAD = 125
"""Maximum size of a control frame's payload, in bytes (RFC 6455 §5.5)."""

OK_CLOSE_CODES = frozenset({1000, 1001, 1005})
"""Close codes that indicate a normal closure."""

SENDABLE_CLOSE_CODES = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015)})
"""Registered close codes that may appear in a Close frame (RFC 6455 §7.4); 3000 to 4999 may too."""

WEBSOCKET_VERSION = "13"
"""Value of Sec-WebSocket-Version (RFC 6455 §4.1)."""

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""GUID that a server appends to Sec-WebSocket-Key to prove that it speaks WebSocket (RFC 6455 §1.3)."""
