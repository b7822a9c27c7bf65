"""Events received and sent on a connection, with wsproto's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from wsframe.adapters.wsproto.typing import Headers

if TYPE_CHECKING:
    from wsframe.adapters.wsproto.extensions import Extension

__all__ = [
    "AcceptConnection",
    "BytesMessage",
    "CloseConnection",
    "Event",
    "Message",
    "Ping",
    "Pong",
    "RejectConnection",
    "RejectData",
    "Request",
    "TextMessage",
]

T = TypeVar("T", bytes | bytearray, str)


class Event:
    """Base class of all events."""


@dataclass(frozen=True)
class Request(Event):
    """The request that opens a connection (RFC 6455 §4.1): received by a server, sent by a client.

    Attributes:
        host: Value of the Host header.
        target: Path and query.
        extensions: The extensions offered: objects when sent, the elements of their header when received.
        extra_headers: All other headers.
        subprotocols: The subprotocols offered.
    """

    host: str
    target: str
    extensions: Sequence[Extension] | Sequence[str] = field(default_factory=list)
    extra_headers: Headers = field(default_factory=list)
    subprotocols: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class AcceptConnection(Event):
    """The response that opens a connection (RFC 6455 §4.2.2): sent by a server, received by a client.

    Attributes:
        subprotocol: The subprotocol chosen, or None.
        extensions: The extensions supported, when sent; the negotiated ones, when received.
        extra_headers: All other headers.
    """

    subprotocol: str | None = None
    extensions: list[Extension] = field(default_factory=list)
    extra_headers: Headers = field(default_factory=list)


@dataclass(frozen=True)
class RejectConnection(Event):
    """A response that refuses a connection.

    Attributes:
        status_code: The HTTP status.
        headers: All headers.
        has_body: Whether ``RejectData`` follows; for a client, it does after each final response.
    """

    status_code: int = 400
    headers: Headers = field(default_factory=list)
    has_body: bool = False


@dataclass(frozen=True)
class RejectData(Event):
    """A part of the body of a response that refuses a connection.

    Attributes:
        data: The bytes.
        body_finished: Whether this is the last part.
    """

    data: bytes
    body_finished: bool = True


# The events of an open connection set their fields through a dict. That takes a third of the time of a frozen
# dataclass, which sets each field with object.__setattr__().


@dataclass(frozen=True, init=False)
class CloseConnection(Event):
    """A Close frame, or the end of the connection without one; the receiver must answer (RFC 6455 §5.5.1).

    Attributes:
        code: The close code.
        reason: The reason, or None.
    """

    code: int
    reason: str | None = None

    def __init__(self, code: int, reason: str | None = None) -> None:
        fields = self.__dict__
        fields["code"] = code
        fields["reason"] = reason

    def response(self) -> CloseConnection:
        """Return the answer to send, unless this end has already sent a Close frame."""
        return CloseConnection(code=self.code, reason=self.reason)


@dataclass(frozen=True, init=False)
class Message(Event, Generic[T]):
    """A message or a part of one (RFC 6455 §5.6); parts are delivered as their bytes arrive.

    Attributes:
        data: The part.
        frame_finished: Whether a frame ends with it.
        message_finished: Whether the message ends with it.
    """

    data: T
    frame_finished: bool = True
    message_finished: bool = True

    def __init__(self, data: T, frame_finished: bool = True, message_finished: bool = True) -> None:
        fields = self.__dict__
        fields["data"] = data
        fields["frame_finished"] = frame_finished
        fields["message_finished"] = message_finished


@dataclass(frozen=True, init=False)
class TextMessage(Message[str]):
    """A part of a text message; a character is never split."""


@dataclass(frozen=True, init=False)
class BytesMessage(Message[bytearray | bytes]):
    """A part of a binary message."""


@dataclass(frozen=True, init=False)
class _Control(Event):
    payload: bytes = b""

    def __init__(self, payload: bytes = b"") -> None:
        self.__dict__["payload"] = payload


@dataclass(frozen=True, init=False)
class Ping(_Control):
    """A Ping (RFC 6455 §5.5.2); the receiver must answer.

    Attributes:
        payload: At most 125 bytes.
    """

    def response(self) -> Pong:
        """Return the answer to send."""
        return Pong(payload=self.payload)


@dataclass(frozen=True, init=False)
class Pong(_Control):
    """A Pong (RFC 6455 §5.5.3).

    Attributes:
        payload: At most 125 bytes.
    """
