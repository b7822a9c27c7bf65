"""A limit of time for a coroutine that loses neither a cancellation nor a result. Rank 5."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["within"]

T = TypeVar("T")


def _keep(result: object) -> None:
    """Discard nothing."""


async def within(seconds: float | None, coroutine: Coroutine[Any, Any, T], discard: Callable[[T], object] = _keep) -> T:
    """Run a coroutine, and cancel it once time has run out.

    It runs in a task of its own: the time limit cancels that task, others cancel the one that waits here, so neither
    can be mistaken for the other, however close together they come. ``asyncio.wait_for`` of Python 3.10 and 3.11
    returns the result of what has just completed to a task that is being cancelled, and ``asyncio.timeout`` needs 3.11.

    Args:
        seconds: How long it may take; None for no limit.
        coroutine: What to run.
        discard: Called with a result that nobody is left to take.

    Raises:
        TimeoutError: If it takes longer.
    """
    loop = asyncio.get_running_loop()
    task = loop.create_task(coroutine)
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = task.cancel()

    timer = None if seconds is None else loop.call_later(seconds, expire)
    try:
        await _wait_for_end(task)
    except BaseException:
        if not task.done():
            # Only the end of the event loop gets here: nothing can be awaited any more.
            task.cancel()
        elif not task.cancelled() and task.exception() is None:
            discard(task.result())
        raise
    finally:
        if timer is not None:
            timer.cancel()
    try:
        return task.result()
    except asyncio.CancelledError as exc:
        if expired:
            raise TimeoutError(f"timed out after {seconds} s") from exc
        raise


async def _wait_for_end(task: asyncio.Task[Any]) -> None:
    """Wait until a task is done; pass a cancellation on to it, and raise it once the task is done."""
    cancellation: asyncio.CancelledError | None = None
    try:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as exc:  # noqa: PERF203 - it may come at any turn
                cancellation = exc
                task.cancel()
        if cancellation is not None:
            raise cancellation
    finally:
        # It refers to this frame.
        del cancellation
