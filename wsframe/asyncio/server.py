"""WebSocket servers with coroutines: ``serve`` (RFC 6455 §4.2)."""

from __future__ import annotations

import asyncio
import dataclasses
import http
import inspect
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from wsframe import limits as defaults
from wsframe._checks import (
    check_callable,
    check_close,
    check_handler,
    check_keywords,
    check_logger,
    check_max_queue,
    check_origins,
    check_path,
    check_port,
    check_timeouts,
    check_tls,
    check_write_limit,
    describe,
    listed,
)
from wsframe._escape import escape
from wsframe._options import describe_options
from wsframe.asyncio.auth import basic_auth
from wsframe.asyncio.broadcast import broadcast
from wsframe.asyncio.connection import Connection
from wsframe.asyncio.datapath.keepalive import Timer
from wsframe.asyncio.timeouts import tls_timeouts
from wsframe.constants import CloseCode, Role, State
from wsframe.exceptions import ConnectionClosed, InvalidHandshake
from wsframe.extensions.base import AnyExtensionFactory
from wsframe.extensions.deflate import PerMessageDeflateFactory
from wsframe.extensions.permessage_deflate import extension_factories
from wsframe.limits import Limits
from wsframe.messages.connection import SansIOConnection, check_can_close
from wsframe.messages.stats import Stats
from wsframe.opening.fields import Headers
from wsframe.opening.grammar import check_subprotocols, check_value
from wsframe.opening.handshake import NotHTTPError, ServerHandshake, reject
from wsframe.opening.http import SERVER, Request, Response
from wsframe.typing import LoggerLike, StatusLike

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Server", "ServerConnection", "basic_auth", "broadcast", "serve", "unix_serve"]

MaybeResponse: TypeAlias = Response | None
ProcessRequest: TypeAlias = Callable[["ServerConnection", Request], Awaitable[MaybeResponse] | MaybeResponse]
ProcessResponse: TypeAlias = Callable[["ServerConnection", Request, Response], Awaitable[MaybeResponse] | MaybeResponse]

_SERVER_ERROR = "Failed to open a WebSocket connection.\nSee server log for more information.\n"


