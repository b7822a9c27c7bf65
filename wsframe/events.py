"""What a ``Connection`` tells its user; selects the compiled or the pure twin of ``Message``. Rank 1.

An event is a value: handling it is up to the user, and the answers that the protocol demands (a Pong, a
Close) are the connection's own business. There are many more messages than other events, so they have twins;
what both do alike: construction, attributes, comparison, hash, pattern matching, and no assignment.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeAlias

from wsframe._build import IMPLEMENTATION
from wsframe.exceptions import Close, Fault

if TYPE_CHECKING or IMPLEMENTATION == "python":
    from wsframe._events_py import Message
else:
    from wsframe._events_c import Message

__all__ = ["CloseReceived", "Event", "Failed", "Message", "PingReceived", "PongReceived"]


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
