"""Time limits: for a coroutine, without losing a cancellation or a result, and for TLS."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

__all__ = ["tls_timeouts", "within"]

T = TypeVar("T")


def _keep(result: object) -> None:
    """Discard nothing."""


async def within(seconds: float | None, coroutine: Coroutine[Any, Any, T], discard: Callable[[T], object] = _keep) -> T:
    """Run a coroutine, and cancel it when time runs out.

    The coroutine runs in a task of its own. The time limit cancels that task; other code cancels the task that waits
    here. The two cannot be confused, however close together they happen. ``asyncio.wait_for`` in Python 3.10 and 3.11
    returns the result of a coroutine that has just completed to a task that is being cancelled, and
    ``asyncio.timeout`` requires Python 3.11.

    Args:
        seconds: How long the coroutine may take; None for no limit.
        coroutine: The coroutine to run.
        discard: Called with a result that no caller is left to receive.

    Raises:
        TimeoutError: If the coroutine takes longer.
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
            # Reached only when the event loop ends: nothing can be awaited any more.
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
    """Wait until a task is done; forward a cancellation to it, and raise that once the task is done."""
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
        # The exception refers to this frame.
        del cancellation


def tls_timeouts(
    options: dict[str, Any], open_timeout: float | None, close_timeout: float | None
) -> dict[str, float | None]:
    """Apply the time limits of the handshakes to those of TLS too, unless ``options`` sets them.

    Args:
        options: Keyword arguments for ``loop.create_server`` or ``loop.create_connection``.
        open_timeout: Seconds allowed for the opening handshake.
        close_timeout: Seconds allowed for the closing handshake.

    Returns:
        Keyword arguments to add.
    """
    timeouts = {"ssl_handshake_timeout": open_timeout}
    timeouts |= {"ssl_shutdown_timeout": close_timeout} if sys.version_info >= (3, 11) else {}
    # For asyncio, None means its own default, as does leaving them out.
    return {name: value for name, value in timeouts.items() if value is not None and name not in options}
