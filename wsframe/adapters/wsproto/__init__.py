"""wsproto's API on wsframe's codec.

``import wsframe.adapters.wsproto as wsproto`` runs programs written for wsproto 1.3; the modules have the same names as
there. h11 parses HTTP, as in wsproto.
"""

from __future__ import annotations

from collections.abc import Generator

from wsframe.adapters.wsproto.connection import Connection, ConnectionState, ConnectionType
from wsframe.adapters.wsproto.events import Event
from wsframe.adapters.wsproto.handshake import H11Handshake
from wsframe.adapters.wsproto.typing import Headers

__all__ = ["ConnectionType", "WSConnection"]

__version__ = "1.3.2"
"""The release of wsproto whose API this is."""


class WSConnection:
    """A connection with its opening handshake: bytes in, events out; events in, bytes out.

    Args:
        connection_type: Which end this is.

    Attributes:
        client: Whether this end is the client.
        handshake: The opening handshake.
        connection: The open connection; None until the handshake is complete.
    """

    def __init__(self, connection_type: ConnectionType) -> None:
        self.client = connection_type is ConnectionType.CLIENT
        self.handshake = H11Handshake(connection_type)
        self.connection: Connection | None = None

    @property
    def state(self) -> ConnectionState:
        """The current state."""
        return self.handshake.state if self.connection is None else self.connection.state

    def initiate_upgrade_connection(self, headers: Headers, path: bytes | str) -> None:
        """See ``H11Handshake.initiate_upgrade_connection``."""
        self.handshake.initiate_upgrade_connection(headers, path)

    def send(self, event: Event) -> bytes:
        """See ``H11Handshake.send`` and ``Connection.send``."""
        if self.connection is not None:
            return self.connection.send(event)
        data = self.handshake.send(event)
        self.connection = self.handshake.connection
        return data

    def receive_data(self, data: bytes | None) -> None:
        """See ``H11Handshake.receive_data`` and ``Connection.receive_data``."""
        if self.connection is not None:
            self.connection.receive_data(data)
        else:
            self.handshake.receive_data(data)
            self.connection = self.handshake.connection

    def events(self) -> Generator[Event, None, None]:
        """See ``H11Handshake.events`` and ``Connection.events``."""
        yield from self.handshake.events()
        if self.connection is not None:
            yield from self.connection.events()
