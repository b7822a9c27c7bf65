"""An open connection, with wsproto's names (RFC 6455 §5 to §7)."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Generator

from wsframe.adapters.wsproto.events import (
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    TextMessage,
)
from wsframe.adapters.wsproto.extensions import Extension
from wsframe.adapters.wsproto.frame_protocol import FrameProtocol, close_reason
from wsframe.adapters.wsproto.utilities import LocalProtocolError
from wsframe.adapters.wsproto.wire import CloseReason, Opcode, ParseFailed

__all__ = ["CLIENT", "SERVER", "Connection", "ConnectionState", "ConnectionType"]


class ConnectionState(enum.Enum):
    """State of a connection (RFC 6455 §4.1, §7.1)."""

    CONNECTING = 0
    OPEN = 1
    REMOTE_CLOSING = 2
    LOCAL_CLOSING = 3
    CLOSED = 4
    REJECTING = 5


class ConnectionType(enum.Enum):
    """Which end of a connection this is."""

    CLIENT = 1
    SERVER = 2


CLIENT = ConnectionType.CLIENT
SERVER = ConnectionType.SERVER


class Connection:
    """A connection after the opening handshake: bytes in, events out; events in, bytes out.

    State           event                                           next
    OPEN            ``send`` of a CloseConnection                   LOCAL_CLOSING
    OPEN            ``events`` yields the peer's                    REMOTE_CLOSING
    LOCAL_CLOSING   ``events`` yields the peer's                    CLOSED
    REMOTE_CLOSING  ``send`` of a CloseConnection                   CLOSED
    any             ``receive_data(None)``: the transport is lost   CLOSED

    Nothing is answered automatically, neither a Ping nor a Close frame.

    Args:
        connection_type: Which end this is.
        extensions: Extensions; those that were not negotiated are ignored.
        trailing_data: Bytes received with the opening handshake.
    """

    def __init__(
        self,
        connection_type: ConnectionType,
        extensions: list[Extension] | None = None,
        trailing_data: bytes = b"",
    ) -> None:
        self.client = connection_type is ConnectionType.CLIENT
        self._events: deque[Event] = deque()
        self._proto = FrameProtocol(self.client, extensions or [])
        self._state = ConnectionState.OPEN
        self.receive_data(trailing_data)

    @property
    def state(self) -> ConnectionState:
        """The current state."""
        return self._state

    def send(self, event: Event) -> bytes:
        """Return the bytes to send to the peer for an event.

        Raises:
            LocalProtocolError: If the state does not allow it.
            TypeError: See ``FrameProtocol``.
            ValueError: See ``FrameProtocol``.
        """
        state = self._state
        if state is ConnectionState.OPEN:
            # Compare types first: wsproto's classes are abstract base classes, for which isinstance() is slow.
            if type(event) in (TextMessage, BytesMessage) or isinstance(event, Message):
                return bytes(self._proto.send_data(event.data, event.message_finished))  # type: ignore[attr-defined]
            if isinstance(event, Ping):
                return bytes(self._proto.ping(event.payload))
            if isinstance(event, Pong):
                return bytes(self._proto.pong(event.payload))
        is_open = state is ConnectionState.OPEN
        if isinstance(event, CloseConnection) and (is_open or state is ConnectionState.REMOTE_CLOSING):
            data = bytes(self._proto.close(event.code, event.reason))
            self._state = ConnectionState.LOCAL_CLOSING if is_open else ConnectionState.CLOSED
            return data
        raise LocalProtocolError(f"cannot send {event} in state {state.name}")

    def receive_data(self, data: bytes | None) -> None:
        """Receive the next bytes from the peer; ``events`` yields the resulting events.

        Args:
            data: The bytes; None for the end of the stream.

        Raises:
            LocalProtocolError: If the connection is closed.
        """
        state = self._state
        if data is None:
            # RFC 6455 §7.1.5: without a Close frame, the code is 1006.
            self._events.append(CloseConnection(CloseReason.ABNORMAL_CLOSURE))
            self._state = ConnectionState.CLOSED
        elif state is ConnectionState.OPEN or state is ConnectionState.LOCAL_CLOSING:
            self._proto.receive_bytes(data)
        elif state is ConnectionState.CLOSED:
            raise LocalProtocolError("the connection is closed")

    def events(self) -> Generator[Event, None, None]:
        """Yield the available events; those that the caller does not consume are yielded by the next call."""
        queue = self._events
        while queue:
            yield queue.popleft()
        next_piece = self._proto.next_piece
        try:
            while (piece := next_piece()) is not None:
                opcode, payload, frame_finished, message_finished = piece
                if opcode == Opcode.TEXT:
                    yield TextMessage(payload, frame_finished, message_finished)
                elif opcode == Opcode.BINARY:
                    yield BytesMessage(payload, frame_finished, message_finished)
                elif opcode == Opcode.PING:
                    yield Ping(payload)
                elif opcode == Opcode.PONG:
                    yield Pong(payload)
                else:
                    local = self._state is ConnectionState.LOCAL_CLOSING
                    self._state = ConnectionState.CLOSED if local else ConnectionState.REMOTE_CLOSING
                    yield CloseConnection(close_reason(payload[0]), payload[1])
        except ParseFailed as exc:
            yield CloseConnection(exc.code, str(exc))
