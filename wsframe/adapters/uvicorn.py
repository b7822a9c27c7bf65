"""uvicorn: ``uvicorn app:app --ws wsframe.adapters.uvicorn:WebSocketProtocol``, or ``wsframe.patch``.

The WebSocket half of ASGI (version 2.4 of its specification). uvicorn reads the request, detects that it is a
handshake, creates a ``WebSocketProtocol`` and passes the request and the transport to it. Once the application has
accepted, a ``Connection`` of ``wsframe.asyncio`` takes over the transport.
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

import wsframe
from wsframe import (
    IMPLEMENTATION,
    CloseCode,
    ConnectionClosed,
    InvalidHandshake,
    Limits,
    PerMessageDeflateFactory,
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
from wsframe.asyncio.connection import Connection
from wsframe.extensions import ExtensionFactory
from wsframe.hosting import Stats

__all__ = ["WebSocketProtocol", "replacements"]

SHUTDOWN_GRACE_S = 1.0
"""Seconds for a client to answer the Close frame of a server that shuts down: several round trips."""

_logged: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
"""Event loops for which it was logged what runs."""


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


class WebSocketProtocol(asyncio.Protocol):
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
        websocket: The connection with its messages; it has the transport once the application has accepted.
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
        self._server_state = server_state
        self._app_state = app_state
        limits = combine_limits(self.limits, config.ws_max_size)
        extensions = [self.compression] if config.ws_per_message_deflate and self.compression is not None else []
        self._handshake = ServerHandshake(origins=self.origins, extensions=extensions, limits=limits)
        self.websocket = _Accepted(self, limits)
        self._phase = _Phase.REQUEST
        self._scope: dict[str, Any] = {}
        self._subprotocols: list[str] = []
        self._http_version = "1.1"
        # The handshake, the response to it until it is sent, and the response that denies it instead.
        self._request: Request | None = None
        self._response: Response | None = None
        self._denial: Denial | None = None
        # Bytes received before the application has accepted.
        self._early = b""
        # Set when the application has accepted or denied the handshake, or cannot any more.
        self._answered = asyncio.Event()
        # Whether a task is receiving, and futures of others that want to; usually, there is only one.
        self._receiving = False
        self._turns: collections.deque[asyncio.Future[None]] = collections.deque()
        self._connect_event: dict[str, Any] | None = {"type": "websocket.connect"}
        self._disconnected: dict[str, Any] | None = None
        if self.loop not in _logged:
            _logged.add(self.loop)
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

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the client before the application has accepted; the first ones are those of the request."""
        if self._phase is _Phase.REQUEST:
            self._receive_request(data)
        elif self._phase is _Phase.CONNECTING:
            # RFC 6455 §4.1: a client must wait for the response; if it does not, reading stops.
            self._early += data
            if not self.websocket.reading_paused:
                self.websocket.reading_paused = True
                self.transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self._trace("WebSocket connection lost")
        self._server_state.connections.discard(self)
        accepted = self.websocket.was_open
        self._phase = _Phase.GONE
        self._disconnect(CloseCode.NO_STATUS_RCVD if accepted else CloseCode.ABNORMAL_CLOSURE)
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection because the server is shutting down."""
        if self._phase is _OPEN and self.websocket.state is State.OPEN:
            self._disconnect(CloseCode.SERVICE_RESTART)
            self._phase = _Phase.GONE
            self.websocket.close_timeout = min(self.close_timeout, SHUTDOWN_GRACE_S)
            self.websocket.start_closing(CloseCode.SERVICE_RESTART)
            return
        if self._phase is _Phase.CONNECTING:
            self._refuse(500, "Internal Server Error")
        self.transport.close()

    # The opening handshake

    def _receive_request(self, data: bytes) -> None:
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
                self._request, self._response = request, response
                self._early = handshake.unread + self._early
                self._phase = _Phase.CONNECTING
                offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol")).split(",")
                self._subprotocols = [name.strip() for name in offered if name.strip()]
                self._scope = self._make_scope(request)
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
        request, response = self._request, self._response
        assert request is not None
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
        self._handshake.subprotocol = subprotocol
        self._phase = _OPEN
        self._answered.set()
        self.websocket.close_timeout = self.close_timeout
        self.websocket.take_over(self.transport, self._handshake, request, response, self._early)
        self._request = self._response = None
        self._early = b""
        if not self.websocket.queue_depth:
            self.websocket.resume_reading()

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
        if self.websocket.state in (State.CONNECTING, State.OPEN):
            self.transport.close()
            if self.websocket.buffered_bytes:
                self.loop.call_later(self.close_timeout, self.transport.abort)

    async def receive(self) -> dict[str, Any]:
        """Wait for the next ASGI event and return it."""
        if self._connect_event is not None:
            event, self._connect_event = self._connect_event, None
            return event
        if self._phase is not _OPEN and not self._answered.is_set():
            await self._answered.wait()
        while self._receiving:
            turn = self.loop.create_future()
            self._turns.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._pass_turn()
                raise
        self._receiving = True
        try:
            data = await self.websocket.recv()
        except ConnectionClosed:
            if self._phase is _OPEN:
                self._phase = _Phase.GONE
            assert self._disconnected is not None
            return self._disconnected
        finally:
            self._receiving = False
            if self._turns:
                self._pass_turn()
        return {"type": "websocket.receive", "text" if type(data) is str else "bytes": data}

    def _pass_turn(self) -> None:
        """Let the next task receive that has not been cancelled in the meantime."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def send(self, message: dict[str, Any]) -> None:
        """Send an ASGI event from the application; wait while the client does not read.

        Raises:
            ClientDisconnected: (an OSError) if the client has disconnected.
            RuntimeError: If the event is out of order, or a response that denies the handshake has the wrong length.
            TypeError: If a value in the event has the wrong type.
            ValueError: If a header or a subprotocol cannot be sent.
        """
        kind = message["type"]
        if self._phase is not _OPEN:
            self._send_unopened(kind, message)
        elif kind == "websocket.send":
            data = message.get("bytes")
            if data is None:
                data = message.get("text")
                if data is None:
                    return
                if not isinstance(data, str):
                    raise TypeError(f"'text' must be a str, not {type(data).__name__}")
            elif type(data) is not bytes:
                # Refuses what is not bytes-like, which would be sent in fragments.
                data = memoryview(data)
            websocket = self.websocket
            try:
                if websocket.writing_paused and websocket.protocol.limits.send_buffer_policy == "wait":
                    await websocket.drain()
                await websocket.send(data)
            except ConnectionClosed:
                raise ClientDisconnected from None
        elif kind == "websocket.close":
            if self.websocket.state is not State.OPEN:
                raise ClientDisconnected
            code, reason = message.get("code"), message.get("reason") or ""
            if code is None:
                code = CloseCode.NORMAL_CLOSURE
            if not isinstance(code, int) or not isinstance(reason, str):
                raise TypeError(f"'code' must be an int and 'reason' a str, not {code!r} and {reason!r}")
            self.websocket.start_closing(code, reason)
            self._phase = _Phase.DONE
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

    # The end

    def describe_end(self) -> None:
        """Make the application notice the end that has begun: a Close frame has arrived, or was sent."""
        connection = self.websocket.protocol
        if connection.close_rcvd is not None:
            self._disconnect(connection.close_rcvd.code, connection.close_rcvd.reason)
        elif connection.fault is not None:
            self._disconnect(connection.fault.close_code, connection.fault.text)
        else:
            assert connection.close_sent is not None
            self._disconnect(connection.close_sent.code, connection.close_sent.reason)

    def _disconnect(self, code: int, reason: str | None = None) -> None:
        """Notify the application of the end, once."""
        if self._disconnected is None:
            self._disconnected = {"type": "websocket.disconnect", "code": int(code)}
            if reason is not None:
                self._disconnected["reason"] = reason
            self._answered.set()
            self.websocket.stop_waiting()

    # Inspecting a connection

    @property
    def stats(self) -> Stats:
        """Statistics of the connection so far."""
        return self.websocket.stats

    # Logging

    def _trace(self, text: str) -> None:
        if self.logger.isEnabledFor(TRACE_LOG_LEVEL):
            prefix = f"{self._client[0]}:{self._client[1]} - " if self._client else ""
            self.logger.log(TRACE_LOG_LEVEL, "%s%s", prefix, text)

    def _log_request(self, outcome: str) -> None:
        scope = self._scope
        path = get_path_with_query_string(scope)
        self.logger.info('%s - "WebSocket %s" %s', get_client_addr(scope), path, outcome)


class _Accepted(Connection):
    """The connection of a ``WebSocketProtocol`` once the application has accepted it.

    Args:
        host: The protocol.
        limits: Limits on the memory and work that the client can cause.
    """

    def __init__(self, host: WebSocketProtocol, limits: Limits) -> None:
        config = host.config
        interval, queue = config.ws_ping_interval, config.ws_max_queue
        super().__init__(
            wsframe.Connection(Role.SERVER, state=State.CONNECTING, limits=limits),
            ping_interval=interval if interval is not None and interval > 0 else None,
            ping_timeout=config.ws_ping_timeout,
            max_queue=None if queue is None else max(0, queue),
            logger=host.logger,
        )
        # The host has the connection.
        self._host: WebSocketProtocol = weakref.proxy(host)

    def connection_ending(self) -> None:
        self._host.describe_end()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._host.connection_lost(exc)


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes: every ``--ws`` name but ``none`` selects this module."""
    path = f"{__name__}:{WebSocketProtocol.__name__}"
    protocols = {name: known and path for name, known in uvicorn.config.WS_PROTOCOLS.items()}
    return [(uvicorn.config, "WS_PROTOCOLS", protocols)]
