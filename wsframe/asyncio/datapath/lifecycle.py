"""The asyncio side shared by callbacks and coroutines: reads, writes, timers and the end of TCP."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from wsframe.asyncio.datapath.ending import end_writing
from wsframe.asyncio.datapath.keepalive import Clock, Keepalive, Timer
from wsframe.asyncio.datapath.memory import connection_closed, trim_soon
from wsframe.asyncio.datapath.report import log_data_path
from wsframe.asyncio.datapath.stream import Stream
from wsframe.codec import Frame
from wsframe.constants import CloseCode, Role, State
from wsframe.limits import ANSWER_GRACE_S
from wsframe.messages.events import CloseReceived, Event, Failed, PingReceived, PongReceived
from wsframe.messages.facade import Facade
from wsframe.messages.frame_log import describe_frame
from wsframe.messages.pings import Pings
from wsframe.messages.stats import Stats
from wsframe.opening.handshake import ClientHandshake, ServerHandshake
from wsframe.opening.http import Request, Response

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
    "_pongs_received",
    "_timer",
    "_write_low",
    "_writing_ended",
    "close_timeout",
    "logger",
    "open_timeout",
    "ping_interval",
    "ping_timeout",
    "request",
    "response",
    "was_open",
)
"""Attributes of ``BaseProtocol``, as slots of the classes that mix it in: only one base of a class may have slots.

