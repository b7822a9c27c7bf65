"""Give memory back to the system that connections do not need any more, but not with every read. Rank 5.

glibc keeps what is freed below anything still in use, so a server whose thousand connections fall idle would stay as
large as it was when all of them were busy. ``malloc_trim`` gives those pages back.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import sys
import weakref

__all__ = ["connection_closed", "read_moderately", "trim_soon"]

MODERATE_READ = 120 * 1024
"""Bytes for which the C library need not ask the system: its limit is 128 KiB, or more."""

TRIM_DELAY_S = 2.0
"""Seconds from the first request until memory is given back: connections fall idle, or close, many at a time."""

CLOSED_CONNECTIONS = 1000
"""Connections whose end is worth giving memory back for: some 5 MB."""

_closed = itertools.count(1)

_waiting: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def trim_soon(loop: asyncio.AbstractEventLoop) -> None:
    """Give freed memory back before long, once for all requests until then, in a thread; only glibc can and must.

    Args:
        loop: The event loop that tells when it is time.
    """
    if sys.platform == "linux" and loop not in _waiting:
        _waiting.add(loop)
        loop.call_later(TRIM_DELAY_S, _trim_in_thread, loop)


def connection_closed(loop: asyncio.AbstractEventLoop) -> None:
    """Take note that a connection is gone: after many of them, memory is given back.

    Args:
        loop: The event loop that tells when it is time.
    """
    if next(_closed) % CLOSED_CONNECTIONS == 0:
        trim_soon(loop)


def read_moderately(transport: asyncio.BaseTransport) -> None:
    """Have a transport of asyncio that makes new bytes of each read ask for no more than it gets cheaply.

    It allocates 256 KiB for each, which the C library may get from the system and give back every time; that takes six
    times as long as to read a short message.
    """
    if getattr(transport, "max_size", 0) > MODERATE_READ:
        transport.max_size = MODERATE_READ  # type: ignore[attr-defined]


def _trim_in_thread(loop: asyncio.AbstractEventLoop) -> None:
    _waiting.discard(loop)
    # Some milliseconds for each 10 MB that is given back.
    loop.run_in_executor(None, _trim)


def _trim() -> None:
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
