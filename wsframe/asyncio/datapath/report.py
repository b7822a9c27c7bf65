"""Whether connections read and write their sockets directly, and if not, why.

The compiled streams do so where they recognize the event loop's transport, by its name and by private methods of
asyncio. A release that changes those makes connections slower; this log message is the only sign of it.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import Any

from wsframe.asyncio.datapath.stream import Stream

__all__ = ["describe_data_path", "log_data_path"]

_logged: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


def describe_data_path(stream: Stream) -> str:
    """Describe what reads and writes the socket of an open connection."""
    parts = [
        f"{verb} directly" if reason is None else f"{verb} through the transport ({reason})"
        for verb, reason in zip(("reads", "writes"), stream._why_not_direct(), strict=True)
    ]
    return ", ".join(parts)


def log_data_path(stream: Stream, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
    """Log a line for the first connection of an event loop."""
    if stream.loop not in _logged:
        _logged.add(stream.loop)
        logger.debug("data path of %s: %s", type(stream.loop).__name__, describe_data_path(stream))
