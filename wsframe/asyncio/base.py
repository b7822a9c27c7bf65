"""The asyncio side that callbacks and coroutines share: reads, writes, timers and the end of TCP. Rank 5."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any, cast

from wsframe.asyncio.data_path import log_data_path
from wsframe.asyncio.keepalive import Clock, Keepalive, Timer
from wsframe.asyncio.memory import connection_closed, trim_soon
from wsframe.asyncio.stream import Stream
from wsframe.asyncio.tls import end_writing
from wsframe.constants import CloseCode, Role, State
from wsframe.events import CloseReceived, Event, Failed, PingReceived, PongReceived
from wsframe.frame_log import describe_frame
from wsframe.framing import Frame
from wsframe.handshake import ClientHandshake, ServerHandshake
from wsframe.http11 import Request, Response
from wsframe.limits import ANSWER_GRACE_S
from wsframe.stats import Stats

__all__ = ["SLOTS", "BaseProtocol"]

SLOTS = (
    "__dict__",
    "__weakref__",
    "_addresses",
    "_clock",
    "_control_frames",
    "_control_frames_since",
    "_keepalive",
    "_pings",
    "_pings_sent",
    "_pongs_received",
    "_timer",
    "_write_low",
    "_writing_ended",
    "close_timeout",
    "latency",
    "logger",
    "open_timeout",
    "ping_interval",
    "ping_timeout",
    "request",
    "response",
    "was_open",
)
"""Attributes of ``BaseProtocol``, as slots of the classes that mix it in, since only one base of a class may have any.

