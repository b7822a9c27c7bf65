"""Return memory that connections no longer need to the system, but not with every read.

glibc keeps freed memory that lies below anything still in use. A server whose thousand connections become idle would
therefore stay as large as when all of them were busy. ``malloc_trim`` returns those pages.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import sys
import weakref

__all__ = ["connection_closed", "read_moderately", "trim_soon"]

MODERATE_READ = 120 * 1024
"""Bytes that the C library can allocate without a system call: its threshold is 128 KiB or more."""

TRIM_DELAY_S = 2.0
"""Seconds from the first request until memory is returned: connections become idle or close many at a time."""

CLOSED_CONNECTIONS = 1000
"""Closed connections after which returning memory is worthwhile: about 5 MB."""

_closed = itertools.count(1)

_waiting: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def trim_soon(loop: asyncio.AbstractEventLoop) -> None:
    """Return freed memory after a delay, once for all requests until then, in a thread.

    Only glibc needs and supports this.

    Args:
        loop: The event loop that schedules it.
    """
    if sys.platform == "linux" and loop not in _waiting:
        _waiting.add(loop)
        loop.call_later(TRIM_DELAY_S, _trim_in_thread, loop)


def connection_closed(loop: asyncio.AbstractEventLoop) -> None:
    """Count a closed connection; after many of them, memory is returned to the system.

    Args:
        loop: The event loop that schedules it.
    """
    if next(_closed) % CLOSED_CONNECTIONS == 0:
        trim_soon(loop)


def read_moderately(transport: asyncio.BaseTransport) -> None:
    """Limit the read size of an asyncio transport that allocates new bytes for each read.

    By default, it allocates 256 KiB for each read. The C library may obtain that from the system and return it every
    time, which takes six times as long as reading a short message.
    """
    if getattr(transport, "max_size", 0) > MODERATE_READ:
        transport.max_size = MODERATE_READ  # type: ignore[attr-defined]


def _trim_in_thread(loop: asyncio.AbstractEventLoop) -> None:
    _waiting.discard(loop)
    # Takes some milliseconds for each 10 MB returned.
    loop.run_in_executor(None, _trim)


def _trim() -> None:
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