class ServerConnection(Connection):
    """The server's end of a connection, as passed to handlers; see ``Connection`` for its methods.

    Args:
        protocol: The connection without I/O.
        server: The server that it belongs to.
        options: As for ``Connection``.

    Attributes:
        server: The server that it belongs to.
        username: Set by ``basic_auth``.
        handler: Set by ``route``: the coroutine function that handles the connection.
        handler_kwargs: Set by ``route``: the values from the URL, for the handler.
    """

    __slots__ = ("_handshake", "_negotiation", "_patience", "_peer_ended", "server")

    username: str
    handler: Callable[..., Awaitable[Any]]
    handler_kwargs: Mapping[str, Any]

    def __init__(self, protocol: SansIOConnection, server: Server, **options: Any) -> None:
        super().__init__(protocol, open_timeout=server.open_timeout, logger=server.logger, **options)
        self.server = server
        self._handshake: ServerHandshake | None = None
        # The task of process_request and process_response, while they run.
        self._negotiation: asyncio.Task[None] | None = None
        # Whether the client has ended its side but still waits for the response.
        self._peer_ended = False
        # The time limit for that.
        self._patience: Timer | None = None

    def respond(self, status: StatusLike, text: str) -> Response:
        """Return a plain text response, for ``process_request`` and ``process_response`` to return.

        Args:
            status: The HTTP status.
            text: The body.
        """
        return reject(status, text)

    def _on_connected(self) -> None:
        self._handshake = self.server.attach(self)

    def _on_handshake_data(self, data: memoryview) -> None:
        handshake = self._handshake
        assert handshake is not None
        if self.request is not None:
            # A client need not wait for the response, but may send no more than this before it.
            handshake.unread += bytes(data)
            self.pause_reading()
            return
        try:
            self.request = handshake.receive_data(data)
        except NotHTTPError as exc:
            self.logger.debug("! %s", exc)
            self._ending = True
            self._set_timer(self.close_timeout, self._close_timed_out)
            self._shut_down_writing()
            return
        except InvalidHandshake as exc:
            self._respond(handshake, self._with_server_header(handshake.refuse(exc)))
            return
        if self.request is None:
            return
        if self.logger.isEnabledFor(logging.DEBUG):
            self.logger.debug("< %s %s %s", self.request.method, escape(self.request.path), self.request.protocol)
            self._log_headers("<", self.request.headers)
        if self.server.process_request is None and self.server.process_response is None:
            self._respond(handshake, self._with_server_header(self._accept(handshake, self.request)))
            if self.state is State.OPEN:
                self.server.start_task(self._handle())
                self._receive(handshake.unread)
        else:
            if handshake.unread:
                self.pause_reading()
            self._negotiation = self.server.start_task(self._negotiate(handshake, self.request))

    async def _negotiate(self, handshake: ServerHandshake, request: Request) -> None:
        """Run ``process_request`` and ``process_response``, then the handler, in one task and one context."""
        response = await self._process("process_request", handshake, request)
        if response is None:
            response = self._accept(handshake, request)
        self.response = self._with_server_header(response)
        self.response = await self._process("process_response", handshake, request, self.response) or self.response
        self._negotiation = None
        if self.state is not State.CONNECTING or self.transport.is_closing():
            return
        self._respond(handshake, self._settled(handshake, self.response))
        if not self._peer_ended:
            self.resume_reading()
        if self.was_open:
            self._receive(handshake.unread)
            if self._peer_ended:
                self.transport.close()
            await self._handle()

    async def _process(self, name: str, handshake: ServerHandshake, *args: Any) -> Response | None:
        """Call one of the server's callbacks, a function or coroutine function."""
        callback = getattr(self.server, name)
        if callback is None:
            return None
        try:
            response = callback(self, *args)
            if inspect.isawaitable(response):
                response = await response
            if response is not None and not isinstance(response, Response):
                raise TypeError(f"expected a Response or None, not {type(response).__name__}")
        except Exception as exc:
            self.logger.exception("%s failed", name)
            handshake.error = exc
            return reject(http.HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER_ERROR)
        return response

    def _accept(self, handshake: ServerHandshake, request: Request) -> Response:
        try:
            response = handshake.accept(request)
        except Exception as exc:
            self.logger.exception("opening handshake failed")
            handshake.error = exc
            response = reject(http.HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER_ERROR)
        return response

    def _settled(self, handshake: ServerHandshake, response: Response) -> Response:
        """Return the application's response, corrected, or an error response if it cannot be sent."""
        try:
            if settled := handshake.settle(response):
                self.logger.warning("headers of the application contradict the handshake: %s", ", ".join(settled))
            response.serialize()
        except Exception as exc:
            self.logger.exception("the application's response cannot be sent")
            handshake.error = exc
            return reject(http.HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER_ERROR)
        return response

    def _with_server_header(self, response: Response) -> Response:
        if self.server.server_header is not None and "Server" not in response.headers:
            response.headers["Server"] = self.server.server_header
        return response

    def _respond(self, handshake: ServerHandshake, response: Response) -> None:
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS and not self.server.is_serving():
            response = reject(http.HTTPStatus.SERVICE_UNAVAILABLE, "Server is shutting down.\n")
        self.response = response
        if self.logger.isEnabledFor(logging.DEBUG):
            if handshake.error is not None:
                self.logger.debug("! %s", escape(str(handshake.error)))
            self.logger.debug("> HTTP/1.1 %d %s", response.status_code, escape(response.reason_phrase))
            self._log_headers(">", response.headers)
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.transport.write(response.serialize())
            self._handshake = None
            self._opened(handshake)
            self.logger.info("connection open")
            return
        # The application may also have answered plain HTTP, as for health checks.
        what = "connection rejected" if handshake.judged else "HTTP response sent"
        self.logger.info("%s (%d %s)", what, response.status_code, escape(response.reason_phrase))
        if self.request is not None and self.request.method == "HEAD":
            # RFC 9110 §9.3.2: the header section is that of the response to GET.
            response = dataclasses.replace(response, body=b"")
        self._refuse(response)

    def _log_headers(self, direction: str, headers: Headers) -> None:
        for name, value in headers.raw_items():
            self.logger.debug("%s %s: %s", direction, name, escape(value))

    async def _handle(self) -> None:
        try:
            async with self:
                result = self.server.handler(self)
                if not inspect.isawaitable(result):
                    raise TypeError(f"handler must be a coroutine function: it returned {describe(result)}")
                await result
        except ConnectionClosed as exc:
            self.logger.info("connection handler ended: %s", exc)
        except Exception:
            self.logger.exception("connection handler failed")

    def eof_received(self) -> bool:
        """Keep the connection while a response is being prepared: the client may have half-closed after its request.

        Or the client may be gone, which looks the same until data is sent to it, so this has a time limit. TLS has no
        half-closed state on asyncio and uvloop.
        """
        self._peer_ended = self._negotiation is not None and self.transport.get_extra_info("sslcontext") is None
        if self._peer_ended and self.close_timeout is not None:
            self._patience = self._clock.call_later(self.close_timeout, self.transport.close)
        return self._peer_ended

    def _shut_down_writing(self) -> None:
        if self._peer_ended:
            # eof_received() returned True, so asyncio leaves closing to us.
            self.transport.close()
        else:
            super()._shut_down_writing()

    def _open_timed_out(self) -> None:
        super()._open_timed_out()
        if self._negotiation is not None:
            self._negotiation.cancel()

    def _on_lost(self, exc: Exception | None) -> None:
        super()._on_lost(exc)
        if self._patience is not None:
            self._patience.cancel()
        self.server.detach(self)
        self.logger.info("connection closed")


