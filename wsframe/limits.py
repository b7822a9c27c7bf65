"""Every bound on size, count and time, with the reason for its default. Rank 0."""

from __future__ import annotations

import dataclasses

__all__ = ["CLOSE_TIMEOUT_S", "OPEN_TIMEOUT_S", "PING_INTERVAL_S", "PING_TIMEOUT_S", "Limits", "split_max_size"]

MAX_LENGTH = 2**62
"""No limit can be larger, so that sums of two lengths that passed one stay within 63 bits."""

OPEN_TIMEOUT_S = 10.0
"""Seconds for the opening handshake: several round trips of a slow mobile network, little for an attacker."""

CLOSE_TIMEOUT_S = 10.0
"""Seconds for the closing handshake, then the connection is cut: the same reason."""

PING_INTERVAL_S = 20.0
"""Seconds between keepalive pings: below the 30 to 60 s after which proxies drop silent connections."""

PING_TIMEOUT_S = 20.0
"""Seconds for a sign of life after a ping: TCP has by then sent a lost segment again several times."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on what a peer can make us hold.

    Attributes:
        max_message_size: Bytes of one message, over all its fragments; None for no limit. 1 MiB: what the
            peers of this field allow, and thousands of connections at the limit fit into memory.
        max_fragment_size: Bytes of one data frame; None for no limit but the message's.
        max_head_size: Bytes of the head of a handshake message, start line and all. 32 KiB: several cookies
            of the 4 KiB that browsers allow each.
        max_headers: Header lines of a handshake message. 128: a browser behind two proxies sends about 30.
        max_body_size: Bytes of the body of an HTTP response that refuses the handshake; the rest is not
            read. 64 KiB: enough for any error page that a person would read.
        max_queue: Messages that wait to be received before reading pauses; None for no limit. 16: enough
            to keep a task busy while the network delivers more.
    """

    max_message_size: int | None = 2**20
    max_fragment_size: int | None = None
    max_head_size: int = 32 * 1024
    max_headers: int = 128
    max_body_size: int = 64 * 1024
    max_queue: int | None = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is None:
                if name not in ("max_message_size", "max_fragment_size", "max_queue"):
                    raise ValueError(f"{name} must be a number")
            elif not 0 <= value <= MAX_LENGTH:
                raise ValueError(f"{name} must be between 0 and 2**62, not {value}")


def split_max_size(max_size: int | tuple[int | None, int | None] | None) -> tuple[int | None, int | None]:
    """Turn a ``max_size`` option into the limits on a message and on a fragment, in bytes."""
    if max_size is None or isinstance(max_size, int):
        return max_size, None
    max_message_size, max_fragment_size = max_size
    return max_message_size, max_fragment_size