Until a user sets an attribute of their own, there is no ``__dict__``, and CPython looks up methods in fewer steps.
"""


class BaseProtocol(Stream, asyncio.BufferedProtocol, Facade):
    """One TCP connection that carries a WebSocket connection.

    Subclasses implement the ``_on_`` methods. They mix in ``CallbackStream`` or ``QueueStream`` before this class, and
    initialize it before they initialize this one.

    Args:
        open_timeout: Seconds allowed for the opening handshake; None for no limit.
        ping_interval: Seconds between keepalive pings; None disables them.
        ping_timeout: Seconds to wait for a sign of life after a ping; None for no limit.
        close_timeout: Seconds allowed for the closing handshake before TCP is aborted; None for no limit.
        write_low: Bytes in the write buffer below which sending resumes; None for a quarter of those above which it
            pauses.
        logger: Logger to use.

    Attributes:
        protocol: The connection without I/O.
        transport: The transport, once connected.
        was_open: Whether the opening handshake succeeded.
        request: The handshake request; None until it is available.
        response: The handshake response; None until it is available.
        reading_paused: Whether reading from the peer is currently paused.
        writing_paused: Whether the write buffer is above its limit.
        latency: Round-trip time of the last answered ping, in seconds; 0 before the first.
        clock: The clock for timers: the event loop, unless set before the transport is attached.
    """

    # Empty; with a literal, type checkers would look for the attributes.
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
        self._write_low = write_low
        # Whether the end of the stream has been sent to the peer.
        self._writing_ended = False
        # Limits the time for the opening handshake, then for answers before a failure, then for the closing handshake.
        self._timer: Timer | None = None
        self._keepalive: Keepalive | None = None
        self._pings: Pings[asyncio.Future[float]] = Pings()
        # Pings and pongs received, and the time since which they are counted.
        self._control_frames = 0
        self._control_frames_since = 0.0
        self._pongs_received = 0
        # Kept here because a TLS transport drops them when it is closed.
        self._addresses: tuple[Any, Any] | None = None

    # Implemented by subclasses

    def _on_connected(self) -> None:
        """Handle a new TCP connection."""

    def _on_ping(self, payload: bytes) -> None:
        """Handle a Ping; it has already been answered."""

    def _on_pong(self, payload: bytes) -> None:
        """Handle a Pong."""

    def _on_lost(self, exc: Exception | None) -> None:
        """Handle the loss of the TCP connection; the state is CLOSED."""

    # Inspecting a connection

    @property
    def local_address(self) -> Any:
        """The address of this end, as ``socket.getsockname`` returns it."""
        return self.transport.get_extra_info("sockname") if self._addresses is None else self._addresses[0]

    @property
    def remote_address(self) -> Any:
        """The address of the peer, as ``socket.getpeername`` returns it."""
        return self.transport.get_extra_info("peername") if self._addresses is None else self._addresses[1]

    @property
    def stats(self) -> Stats:
        """Statistics of the connection so far."""
        return Stats.of(
            self.protocol,
            pings_sent=self._pings.sent,
            pongs_received=self._pongs_received,
            latency=self.latency,
            queue_depth=self.queue_depth,
            buffered_bytes=self.buffered_bytes,
        )

    @property
    def queue_depth(self) -> int:
        """Number of messages waiting to be received; always 0 with callbacks."""
        return 0

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes waiting in the write buffer."""
        try:
            return self.transport.get_write_buffer_size()
        except AttributeError:
            # asyncio's TLS transport drops its buffer when it is closed a second time.
            return 0

    # Called by asyncio

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
        # In Python 3.10, asyncio's TLS transport warns that it is unclosed, although its connection is lost.
        self.transport.close()
        self.protocol.receive_eof()
        self.protocol.frame_log = None
        self._on_lost(exc)
        for waiter in self._pings.clear():
            if not waiter.done():
                waiter.set_exception(self.protocol.close_exc)
                # Mark the exception as retrieved, in case no task waits for this pong.
                waiter.exception()

    def connection_ending(self) -> None:
        """Called when the end begins: a Close frame was sent or has arrived, or the connection was failed."""

    def pause_writing(self) -> None:
        self.writing_paused = True
        # The peer does not read. When it resumes, one Pong is enough (RFC 6455 §5.5.3).
        self.protocol.hold_pongs = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        self.protocol.hold_pongs = False
        self._flush()

    # Reading

    def _opened(self, handshake: ServerHandshake | ClientHandshake) -> None:
        """Start the WebSocket connection after a successful opening handshake."""
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
            # A subclass may override pause_writing; even then, Pongs must not accumulate.
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
        """Fail the connection if the peer sends pings and pongs at an excessive rate."""
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
        """Return whether one more message may be buffered for a peer that does not read.

        Raises:
            BufferError: If there is no room and the policy is to wait, which the caller cannot do.
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
        """Handle an exception from the application that cannot be raised anywhere."""
        self.logger.exception("the application failed to handle an event")
        if self.protocol.state is State.OPEN:
            self.protocol.fail(CloseCode.INTERNAL_ERROR)
            self._flush()

    def _release_failure(self) -> None:
        """Report the violation to the peer now: everything before it has been answered."""
        if self.protocol.hold_failure:
            self.protocol.hold_failure = False
            self._flush()

    # Pings

    def send_keepalive_ping(self) -> int:
        """Send a keepalive ping; return the number of bytes waiting in the write buffer."""
        if self.protocol.state is State.OPEN and not self._ending:
            self._pings.drop_unawaited()
            self._send_ping(self._pings.new_payload(), None)
        return self.buffered_bytes

    def keepalive_timed_out(self) -> None:
        """Fail the connection: the peer shows no sign of life."""
        if self.protocol.state is State.OPEN:
            self.logger.info("connection failed: keepalive ping timeout")
            self.protocol.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            self._flush()

    def _send_ping(self, payload: bytes, waiter: asyncio.Future[float] | None) -> None:
        self.protocol.send_ping(payload)
        self._pings.add(payload, waiter, self._clock.time())
        self._flush()

    def _acknowledge(self, payload: bytes) -> None:
        answered = self._pings.acknowledge(payload, self._clock.time())
        if answered is None:
            return
        if self._keepalive is not None:
            self._keepalive.pong_received()
        for waiter, latency in answered:
            if not waiter.done():
                waiter.set_result(latency)

    # Writing and ending

    def _watch_idleness(self) -> None:
        """Release what extensions need only while messages flow, after a timeout without messages."""
        self._idle_timer = None
        for extension in self.protocol.extensions:
            if extension.idle_timeout is None or not extension.holds_contexts:
                continue
            if extension.busy:
                # Pings do not count as activity: otherwise, keepalive would hold the memory forever.
                extension.busy = False
                self._idle_timer = self._clock.call_later(extension.idle_timeout, self._watch_idleness)
            else:
                extension.release_contexts()
                trim_soon(self.loop)

    def _end(self) -> None:
        """End the TCP connection within the time limit (RFC 6455 §7.1.1)."""
        if not self._ending:
            self._ending = True
            self._set_timer(self.close_timeout, self._close_timed_out)
            # Further data from the peer must be read: a Close frame may follow it.
            self.resume_reading()
            self.connection_ending()
        if self.protocol.failed:
            self._shut_down_writing()
        elif self.protocol.role is Role.SERVER and self.protocol.close_expected():
            self.transport.close()

    def _refuse(self, response: Response) -> None:
        """Answer with a plain HTTP response and end the TCP connection."""
        self._ending = True
        self._set_timer(self.close_timeout, self._close_timed_out)
        self.transport.write(response.serialize())
        self._shut_down_writing()

    def _shut_down_writing(self) -> None:
        """Send the end of the stream, and let the peer read everything sent before it.

        Until the peer ends its stream too, or the time limit expires, its data is read and dropped.
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