class Server:
    """A WebSocket server, as returned by ``serve``: await it, or use it as an asynchronous context manager.

    Leaving the context, or ``close()``, closes all connections with code 1001 and waits for their handlers.

    Args:
        handler: Coroutine function that handles a connection.
        listen: Starts an ``asyncio.Server``, given a protocol factory.
        new_connection: Creates the WebSocket connection for a TCP connection.
        new_handshake: Creates its opening handshake.
        process_request: As in ``serve``.
        process_response: As in ``serve``.
        server_header: As in ``serve``.
        open_timeout: As in ``serve``.
        logger: Logger to use.

    Attributes:
        handler: Coroutine function that handles a connection.
        logger: Logger of the server.
    """

    def __init__(
        self,
        handler: Callable[..., Awaitable[Any]],
        listen: Callable[[Callable[[], ServerConnection]], Coroutine[Any, Any, asyncio.AbstractServer]],
        new_connection: Callable[[Server], ServerConnection],
        new_handshake: Callable[[ServerConnection], ServerHandshake],
        *,
        process_request: ProcessRequest | None,
        process_response: ProcessResponse | None,
        server_header: str | None,
        open_timeout: float | None,
        logger: LoggerLike,
    ) -> None:
        self.handler = _one_argument(handler)
        self._tasks: set[asyncio.Task[None]] = set()
        self.process_request = process_request
        self.process_response = process_response
        self.server_header = server_header
        self.open_timeout = open_timeout
        self.logger = logger
        self.server: asyncio.Server | None = None
        self._listen = listen
        self._close_task: asyncio.Task[None] | None = None
        self._new_connection = new_connection
        self._new_handshake = new_handshake
        self._attached: set[ServerConnection] = set()
        # Statistics of closed connections.
        self._ended = Stats()
        self._opened = 0

    def new_connection(self) -> ServerConnection:
        """Create the WebSocket connection for a TCP connection."""
        return self._new_connection(self)

    def attach(self, connection: ServerConnection) -> ServerHandshake:
        """Register a new TCP connection; return its opening handshake."""
        self._attached.add(connection)
        return self._new_handshake(connection)

    def detach(self, connection: ServerConnection) -> None:
        """Unregister a TCP connection that is lost."""
        self._attached.discard(connection)
        if connection.was_open:
            self._opened += 1
            self._ended += connection.stats.ended()

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a connection's task, which ``wait_closed`` waits for."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @property
    def connections(self) -> set[ServerConnection]:
        """The connections that are open."""
        return {connection for connection in self._attached if connection.state is State.OPEN}

    @property
    def stats(self) -> Stats:
        """The combined statistics of all connections, including closed ones."""
        return sum((connection.stats for connection in self._attached if connection.was_open), self._ended)

    @property
    def connections_opened(self) -> int:
        """How many opening handshakes have succeeded so far."""
        return self._opened + sum(connection.was_open for connection in self._attached)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that the server listens on."""
        return tuple(self._started().sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop that the server runs on."""
        return self._started().get_loop()

    def is_serving(self) -> bool:
        """Return whether the server accepts connections."""
        return self.server is not None and self.server.is_serving()

    async def start_serving(self) -> None:
        """Start accepting connections, after ``serve(..., start_serving=False)``."""
        await self._started().start_serving()

    async def serve_forever(self) -> None:
        """Accept connections until cancelled or until the server is closed; when cancelled, close the server."""
        try:
            if not self.is_serving() and self._close_task is None:
                await self.start_serving()
            await self.wait_closed()
        except asyncio.CancelledError:
            self.close()
            await self.wait_closed()
            raise

    def close(
        self,
        close_connections: bool = True,
        code: CloseCode | int = CloseCode.GOING_AWAY,
        reason: str = "",
    ) -> None:
        """Stop accepting connections, and close those that are open; ``wait_closed`` waits for the end.

        TCP connections that have not sent their handshake request are dropped, and later requests are
        refused with status 503. A second call does nothing.

        Args:
            close_connections: False to keep connections open until their clients or handlers close them.
            code: Close code for the open connections.
            reason: Close reason for the open connections.

        Raises:
            TypeError: If ``code`` is not an int or ``reason`` is not a str.
            ProtocolError: If the code or reason cannot be sent.
        """
        check_close(code, reason)
        check_can_close(code, reason)
        if self._close_task is None:
            self._close_task = self.get_loop().create_task(self._close(close_connections, code, reason))

    async def _close(self, close_connections: bool, code: CloseCode | int, reason: str) -> None:
        server = self._started()
        self.logger.info("server closing")
        server.close()
        for connection in list(self._attached):
            if connection.state is State.CONNECTING and connection.request is None:
                connection.transport.abort()
        if close_connections:
            await asyncio.gather(*(connection.close(code, reason) for connection in self.connections))
        await server.wait_closed()
        while self._tasks or self._attached:
            if self._tasks:
                await asyncio.wait(self._tasks)
            for connection in list(self._attached):
                await connection.wait_closed()
        self.logger.info("server closed")

    async def wait_closed(self) -> None:
        """Wait until the server and all connections are closed and all handlers have returned."""
        if self._close_task is None:
            await self._started().wait_closed()
        # Checked only now, because close() may have been called in the meantime.
        if self._close_task is not None:
            await asyncio.shield(self._close_task)

    def _started(self) -> asyncio.Server:
        if self.server is None:
            raise RuntimeError("the server has not been started: await it")
        return self.server

    async def _start(self) -> Self:
        if self.server is None:
            self.server = await self._listen(self.new_connection)  # type: ignore[assignment]
            if self.is_serving():
                for sock in self.sockets:
                    self.logger.info("server listening on %s", _socket_name(sock))
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._start().__await__()

    async def __aenter__(self) -> Self:
        return await self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.wait_closed()


