"""uvicorn: ``uvicorn app:app --ws wsframe.adapters.uvicorn:WebSocketProtocol``, or ``wsframe.patch``.

The WebSocket half of ASGI (version 2.4 of its specification) over a sans-IO ``Connection``. uvicorn reads the request,
detects that it is a handshake, creates a ``WebSocketProtocol`` and passes the request and the transport to it.

An application that waits for a message is resumed within the read that delivers it; everything it sends within that
read is written in one piece at the end.
"""

from __future__ import annotations

import asyncio
import collections
import enum
import logging
import re
import weakref
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import uvicorn.config
from uvicorn.logging import TRACE_LOG_LEVEL
from uvicorn.protocols.utils import (
    ClientDisconnected,
    get_client_addr,
    get_local_addr,
    get_path_with_query_string,
    get_remote_addr,
    is_ssl,
)

from wsframe import (
    IMPLEMENTATION,
    CloseCode,
    CloseReceived,
    Connection,
    Failed,
    InvalidHandshake,
    InvalidState,
    Limits,
    Message,
    Opcode,
    PerMessageDeflateFactory,
    PingReceived,
    PongReceived,
    Request,
    Response,
    Role,
    ServerHandshake,
    State,
    __version__,
)
from wsframe.adapters._uvicorn_http import (
    Denial,
    accept_headers,
    bytes_after_request,
    check_subprotocol,
    http_version,
)
from wsframe.adapters._uvicorn_options import check_options, combine_limits
from wsframe.extensions import ExtensionFactory
from wsframe.hosting import Keepalive, Stats, Waiter, end_writing

__all__ = ["WebSocketProtocol", "replacements"]

READ_SIZE = 64 * 1024
"""Size in bytes of the read buffer that all connections of an event loop share."""

CORKED_BYTES = 64 * 1024
"""Bytes above which copying messages into one write costs more than it saves."""

SENDS_IN_A_ROW = 256
"""Messages that an application may send without waiting before it yields to the event loop."""

ABORT_TIMEOUT_S = 10.0
"""Seconds to write remaining data when the connection has ended: as for the closing handshake."""

SHUTDOWN_GRACE_S = 1.0
"""Seconds for a client to answer the Close frame of a server that shuts down: several round trips."""

_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()


class _Phase(enum.Enum):
    """The phase of a connection, which determines what the application may send.

    Phase       event                                               next
    REQUEST     the request is complete                             CONNECTING, or DONE if it is refused
    CONNECTING  ``accept``                                          OPEN
    CONNECTING  ``http.response.start``                             DENYING
    CONNECTING  ``close``                                           DONE
    DENYING     a first ``http.response.body`` that cannot be sent  CONNECTING
    DENYING     the last ``http.response.body``                     DONE
    OPEN        ``close``                                           DONE
    OPEN        the application has been notified of the end        GONE
    any         the TCP connection is lost                          GONE
    """

    REQUEST = enum.auto()
    CONNECTING = enum.auto()
    DENYING = enum.auto()
    OPEN = enum.auto()
    DONE = enum.auto()
    GONE = enum.auto()


# Looking up an enumeration member costs as much as the comparison itself.
_OPEN = _Phase.OPEN


