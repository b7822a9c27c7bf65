"""Counters of a connection."""

from __future__ import annotations

import dataclasses
import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsframe.messages.messenger import Messenger

__all__ = ["Stats"]


@dataclasses.dataclass(frozen=True)
class Stats:
    """A snapshot of the counters of one connection, or of several together.

    Attributes:
        frames_received: Frames received, including control frames.
        frames_sent: Frames sent, including control frames.
        messages_received: Complete messages received.
        messages_sent: Messages sent, or started.
        bytes_received: Bytes of the frames received, as on the wire.
        bytes_sent: Bytes of the frames sent.
        payload_bytes_received: Bytes of the messages received, after decompression.
        payload_bytes_sent: Bytes of the messages sent, before compression.
        pings_sent: Pings sent, including those of keepalive.
        pongs_received: Pongs received.
        latency: Round-trip time of the last answered ping, in seconds; 0 before. Of several
            connections, the longest.
        queue_depth: Messages that wait to be received.
        buffered_bytes: Bytes that wait in the write buffer.
    """

    frames_received: int = 0
    frames_sent: int = 0
    messages_received: int = 0
    messages_sent: int = 0
    bytes_received: int = 0
    bytes_sent: int = 0
    payload_bytes_received: int = 0
    payload_bytes_sent: int = 0
    pings_sent: int = 0
    pongs_received: int = 0
    latency: float = 0.0
    queue_depth: int = 0
    buffered_bytes: int = 0

    @classmethod
    def of(cls, messenger: Messenger, **others: Any) -> Stats:
        """Return the counters of a connection without I/O, and others."""
        return cls(**{name: getattr(messenger, name) for name in _COUNTED}, **others)

    def __add__(self, other: Stats) -> Stats:
        """Return the combined counters of both."""
        sums = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in _FIELDS}
        return Stats(**(sums | {"latency": max(self.latency, other.latency)}))

    def ended(self) -> Stats:
        """Return the counters of a closed connection, for which nothing waits any more."""
        return dataclasses.replace(self, latency=0.0, queue_depth=0, buffered_bytes=0)


_FIELDS = dataclasses.fields(Stats)
# What the connection without I/O counts: everything before pings.
_COUNTED = [field.name for field in itertools.takewhile(lambda field: field.name != "pings_sent", _FIELDS)]