While nobody has set an attribute of their own, there is no ``__dict__``, and CPython finds methods in fewer steps.
"""


class BaseProtocol(Stream, asyncio.BufferedProtocol):
    """One TCP connection that carries a WebSocket connection.

    Subclasses implement the ``_on_`` methods. They mix in ``CallbackStream`` or ``QueueStream`` before this class, and
    initialize it before they initialize this one.

    Args:
        open_timeout: Seconds for the opening handshake; None for no limit.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds to wait for a sign of life behind one; None for no limit.
        close_timeout: Seconds for the closing handshake, then TCP is cut; None for no limit.
        write_low: Bytes in the write buffer below which sending resumes; None for a quarter of those above which it
            pauses.
        logger: Where to log to.

    Attributes:
        protocol: The connection without I/O.
        transport: The transport, once there is one.
        was_open: Whether the opening handshake succeeded.
        request: The handshake request, or None before it is there.
        response: The handshake response, or None before it is there.
        reading_paused: Whether we do not read from the peer at the moment.
        latency: Round-trip time of the last ping that was answered, in seconds; 0 before.
        clock: What timers run by: the event loop, unless it is set before there is a transport.
    """

    # None; but in a literal, type checkers would look for the attributes.
    __slots__: frozenset[str] = frozenset()

    clock: Clock | None = None

    def __init__(
        self,
        *,
        open_timeout: float | None,
        ping_interval: float | None,
        ping_timeout: float | None,
        close_timeout: float | None,
        write_low: int | None,
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.logger = logger
        self.open_timeout = open_timeout
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.close_timeout = close_timeout
        self.was_open = False
        self.request: Request | None = None
        self.response: Response | None = None
        self.latency = 0.0
        self._write_low = write_low
        # Whether the peer has been sent the end of the stream.
        self._writing_ended = False
        # Limits the opening handshake, then the answers before a failure, then the closing handshake.
        self._timer: Timer | None = None
        self._keepalive: Keepalive | None = None
        # Payloads of the pings that are not answered yet, in order, with the time and who waits for the pong.
        self._pings: dict[bytes, tuple[asyncio.Future[float] | None, float]] = {}
        # Pings and pongs that came, and since when they are counted.
        self._control_frames = 0
        self._control_frames_since = 0.0
        self._pings_sent = 0
        self._pongs_received = 0
        # Kept, since a TLS transport forgets them when it is closed.
        self._addresses: tuple[Any, Any] | None = None

    # What subclasses implement

    def _on_connected(self) -> None:
        """The TCP connection is there."""

    def _on_ping(self, payload: bytes) -> None:
        """A Ping came; it is answered already."""

    def _on_pong(self, payload: bytes) -> None:
        """A Pong came."""

    def _on_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone, and the state CLOSED."""

    # What people look at

    @property
    def local_address(self) -> Any:
        """The address of this end, as ``socket.getsockname`` returns it."""
        return self.transport.get_extra_info("sockname") if self._addresses is None else self._addresses[0]

    @property
    def remote_address(self) -> Any:
        """The address of the peer, as ``socket.getpeername`` returns it."""
        return self.transport.get_extra_info("peername") if self._addresses is None else self._addresses[1]

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol agreed on, or None."""
        return self.protocol.subprotocol

    @property
    def close_code(self) -> int | None:
        """The close code received, 1006 if none was; None until the connection is closed."""
        return self.protocol.close_code

    @property
    def close_reason(self) -> str | None:
        """The close reason received; None until the connection is closed."""
        return self.protocol.close_reason

    @property
    def stats(self) -> Stats:
        """What the connection has done so far."""
        protocol = self.protocol
        return Stats(
            frames_received=protocol.frames_received,
            frames_sent=protocol.frames_sent,
            messages_received=protocol.messages_received,
            messages_sent=protocol.messages_sent,
            bytes_received=protocol.bytes_received,
            bytes_sent=protocol.bytes_sent,
            payload_bytes_received=protocol.payload_bytes_received,
            payload_bytes_sent=protocol.payload_bytes_sent,
            pings_sent=self._pings_sent,
            pongs_received=self._pongs_received,
            latency=self.latency,
            queue_depth=self.queue_depth,
            buffered_bytes=self.buffered_bytes,
        )

    @property
    def queue_depth(self) -> int:
        """Messages that wait to be received; there are none where callbacks take them."""
        return 0

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait in the write buffer."""
        try:
            return self.transport.get_write_buffer_size()
        except AttributeError:
            # asyncio's TLS transport forgets its buffer when it is closed for the second time.
            return 0

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._attach(cast("asyncio.Transport", transport), asyncio.get_running_loop())
        self.transport.set_write_buffer_limits(self._write_high, self._write_low)
        self._clock: Clock = self.clock or self.loop
        if transport.get_extra_info("sslcontext") is not None:
            self._addresses = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._control_frames_since = self._clock.time()
        self._set_timer(self.open_timeout, self._open_timed_out)
        self._on_connected()

    def connection_lost(self, exc: Exception | None) -> None:
        self._detach()
        self._set_timer(None)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
            trim_soon(self.loop)
        connection_closed(self.loop)
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None
        self._ending = True
        # asyncio's TLS transport in Python 3.10 warns about being unclosed, though its connection is gone.
        self.transport.close()
        self.protocol.receive_eof()
        self.protocol.frame_log = None
        self._on_lost(exc)
        for waiter, _ in self._pings.values():
            if waiter is not None and not waiter.done():
                waiter.set_exception(self.protocol.close_exc)
                # Nobody may be waiting for this pong; then the exception is nobody's business either.
                waiter.exception()
        self._pings.clear()

    def pause_writing(self) -> None:
        self._write_paused = True
        # The peer does not read: one Pong is enough when it does again (RFC 6455 §5.5.3).
        self.protocol.hold_pongs = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self.protocol.hold_pongs = False
        self._flush()

    # Reading

    def _opened(self, handshake: ServerHandshake | ClientHandshake) -> None:
        """The opening handshake is done."""
        self._set_timer(None)
        self.was_open = True
        self.protocol.open(handshake.subprotocol, handshake.extensions)
        if self.logger.isEnabledFor(logging.DEBUG):
            log_data_path(self, self.logger)
            self.protocol.frame_log = self._log_frame
        self._has_idle_timeout = any(extension.idle_timeout is not None for extension in handshake.extensions)
        assert self.request is not None
        assert self.response is not None
        for head in (self.request, self.response):
            head.headers.forget_index()
        self._take_reads()
        if self.ping_interval is not None:
            self._keepalive = Keepalive(self, self.ping_interval, self.ping_timeout, self._clock)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, (PingReceived, PongReceived)):
            self._count_control_frame()
        if isinstance(event, PingReceived):
            # A subclass may handle pause_writing in its own way; Pongs must not pile up all the same.
            if self.buffered_bytes > self._write_high:
                self.protocol.hold_pongs = True
            self._on_ping(event.payload)
        elif isinstance(event, PongReceived):
            self._pongs_received += 1
            self._acknowledge(event.payload)
            self._on_pong(event.payload)
        elif isinstance(event, Failed):
            fault = event.fault
            self.logger.info("connection failed: %s (%s)", fault.text, fault.section)
        else:
            assert isinstance(event, CloseReceived)
            self.logger.debug("received %s", event.close)

    def _log_frame(self, direction: str, frame: Frame) -> None:
        self.logger.debug("%s %s", direction, describe_frame(frame))

    def _count_control_frame(self) -> None:
        """Give up a peer that sends pings and pongs as if they were the purpose of the connection."""
        limit = self.protocol.limits.max_control_rate
        self._control_frames += 1
        if limit is None or self._control_frames <= limit:
            return
        now = self._clock.time()
        if now - self._control_frames_since < 1 and self.protocol.state is State.OPEN:
            self.logger.info("connection failed: more than %d control frames in a second", limit)
            self.protocol.fail(CloseCode.POLICY_VIOLATION, "too many control frames")
        self._control_frames = 0
        self._control_frames_since = now

    def _admit(self) -> bool:
        """Tell whether one more message may wait for a peer that does not read.

        Raises:
            BufferError: If there is no room, and the policy is to wait, which the caller cannot.
        """
        limits = self.protocol.limits
        if limits.max_send_buffer is None or self.buffered_bytes <= limits.max_send_buffer:
            return True
        if limits.send_buffer_policy == "wait":
            raise BufferError(f"more than {limits.max_send_buffer} bytes are waiting to be sent")
        if limits.send_buffer_policy == "close" and self.protocol.state is State.OPEN:
            self.logger.info("connection failed: more than %d bytes are waiting to be sent", limits.max_send_buffer)
            self.protocol.fail(CloseCode.POLICY_VIOLATION, "the peer does not read")
            self._flush()
        return False

    def _hold_failure(self) -> None:
        self.protocol.hold_failure = True
        grace = ANSWER_GRACE_S if self.close_timeout is None else min(ANSWER_GRACE_S, self.close_timeout)
        self._set_timer(grace, self._release_failure)

    def _application_failed(self) -> None:
        """An exception came out of the application, which cannot be raised anywhere."""
        self.logger.exception("the application failed to handle an event")
        if self.protocol.state is State.OPEN:
            self.protocol.fail(CloseCode.INTERNAL_ERROR)
            self._flush()

    def _release_failure(self) -> None:
        """Tell the peer of its violation now: everything before it has been answered."""
        if self.protocol.hold_failure:
            self.protocol.hold_failure = False
            self._flush()

    # Pings

    def send_keepalive_ping(self) -> int:
        """Send a ping of our own; return the bytes that wait in the write buffer."""
        if self.protocol.state is State.OPEN and not self._ending:
            # Of these, only the last one is worth waiting for.
            self._pings = {payload: ping for payload, ping in self._pings.items() if ping[0] is not None}
            self._send_ping(self._new_ping_payload(), None)
        return self.buffered_bytes

    def keepalive_timed_out(self) -> None:
        """Give up a peer that shows no sign of life."""
        if self.protocol.state is State.OPEN:
            self.logger.info("connection failed: keepalive ping timeout")
            self.protocol.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            self._flush()

    def _new_ping_payload(self) -> bytes:
        payload = os.urandom(4)
        while payload in self._pings:
            payload = os.urandom(4)
        return payload

    def _send_ping(self, payload: bytes, waiter: asyncio.Future[float] | None) -> None:
        self.protocol.send_ping(payload)
        self._pings_sent += 1
        self._pings[payload] = (waiter, self._clock.time())
        self._flush()

    def _acknowledge(self, payload: bytes) -> None:
        """A Pong answers its Ping and all before it (RFC 6455 §5.5.3)."""
        if payload not in self._pings:
            return
        now = self._clock.time()
        if self._keepalive is not None:
            self._keepalive.pong_received()
        sent = None
        while sent != payload:
            sent = next(iter(self._pings))
            waiter, sent_at = self._pings.pop(sent)
            if waiter is not None and not waiter.done():
                waiter.set_result(now - sent_at)
        self.latency = now - sent_at

    # Writing and ending

    def _watch_idleness(self) -> None:
        """Give up what extensions only need while messages flow, once a timeout has passed without any."""
        self._idle_timer = None
        for extension in self.protocol.extensions:
            if extension.idle_timeout is None or not extension.holds_contexts:
                continue
            if extension.busy:
                # Pings keep nothing busy: keepalive would sooner or later hold it for ever.
                extension.busy = False
                self._idle_timer = self._clock.call_later(extension.idle_timeout, self._watch_idleness)
            else:
                extension.release_contexts()
                trim_soon(self.loop)

    def _end(self) -> None:
        """Bring the TCP connection to its end, in time (RFC 6455 §7.1.1)."""
        if not self._ending:
            self._ending = True
            self._set_timer(self.close_timeout, self._close_timed_out)
            # What the peer still sends must be read: a Close frame may be behind it.
            self.resume_reading()
        if self.protocol.failed:
            self._shut_down_writing()
        elif self.protocol.role is Role.SERVER and self.protocol.close_expected():
            self.transport.close()

    def _refuse(self, response: Response) -> None:
        """Answer with plain HTTP and end the TCP connection."""
        self._ending = True
        self._set_timer(self.close_timeout, self._close_timed_out)
        self.transport.write(response.serialize())
        self._shut_down_writing()

    def _shut_down_writing(self) -> None:
        """Send the end of the stream, and let the peer read what was sent before it.

        Until the peer ends its stream too, or time is up, what it sends is read and dropped.
        """
        if not self._writing_ended and not self.transport.is_closing():
            self._writing_ended = True
            end_writing(self, self._clock, when_quiet=self.protocol.peer_is_sending)

    def _set_timer(self, delay: float | None, callback: Any = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None:
            self._timer = self._clock.call_later(delay, callback)

    def _open_timed_out(self) -> None:
        self.transport.abort()

    def _close_timed_out(self) -> None:
        self.transport.abort()
