"""Every bound on size, count and time, with the reason for its default."""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

from wsframe._checks import check_count, check_max_size, check_type

__all__ = [
    "ANSWER_GRACE_S",
    "CLOSE_TIMEOUT_S",
    "JOINED_BYTES",
    "LOGGED_BYTES",
    "MAX_LENGTH",
    "MAX_LENGTHS",
    "MAX_QUEUE",
    "MAX_SIZE",
    "OPEN_TIMEOUT_S",
    "PARSE_SIZE",
    "PING_INTERVAL_S",
    "PING_TIMEOUT_S",
    "QUIET_S",
    "READ_SIZE",
    "SENDS_IN_A_ROW",
    "WRITE_LIMIT",
    "Limits",
    "SendBufferPolicy",
]

MAX_LENGTH = 2**62
"""Upper bound on every limit, so that the sum of two lengths that passed a limit fits in 63 bits."""

OPEN_TIMEOUT_S = 10.0
"""Seconds for the opening handshake: several round trips on a slow mobile network, but little for an attacker."""

CLOSE_TIMEOUT_S = 10.0
"""Seconds for the closing handshake before the connection is cut, for the same reason."""

PING_INTERVAL_S = 20.0
"""Seconds between keepalive pings: below the 30 to 60 s after which proxies drop idle connections."""

PING_TIMEOUT_S = 20.0
"""Seconds to wait for data after a ping: by then, TCP has retransmitted a lost segment several times."""

ANSWER_GRACE_S = 1.0
"""Seconds that the application has to answer what came before a violation, before the connection fails: enough
for an answer that needs no waiting, and short for a peer that holds a connection open on purpose."""

QUIET_S = 0.25
"""Seconds without a byte after which a peer that was still sending refused data counts as done: several round trips,
and an acceptable delay for a peer that has violated the protocol."""

MAX_QUEUE = 16
"""Messages queued for the application before reading pauses: they keep a task busy while more arrive."""

WRITE_LIMIT = 2**15
"""Bytes in the write buffer above which sending pauses: more than a round trip's worth for most connections."""


READ_SIZE = 256 * 1024
"""Bytes of the read buffer shared by all connections of an event loop: most data arrives in one system call."""

PARSE_SIZE = 64 * 1024
"""Bytes of a read that are parsed at a time, before their messages are handed out: thousands of the smallest frames."""

JOINED_BYTES = 64 * 1024
"""Bytes above which joining messages into one write costs more in copying than it saves."""

SENDS_IN_A_ROW = 256
"""Messages that a task may send without waiting for anything, before other tasks get their turn."""

MAX_LENGTHS = 4096
"""Fragments of one message whose lengths are recorded."""

LOGGED_BYTES = 75
"""Characters of a payload that the frame log shows: with the other details, one line of a wide terminal."""

MAX_SIZE = 2**20
"""Bytes of a message: what comparable libraries allow; thousands of connections at the limit fit in memory."""

SendBufferPolicy: TypeAlias = Literal["wait", "drop", "close"]
"""What happens to a message for a peer that does not read; see ``Limits``."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on the memory and work that a peer can cause. Servers and clients take it as ``limits``.

    Attributes:
        max_message_size: Bytes of one message, over all its fragments; None for no limit. 1 MiB: what
            comparable libraries allow; thousands of connections at the limit fit in memory.
        max_fragment_size: Bytes of one data frame; None for no limit other than the message's.
        max_fragments: Fragments of one message; None for no limit. 1,048,576: fragments cost time but no memory
            of their own, so each byte of the largest message may have its own, but empty ones cannot go on forever.
        max_control_rate: Pings and pongs per second, sustained over several seconds; None for no limit. 10,000:
            each costs about as much as a small message and is worth less, and a keepalive sends one every many
            seconds.
        max_send_buffer: Bytes in the write buffer above which ``send_buffer_policy`` applies to further
            messages; None for no limit. 16 MiB: many times the level at which ``send`` waits anyway, so only
            ``broadcast``, many tasks that send at once, and callbacks reach it.
        send_buffer_policy: ``"wait"``: the coroutine ``send`` waits before it adds more; callers that cannot wait,
            ``broadcast`` and the callback ``send``, are refused with a BufferError, which ``broadcast`` logs;
            ``"drop"``: the message is silently dropped; ``"close"``: the connection fails with code 1008.
        max_head_size: Bytes of the head of a handshake message, including the start line. 32 KiB: several cookies
            of 4 KiB each, the size that browsers allow.
        max_headers: Header lines of a handshake message. 128: a browser behind two proxies sends about 30.
        max_body_size: Bytes of the body of an HTTP response that rejects the handshake; the rest is not
            read. 64 KiB: enough for any error page that a person would read.

    Raises:
        TypeError: If a number is not an int.
        ValueError: If a number is negative or above 2**62, or the policy is unknown.
    """

    max_message_size: int | None = MAX_SIZE
    max_fragment_size: int | None = None
    max_fragments: int | None = 2**20
    max_control_rate: int | None = 10_000
    max_send_buffer: int | None = 2**24
    send_buffer_policy: SendBufferPolicy = "wait"
    max_head_size: int = 32 * 1024
    max_headers: int = 128
    max_body_size: int = 64 * 1024

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name == "send_buffer_policy":
                if value not in ("wait", "drop", "close"):
                    raise ValueError(f"send_buffer_policy must be wait, drop or close, not {value!r}")
            elif value is None and field.name in ("max_head_size", "max_headers", "max_body_size"):
                raise ValueError(f"{field.name} must be a number, not None")
            else:
                check_count(field.name, value)

    @classmethod
    def checked(cls, limits: Limits | None) -> Limits:
        """Check the option ``limits`` and return it, or the defaults for None.

        Raises:
            TypeError: If it is anything else.
        """
        if limits is None:
            return cls()
        check_type("limits", limits, Limits, "a Limits or None")
        return limits

    @classmethod
    def for_max_size(cls, max_size: int | tuple[int | None, int | None] | None, limits: Limits | None = None) -> Limits:
        """Make limits from the options ``max_size`` and ``limits``.

        Args:
            max_size: Bytes of a message, or a pair for a message and a fragment. The default leaves ``limits``
                unchanged; any other value takes precedence over them.
            limits: The other limits; the defaults if None.

        Raises:
            TypeError: If ``limits`` is not a ``Limits`` or None, or a number is not an int.
            ValueError: If a number is negative or above 2**62.
        """
        limits = cls.checked(limits)
        check_max_size(max_size)
        if max_size == MAX_SIZE:
            return limits
        if not isinstance(max_size, tuple):
            max_size = max_size, None
        return dataclasses.replace(limits, max_message_size=max_size[0], max_fragment_size=max_size[1])
