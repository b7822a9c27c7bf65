"""Keepalive: find out that the peer is gone when TCP does not tell (RFC 6455 §5.5.2). Rank 5.

A ping goes out every ``ping_interval`` seconds. Any byte that comes in counts as a sign of life, and so does
progress of what is being sent; a peer that we ourselves do not read from is given the benefit of the doubt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "Keepalive", "Pinged", "Timer"]


class Clock(Protocol):
    """What tells the time: an event loop, or something that a test controls."""

    def time(self) -> float:
        """Return the seconds since some moment."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], /) -> Timer:
        """Call a function when that many seconds have passed."""
        ...


class Timer(Protocol):
    """What ``call_later`` returns."""

    def cancel(self) -> None:
        """Do not call the function."""
        ...


class Pinged(Protocol):
    """What the timer needs to know of a connection.

    Attributes:
        alive: Whether anything came since the timer has looked.
    """

    alive: bool

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait in the write buffer."""
        ...

    @property
    def reading_paused(self) -> bool:
        """Whether we do not read from the peer at the moment."""
        ...

    def send_keepalive_ping(self) -> int:
        """Send a ping; return the bytes that wait in the write buffer."""
        ...

    def keepalive_timed_out(self) -> None:
        """Give up the peer."""
        ...


class Keepalive:
    """The keepalive timer of one connection.

    State    what happens                          next
    IDLE     ``ping_interval`` has passed: ping    PINGED
    PINGED   the Pong comes                        IDLE
    PINGED   ``ping_timeout`` has passed, but      IDLE
             there was another sign of life
    PINGED   ``ping_timeout`` has passed           the connection has timed out

    Args:
        connection: Whom to ping.
        interval: Seconds from one ping to the next.
        timeout: Seconds to wait for a sign of life behind a ping; None to wait for ever.
        clock: Tells the time; the event loop if None.
    """

    __slots__ = ("_backlog", "_clock", "_connection", "_handle", "_interval", "_pinged_at", "_timeout")

    def __init__(self, connection: Pinged, interval: float, timeout: float | None, clock: Clock | None = None) -> None:
        self._connection = connection
        self._clock = clock or asyncio.get_running_loop()
        self._interval = interval
        self._timeout = timeout
        self._pinged_at = 0.0
        # Bytes waiting to be sent when the ping was queued behind them.
        self._backlog = 0
        self._handle: Timer | None = self._clock.call_later(interval, self._ping)

    def stop(self) -> None:
        """Stop for good."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def pong_received(self) -> None:
        """Take note that the last ping was answered."""
        if self._handle is not None and self._pinged_at:
            self._rest()

    def _ping(self) -> None:
        self._pinged_at = self._clock.time()
        self._connection.alive = False
        self._backlog = self._connection.send_keepalive_ping()
        if self._timeout is None:
            self._handle = self._clock.call_later(self._interval, self._ping)
        else:
            self._handle = self._clock.call_later(self._timeout, self._check)

    def _check(self) -> None:
        backlog = self._connection.buffered_bytes
        if self._connection.alive or backlog < self._backlog or self._connection.reading_paused:
            self._rest()
        else:
            self._handle = None
            self._connection.keepalive_timed_out()

    def _rest(self) -> None:
        """Wait for the rest of the interval."""
        assert self._handle is not None
        self._handle.cancel()
        elapsed = self._clock.time() - self._pinged_at
        self._pinged_at = 0.0
        self._handle = self._clock.call_later(max(0.0, self._interval - elapsed), self._ping)
