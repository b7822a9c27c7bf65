"""What TLS needs to know about our time limits, and the end of one direction of a connection. Rank 5."""

from __future__ import annotations

import asyncio
import ssl
import sys
from typing import Any, Protocol

from wsframe.asyncio.keepalive import Clock
from wsframe.limits import QUIET_S

__all__ = ["Ended", "end_writing", "tls_timeouts"]

_READ_SIZE = 64 * 1024


def tls_timeouts(
    options: dict[str, Any], open_timeout: float | None, close_timeout: float | None
) -> dict[str, float | None]:
    """Let the limits of the handshakes hold for those of TLS too, unless ``options`` says otherwise.

    Args:
        options: Keyword arguments for ``loop.create_server`` or ``loop.create_connection``.
        open_timeout: Seconds for the opening handshake.
        close_timeout: Seconds for the closing handshake.

    Returns:
        Keyword arguments to add.
    """
    timeouts = {"ssl_handshake_timeout": open_timeout}
    timeouts |= {"ssl_shutdown_timeout": close_timeout} if sys.version_info >= (3, 11) else {}
    # None would stand for asyncio's own default there, just as leaving them out does.
    return {name: value for name, value in timeouts.items() if value is not None and name not in options}


class Ended(Protocol):
    """What ``end_writing`` needs to know of a connection.

    Attributes:
        transport: Its transport.
        alive: Whether anything came since it was last set to False.
    """

    transport: asyncio.Transport
    alive: bool


def end_writing(connection: Ended, clock: Clock, when_quiet: bool) -> None:
    """Send the end of the stream behind what was written, with TLS or without, and go on reading.

    Closing the socket at once would make the kernel answer the peer's next segment with a reset, which may destroy
    what the peer has not read yet.

    Args:
        connection: Whose stream it is.
        clock: What timers run by.
        when_quiet: Whether to wait until nothing comes any more. Many peers close their end when they see ours,
            asyncio's transports among them, whose ``abort`` fails after that when there was something left to write.
    """
    if not when_quiet:
        _end_writing(connection.transport)
        return
    connection.alive = False

    def end_if_quiet() -> None:
        if not connection.transport.is_closing():
            end_writing(connection, clock, connection.alive)

    clock.call_later(QUIET_S, end_if_quiet)


def _end_writing(transport: asyncio.Transport) -> None:
    if not transport.can_write_eof():
        _end_tls(transport)
        return
    try:
        transport.write_eof()
    except (OSError, RuntimeError):
        # The peer has reset the connection, and its end has not been reported yet. uvloop raises RuntimeError.
        transport.abort()


def _end_tls(transport: asyncio.Transport) -> None:
    """Send the alert that ends a TLS stream in one direction (RFC 8446 §6.1).

    Event loops have no way to do that. What they have, ``close``, gives the connection up when more data comes. The
    peer takes the alert for the end of the stream, and ends its own. A transport that hides its TLS is closed in the
    event loop's way.
    """
    tls = transport.get_extra_info("ssl_object")
    if not isinstance(tls, ssl.SSLObject):
        transport.close()
        return
    try:
        # What has come already must not be taken for an answer to the alert.
        while tls.read(_READ_SIZE):
            pass
    except ssl.SSLWantReadError:
        pass
    except ssl.SSLError:
        transport.abort()
        return
    else:
        # The peer has ended its stream.
        transport.close()
        return
    try:
        tls.unwrap()
    except ssl.SSLWantReadError:
        _write_alert(transport)
    except ssl.SSLError:
        transport.abort()
    else:
        transport.close()


def _write_alert(transport: asyncio.Transport) -> None:
    """Have a transport write what its TLS has to send."""
    # That of Python 3.10 does so when it is handed what came from the peer, which may be nothing.
    receive = getattr(getattr(transport, "_ssl_protocol", None), "data_received", None)
    if receive is not None:
        receive(b"")
    else:
        # Others do so when they resume reading.
        transport.pause_reading()
        transport.resume_reading()
