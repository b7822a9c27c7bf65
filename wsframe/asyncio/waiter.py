"""Wake a task at once, without a turn of the event loop in between. Rank 5.

A Future wakes its task through ``loop.call_soon``, which costs more than what most tasks do with a small message,
and on the stock event loop another poll of the sockets.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Generator
from typing import Any

__all__ = ["Waiter"]


class Waiter:
    """What one task waits for; compatible with ``asyncio.Future`` as far as tasks need it.

    ``wake`` resumes the task right there, in its own context, if no task is running. Otherwise, and if that
    context is the one that is running already, the task is resumed by the event loop in its next turn.

    Args:
        loop: The event loop of the task.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_callback",
        "_cancel_message",
        "_cancelled",
        "_context",
        "_done",
        "_entered",
        "_loop",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callback: Callable[[Waiter], object] | None = None
        self._context: contextvars.Context | None = None
        self._done = False
        self._cancelled = False
        self._cancel_message: Any = None
        self._entered = False
        # Tasks look for this attribute on what they are given to wait for.
        self._asyncio_future_blocking = False

    def __await__(self) -> Generator[Waiter, None, None]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        self.result()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop; a task checks that it is its own."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Waiter], object], *, context: contextvars.Context) -> None:
        """Take the one callback that resumes the task."""
        self._callback = callback
        self._context = context

    def result(self) -> None:
        """Return if the task was woken.

        Raises:
            CancelledError: If it was cancelled.
        """
        if self._cancelled:
            raise asyncio.CancelledError(*([] if self._cancel_message is None else [self._cancel_message]))

    def cancel(self, msg: Any = None) -> bool:
        """Have the task resumed with CancelledError; return whether it was still waiting."""
        if self._done:
            return False
        self._cancelled = True
        self._cancel_message = msg
        self.wake_soon()
        return True

    def wake_soon(self) -> None:
        """Resume the task in the next turn of the event loop."""
        if not self._done:
            self._done = True
            if self._callback is not None:
                self._loop.call_soon(self._callback, self, context=self._context)

    def wake(self) -> None:
        """Resume the task now if that can be, in the next turn of the event loop if not."""
        if self._done or self._callback is None or asyncio.current_task(self._loop) is not None:
            self.wake_soon()
            return
        assert self._context is not None
        self._done = True
        try:
            self._context.run(self._resume)
        except RuntimeError:
            if self._entered:
                raise
            # A context cannot be entered twice: we are running in the task's own.
            self._loop.call_soon(self._callback, self, context=self._context)

    def _resume(self) -> None:
        self._entered = True
        assert self._callback is not None
        self._callback(self)