class WebSocketProtocol(asyncio.BufferedProtocol):
    """One WebSocket connection of uvicorn.

    Its options are uvicorn's (``--ws-max-size``, ``--ws-ping-interval``, ``--ws-ping-timeout``,
    ``--ws-per-message-deflate``, ``--ws-max-queue``). Set further options in a subclass::

        class Tuned(WebSocketProtocol):
            compression = PerMessageDeflateFactory(level=6, backend="isal")
            origins = ["https://example.com"]
            limits = Limits(max_message_size=None, max_fragments=100)
            close_timeout = 5.0

    An attribute that is not an option raises a TypeError, unless it is a method or its name begins with an underscore.

    Args:
        config: uvicorn's configuration.
        server_state: State that uvicorn's connections share.
        app_state: State from the application's lifespan for its connections.
        _loop: The event loop; the running one if None.

    Attributes:
        compression: How to compress if uvicorn's option enables it; None disables compression.
        origins: Accepted values of the Origin header, as for ``ServerHandshake``; None accepts everything.
        limits: Limits on the memory and work that a client can cause. The smaller of ``max_message_size`` and
            ``--ws-max-size`` applies. None for the defaults of ``Limits`` and uvicorn's ``--ws-max-size``.
        close_timeout: Seconds allowed for the closing handshake before TCP is closed.
        transport: The transport, once connected.
        close_timer: Runs while we wait for the client's answer to our Close frame.
        alive: Whether any data has arrived since keepalive last checked.
        ping_sent_at: Time of the last keepalive ping; 0 before the first.
    """

    compression: ExtensionFactory | None = PerMessageDeflateFactory()
    origins: Sequence[str | re.Pattern[str] | None] | None = None
    limits: Limits | None = None
    close_timeout: float = 10.0

    transport: asyncio.Transport

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_options(cls, WebSocketProtocol)

    def __init__(
        self,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.config = config
        self.loop = _loop or asyncio.get_running_loop()
        self.logger = logging.getLogger("uvicorn.error")
        self.close_timer: asyncio.TimerHandle | None = None
        self.ping_sent_at = 0.0
        self._server_state = server_state
        self._app_state = app_state
        limits = combine_limits(self.limits, config.ws_max_size)
        extensions = [self.compression] if config.ws_per_message_deflate and self.compression is not None else []
        self._handshake = ServerHandshake(origins=self.origins, extensions=extensions, limits=limits)
        self._connection = Connection(Role.SERVER, state=State.CONNECTING, limits=limits)
        self._phase = _Phase.REQUEST
        self._scope: dict[str, Any] = {}
        self._subprotocols: list[str] = []
        self._http_version = "1.1"
        # The response to the handshake until it is sent, and the response that denies it instead.
        self._response: Response | None = None
        self._denial: Denial | None = None
        # Bytes received before the application has accepted.
        self._early = b""
        # Events that the application has not received yet; those that are not messages are dictionaries.
        self._queue: collections.deque[Message | dict[str, Any]] = collections.deque()
        # Tasks that wait for an event; usually, there is only one.
        self._receivers: list[Waiter] = []
        self._disconnected: dict[str, Any] | None = None
        self._reading_paused = False
        # Messages above which reading pauses, and at which it resumes.
        self._queue_high: int | None = config.ws_max_queue
        self._queue_low = max(0, (config.ws_max_queue or 0) // 4)
        self._writable: asyncio.Event | None = None
        self._corked = False
        # Bytes sent since the last write, within a read and within an iteration of the event loop; None before the
        # first write of the iteration.
        self._corked_bytes = 0
        self._joined_bytes: int | None = None
        self._sent_in_a_row = 0
        self._keepalive: Keepalive | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._pings_sent = 0
        self._pongs_received = 0
        self._awaits_pong = False
        self._latency = 0.0
        # Pings and pongs received, and the time since which they are counted.
        self._control_frames = 0
        self._control_frames_since = self.loop.time()
        self._buffer = _read_buffers.get(self.loop)
        if self._buffer is None:
            self._buffer = _read_buffers[self.loop] = memoryview(bytearray(READ_SIZE))
            self.logger.debug(
                "WebSocket: wsframe.adapters.uvicorn, wsframe %s, implementation %s", __version__, IMPLEMENTATION
            )

    # Called by asyncio and uvicorn

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        # Kept here because TLS drops them at the end.
        self._server, self._client = get_local_addr(self.transport), get_remote_addr(self.transport)
        self._server_state.connections.add(self)
        self._trace("WebSocket connection made")
        self._early = bytes_after_request(self.transport)
        self._http_version = http_version(self.transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        assert self._buffer is not None
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self._buffer is not None
        self.data_received(self._buffer[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Handle bytes from the client; the first ones are those of the request."""
        self.alive = True
        if self._connection.state is not State.CONNECTING:
            self._receive(data)
        elif self._phase is _Phase.REQUEST:
            self._receive_request(data)
        elif self._phase is not _Phase.DONE:
            # RFC 6455 §4.1: a client must wait for the response; if it does not, reading stops.
            self._early += data
            self._pause_reading()

    def eof_received(self) -> None:
        pass

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()
        # The client does not read. When it resumes, one Pong is enough (RFC 6455 §5.5.3).
        self._connection.hold_pongs = True

    def resume_writing(self) -> None:
        self._connection.hold_pongs = False
        self._unblock_writers()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._trace("WebSocket connection lost")
        self._server_state.connections.discard(self)
        self._stop_timers()
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        accepted = self._connection.state is not State.CONNECTING
        self._connection.receive_eof()
        self._phase = _Phase.GONE
        self._disconnect(CloseCode.NO_STATUS_RCVD if accepted else CloseCode.ABNORMAL_CLOSURE)
        # Nothing else resumes waiting writers once the connection is lost.
        self._unblock_writers()
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection because the server is shutting down."""
        if self._phase is _OPEN and self._connection.state is State.OPEN:
            self._disconnect(CloseCode.SERVICE_RESTART)
            self._phase = _Phase.GONE
            self._start_closing(CloseCode.SERVICE_RESTART, "", min(self.close_timeout, SHUTDOWN_GRACE_S))
            return
        self._stop_timers()
        if self._phase is _Phase.CONNECTING:
            self._refuse(500, "Internal Server Error")
        self.transport.close()

    # The opening handshake

    def _receive_request(self, data: bytes | memoryview) -> None:
        handshake = self._handshake
        try:
            request = handshake.receive_data(data)
        except InvalidHandshake as exc:
            response = handshake.refuse(exc)
        else:
            if request is None:
                return
            request.protocol = f"HTTP/{self._http_version}"
            response = handshake.accept(request)
            if handshake.error is None:
                self._response = response
                self._early = handshake.unread + self._early
                self._phase = _Phase.CONNECTING
                offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
                self._subprotocols = [name.strip() for name in offered if name.strip()]
                self._scope = self._make_scope(request)
                self._queue.append({"type": "websocket.connect"})
                task = self.loop.create_task(self._run_application())
                self._server_state.tasks.add(task)
                task.add_done_callback(self._server_state.tasks.discard)
                return
        self._phase = _Phase.DONE
        self.transport.write(response.serialize())
        self.transport.close()

    def _make_scope(self, request: Request) -> dict[str, Any]:
        raw_path, _, query = request.path.partition("?")
        root_path = self.config.root_path
        return {
            "type": "websocket",
            "asgi": {"version": self.config.asgi_version, "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "wss" if is_ssl(self.transport) else "ws",
            "server": self._server,
            "client": self._client,
            "root_path": root_path,
            "path": root_path + unquote(raw_path),
            "raw_path": (root_path + raw_path).encode("ascii"),
            "query_string": query.encode("ascii"),
            "headers": [
                (name.lower().encode("ascii"), value.encode("iso-8859-1"))
                for name, value in request.headers.raw_items()
            ],
            "subprotocols": list(self._subprotocols),
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }

    def _accept(self, message: dict[str, Any]) -> None:
        response = self._response
        assert response is not None
        headers = accept_headers(response, self._server_state.default_headers, message)
        subprotocol = check_subprotocol(message, self._subprotocols)
        if subprotocol is not None:
            headers["Sec-WebSocket-Protocol"] = subprotocol
        if self.transport.is_closing():
            raise ClientDisconnected
        self._log_request("[accepted]")
        response.headers = headers
        self.transport.write(response.serialize())
        self._response = None
        self._connection.open(subprotocol, self._handshake.extensions)
        self._phase = _OPEN
        interval = self.config.ws_ping_interval
        if interval is not None and interval > 0:
            self._keepalive = Keepalive(self, interval, self.config.ws_ping_timeout)
        early, self._early = self._early, b""
        if early:
            self._receive(early)
        if len(self._queue) <= self._queue_low:
            self._resume_reading()

    def _refuse(self, status: int, text: str) -> None:
        self._phase = _Phase.DONE
        self.transport.write(self._handshake.reject(status, text).serialize())

    def _start_denial(self, message: dict[str, Any]) -> None:
        """Begin a response that denies the handshake; its header section waits for the first piece of the body."""
        self._denial = Denial(message)
        self._log_request(str(self._denial.status))
        self._phase = _Phase.DENYING

    def _continue_denial(self, message: dict[str, Any]) -> None:
        denial = self._denial
        assert denial is not None
        try:
            data = denial.add_body(message)
        except (TypeError, RuntimeError):
            if not denial.begun:
                # Nothing of it has been sent, so the client can receive a 500 instead.
                self._denial = None
                self._phase = _Phase.CONNECTING
            raise
        if data:
            self.transport.write(data)
        if not message.get("more_body", False):
            self._phase = _Phase.DONE
            self._disconnect(CloseCode.ABNORMAL_CLOSURE)
            self.transport.close()

    # The application

    async def _run_application(self) -> None:
        try:
            result = await self.config.loaded_app(self._scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except BaseException:
            self.logger.exception("Exception in ASGI application\n")
        else:
            if self._phase is _Phase.CONNECTING:
                self.logger.error("ASGI callable returned without completing handshake.")
            elif self._phase is _Phase.DENYING:
                self.logger.error("ASGI callable returned without completing response.")
            elif result is not None:
                self.logger.error("ASGI callable should return None, but returned '%s'.", result)
        if self._phase is _Phase.DENYING and self._denial is not None and not self._denial.begun:
            try:
                self._continue_denial({})
            except RuntimeError as exc:
                self.logger.error("%s", exc)
        if self._phase is _Phase.CONNECTING:
            self._refuse(500, "Internal Server Error")
        # Otherwise, the closing handshake is in progress.
        if self.close_timer is None and self._abort_timer is None:
            self._flush()
            # After a violation, the flush has already started to end the connection, and waits for the client.
            if self._abort_timer is None:
                self.transport.close()

    async def receive(self) -> dict[str, Any]:
        """Wait for the next ASGI event and return it."""
        queue = self._queue
        while not queue:
            if self._disconnected is not None:
                return self._disconnected
            receiver = Waiter(self.loop)
            self._receivers.append(receiver)
            self._sent_in_a_row = 0
            try:
                await receiver
            finally:
                self._receivers.remove(receiver)
        event = queue.popleft()
        if self._reading_paused and len(queue) <= self._queue_low and self._phase is _OPEN:
            self._resume_reading()
        if type(event) is Message:
            key = "text" if event.opcode is Opcode.TEXT else "bytes"
            return {"type": "websocket.receive", key: event.data}
        assert isinstance(event, dict)
        if event is self._disconnected and self._phase is _OPEN:
            self._phase = _Phase.GONE
        return event

    async def send(self, message: dict[str, Any]) -> None:
        """Send an ASGI event from the application; wait while the client does not read.

        Raises:
            ClientDisconnected: (an OSError) if the client has disconnected.
            RuntimeError: If the event is out of order, or a response that denies the handshake has the wrong length.
            TypeError: If a value in the event has the wrong type.
            ValueError: If a header or a subprotocol cannot be sent.
        """
        kind = message["type"]
        if self._writable is not None and not await self._admit(kind):
            return
        if self._phase is not _OPEN:
            self._send_unopened(kind, message)
        elif kind == "websocket.send":
            data = message.get("bytes")
            try:
                if data is not None:
                    self._connection.send_binary(data)
                else:
                    data = message.get("text")
                    if data is None:
                        return
                    if not isinstance(data, str):
                        raise TypeError(f"'text' must be a str, not {type(data).__name__}")
                    self._connection.send_text(data)
            except InvalidState:
                raise ClientDisconnected from None
            self._flush_joined(len(data))
            self._sent_in_a_row += 1
            if self._sent_in_a_row >= SENDS_IN_A_ROW:
                self._sent_in_a_row = 0
                await asyncio.sleep(0)
        elif kind == "websocket.close":
            if self._connection.state is not State.OPEN:
                raise ClientDisconnected
            code, reason = message.get("code"), message.get("reason") or ""
            if code is None:
                code = CloseCode.NORMAL_CLOSURE
            if not isinstance(code, int) or not isinstance(reason, str):
                raise TypeError(f"'code' must be an int and 'reason' a str, not {code!r} and {reason!r}")
            self._start_closing(code, reason, self.close_timeout)
            self._phase = _Phase.DONE
            self._disconnect(code, reason)
        else:
            raise RuntimeError(f"Expected ASGI message 'websocket.send' or 'websocket.close', but got '{kind}'.")

    def _send_unopened(self, kind: str, message: dict[str, Any]) -> None:
        if self._phase is _Phase.GONE:
            raise ClientDisconnected
        if self._phase is _Phase.DONE:
            raise RuntimeError(f"Unexpected ASGI message '{kind}', after sending 'websocket.close'.")
        if self._phase is _Phase.DENYING:
            if kind != "websocket.http.response.body":
                raise RuntimeError(f"Expected ASGI message 'websocket.http.response.body' but got '{kind}'.")
            self._continue_denial(message)
        elif kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.http.response.start":
            self._start_denial(message)
        elif kind == "websocket.close":
            self._log_request("403")
            self._refuse(403, "")
            self._disconnect(CloseCode.ABNORMAL_CLOSURE)
            self.transport.close()
        else:
            raise RuntimeError(
                "Expected ASGI message 'websocket.accept', 'websocket.close' or 'websocket.http.response.start' "
                f"but got '{kind}'."
            )

    # Reading

    def _receive(self, data: bytes | memoryview) -> None:
        queue = self._queue
        self._corked = True
        try:
            for event in self._connection.receive_data(data):
                if type(event) is Message:
                    # Once the application has closed, only the client's Close frame matters.
                    if self._phase is _OPEN:
                        queue.append(event)
                elif isinstance(event, CloseReceived):
                    self._disconnect(event.close.code, event.close.reason)
                elif isinstance(event, Failed):
                    self.logger.info("connection failed: %s (%s)", event.fault.text, event.fault.section)
                    self._disconnect(event.fault.close_code, event.fault.text)
                else:
                    assert isinstance(event, (PingReceived, PongReceived))
                    self._count_control_frame(event)
            if queue:
                for receiver in tuple(self._receivers):
                    receiver.wake()
        finally:
            self._corked = False
            self._flush()
        high = self._queue_high
        if queue and high is not None and len(queue) > high and self._disconnected is None:
            self._pause_reading()

    def _count_control_frame(self, event: PingReceived | PongReceived) -> None:
        """Fail the connection if the client sends pings and pongs at an excessive rate."""
        if isinstance(event, PongReceived):
            self._pongs_received += 1
            if self._awaits_pong:
                self._awaits_pong = False
                self._latency = self.loop.time() - self.ping_sent_at
            if self._keepalive is not None:
                self._keepalive.pong_received()
        limit = self._connection.limits.max_control_rate
        self._control_frames += 1
        if limit is None or self._control_frames <= limit:
            return
        now = self.loop.time()
        if now - self._control_frames_since < 1 and self._connection.state is State.OPEN:
            self.logger.info("connection failed: more than %d control frames in a second", limit)
            self._fail(CloseCode.POLICY_VIOLATION, "too many control frames")
        self._control_frames = 0
        self._control_frames_since = now

    def _disconnect(self, code: int, reason: str | None = None) -> None:
        """Notify the application of the end, once."""
        if self._disconnected is None:
            self._disconnected = {"type": "websocket.disconnect", "code": int(code)}
            if reason is not None:
                self._disconnected["reason"] = reason
            self._queue.append(self._disconnected)
            if not self._corked:
                for receiver in self._receivers:
                    receiver.wake_soon()

    def _pause_reading(self) -> None:
        if not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = True
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    # Writing and ending

    async def _admit(self, kind: str) -> bool:
        """Wait for room to buffer one more event for a client that does not read; return False if it is dropped.

        ``Limits.send_buffer_policy`` concerns messages: policies other than to wait do not apply to other events.
        """
        limits = self._connection.limits
        while self._writable is not None:
            if (
                kind == "websocket.send"
                and self._phase is _OPEN
                and limits.send_buffer_policy != "wait"
                and limits.max_send_buffer is not None
                and self.buffered_bytes > limits.max_send_buffer
            ):
                if limits.send_buffer_policy == "drop":
                    return False
                self.logger.info("connection failed: more than %d bytes are waiting to be sent", limits.max_send_buffer)
                self._fail(CloseCode.POLICY_VIOLATION, "the peer does not read")
                self._flush()
                raise ClientDisconnected
            await self._writable.wait()
        return True

    def _flush_joined(self, size: int) -> None:
        """Write data together with other data sent in this read or iteration of the event loop, by its end."""
        # Add the minimum header size of 2 bytes, so that an empty message counts too.
        if self._corked:
            self._corked_bytes += 2 + size
            if self._corked_bytes > CORKED_BYTES:
                self._flush()
        elif self._joined_bytes is None:
            # First, since it may raise: otherwise, nothing would ever join and flush.
            self.loop.call_soon(self._join)
            self._joined_bytes = 0
            self._flush()
        else:
            self._joined_bytes += 2 + size
            if self._joined_bytes > CORKED_BYTES:
                self._joined_bytes = 0
                self._flush()

    def _join(self) -> None:
        joined, self._joined_bytes = self._joined_bytes, None
        if joined:
            self._flush()

    def _flush(self) -> None:
        self._corked_bytes = 0
        connection = self._connection
        data = connection.data_to_send()
        if data:
            if not self.transport.is_closing():
                self.transport.write(data)
            elif self._phase is _OPEN:
                # An application that sends continuously would never let the event loop report the end.
                self._phase = _Phase.GONE
        if connection.state is State.CLOSING and connection.close_expected():
            self._end()

    def _start_closing(self, code: int, reason: str, timeout: float) -> None:
        """Send a Close frame, and keep reading until the client's arrives (RFC 6455 §7.1.1)."""
        self._connection.send_close(code, reason)
        self._stop_timers()
        self._flush()
        self.close_timer = self.loop.call_later(timeout, self._close_timed_out)
        self._resume_reading()

    def _end(self) -> None:
        """End the TCP connection: both sides have closed, or the client has violated the protocol."""
        self._stop_timers()
        begun = self._abort_timer is not None
        if not begun:
            self._abort_timer = self.loop.call_later(ABORT_TIMEOUT_S, self._abort)
        if not self._connection.failed:
            self.transport.close()
        elif not begun and not self.transport.is_closing():
            # Further data from the client is read and dropped, until it ends its stream too or the time limit expires.
            self._resume_reading()
            end_writing(self, self.loop, when_quiet=self._connection.peer_is_sending)

    def _close_timed_out(self) -> None:
        self.close_timer = None
        self._abort_timer = self.loop.call_later(ABORT_TIMEOUT_S, self._abort)
        self.transport.close()

    def _abort(self) -> None:
        self.transport.abort()

    def _stop_timers(self) -> None:
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None
        if self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = None

    def _unblock_writers(self) -> None:
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    # Keepalive

    @property
    def ping_timer(self) -> Keepalive | None:
        """The timer that sends keepalive pings, or None."""
        return self._keepalive

    @property
    def buffered_bytes(self) -> int:
        """Number of bytes waiting in the write buffer."""
        try:
            return self.transport.get_write_buffer_size()
        except AttributeError:
            # asyncio's TLS transport drops its buffer when it is closed a second time.
            return 0

    @property
    def reading_paused(self) -> bool:
        """Whether reading from the client is currently paused."""
        return self._reading_paused

    def send_keepalive_ping(self) -> int:
        """Send a keepalive ping; return the number of bytes waiting in the write buffer."""
        if self._connection.state is State.OPEN:
            self.ping_sent_at = self.loop.time()
            self._connection.send_ping()
            self._pings_sent += 1
            self._awaits_pong = True
            self._flush()
        return self.buffered_bytes

    def keepalive_timed_out(self) -> None:
        """Fail the connection: the client shows no sign of life."""
        if self._connection.state is State.OPEN:
            self._trace("WebSocket keepalive ping timeout")
            self._fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            self._flush()

    def _fail(self, code: CloseCode, reason: str) -> None:
        self._connection.fail(code, reason)
        self._disconnect(code, reason)

    # Inspecting a connection

    @property
    def stats(self) -> Stats:
        """Statistics of the connection so far; ``latency`` is that of the last keepalive ping."""
        return Stats.of(
            self._connection,
            pings_sent=self._pings_sent,
            pongs_received=self._pongs_received,
            latency=self._latency,
            queue_depth=sum(type(event) is Message for event in self._queue),
            buffered_bytes=self.buffered_bytes,
        )

    # Logging

    def _trace(self, text: str) -> None:
        if self.logger.isEnabledFor(TRACE_LOG_LEVEL):
            prefix = f"{self._client[0]}:{self._client[1]} - " if self._client else ""
            self.logger.log(TRACE_LOG_LEVEL, "%s%s", prefix, text)

    def _log_request(self, outcome: str) -> None:
        scope = self._scope
        path = get_path_with_query_string(scope)
        self.logger.info('%s - "WebSocket %s" %s', get_client_addr(scope), path, outcome)


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes: every ``--ws`` name but ``none`` selects this module."""
    path = f"{__name__}:{WebSocketProtocol.__name__}"
    protocols = {name: known and path for name, known in uvicorn.config.WS_PROTOCOLS.items()}
    return [(uvicorn.config, "WS_PROTOCOLS", protocols)]
