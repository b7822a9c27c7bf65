"""Numbers, enumerations and tuples of the framing protocol, with wsproto's names (RFC 6455 §5.2, §7.4)."""

from __future__ import annotations

import enum
from typing import NamedTuple

__all__ = [
    "FIN_MASK",
    "LOCAL_ONLY_CLOSE_REASONS",
    "MASK_MASK",
    "MAX_CLOSE_REASON",
    "MAX_FRAME_PAYLOAD",
    "MAX_LIBRARY_CLOSE_REASON",
    "MAX_PAYLOAD_EIGHT_BYTE",
    "MAX_PAYLOAD_NORMAL",
    "MAX_PAYLOAD_TWO_BYTE",
    "MAX_PRIVATE_CLOSE_REASON",
    "MAX_PROTOCOL_CLOSE_REASON",
    "MIN_CLOSE_REASON",
    "MIN_LIBRARY_CLOSE_REASON",
    "MIN_PRIVATE_CLOSE_REASON",
    "MIN_PROTOCOL_CLOSE_REASON",
    "NULL_MASK",
    "OPCODE_MASK",
    "PAYLOAD_LENGTH_EIGHT_BYTE",
    "PAYLOAD_LENGTH_TWO_BYTE",
    "PAYLOAD_LEN_MASK",
    "RSV1_MASK",
    "RSV2_MASK",
    "RSV3_MASK",
    "CloseReason",
    "Frame",
    "Header",
    "Opcode",
    "ParseFailed",
    "RsvBits",
]


class Opcode(enum.IntEnum):
    """The interpretation of a frame's payload (RFC 6455 §5.2)."""

    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

    def iscontrol(self) -> bool:
        """Return whether this is the opcode of a control frame (RFC 6455 §5.5)."""
        return self >= Opcode.CLOSE


class CloseReason(enum.IntEnum):
    """The reason why a connection ended (RFC 6455 §7.4.1)."""

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_FRAME_PAYLOAD_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXT = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    TLS_HANDSHAKE_FAILED = 1015


LOCAL_ONLY_CLOSE_REASONS = (
    CloseReason.NO_STATUS_RCVD,
    CloseReason.ABNORMAL_CLOSURE,
    CloseReason.TLS_HANDSHAKE_FAILED,
)
"""Codes that must not appear in a Close frame (RFC 6455 §7.4.1)."""

MIN_CLOSE_REASON = MIN_PROTOCOL_CLOSE_REASON = 1000
MAX_PROTOCOL_CLOSE_REASON = 2999
MIN_LIBRARY_CLOSE_REASON = 3000
MAX_LIBRARY_CLOSE_REASON = 3999
MIN_PRIVATE_CLOSE_REASON = 4000
MAX_CLOSE_REASON = MAX_PRIVATE_CLOSE_REASON = 4999

PAYLOAD_LENGTH_TWO_BYTE = 126
PAYLOAD_LENGTH_EIGHT_BYTE = 127
MAX_PAYLOAD_NORMAL = 125
MAX_PAYLOAD_TWO_BYTE = 2**16 - 1
MAX_FRAME_PAYLOAD = MAX_PAYLOAD_EIGHT_BYTE = 2**64 - 1

FIN_MASK = 0x80
RSV1_MASK = 0x40
RSV2_MASK = 0x20
RSV3_MASK = 0x10
OPCODE_MASK = 0x0F
MASK_MASK = 0x80
PAYLOAD_LEN_MASK = 0x7F
NULL_MASK = bytes(4)


class ParseFailed(Exception):
    """A violation of the framing protocol by the peer.

    Attributes:
        code: The code for the Close frame of the failed connection.
    """

    def __init__(self, msg: str, code: CloseReason = CloseReason.PROTOCOL_ERROR) -> None:
        super().__init__(msg)
        self.code = code


class RsvBits(NamedTuple):
    """The reserved bits of a frame."""

    rsv1: bool
    rsv2: bool
    rsv3: bool


class Header(NamedTuple):
    """The header of a frame without its masking key."""

    fin: bool
    rsv: RsvBits
    opcode: Opcode
    payload_len: int
    masking_key: bytes | None


class Frame(NamedTuple):
    """A frame, or a part of one.

    Attributes:
        opcode: The opcode; for a data frame, that of the message.
        payload: Bytes, text, or code and reason of a Close frame.
        frame_finished: Whether this ends the frame.
        message_finished: Whether this ends the message.
    """

    opcode: Opcode
    payload: bytes | str | tuple[int, str]
    frame_finished: bool
    message_finished: bool
