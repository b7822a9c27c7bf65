"""What a connection has done, in numbers. Rank 0."""

from __future__ import annotations

import dataclasses

__all__ = ["Stats"]


@dataclasses.dataclass(frozen=True)
class Stats:
    """What a connection, or several together, have done up to some moment.

    Attributes:
        frames_received: Frames that came, control frames too.
        frames_sent: Frames that were sent, control frames too.
        messages_received: Messages that came, whole.
        messages_sent: Messages that were sent, or begun.
        bytes_received: Bytes of the frames that came, as they were on the wire.
        bytes_sent: Bytes of the frames that were sent.
        payload_bytes_received: Bytes of the messages that came, decompressed.
        payload_bytes_sent: Bytes of the messages that were sent, before compression.
        pings_sent: Pings that were sent, those of keepalive too.
        pongs_received: Pongs that came.
        latency: Round-trip time of the last ping that was answered, in seconds; 0 before. Of several
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

    def __add__(self, other: Stats) -> Stats:
        """Return what both have done together."""
        sums = {field.name: getattr(self, field.name) + getattr(other, field.name) for field in _FIELDS}
        return Stats(**(sums | {"latency": max(self.latency, other.latency)}))

    def ended(self) -> Stats:
        """Return what counts on when the connection is gone: nothing waits any more."""
        return dataclasses.replace(self, latency=0.0, queue_depth=0, buffered_bytes=0)


_FIELDS = dataclasses.fields(Stats)
