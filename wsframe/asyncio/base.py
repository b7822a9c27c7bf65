"""The asyncio side that callbacks and coroutines share: reads, writes, timers and the end of TCP. Rank 5."""

from __future__ import annotations

import asyncio
import logging
import os
import weakref
from typing import Any, cast

from wsframe.asyncio.keepalive import Keepalive
from wsframe.asyncio.memory import trim_soon
from wsframe.connection import Connection
from wsframe.constants import CloseCode, Role, State
from wsframe.events import Event, Failed, Message, PingReceived, PongReceived
from wsframe.handshake import ClientHandshake, ServerHandshake
from wsframe.http11 import Response
from wsframe.limits import ANSWER_GRACE_S

__all__ = ["BaseProtocol"]

READ_SIZE = 64 * 1024
"""Bytes of the read buffer that all connections of an event loop share."""

JOINED_BYTES = 64 * 1024
"""Bytes from which joining messages to one write saves less than copying them costs."""

_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()


def _read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Return the read buffer of an event loop.

    ``get_buffer``, the read and ``buffer_updated`` follow one another without anything in between, so an
    idle connection needs no buffer of its own.
    """
    buffer = _read_buffers.get(loop)
    if buffer is None:
        buffer = _read_buffers[loop] = memoryview(bytearray(READ_SIZE))
    return buffer


class BaseProtocol(asyncio.BufferedProtocol):
    """One TCP connection that carries a WebSocket connection.

    Subclasses implement the ``_on_`` methods. What is sent while a read is being handled is written at its
    end, in one piece.

    Args:
        protocol: The connection without I/O, in state CONNECTING.
        open_timeout: Seconds for the opening handshake; None for no limit.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds to wait for a sign of life behind one; None for no limit.
        close_timeout: Seconds for the closing handshake, then TCP is cut; None for no limit.
        write_limit: Bytes in the write buffer above which sending pauses, or a pair with those below which
            it resumes.
        logger: Where to log to.

    Attributes:
        protocol: The connection without I/O.
        transport: The transport, once there is one.
        was_open: Whether the opening handshake succeeded.
        reading_paused: Whether we do not read from the peer at the moment.
        latency: Round-trip time of the last ping that was answered, in seconds; 0 before.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def __init__(
        self,
        protocol: Connection,
        *,
        open_timeout: float | None,
        ping_interval: float | None,
        ping_timeout: float | None,
        close_timeout: float | None,
        write_limit: int | tuple[int, int | None],
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.protocol = protocol
        self.logger = logger
        self.open_timeout = open_timeout
        self.ping_interval = ping_interval
        self.ping_timeout = ping_timeout
        self.close_timeout = close_timeout
        self.was_open = False
        self.latency = 0.0
        self._write_high, self._write_low = write_limit if isinstance(write_limit, tuple) else (write_limit, None)
        self._corked = False
        # Bytes sent in this turn of the event loop behind what was written at once; None at its beginning.
        self._joined_bytes: int | None = None
        self._write_paused = False
        self.reading_paused = False
        # Limits the opening handshake, then the answers before a failure, then the closing handshake.
        self._timer: asyncio.TimerHandle | None = None
        self._ending = False
        # Runs while an extension holds memory that an idle connection does not need.
        self._has_idle_timeout = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._keepalive: Keepalive | None = None
        # Payloads of the pings that are not answered yet, in order, with the time and who waits for the pong.
        self._pings: dict[bytes, tuple[asyncio.Future[float] | None, float]] = {}

    # What subclasses implement

    def _on_connected(self) -> None:
        """The TCP connection is there."""

    def _on_handshake_data(self, data: memoryview) -> None:
        """Bytes of the opening handshake came."""

    def _on_message(self, message: Message) -> None:
        """A message came."""

    def _on_read(self) -> None:
        """All events of a read have been handled; what is sent now is still written together with their answers."""

    def _on_ping(self, payload: bytes) -> None:
        """A Ping came; it is answered already."""

    def _on_pong(self, payload: bytes) -> None:
        """A Pong came."""

    def _on_lost(self, exc: Exception | None) -> None:
        """The TCP connection is gone, and the state CLOSED."""

    def _has_answers_to_come(self) -> bool:
        """Tell whether the application may still answer what has been received."""
        return False

    # What people look at

    @property
    def local_address(self) -> Any:
        """The address of this end, as ``socket.getsockname`` returns it."""
        return self.transport.get_extra_info("sockname")

    @property
    def remote_address(self) -> Any:
        """The address of the peer, as ``socket.getpeername`` returns it."""
        return self.transport.get_extra_info("peername")

    @property
    def state(self) -> State:
        """The state of the connection."""
        return self.protocol.state

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
    def buffered_bytes(self) -> int:
        """Bytes that wait in the write buffer."""
        return self.transport.get_write_buffer_size()

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.loop = asyncio.get_running_loop()
        self._buffer = _read_buffer(self.loop)
        self.transport.set_write_buffer_limits(self._write_high, self._write_low)
        self._set_timer(self.open_timeout, self._open_timed_out)
        self._on_connected()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._keepalive is not None:
            self._keepalive.alive = True
        data = self._buffer[:nbytes]
        if self.protocol.state is State.CONNECTING:
            if not self._ending:
                self._on_handshake_data(data)
        else:
            self._receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_timer(None)
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
            trim_soon(self.loop)
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None
        self._ending = True
        # asyncio's TLS transport in Python 3.10 warns about being unclosed, though its connection is gone.
        self.transport.close()
        self.protocol.receive_eof()
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
        self._has_idle_timeout = any(extension.idle_timeout is not None for extension in handshake.extensions)
        if self.ping_interval is not None:
            self._keepalive = Keepalive(self, self.ping_interval, self.ping_timeout)

    def _receive(self, data: bytes | memoryview) -> None:
        protocol = self.protocol
        if protocol.hold_pongs and not self._write_paused and self.buffered_bytes <= self._write_high:
            protocol.hold_pongs = False
        self._corked = True
        try:
            for event in protocol.receive_data(data):
                self._dispatch(event)
            self._on_read()
        except Exception:
            self._application_failed()
        finally:
            self._corked = False
        if self.protocol.failed and self._has_answers_to_come() and not self._ending:
            self.protocol.hold_failure = True
            grace = ANSWER_GRACE_S if self.close_timeout is None else min(ANSWER_GRACE_S, self.close_timeout)
            self._set_timer(grace, self._release_failure)
        self._flush()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Message):
            self._on_message(event)
        elif isinstance(event, PingReceived):
            # A subclass may handle pause_writing in its own way; Pongs must not pile up all the same.
            if self.buffered_bytes > self._write_high:
                self.protocol.hold_pongs = True
            self._on_ping(event.payload)
        elif isinstance(event, PongReceived):
            self._acknowledge(event.payload)
            self._on_pong(event.payload)
        elif isinstance(event, Failed):
            fault = event.fault
            self.logger.info("connection failed: %s (%s)", fault.text, fault.section)
        else:
            self.logger.debug("received %s", event.close)

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

    def pause_reading(self) -> None:
        """Stop reading from the peer, so that TCP makes it wait."""
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the peer again."""
        if self.reading_paused:
            self.reading_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

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
        self._pings[payload] = (waiter, self.loop.time())
        self._flush()

    def _acknowledge(self, payload: bytes) -> None:
        """A Pong answers its Ping and all before it (RFC 6455 §5.5.3)."""
        if payload not in self._pings:
            return
        now = self.loop.time()
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

    def _flush_joined(self, size: int) -> None:
        """Write a message of that many bytes at once, or together with others sent in this turn of the event loop."""
        if self._corked:
            return
        if self._joined_bytes is None:
            self._joined_bytes = 0
            self.loop.call_soon(self._join)
        else:
            # At least 2 bytes of header, so that an empty message counts too.
            self._joined_bytes += 2 + size
            if self._joined_bytes <= JOINED_BYTES:
                return
            self._joined_bytes = 0
        self._flush()

    def _join(self) -> None:
        joined, self._joined_bytes = self._joined_bytes, None
        if joined and self.protocol.state is not State.CLOSED:
            self._flush()

    def _flush(self) -> None:
        """Write what there is to send, and end the TCP connection when its time has come."""
        if self._corked:
            return
        if self._has_idle_timeout and self._idle_timer is None:
            self._watch_idleness()
        data = self.protocol.data_to_send()
        if data and not self.transport.is_closing():
            self.transport.write(data)
        if self.protocol.state is State.CLOSING or (self.protocol.failed and not self.protocol.failure_held):
            self._end()

    def _watch_idleness(self) -> None:
        """Give up what extensions only need while messages flow, once a timeout has passed without any."""
        self._idle_timer = None
        for extension in self.protocol.extensions:
            if extension.idle_timeout is None or not extension.holds_contexts:
                continue
            if extension.busy:
                # Pings keep nothing busy: keepalive would sooner or later hold it for ever.
                extension.busy = False
                self._idle_timer = self.loop.call_later(extension.idle_timeout, self._watch_idleness)
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

        Closing the socket at once would make the kernel answer the peer's next segment with a reset, which
        may destroy what the peer has not read yet. TLS has a closing handshake of its own for that.
        """
        if self.transport.is_closing():
            return
        if self.transport.can_write_eof():
            try:
                self.transport.write_eof()
            except (OSError, RuntimeError):
                # The peer has reset the connection, and its end has not been reported yet. uvloop raises RuntimeError.
                self.transport.abort()
        else:
            self.transport.close()

    def _set_timer(self, delay: float | None, callback: Any = None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay is not None:
            self._timer = self.loop.call_later(delay, callback)

    def _open_timed_out(self) -> None:
        self.transport.abort()

    def _close_timed_out(self) -> None:
        self.transport.abort()
