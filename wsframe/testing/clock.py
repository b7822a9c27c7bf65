"""A clock that a test advances."""

from __future__ import annotations

import asyncio
import dataclasses
import heapq
import itertools
from collections.abc import Callable

from wsframe._checks import check_seconds

__all__ = ["Clock", "settle"]

SETTLING_TURNS = 20
"""Iterations of the event loop in which the effects of a timer complete: a few exchanges between two ends."""


class Clock:
    """A clock that stands still until a test advances it.

    Args:
        now: The initial time, in seconds.

    Raises:
        TypeError: If ``now`` is not a number.
        ValueError: If ``now`` is negative or not finite.
    """

    def __init__(self, now: float = 0.0) -> None:
        check_seconds("now", now, optional=False)
        self._now = now
        self._timers: list[tuple[float, int, _Timer]] = []
        self._count = itertools.count()

    def time(self) -> float:
        """Return the current time, in seconds."""
        return self._now

    def call_later(self, delay: float, callback: Callable[..., object]) -> _Timer:
        """Call a function after that many seconds."""
        timer = _Timer(callback)
        heapq.heappush(self._timers, (self._now + delay, next(self._count), timer))
        return timer

    async def advance(self, seconds: float) -> None:
        """Advance the time: call due timers in order, and let the effects of each complete before the next.

        Args:
            seconds: How far to advance.

        Raises:
            TypeError: If ``seconds`` is not a number.
            ValueError: If ``seconds`` is negative or not finite.
        """
        check_seconds("seconds", seconds, optional=False)
        end = self._now + seconds
        await settle()
        while self._timers and self._timers[0][0] <= end:
            due, _, timer = heapq.heappop(self._timers)
            if timer.callback is not None:
                self._now = max(self._now, due)
                timer.callback()
                await settle()
        self._now = end


@dataclasses.dataclass
class _Timer:
    callback: Callable[..., object] | None

    def cancel(self) -> None:
        """Cancel the call."""
        self.callback = None


async def settle() -> None:
    """Let the event loop run all pending callbacks."""
    for _ in range(SETTLING_TURNS):
        await asyncio.sleep(0)
