"""A single time limit for many steps, locks acquired within it, and handling of forks."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    pass

__all__ = ["Deadline", "connect_tcp", "holding", "is_held", "leave_at_fork"]


class Deadline:
    """A point in time by which an operation must be complete.

    Args:
        timeout: Seconds from now; None for no limit.
    """

    __slots__ = ("_end",)

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    def timeout(self, *, raise_if_elapsed: bool = True) -> float | None:
        """Return the seconds that are left; None for no limit.

        Args:
            raise_if_elapsed: False to return 0 or less when no time is left.

        Raises:
            TimeoutError: If no time is left.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if raise_if_elapsed and left <= 0:
            raise TimeoutError("timed out")
        return left


def is_held(*locks: Any) -> bool:
    """Return whether this thread holds one of these ``threading.RLock`` objects.

    At the beginning of a call, this means that a signal handler or a finalizer has interrupted another call.
    """
    # The method that threading.Condition itself uses.
    return any(lock._is_owned() for lock in locks)


@contextlib.contextmanager
def holding(lock: threading.RLock, deadline: Deadline) -> Iterator[None]:
    """Hold a lock for the duration of the block.

    Raises:
        TimeoutError: If another thread holds the lock for too long.
    """
    left = deadline.timeout(raise_if_elapsed=False)
    if not lock.acquire(timeout=-1 if left is None else max(0.0, min(left, threading.TIMEOUT_MAX))):
        raise TimeoutError("timed out")
    try:
        yield
    finally:
        lock.release()


def connect_tcp(address: tuple[str, int], deadline: Deadline, **kwargs: Any) -> socket.socket:
    """Connect to the first address of a host that answers.

    ``socket.create_connection`` would allow the whole timeout for each address. Here, each gets a share of the time
    left.

    Args:
        address: Host and port.
        deadline: The deadline for the whole operation.
        kwargs: Passed to ``socket.create_connection``; with ``timeout`` or ``all_errors``, it does all the work.

    Raises:
        OSError: If no address answers: the error of the last one.
        TimeoutError: If connecting takes too long.
    """
    if not kwargs.keys().isdisjoint(("timeout", "all_errors")):
        return socket.create_connection(address, **{"timeout": deadline.timeout(), **kwargs})
    found = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)
    error = OSError(f"{address[0]} has no address")
    try:
        for number, (*_, name) in enumerate(found):
            # An IPv6 address has two more numbers, of which the second is the scope.
            host, port, *more = name
            try:
                left = deadline.timeout()
                share = None if left is None else left / (len(found) - number)
                return socket.create_connection(
                    (f"{host}%{more[1]}" if any(more) else str(host), int(port)), share, **kwargs
                )
            except OSError as exc:
                error = exc
        raise error
    finally:
        # The exception refers to this frame.
        del error


class Left(Protocol):
    """An object that belongs to one process."""

    def leave_to_parent(self) -> None:
        """In a forked child, abandon the object."""
        ...


# Keyed by identity, since subclasses may define equality as they like.
_left: weakref.WeakValueDictionary[int, Left] = weakref.WeakValueDictionary()


def leave_at_fork(left: Left) -> None:
    """Leave an object to the parent whenever a process forks, for as long as the object lives."""
    _left[id(left)] = left


def _leave_all() -> None:
    for left in list(_left.values()):
        left.leave_to_parent()


# Windows has no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_leave_all)
