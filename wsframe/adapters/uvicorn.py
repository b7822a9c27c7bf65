"""uvicorn: ``uvicorn app:app --ws wsframe.adapters.uvicorn:WebSocketProtocol``, or ``wsframe.patch``. Rank 6.

The WebSocket half of ASGI (version 2.4 of its specification) over a sans-IO ``Connection``. uvicorn reads the request,
finds out that it is a handshake, makes one ``WebSocketProtocol`` and hands the request and the transport to it.

The application is resumed within the read that brings its message, where it waits for one; what it sends within that
read leaves in one write at the end.
"""

from __future__ import annotations

import asyncio
import collections
import email.utils
import enum
import http
import logging
import sys
import weakref
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
    CloseCode,
    CloseReceived,
    Connection,
    Failed,
    Headers,
    InvalidHandshake,
    InvalidState,
    Limits,
    Message,
    Opcode,
    PerMessageDeflateFactory,
    PongReceived,
    Request,
    Response,
    Role,
    ServerHandshake,
    State,
)
from wsframe.asyncio.keepalive import Keepalive
from wsframe.asyncio.queue import Waiter
from wsframe.asyncio.tls import end_writing

__all__ = ["WebSocketProtocol", "replacements"]

READ_SIZE = 64 * 1024
"""Bytes of the read buffer that all connections of an event loop share."""

CORKED_BYTES = 64 * 1024
"""Bytes from which joining messages to one write saves less than copying them costs."""

SENDS_IN_A_ROW = 256
"""Messages that an application may send without waiting for anything, until others get their turn."""

ABORT_TIMEOUT_S = 10.0
"""Seconds for what still waits to be written when the connection has ended: as for the closing handshake."""

SHUTDOWN_GRACE_S = 1.0
"""Seconds that a client has to answer the Close frame of a server that stops: several round trips."""

_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()


_PHRASES = {int(status): status.phrase for status in http.HTTPStatus}


class _Phase(enum.Enum):
    """What the application may send.

    Phase       what happens                                        next
    REQUEST     the request is not complete                         CONNECTING, or DONE if it is refused
    CONNECTING  ``accept``                                          OPEN
    CONNECTING  ``http.response.start``                             DENYING
    CONNECTING  ``close``                                           DONE
    DENYING     the last ``http.response.body``                     DONE
    OPEN        ``close``                                           DONE
    OPEN        the application has been told that it has ended     GONE
    any         the TCP connection is gone                          GONE
    """

    REQUEST = enum.auto()
    CONNECTING = enum.auto()
    DENYING = enum.auto()
    OPEN = enum.auto()
    DONE = enum.auto()
    GONE = enum.auto()


# Looking up a member of an enumeration costs as much as what it is compared with.
_OPEN = _Phase.OPEN


