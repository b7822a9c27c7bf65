"""Events that a ``Connection`` returns.

An event is a value: the user handles it, and the connection itself sends the answers that the protocol requires
(a Pong, a Close).
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

from wsframe.codec import Message
from wsframe.exceptions import Close, Fault

__all__ = ["CloseReceived", "Event", "Failed", "Message", "PingReceived", "PongReceived"]


@dataclasses.dataclass(frozen=True)
class PingReceived:
    """A Ping; its Pong is queued already (RFC 6455 §5.5.2)."""

    payload: bytes


@dataclasses.dataclass(frozen=True)
class PongReceived:
    """A Pong, solicited or not (RFC 6455 §5.5.3)."""

    payload: bytes


@dataclasses.dataclass(frozen=True)
class CloseReceived:
    """The peer's Close frame (RFC 6455 §5.5.1); the answer leaves with the next ``data_to_send``."""

    close: Close


@dataclasses.dataclass(frozen=True)
class Failed:
    """The peer violated the protocol (RFC 6455 §7.1.7); the Close frame leaves with the next ``data_to_send``."""

    fault: Fault


Event: TypeAlias = Message | PingReceived | PongReceived | CloseReceived | Failed
