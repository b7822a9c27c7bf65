"""One limit of time for many steps, locks that can be waited for within one, and what a fork leaves. Rank 5."""

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
    from typing_extensions import Buffer

__all__ = ["Deadline", "connect_tcp", "control_payload", "holding", "is_held", "leave_at_fork"]


class Deadline:
    """A point in time by which something must be done.

    Args:
        timeout: Seconds from now; None for no limit.
    """

    __slots__ = ("_end",)

    def __init__(self, timeout: float | None) -> None:
        self._end = None if timeout is None else time.monotonic() + timeout

    def timeout(self, *, raise_if_elapsed: bool = True) -> float | None:
        """Return the seconds that are left, None for no limit.

        Args:
            raise_if_elapsed: False to return 0 or less when none are.

        Raises:
            TimeoutError: If none are.
        """
        if self._end is None:
            return None
        left = self._end - time.monotonic()
        if raise_if_elapsed and left <= 0:
            raise TimeoutError("timed out")
        return left


def is_held(*locks: Any) -> bool:
    """Tell whether this thread holds one of these ``threading.RLock``.

    At the beginning of a call, that means that a signal handler, or a finalizer, has interrupted another call.
    """
    # What threading.Condition itself asks.
    return any(lock._is_owned() for lock in locks)


@contextlib.contextmanager
def holding(lock: threading.RLock, deadline: Deadline) -> Iterator[None]:
    """Hold a lock for the length of the block.

    Raises:
        TimeoutError: If another thread holds it for too long.
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

    ``socket.create_connection`` would give each of them all of the time. Here each gets its share of what is left.

    Args:
        address: Host and port.
        deadline: When to give up.
        kwargs: Passed on to ``socket.create_connection``; ``timeout`` and ``all_errors`` leave everything to it.

    Raises:
        OSError: If none answers: why the last one did not.
        TimeoutError: If it takes too long.
    """
    if not kwargs.keys().isdisjoint(("timeout", "all_errors")):
        return socket.create_connection(address, **{"timeout": deadline.timeout(), **kwargs})
    found = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)
    error = OSError(f"{address[0]} has no address")
    try:
        for number, (*_, name) in enumerate(found):
            # That of IPv6 has two numbers more, of which the second one is the scope.
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
        # It refers to this frame.
        del error


def control_payload(data: str | Buffer) -> bytes:
    """Return what a Ping or a Pong carries."""
    if isinstance(data, str):
        return data.encode()
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError("data must be str or bytes-like")


class Left(Protocol):
    """What belongs to one process."""

    def leave_to_parent(self) -> None:
        """In a process that was forked off, have nothing to do with it."""
        ...


# By identity: subclasses may compare as they like.
_left: weakref.WeakValueDictionary[int, Left] = weakref.WeakValueDictionary()


def leave_at_fork(left: Left) -> None:
    """Leave something to the parent whenever a process is forked off, as long as it lives."""
    _left[id(left)] = left


def _leave_all() -> None:
    for left in list(_left.values()):
        left.leave_to_parent()


# Windows has no fork.
getattr(os, "register_at_fork", lambda **_: None)(after_in_child=_leave_all)
