"""What a ``Connection`` tells its user. Rank 1.

An event is a value: handling it is up to the user, and the answers that the protocol demands (a Pong, a
Close) are the connection's own business.
"""

from __future__ import annotations

import dataclasses
from typing import TypeAlias

from wsframe.constants import Opcode
from wsframe.exceptions import Close, Fault

__all__ = ["CloseReceived", "Event", "Failed", "Message", "PingReceived", "PongReceived"]


@dataclasses.dataclass(frozen=True)
class Message:
    """A whole message (RFC 6455 §5.6).

    Attributes:
        opcode: ``Opcode.TEXT`` or ``Opcode.BINARY``.
        payload: The bytes of all its fragments; valid UTF-8 if it is text.
    """

    opcode: Opcode
    payload: bytes

    @property
    def data(self) -> str | bytes:
        """The message as the application wants it: text as str, binary as bytes."""
        return self.payload.decode() if self.opcode is Opcode.TEXT else self.payload


@dataclasses.dataclass(frozen=True)
class PingReceived:
    """A Ping; the Pong that answers it is on its way already (RFC 6455 §5.5.2)."""

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
    """The peer broke the protocol (RFC 6455 §7.1.7); the Close frame leaves with the next ``data_to_send``."""

    fault: Fault


Event: TypeAlias = Message | PingReceived | PongReceived | CloseReceived | Failed