class WebSocketProtocol(asyncio.BufferedProtocol):
    """One WebSocket connection of uvicorn.

    Its options are uvicorn's (``--ws-max-size``, ``--ws-ping-interval``, ``--ws-ping-timeout``,
    ``--ws-per-message-deflate``); a subclass tunes the rest::

        class Tuned(WebSocketProtocol):
            compression = PerMessageDeflateFactory(level=6, backend="isal")
            close_timeout = 5.0

    Args:
        config: uvicorn's configuration.
        server_state: What uvicorn's connections share.
        app_state: What the application's lifespan has left for its connections.
        _loop: The event loop; the running one if None.

    Attributes:
        compression: How to compress where uvicorn's option says so.
        close_timeout: Seconds for the closing handshake, then TCP is cut.
        transport: The transport, once there is one.
        close_timer: Runs while the client's answer to our Close frame is awaited.
        alive: Whether anything came since keepalive has looked.
        ping_sent_at: Time of the last keepalive ping; 0 before.
    """

    compression = PerMessageDeflateFactory()
    close_timeout: float = 10.0

    transport: asyncio.Transport

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
        limits = Limits.for_max_size(config.ws_max_size)
        extensions = [self.compression] if config.ws_per_message_deflate else []
        self._handshake = ServerHandshake(extensions=extensions, limits=limits)
        self._connection = Connection(Role.SERVER, state=State.CONNECTING, limits=limits)
        self._phase = _Phase.REQUEST
        self._scope: dict[str, Any] = {}
        # The answer to the handshake, or the head of the response that denies it, until it is sent.
        self._response: Response | None = None
        self._chunked = False
        # Bytes that came before the application has accepted.
        self._early = b""
        # What the application has not received yet; dictionaries are events that are not messages.
        self._queue: collections.deque[Message | dict[str, Any]] = collections.deque()
        self._receiver: Waiter | None = None
        self._disconnected: dict[str, Any] | None = None
        self._reading_paused = False
        self._writable: asyncio.Event | None = None
        self._corked = False
        # Bytes sent since the last write within a read, or within a turn of the event loop; None at its beginning.
        self._corked_bytes = 0
        self._joined_bytes: int | None = None
        self._sent_in_a_row = 0
        self._keepalive: Keepalive | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._buffer = _read_buffers.get(self.loop)
        if self._buffer is None:
            self._buffer = _read_buffers[self.loop] = memoryview(bytearray(READ_SIZE))

    # asyncio and uvicorn call these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        # TLS forgets them at the end.
        self._server, self._client = get_local_addr(self.transport), get_remote_addr(self.transport)
        self._server_state.connections.add(self)
        self._trace("WebSocket connection made")
        self._early = _bytes_behind_request(self.transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        assert self._buffer is not None
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self._buffer is not None
        self.data_received(self._buffer[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Take bytes from the client; the first ones are those of the request."""
        self.alive = True
        if self._connection.state is not State.CONNECTING:
            self._receive(data)
        elif self._phase is _Phase.REQUEST:
            self._receive_request(data)
        elif self._phase is not _Phase.DONE:
            # RFC 6455 §4.1: a client has to wait for the answer; one that does not is not read any further.
            self._early += data
            self._pause_reading()

    def eof_received(self) -> None:
        pass

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()
        # The client does not read: one Pong is enough when it does again (RFC 6455 §5.5.3).
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
        # Neither is the application called back otherwise once the connection is gone.
        self._unblock_writers()
        self.transport.close()

    def shutdown(self) -> None:
        """The server stops."""
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
            response = handshake.accept(request)
            if handshake.error is None:
                self._response = response
                self._early = handshake.unread + self._early
                self._phase = _Phase.CONNECTING
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
        offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
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
            "subprotocols": [name.strip() for name in offered if name.strip()],
            "state": self._app_state.copy(),
            "extensions": {"websocket.http.response": {}},
        }

    def _accept(self, message: dict[str, Any]) -> None:
        assert self._response is not None
        headers = self._response.headers.copy()
        # uvicorn's own, if it is to have one, is among the default headers.
        del headers["Date"]
        for name, value in [*self._server_state.default_headers, *message.get("headers", ())]:
            headers[name.decode("ascii").lower()] = value.decode("iso-8859-1")
        subprotocol = message.get("subprotocol") or None
        if subprotocol is not None:
            headers["Sec-WebSocket-Protocol"] = subprotocol
        if self.transport.is_closing():
            raise ClientDisconnected
        self._log_request("[accepted]")
        self._response.headers = headers
        self.transport.write(self._response.serialize())
        self._response = None
        self._connection.open(subprotocol, self._handshake.extensions)
        self._phase = _OPEN
        if self.config.ws_ping_interval:
            # None and 0 stand for no pings.
            self._keepalive = Keepalive(self, self.config.ws_ping_interval, self.config.ws_ping_timeout)
        early, self._early = self._early, b""
        if early:
            self._receive(early)
        if not self._queue:
            self._resume_reading()

    def _refuse(self, status: int, text: str) -> None:
        self._phase = _Phase.DONE
        self.transport.write(self._handshake.reject(status, text).serialize())

    def _start_denial(self, message: dict[str, Any]) -> None:
        """Begin a response that denies the handshake; its head waits for the first piece of the body."""
        status = message["status"]
        if not 100 <= status < 600:
            raise RuntimeError(f"Invalid HTTP status code '{status:d}' in response.")
        headers = Headers()
        for name, value in message.get("headers", ()):
            headers[name.decode("ascii")] = value.decode("iso-8859-1")
        self._log_request(str(status))
        self._response = Response(status, _PHRASES.get(status, ""), headers)
        self._phase = _Phase.DENYING

    def _continue_denial(self, body: bytes, more: bool) -> None:
        response, self._response = self._response, None
        if response is not None:
            headers = response.headers
            if "Content-Length" not in headers:
                self._chunked = more
                name, value = ("Transfer-Encoding", "chunked") if more else ("Content-Length", str(len(body)))
                headers[name] = value
            for name, value in [
                ("Date", email.utils.formatdate(usegmt=True)),
                ("Connection", "close"),
                ("Content-Type", "text/plain; charset=utf-8"),
            ]:
                if name not in headers:
                    headers[name] = value
            self.transport.write(response.serialize())
        if self._chunked and body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        if self._chunked and not more:
            body += b"0\r\n\r\n"
        if body:
            self.transport.write(body)
        if not more:
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
            elif result is not None:
                self.logger.error("ASGI callable should return None, but returned '%s'.", result)
        if self._phase is _Phase.CONNECTING:
            self._refuse(500, "Internal Server Error")
        elif self._phase is _Phase.DENYING and self._response is not None:
            self._continue_denial(b"", False)
        # Otherwise, the closing handshake is under way.
        if self.close_timer is None and self._abort_timer is None:
            self._flush()
            # After a violation, the flush has begun an end that waits for the client's.
            if self._abort_timer is None:
                self.transport.close()

    async def receive(self) -> dict[str, Any]:
        """Return the next ASGI event, when there is one."""
        queue = self._queue
        while not queue:
            if self._disconnected is not None:
                return self._disconnected
            self._receiver = Waiter(self.loop)
            self._sent_in_a_row = 0
            try:
                await self._receiver
            finally:
                self._receiver = None
        event = queue.popleft()
        if not queue and self._reading_paused and self._phase is _OPEN:
            self._resume_reading()
        if type(event) is Message:
            key = "text" if event.opcode is Opcode.TEXT else "bytes"
            return {"type": "websocket.receive", key: event.data}
        assert isinstance(event, dict)
        if event is self._disconnected and self._phase is _OPEN:
            self._phase = _Phase.GONE
        return event

    async def send(self, message: dict[str, Any]) -> None:
        """Take an ASGI event from the application; wait while the client does not read.

        Raises:
            ClientDisconnected: (an OSError) if the client is gone.
            RuntimeError: If the event is out of order.
        """
        while self._writable is not None:
            await self._writable.wait()
        kind = message["type"]
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
            code, reason = message.get("code", CloseCode.NORMAL_CLOSURE), message.get("reason") or ""
            self._phase = _Phase.DONE
            self._start_closing(code, reason, self.close_timeout)
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
            self._continue_denial(message.get("body", b""), message.get("more_body", False))
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
                    # Once the application has closed, only the client's Close frame is of interest.
                    if self._phase is _OPEN:
                        queue.append(event)
                elif isinstance(event, CloseReceived):
                    self._disconnect(event.close.code, event.close.reason)
                elif isinstance(event, Failed):
                    self.logger.info("connection failed: %s (%s)", event.fault.text, event.fault.section)
                    self._disconnect(event.fault.close_code, event.fault.text)
                elif isinstance(event, PongReceived) and self._keepalive is not None:
                    self._keepalive.pong_received()
            if queue and self._receiver is not None:
                self._receiver.wake()
        finally:
            self._corked = False
        self._flush()
        if queue and self._disconnected is None:
            self._pause_reading()

    def _disconnect(self, code: int, reason: str | None = None) -> None:
        """Tell the application of the end, once."""
        if self._disconnected is None:
            self._disconnected = {"type": "websocket.disconnect", "code": int(code)}
            if reason is not None:
                self._disconnected["reason"] = reason
            self._queue.append(self._disconnected)
            if self._receiver is not None and not self._corked:
                self._receiver.wake_soon()

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

    def _flush_joined(self, size: int) -> None:
        """Write what was sent with others of this read or of this turn of the event loop, at the latest at its end."""
        # At least 2 bytes of header, so that an empty message counts too.
        if self._corked:
            self._corked_bytes += 2 + size
            if self._corked_bytes > CORKED_BYTES:
                self._flush()
        elif self._joined_bytes is None:
            self._joined_bytes = 0
            self.loop.call_soon(self._join)
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
                # An application that sends on and on would never let the event loop tell of the end.
                self._phase = _Phase.GONE
        if connection.state is State.CLOSING and connection.close_expected():
            self._end()

    def _start_closing(self, code: int, reason: str, timeout: float) -> None:
        """Send a Close frame, and read on for the client's (RFC 6455 §7.1.1)."""
        self._stop_timers()
        self._connection.send_close(code, reason)
        self._flush()
        self.close_timer = self.loop.call_later(timeout, self._close_timed_out)
        self._resume_reading()

    def _end(self) -> None:
        """End the TCP connection: both sides have closed, or the client has broken the protocol."""
        self._stop_timers()
        begun = self._abort_timer is not None
        if not begun:
            self._abort_timer = self.loop.call_later(ABORT_TIMEOUT_S, self._abort)
        if not self._connection.failed:
            self.transport.close()
        elif not begun and not self.transport.is_closing():
            # What the client still sends is read and dropped, until it ends its stream too, or time is up.
            self._resume_reading()
            end_writing(self.transport)

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
        """What sends keepalive pings, or None."""
        return self._keepalive

    @property
    def buffered_bytes(self) -> int:
        """Bytes that wait in the write buffer."""
        return self.transport.get_write_buffer_size()

    @property
    def reading_paused(self) -> bool:
        """Whether we do not read from the client at the moment."""
        return self._reading_paused

    def send_keepalive_ping(self) -> int:
        """Send a ping of our own; return the bytes that wait in the write buffer."""
        if self._connection.state is State.OPEN:
            self.ping_sent_at = self.loop.time()
            self._connection.send_ping()
            self._flush()
        return self.buffered_bytes

    def keepalive_timed_out(self) -> None:
        """Give up a client that shows no sign of life."""
        if self._connection.state is State.OPEN:
            self._trace("WebSocket keepalive ping timeout")
            self._connection.fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            self._disconnect(CloseCode.INTERNAL_ERROR, "keepalive ping timeout")
            self._flush()

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
    """Return what ``wsframe.patch`` sets: every name that ``--ws`` knows, ``none`` excepted, stands for this module."""
    path = f"{__name__}:{WebSocketProtocol.__name__}"
    protocols = {name: known and path for name, known in uvicorn.config.WS_PROTOCOLS.items()}
    return [(uvicorn.config, "WS_PROTOCOLS", protocols)]


def _bytes_behind_request(transport: asyncio.BaseTransport) -> bytes:
    """Return what uvicorn's HTTP parser has read beyond the request, and would not hand over.

    h11 keeps it; httptools tells its offset in an exception, which uvicorn is handling while it calls us.
    """
    exc = sys.exc_info()[1]
    if type(exc).__name__ == "HttpParserUpgrade" and exc is not None and exc.__traceback__ is not None:
        data = exc.__traceback__.tb_frame.f_locals.get("data")
        return data[exc.args[0] :] if isinstance(data, bytes) else b""
    get_protocol = getattr(transport, "get_protocol", None)
    parser = getattr(get_protocol and get_protocol(), "conn", None)
    trailing = getattr(parser, "trailing_data", None)
    return trailing[0] if isinstance(trailing, tuple) else b""
