"""Keepalive: detect that the peer is gone when TCP does not report it (RFC 6455 §5.5.2).

A ping is sent every ``ping_interval`` seconds. Any byte received counts as a sign of life, and so does progress in
sending. While we do not read from the peer, it is assumed to be alive.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from wsframe.messages.pings import KeepaliveSchedule

__all__ = ["Clock", "Keepalive", "Pinged", "Timer"]


class Clock(Protocol):
    """A source of time: an event loop, or a clock that a test controls."""

    def time(self) -> float:
        """Return the seconds since an arbitrary moment."""
        ...

    def call_later(self, delay: float, callback: Callable[..., object], /) -> Timer:
        """Call a function after that many seconds."""
        ...


class Timer(Protocol):
    """The handle that ``call_later`` returns."""

    def cancel(self) -> None:
        """Cancel the call."""
        ...


class Pinged(Protocol):
    """The part of a connection that the timer uses.

    Attributes:
        alive: Whether any data has arrived since the timer last checked.
    """

    alive: bool

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes waiting in the write buffer."""
        ...

    @property
    def reading_paused(self) -> bool:
        """Whether reading from the peer is currently paused."""
        ...

    def send_keepalive_ping(self) -> int:
        """Send a ping; return the number of bytes waiting in the write buffer."""
        ...

    def keepalive_timed_out(self) -> None:
        """Fail the connection."""
        ...


class Keepalive(KeepaliveSchedule):
    """The keepalive timer of one connection.

    Args:
        connection: The connection to ping.
        interval: Seconds from one ping to the next.
        timeout: Seconds to wait for a sign of life after a ping; None for no limit.
        clock: The clock for timers; the event loop if None.
    """

    __slots__ = ("_clock", "_connection", "_handle")

    def __init__(self, connection: Pinged, interval: float, timeout: float | None, clock: Clock | None = None) -> None:
        self._connection = connection
        self._clock = clock or asyncio.get_running_loop()
        super().__init__(interval, timeout, self._clock.time())
        self._handle: Timer | None = self._clock.call_later(interval, self._step)

    def stop(self) -> None:
        """Stop the timer for good."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def pong_received(self) -> bool:
        if self._handle is None or not super().pong_received():
            return False
        self._schedule()
        return True

    def _step(self) -> None:
        connection = self._connection
        if self.ping_is_due:
            connection.alive = False
            self.ping(self._clock.time())
            self.backlog = connection.send_keepalive_ping()
        elif not self.check(connection.alive, connection.buffered_bytes, connection.reading_paused):
            self._handle = None
            connection.keepalive_timed_out()
            return
        # Sending may have ended the connection.
        if self._handle is not None:
            self._schedule()

    def _schedule(self) -> None:
        assert self._handle is not None
        assert self.due is not None
        self._handle.cancel()
        self._handle = self._clock.call_later(max(0.0, self.due - self._clock.time()), self._step)
