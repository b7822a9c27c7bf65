"""The end of one direction of a connection, with or without TLS."""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

from wsframe.asyncio.datapath.keepalive import Clock
from wsframe.limits import QUIET_S

__all__ = ["Ended", "end_writing"]

_READ_SIZE = 64 * 1024
# How often to see whether data has arrived: it leaves a mark, but not its time.
_CHECK_S = QUIET_S / 5


class Ended(Protocol):
    """The part of a connection that ``end_writing`` uses.

    Attributes:
        transport: Its transport.
        alive: Whether any data has arrived since it was last set to False.
    """

    transport: asyncio.Transport
    alive: bool


def end_writing(connection: Ended, clock: Clock, when_quiet: bool) -> None:
    """Send the end of the stream after what was written, with or without TLS, and keep reading.

    If the socket were closed at once, the kernel would answer the peer's next segment with a reset, which may destroy
    data that the peer has not read yet.

    Args:
        connection: The connection whose stream ends.
        clock: The clock for timers.
        when_quiet: Whether to wait until no more data arrives. Many peers close their end when they see ours. Among
            them are asyncio's transports, whose ``abort`` fails after that if there was data left to write.
    """
    if not when_quiet:
        _end_writing(connection.transport)
        return
    connection.alive = False
    quiet_since = clock.time()

    def end_if_quiet() -> None:
        nonlocal quiet_since
        if connection.transport.is_closing():
            return
        if connection.alive:
            connection.alive = False
            quiet_since = clock.time()
        if clock.time() - quiet_since >= QUIET_S:
            _end_writing(connection.transport)
        else:
            clock.call_later(_CHECK_S, end_if_quiet)

    clock.call_later(_CHECK_S, end_if_quiet)


def _end_writing(transport: asyncio.Transport) -> None:
    if not transport.can_write_eof():
        _end_tls(transport)
        return
    try:
        transport.write_eof()
    except (OSError, RuntimeError):
        # The peer has reset the connection, and its loss has not been reported yet. uvloop raises RuntimeError.
        transport.abort()


def _end_tls(transport: asyncio.Transport) -> None:
    """Send the alert that ends a TLS stream in one direction (RFC 8446 §6.1).

    Event loops offer only ``close``, which aborts the connection when more data arrives. The peer treats the alert as
    the end of the stream, and ends its own. A transport that does not expose its TLS object is closed the event loop's
    way.
    """
    tls = transport.get_extra_info("ssl_object")
    if not isinstance(tls, ssl.SSLObject):
        transport.close()
        return
    try:
        # Data that has already arrived must not be mistaken for an answer to the alert.
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
    """Make a transport write the pending output of its TLS layer."""
    # In Python 3.10, it does so when it receives data from the peer, which may be empty.
    receive = getattr(getattr(transport, "_ssl_protocol", None), "data_received", None)
    if receive is not None:
        receive(b"")
    else:
        # Other versions do so when they resume reading.
        transport.pause_reading()
        transport.resume_reading()
