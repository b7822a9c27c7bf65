"""Pings that wait for their Pongs (RFC 6455 §5.5.2, §5.5.3), and when to send one, without a clock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["KeepaliveSchedule", "Pings", "control_payload"]

W = TypeVar("W")


class Pings(Generic[W]):
    """The pings of a connection that are not answered yet, in order.

    Attributes:
        latency: Round-trip time of the last ping that was answered, in seconds; 0 before.
        sent: Pings sent so far.
    """

    __slots__ = ("_waiting", "latency", "sent")

    def __init__(self) -> None:
        self.latency = 0.0
        self.sent = 0
        # By payload, who waits for the Pong, if anybody, and when the ping was sent.
        self._waiting: dict[bytes, tuple[W | None, float]] = {}

    def __contains__(self, payload: object) -> bool:
        return payload in self._waiting

    def __len__(self) -> int:
        return len(self._waiting)

    def new_payload(self) -> bytes:
        """Return 4 random bytes that no unanswered ping carries."""
        payload = os.urandom(4)
        while payload in self._waiting:
            payload = os.urandom(4)
        return payload

    def add(self, payload: bytes, waiter: W | None, now: float) -> None:
        """Record a ping that was sent."""
        self.sent += 1
        self._waiting[payload] = waiter, now

    def drop_unawaited(self) -> None:
        """Forget pings that nobody waits for: of the connection's own pings, only the last one matters."""
        self._waiting = {payload: ping for payload, ping in self._waiting.items() if ping[0] is not None}

    def acknowledge(self, payload: bytes, now: float) -> list[tuple[W, float]] | None:
        """Record a Pong, which answers its Ping and all before it (RFC 6455 §5.5.3).

        Returns:
            Who waited for them, each with the round-trip time in seconds; None if no Ping carried that payload.
        """
        if payload not in self._waiting:
            return None
        answered = []
        sent = None
        while sent != payload:
            sent = next(iter(self._waiting))
            waiter, sent_at = self._waiting.pop(sent)
            self.latency = now - sent_at
            if waiter is not None:
                answered.append((waiter, self.latency))
        return answered

    def clear(self) -> list[W]:
        """Forget all pings; return who waited for them."""
        waiters = [waiter for waiter, _ in self._waiting.values() if waiter is not None]
        self._waiting.clear()
        return waiters


class KeepaliveSchedule:
    """When to ping the peer, and when to drop it, for a caller with a clock.

    State    what happens                          next
    IDLE     ``ping_interval`` has passed: ping    PINGED
    PINGED   the Pong comes                        IDLE
    PINGED   ``ping_timeout`` has passed, but      IDLE
             there was another sign of life
    PINGED   ``ping_timeout`` has passed           the connection has timed out

    Args:
        interval: Seconds from one ping to the next.
        timeout: Seconds to wait for a sign of life after a ping; None to wait for ever.
        now: The time.

    Attributes:
        due: When something is to be done: a ping if ``ping_is_due``, otherwise ``check``. None after a timeout.
        backlog: Bytes that were waiting to be sent when the ping was queued after them.
    """

    __slots__ = ("_interval", "_pinged_at", "_timeout", "backlog", "due")

    def __init__(self, interval: float, timeout: float | None, now: float) -> None:
        self.due: float | None = now + interval
        self.backlog = 0
        self._interval = interval
        self._timeout = timeout
        self._pinged_at: float | None = None

    @property
    def ping_is_due(self) -> bool:
        """Whether ``due`` is the time of the next ping."""
        return self._pinged_at is None or self._timeout is None

    def ping(self, now: float) -> None:
        """Record that a ping is being sent."""
        self._pinged_at = now
        self.due = now + (self._interval if self._timeout is None else self._timeout)

    def pong_received(self) -> bool:
        """Record that the last ping was answered; return whether ``due`` has changed."""
        if self._pinged_at is None:
            return False
        self._rest()
        return True

    def check(self, alive: bool, backlog: int, reading_paused: bool) -> bool:
        """Return whether the peer is there, after ``ping_timeout``.

        Args:
            alive: Whether any byte has come since the ping.
            backlog: Bytes that wait to be sent: fewer than before is a sign of life, too.
            reading_paused: Whether we do not read, so that there can be no sign of life.
        """
        if alive or backlog < self.backlog or reading_paused:
            self._rest()
            return True
        self.due = None
        return False

    def _rest(self) -> None:
        """Wait for the rest of the interval."""
        assert self._pinged_at is not None
        self.due = self._pinged_at + self._interval
        self._pinged_at = None


def control_payload(data: str | Buffer) -> bytes:
    """Return the payload of a Ping or a Pong."""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError("data must be str or bytes-like")
