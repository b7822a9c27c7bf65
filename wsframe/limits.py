"""Every bound on size, count and time, with the reason for its default. Rank 0."""

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
"""No limit can be larger, so that sums of two lengths that passed one stay within 63 bits."""

OPEN_TIMEOUT_S = 10.0
"""Seconds for the opening handshake: several round trips of a slow mobile network, little for an attacker."""

CLOSE_TIMEOUT_S = 10.0
"""Seconds for the closing handshake, then the connection is cut: the same reason."""

PING_INTERVAL_S = 20.0
"""Seconds between keepalive pings: below the 30 to 60 s after which proxies drop silent connections."""

PING_TIMEOUT_S = 20.0
"""Seconds for a sign of life after a ping: TCP has by then sent a lost segment again several times."""

ANSWER_GRACE_S = 1.0
"""Seconds that the application has to answer what came before a violation, until the connection fails: longer
than an answer takes that needs no waiting, and short for someone who holds a connection open on purpose."""

QUIET_S = 0.25
"""Seconds without a byte after which a peer, in the midst of sending what was refused, counts as done: several round
trips, and a delay that nobody minds who has broken the protocol."""

MAX_QUEUE = 16
"""Messages that wait to be received before reading pauses: they keep a task busy while more arrive."""

WRITE_LIMIT = 2**15
"""Bytes in the write buffer above which sending pauses: more than a round trip's worth for most connections."""


READ_SIZE = 256 * 1024
"""Bytes of the read buffer that all connections of an event loop share: one system call for most of what arrives."""

PARSE_SIZE = 64 * 1024
"""Bytes of a read whose messages are handed out before more are parsed: of the smallest frames there are thousands."""

JOINED_BYTES = 64 * 1024
"""Bytes from which joining messages to one write saves less than copying them costs."""

SENDS_IN_A_ROW = 256
"""Messages that a task may send without waiting for anything, until others get their turn."""

MAX_LENGTHS = 4096
"""Fragments of one message whose lengths are remembered."""

LOGGED_BYTES = 75
"""Characters of a payload that the log of frames shows: with what else it tells, one line of a wide terminal."""

MAX_SIZE = 2**20
"""Bytes of a message: what the peers of this field allow, and thousands of connections at the limit fit into memory."""

SendBufferPolicy: TypeAlias = Literal["wait", "drop", "close"]
"""What becomes of a message for a peer that does not read; see ``Limits``."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Bounds on what a peer can make us hold and do. Servers and clients take it as ``limits``.

    Attributes:
        max_message_size: Bytes of one message, over all its fragments; None for no limit. 1 MiB: what the
            peers of this field allow, and thousands of connections at the limit fit into memory.
        max_fragment_size: Bytes of one data frame; None for no limit but the message's.
        max_fragments: Fragments of one message; None for no limit. 1,048,576: they cost time and no memory of
            their own, so there may be one for each byte of the largest message, but not empty ones for ever.
        max_control_rate: Pings and pongs in a second, for seconds on end; None for no limit. 10,000: each
            costs about as much as a small message and is worth less, and a keepalive sends one in many seconds.
        max_send_buffer: Bytes in the write buffer above which ``send_buffer_policy`` holds for further
            messages; None for no limit. 16 MiB: many times what ``send`` waits for anyway, so it is reached by
            ``broadcast``, by many tasks that send at once, and by callbacks.
        send_buffer_policy: ``"wait"``: ``send`` of coroutines waits before it adds more, and what cannot wait,
            ``broadcast`` and ``send`` of callbacks, is refused with a BufferError, which ``broadcast`` logs;
            ``"drop"``: the message is left out without a word; ``"close"``: the connection fails with code 1008.
        max_head_size: Bytes of the head of a handshake message, start line and all. 32 KiB: several cookies
            of the 4 KiB that browsers allow each.
        max_headers: Header lines of a handshake message. 128: a browser behind two proxies sends about 30.
        max_body_size: Bytes of the body of an HTTP response that refuses the handshake; the rest is not
            read. 64 KiB: enough for any error page that a person would read.

    Raises:
        TypeError: If a number is no int.
        ValueError: If a number is negative or above 2**62, or the policy is another one.
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
        """Return an option ``limits``, the defaults for None.

        Raises:
            TypeError: If it is something else.
        """
        if limits is None:
            return cls()
        check_type("limits", limits, Limits, "a Limits or None")
        return limits

    @classmethod
    def for_max_size(cls, max_size: int | tuple[int | None, int | None] | None, limits: Limits | None = None) -> Limits:
        """Make limits from the options ``max_size`` and ``limits``.

        Args:
            max_size: Bytes of a message, or of a message and of a fragment. Its default leaves ``limits`` as
                they are, and any other value has precedence over them.
            limits: The other limits; the defaults if None.

        Raises:
            TypeError: If ``limits`` is something else, or a number is no int.
            ValueError: If a number is negative or above 2**62.
        """
        limits = cls.checked(limits)
        check_max_size(max_size)
        if max_size == MAX_SIZE:
            return limits
        if not isinstance(max_size, tuple):
            max_size = max_size, None
        return dataclasses.replace(limits, max_message_size=max_size[0], max_fragment_size=max_size[1])