@describe_options
def serve(  # noqa: D417 - the decorator adds them
    handler: Callable[..., Awaitable[Any]],
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    origins: Sequence[str | re.Pattern[str] | None] | None = None,
    extensions: Sequence[AnyExtensionFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    select_subprotocol: Callable[[ServerConnection, Sequence[str]], str | None] | None = None,
    compression: str | PerMessageDeflateFactory | None = "deflate",
    process_request: ProcessRequest | None = None,
    process_response: ProcessResponse | None = None,
    server_header: str | None = SERVER,
    open_timeout: float | None = defaults.OPEN_TIMEOUT_S,
    ping_interval: float | None = defaults.PING_INTERVAL_S,
    ping_timeout: float | None = defaults.PING_TIMEOUT_S,
    close_timeout: float | None = defaults.CLOSE_TIMEOUT_S,
    max_size: int | tuple[int | None, int | None] | None = defaults.MAX_SIZE,
    limits: Limits | None = None,
    max_queue: int | tuple[int | None, int | None] | None = defaults.MAX_QUEUE,
    write_limit: int | tuple[int, int | None] = defaults.WRITE_LIMIT,
    logger: LoggerLike | None = None,
    create_connection: Callable[..., ServerConnection] | None = None,
    **kwargs: Any,
) -> Server:
    """Start a WebSocket server.

    For each client, ``handler`` is called with the connection after the opening handshake. When it returns, the
    connection is closed with code 1000; if it raises an exception, with code 1011::

        async def handler(websocket):
            async for message in websocket:
                await websocket.send(message)

        async with serve(handler, "localhost", 8765):
            await asyncio.Future()

    Args:
        handler (Callable[..., Awaitable[Any]]): Coroutine function ``handler(websocket)``, or
            ``handler(websocket, path)`` as in early versions of ``websockets``.
        host (str | Sequence[str] | None, default None): Interfaces to listen on; None for all.
        port (int | None, default None): TCP port to listen on; 0 or None for any free port.
        origins (Sequence[str | re.Pattern[str] | None] | None, default None): Accepted values of the Origin header,
            strings or compiled patterns; None in the list accepts requests without one. None accepts everything, which
            lets any web page connect from its visitors' browsers (RFC 6455 §10.2); the right value depends on who the
            clients are.
        extensions (Sequence[AnyExtensionFactory] | None, default None): Factories of extensions that the server may use
            in addition to compression, in the order in which they encode; a permessage-deflate factory among them
            replaces ``compression``.
        subprotocols (Sequence[str] | None, default None): Subprotocols that the server supports, in order of
            preference; a client that offers none of them is refused. None by default, since applications define their
            own.
        select_subprotocol (Callable[[ServerConnection, Sequence[str]], str | None] | None, default None): Called with
            the connection and the subprotocols that the client offers; returns one of them or None. If None, the first
            of ``subprotocols`` that the client offers is selected.
        {compression}
        process_request (ProcessRequest | None, default None): Function or coroutine function, called with the
            connection and the request, whether for WebSocket or plain HTTP. It may return a response to send instead
            of continuing the handshake, such as ``connection.respond(200, "OK")`` for a health check.
        process_response (ProcessResponse | None, default None): Function or coroutine function, called with the
            connection, the request and the response. It may modify the response or return another one.
        server_header (str | None, default SERVER): Value of the Server header; None omits it. The default gives the
            versions of Python and wsframe, for troubleshooting.
        {open_timeout, ping_interval, ping_timeout, close_timeout, max_size, limits, max_queue, write_limit}
        logger (LoggerLike | None, default None): Logger to use; ``wsframe.server`` if None.
        create_connection (Callable[..., ServerConnection] | None, default None): Creates the connection: a subclass of
            ServerConnection or a function with the same signature; ServerConnection if None.
        kwargs (Any): Passed to ``loop.create_server``: ``ssl``, ``sock``, ``start_serving`` and so on.

    Returns:
        The server, to be awaited or used with ``async with``.

    Raises:
        TypeError: If an argument has the wrong type or an unknown name: a handler that does not take the connection or
            is not ``async``, ``origins`` or ``subprotocols`` given as a single string, and so on.
        ValueError: If a value is out of range, a subprotocol is not a token, or ``compression`` has another value.
    """
    check_keywords("serve", kwargs, _LOOP_OPTIONS, _RENAMED)
    check_handler(handler)
    _check_host(host)
    check_port("port", port)
    check_path(kwargs.get("path"))
    origins = check_origins(origins)
    subprotocols = check_subprotocols(subprotocols)
    factories = extension_factories(extensions, compression)
    check_callable(
        "select_subprotocol",
        select_subprotocol,
        "connection",
        "subprotocols",
        never_async=True,
        legacy="client_subprotocols",
    )
    check_callable("process_request", process_request, "connection", "request", legacy="path")
    check_callable("process_response", process_response, "connection", "request", "response")
    check_value("server_header", "Server", server_header)
    check_timeouts(open_timeout, ping_interval, ping_timeout, close_timeout)
    bounds = Limits.for_max_size(max_size, limits)
    check_max_queue(max_queue)
    check_write_limit(write_limit)
    check_logger(logger)
    check_callable("create_connection", create_connection, "protocol", "server", keywords=_OPTIONS, never_async=True)
    check_tls("ssl", kwargs.get("ssl"))
    if logger is None:
        logger = logging.getLogger("wsframe.server")
    if kwargs.get("ssl") is not None:
        kwargs.update(tls_timeouts(kwargs, open_timeout, close_timeout))

    async def listen(factory: Callable[[], ServerConnection]) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        options = {**kwargs, "start_serving": False}
        if options.pop("unix", False):
            server = await loop.create_unix_server(factory, **options)
        else:
            server = await loop.create_server(factory, host, port, **options)
        if kwargs.get("start_serving", True):
            # Not by create_server, which leaves an open socket when it is cancelled during this step.
            try:
                await server.start_serving()
            except BaseException:
                server.close()
                raise
        return server

    def new_connection(server: Server) -> ServerConnection:
        return (create_connection or ServerConnection)(
            SansIOConnection(Role.SERVER, state=State.CONNECTING, limits=bounds),
            server,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=close_timeout,
            max_queue=max_queue,
            write_limit=write_limit,
        )

    def new_handshake(connection: ServerConnection) -> ServerHandshake:
        select = None
        if select_subprotocol is not None:

            def select(offered: Sequence[str]) -> str | None:
                return select_subprotocol(connection, offered)

        return ServerHandshake(
            origins=origins, subprotocols=subprotocols, select_subprotocol=select, extensions=factories, limits=bounds
        )

    return Server(
        handler,
        listen,
        new_connection,
        new_handshake,
        process_request=process_request,
        process_response=process_response,
        server_header=server_header,
        open_timeout=open_timeout,
        logger=logger,
    )


def unix_serve(handler: Callable[..., Awaitable[Any]], path: str | None = None, **kwargs: Any) -> Server:
    """Start a WebSocket server that listens on a Unix socket.

    Args:
        handler: As in ``serve``.
        path: Path of the socket.
        kwargs: As in ``serve``, except ``host`` and ``port``.
    """
    return serve(handler, unix=True, path=path, **kwargs)


_OPTIONS = "ping_interval", "ping_timeout", "close_timeout", "max_queue", "write_limit"
"""Options that connections are created with."""

# Event loops may support arguments that asyncio added after the running version of Python.
_LOOP_OPTIONS = frozenset({"unix", "ssl_shutdown_timeout", "keep_alive", "cleanup_socket"}).union(
    inspect.signature(asyncio.AbstractEventLoop.create_server).parameters,
    inspect.signature(asyncio.AbstractEventLoop.create_unix_server).parameters,
)
"""Names of the arguments that may be passed to an event loop."""

_RENAMED = {
    "create_protocol": "use create_connection",
    "extra_headers": "use process_response, which may add headers to the response",
    "klass": "use create_connection",
    "origin": "use origins",
    "loop": "the server runs on the event loop that is running",
    "read_limit": "max_queue bounds what waits to be received",
    "timeout": "use open_timeout and close_timeout",
    "ws_handler": "use handler",
}
"""Arguments of early versions of ``websockets``, or of clients, and their replacements."""


def _check_host(host: Any) -> None:
    hosts = [host] if host is None or isinstance(host, (str, bytes)) else listed("host", host, "a str, a list or None")
    for name in hosts:
        if name is not None and not isinstance(name, (str, bytes)):
            raise TypeError(f"host must be a str, a list of them or None, not {describe(name)}")


def _one_argument(handler: Callable[..., Awaitable[Any]]) -> Callable[[ServerConnection], Awaitable[Any]]:
    """Adapt a handler that takes the path as a second argument."""
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError):
        return handler
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2 or not (positional[1].default is inspect.Parameter.empty or positional[1].name == "path"):
        return handler

    def call(websocket: ServerConnection) -> Awaitable[Any]:
        assert websocket.request is not None
        return handler(websocket, websocket.request.path)

    return call


def _socket_name(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family == socket.AF_INET6:
        return f"[{name[0]}]:{name[1]}"
    return f"{name[0]}:{name[1]}" if sock.family == socket.AF_INET else str(name)
