"""What applications read from a connection with I/O, and the connection without I/O answers."""

from __future__ import annotations

from typing import Any

from wsframe.exceptions import ConnectionClosed
from wsframe.messages.connection import SansIOConnection
from wsframe.messages.pings import Pings

__all__ = ["ClosedFacade", "Facade"]


class Facade:
    """Attributes of every connection with I/O.

    Attributes:
        protocol: The connection without I/O.
    """

    __slots__ = ()

    protocol: SansIOConnection
    _pings: Pings[Any]

    @property
    def latency(self) -> float:
        """Round-trip time of the last answered ping, in seconds; 0 before."""
        return self._pings.latency

    @property
    def subprotocol(self) -> str | None:
        """The negotiated subprotocol, or None."""
        return self.protocol.subprotocol

    @property
    def close_code(self) -> int | None:
        """The close code received, or 1006 if there was none; None until the connection is closed."""
        return self.protocol.close_code

    @property
    def close_reason(self) -> str | None:
        """The close reason received; None until the connection is closed."""
        return self.protocol.close_reason


class ClosedFacade(Facade):
    """The same, for connections that raise ``ConnectionClosed``."""

    __slots__ = ()

    # Why TCP ended.
    _lost_exc: BaseException | None

    @property
    def close_exc(self) -> ConnectionClosed:
        """The exception that describes how the connection ended.

        Raises:
            InvalidState: If the connection is not closed.
        """
        exc = self.protocol.close_exc
        if self._lost_exc is not None and exc.__cause__ is None:
            exc.__cause__ = self._lost_exc
        return exc
