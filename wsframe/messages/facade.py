"""What applications read from a connection with I/O, and the connection without I/O answers."""

from __future__ import annotations

import logging
import weakref
from typing import TYPE_CHECKING, Any

from wsframe.exceptions import ConnectionClosed
from wsframe.messages.connection import SansIOConnection
from wsframe.messages.pings import Pings
from wsframe.typing import LoggerLike

if TYPE_CHECKING:
    from typing_extensions import Buffer

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

    # Empty; with a literal, type checkers would look for the attributes.
    __slots__: frozenset[str] = frozenset()

    logger: LoggerLike
    # Why TCP ended.
    _lost_exc: BaseException | None

    def log_to(self, logger: LoggerLike) -> None:
        """Log to another logger; records carry the connection as ``websocket``."""
        self.logger = logging.LoggerAdapter(logger, {"websocket": weakref.proxy(self)})

    def _put_fragment(self, data: str | Buffer, text: bool | None, fin: bool, compress: bool | None) -> None:
        """Send a message or its first fragment."""
        if text if text is not None else isinstance(data, str):
            self.protocol.send_text(data, fin, compress)
        else:
            self.protocol.send_binary(data.encode() if isinstance(data, str) else data, fin, compress)

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
