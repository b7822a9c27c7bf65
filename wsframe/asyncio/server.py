"""WebSocket servers with coroutines: ``serve`` (RFC 6455 §4.2). Rank 5."""

from __future__ import annotations

import asyncio
import hmac
import http
import inspect
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from wsframe.asyncio.broadcast import broadcast
from wsframe.asyncio.connection import Connection
from wsframe.asyncio.tls import tls_timeouts
from wsframe.connection import Connection as SansIOConnection
from wsframe.constants import CloseCode, Role, State
from wsframe.deflate import PerMessageDeflateFactory, compression_factories
from wsframe.exceptions import ConnectionClosed, InvalidHandshake, InvalidHeader
from wsframe.handshake import ServerHandshake
from wsframe.headers import check_subprotocols, parse_basic_authorization
from wsframe.http11 import SERVER, Request, Response
from wsframe.limits import (
    CLOSE_TIMEOUT_S,
    MAX_QUEUE,
    OPEN_TIMEOUT_S,
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
    WRITE_LIMIT,
    Limits,
)

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Server", "ServerConnection", "basic_auth", "broadcast", "serve", "unix_serve"]

MaybeResponse: TypeAlias = Response | None
ProcessRequest: TypeAlias = Callable[["ServerConnection", Request], Awaitable[MaybeResponse] | MaybeResponse]
ProcessResponse: TypeAlias = Callable[["ServerConnection", Request, Response], Awaitable[MaybeResponse] | MaybeResponse]

_SERVER_ERROR = "Failed to open a WebSocket connection; the server's log has more.\n"


class ServerConnection(Connection):
    """A server's end of a connection, which handlers receive; see ``Connection`` for what it can do.

    Args:
        protocol: The connection without I/O.
        server: The server that it belongs to.
        options: As for ``Connection``.

    Attributes:
        server: The server that it belongs to.
        username: Set by ``basic_auth``.
    """

    username: str

    def __init__(self, protocol: SansIOConnection, server: Server, **options: Any) -> None:
        super().__init__(protocol, **options)
        self.server = server
        self._handshake: ServerHandshake | None = None

    def respond(self, status: http.HTTPStatus | int, text: str) -> Response:
        """Make a response of plain text, for ``process_request`` and ``process_response`` to return.

        Args:
            status: The HTTP status.
            text: The body.
        """
        assert self._handshake is not None, "the opening handshake is done"
        return self._handshake.reject(status, text)

    def _on_connected(self) -> None:
        self._handshake = self.server.attach(self)

    def _on_handshake_data(self, data: memoryview) -> None:
        handshake = self._handshake
        assert handshake is not None
        if self.request is not None:
            # A transport may have had this at hand when reading was paused.
            handshake.unread += bytes(data)
            return
        try:
            self.request = handshake.receive_data(data)
        except InvalidHandshake as exc:
            self._respond(handshake, handshake.refuse(exc))
            return
        if self.request is None:
            return
        if self.server.process_request is None and self.server.process_response is None:
            self._respond(handshake, self._accept(handshake, self.request))
            if self.state is State.OPEN:
                self.server.start_task(self._handle())
                self._receive(handshake.unread)
        else:
            self.pause_reading()
            self.server.start_task(self._negotiate(handshake, self.request))

    async def _negotiate(self, handshake: ServerHandshake, request: Request) -> None:
        """Run ``process_request`` and ``process_response``, then the handler, in one task and one context."""
        try:
            response = await _call(self.server.process_request, self, request)
            if response is None:
                response = self._accept(handshake, request)
            self.response = response
            response = await _call(self.server.process_response, self, request, response) or response
        except Exception as exc:
            self.logger.exception("process_request or process_response failed")
            handshake.error = exc
            response = handshake.reject(http.HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER_ERROR)
        if self.state is not State.CONNECTING or self.transport.is_closing():
            return
        self._respond(handshake, response)
        self.resume_reading()
        if self.was_open:
            self._receive(handshake.unread)
            await self._handle()

    def _accept(self, handshake: ServerHandshake, request: Request) -> Response:
        try:
            return handshake.accept(request)
        except Exception as exc:
            self.logger.exception("the opening handshake failed")
            handshake.error = exc
            return handshake.reject(http.HTTPStatus.INTERNAL_SERVER_ERROR, _SERVER_ERROR)

    def _respond(self, handshake: ServerHandshake, response: Response) -> None:
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS and not self.server.is_serving():
            response = handshake.reject(http.HTTPStatus.SERVICE_UNAVAILABLE, "Server is shutting down.\n")
        if self.server.server_header is not None and "Server" not in response.headers:
            response.headers["Server"] = self.server.server_header
        self.response = response
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            self.transport.write(response.serialize())
            self._handshake = None
            self._opened(handshake)
            self.logger.info("connection open")
        else:
            self.logger.info("connection rejected (%d): %s", response.status_code, handshake.error or "by the server")
            self._refuse(response)

    async def _handle(self) -> None:
        try:
            async with self:
                await self.server.handler(self)
        except ConnectionClosed as exc:
            self.logger.info("connection handler ended: %s", exc)
        except Exception:
            self.logger.exception("connection handler failed")

    def _on_lost(self, exc: Exception | None) -> None:
        super()._on_lost(exc)
        self.server.detach(self)
        if self.was_open:
            self.logger.info("connection closed")


async def _call(callback: Callable[..., Any] | None, *args: Any) -> MaybeResponse:
    """Call a function or a coroutine function of the application."""
    result = None if callback is None else callback(*args)
    if inspect.isawaitable(result):
        result = await result
    if result is not None and not isinstance(result, Response):
        raise TypeError(f"expected a Response or None, not {type(result).__name__}")
    return result


class Server:
    """A WebSocket server, which ``serve`` returns: await it, or use it as an asynchronous context manager.

    Leaving the context, or ``close()``, closes all connections with code 1001 and waits for their handlers.

    Args:
        handler: Coroutine function that handles a connection.
        listen: Starts an ``asyncio.Server``, given a protocol factory.
        new_connection: Makes the connection for a TCP connection.
        new_handshake: Makes its opening handshake.
        process_request: As in ``serve``.
        process_response: As in ``serve``.
        server_header: As in ``serve``.
        logger: Where to log to.
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
        logger: logging.Logger | logging.LoggerAdapter[Any],
    ) -> None:
        self.handler = _one_argument(handler)
        self.process_request = process_request
        self.process_response = process_response
        self.server_header = server_header
        self.logger = logger
        self._listen = listen
        self._new_connection = new_connection
        self._new_handshake = new_handshake
        self._attached: set[ServerConnection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._close_task: asyncio.Task[None] | None = None
        self.server: asyncio.Server | None = None

    def attach(self, connection: ServerConnection) -> ServerHandshake:
        """Take a new TCP connection in; return its opening handshake."""
        self._attached.add(connection)
        return self._new_handshake(connection)

    def detach(self, connection: ServerConnection) -> None:
        """Take note that a TCP connection is gone."""
        self._attached.discard(connection)

    def start_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a connection's task, which ``wait_closed`` waits for."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def connections(self) -> set[ServerConnection]:
        """The connections that are open."""
        return {connection for connection in self._attached if connection.state is State.OPEN}

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The sockets that the server listens on."""
        return tuple(self._started().sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop that the server runs on."""
        return self._started().get_loop()

    def is_serving(self) -> bool:
        """Tell whether the server accepts connections."""
        return self.server is not None and self.server.is_serving()

    async def start_serving(self) -> None:
        """Start accepting connections, after ``serve(..., start_serving=False)``."""
        await self._started().start_serving()

    async def serve_forever(self) -> None:
        """Accept connections until this is cancelled or the server is closed; then close it."""
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
        refused with status 503. Does nothing when called again.

        Args:
            close_connections: False to let open connections live until their clients or handlers end them.
            code: Close code for the open connections.
            reason: Close reason for the open connections.
        """
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
        """Wait until the server is closed, all connections too, and all handlers have returned."""
        if self._close_task is None:
            await self._started().wait_closed()
        # Not at the same time: close() may have been called meanwhile.
        if self._close_task is not None:
            await asyncio.shield(self._close_task)

    def _started(self) -> asyncio.Server:
        if self.server is None:
            raise RuntimeError("the server has not been started: await it")
        return self.server

    async def _start(self) -> Self:
        if self.server is None:
            self.server = await self._listen(lambda: self._new_connection(self))  # type: ignore[assignment]
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


def serve(
    handler: Callable[..., Awaitable[Any]],
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    origins: Sequence[str | re.Pattern[str] | None] | None = None,
    subprotocols: Sequence[str] | None = None,
    select_subprotocol: Callable[[ServerConnection, Sequence[str]], str | None] | None = None,
    compression: str | PerMessageDeflateFactory | None = "deflate",
    process_request: ProcessRequest | None = None,
    process_response: ProcessResponse | None = None,
    server_header: str | None = SERVER,
    open_timeout: float | None = OPEN_TIMEOUT_S,
    ping_interval: float | None = PING_INTERVAL_S,
    ping_timeout: float | None = PING_TIMEOUT_S,
    close_timeout: float | None = CLOSE_TIMEOUT_S,
    max_size: int | tuple[int | None, int | None] | None = 2**20,
    max_queue: int | tuple[int | None, int | None] | None = MAX_QUEUE,
    write_limit: int | tuple[int, int | None] = WRITE_LIMIT,
    logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
    create_connection: Callable[..., ServerConnection] | None = None,
    **kwargs: Any,
) -> Server:
    """Start a WebSocket server.

    For each client, ``handler`` is called with the connection once the opening handshake is done; when it
    returns, the connection is closed with code 1000, or 1011 if it raised an exception::

        async def handler(websocket):
            async for message in websocket:
                await websocket.send(message)

        async with serve(handler, "localhost", 8765):
            await asyncio.Future()

    Args:
        handler: Coroutine function ``handler(websocket)``, or ``handler(websocket, path)`` as in early
            versions of ``websockets``.
        host: Interfaces to listen on; None for all.
        port: TCP port to listen on; 0 for one that is free.
        origins: Values of the Origin header that are accepted, strings or compiled patterns; None in the
            list accepts requests without one. None accepts everything, which lets any web page connect from
            its visitors' browsers (RFC 6455 §10.2).
        subprotocols: Subprotocols that the server speaks, the preferred one first; a client that offers none
            of them is refused.
        select_subprotocol: Called with the connection and the subprotocols that the client offers; returns
            one of them or None.
        compression: ``"deflate"`` for permessage-deflate (RFC 7692), a ``PerMessageDeflateFactory`` for other
            options than its defaults, or None for none.
        process_request: Function or coroutine function, called with the connection and the request. It may
            return a response to send instead of going on with the handshake.
        process_response: Function or coroutine function, called with the connection, the request and the
            response. It may change the response or return another one.
        server_header: Value of the Server header; None for none.
        open_timeout: Seconds for the opening handshake; None for no limit.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds to wait for a sign of life behind one; None for no limit.
        close_timeout: Seconds for the closing handshake, then TCP is cut; None for no limit.
        max_size: Bytes of a message, or a pair of the bytes of a message and of a fragment; None for no limit.
        max_queue: Messages that wait to be received before reading pauses, or a pair with the number at
            which it resumes; None for no limit.
        write_limit: Bytes in the write buffer above which ``send`` waits, or a pair with those below which
            it goes on.
        logger: Where to log to; ``wsframe.server`` if None.
        create_connection: Makes the connection: a subclass of ServerConnection, or a function with its
            signature.
        kwargs: Passed on to ``loop.create_server``: ``ssl``, ``sock``, ``start_serving`` and so on.

    Returns:
        The server, to be awaited or used with ``async with``.

    Raises:
        TypeError: If ``subprotocols`` is a string.
        ValueError: If a subprotocol, a limit or ``compression`` is not valid.
    """
    if subprotocols is not None:
        check_subprotocols(subprotocols)
    extensions = compression_factories(compression)
    limits = Limits.for_max_size(max_size)
    if logger is None:
        logger = logging.getLogger("wsframe.server")
    if kwargs.get("ssl") is not None:
        kwargs.update(tls_timeouts(kwargs, open_timeout, close_timeout))

    async def listen(factory: Callable[[], ServerConnection]) -> asyncio.AbstractServer:
        loop = asyncio.get_running_loop()
        options = dict(kwargs)
        if options.pop("unix", False):
            return await loop.create_unix_server(factory, **options)
        return await loop.create_server(factory, host, port, **options)

    def new_connection(server: Server) -> ServerConnection:
        return (create_connection or ServerConnection)(
            SansIOConnection(Role.SERVER, state=State.CONNECTING, limits=limits),
            server,
            open_timeout=open_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=close_timeout,
            max_queue=max_queue,
            write_limit=write_limit,
            logger=logger,
        )

    def new_handshake(connection: ServerConnection) -> ServerHandshake:
        select = None
        if select_subprotocol is not None:

            def select(offered: Sequence[str]) -> str | None:
                return select_subprotocol(connection, offered)

        return ServerHandshake(
            origins=origins, subprotocols=subprotocols, select_subprotocol=select, extensions=extensions, limits=limits
        )

    return Server(
        handler,
        listen,
        new_connection,
        new_handshake,
        process_request=process_request,
        process_response=process_response,
        server_header=server_header,
        logger=logger,
    )


def unix_serve(handler: Callable[..., Awaitable[Any]], path: str | None = None, **kwargs: Any) -> Server:
    """Start a WebSocket server that listens on a Unix socket.

    Args:
        handler: As in ``serve``.
        path: Path of the socket.
        kwargs: As in ``serve``, but for ``host`` and ``port``.
    """
    return serve(handler, unix=True, path=path, **kwargs)


def basic_auth(
    realm: str = "",
    credentials: tuple[str, str] | Iterable[tuple[str, str]] | None = None,
    check_credentials: Callable[[str, str], Awaitable[bool] | bool] | None = None,
) -> Callable[[ServerConnection, Request], Awaitable[Response | None]]:
    """Make a ``process_request`` that demands HTTP Basic authentication (RFC 7617).

    The name of the user becomes the connection's ``username``.

    Args:
        realm: What the password is for; ASCII.
        credentials: A pair of user name and password, or an iterable of such pairs.
        check_credentials: Function or coroutine function that tells whether a user name and a password are
            right; instead of ``credentials``.

    Raises:
        TypeError: If ``credentials`` is something else.
        ValueError: If both ``credentials`` and ``check_credentials`` are given, or neither.
    """
    if (credentials is None) == (check_credentials is None):
        raise ValueError("provide either credentials or check_credentials")
    check = check_credentials or _password_check(credentials)

    async def process_request(connection: ServerConnection, request: Request) -> Response | None:
        try:
            username, password = parse_basic_authorization(request.headers["Authorization"])
        except KeyError:
            problem = "Missing credentials\n"
        except (InvalidHeader, LookupError):
            problem = "Unsupported credentials\n"
        else:
            right = check(username, password)
            if inspect.isawaitable(right):
                right = await right
            if right:
                connection.username = username
                return None
            problem = "Invalid credentials\n"
        response = connection.respond(http.HTTPStatus.UNAUTHORIZED, problem)
        escaped = realm.replace("\\", "\\\\").replace('"', '\\"')
        response.headers["WWW-Authenticate"] = f'Basic realm="{escaped}", charset="UTF-8"'
        return response

    return process_request


def _password_check(credentials: Any) -> Callable[[str, str], bool]:
    def is_pair(value: Any) -> bool:
        return isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(part, str) for part in value)

    try:
        pairs = [credentials] if is_pair(credentials) else list(credentials)
    except TypeError:
        pairs = [None]
    if not all(map(is_pair, pairs)):
        raise TypeError(f"invalid credentials argument: {credentials!r}")
    passwords = {username: password.encode() for username, password in pairs}

    def check(username: str, password: str) -> bool:
        # The same time for every password, so that it cannot be found out letter by letter.
        right = hmac.compare_digest(passwords.get(username, b""), password.encode())
        return right and username in passwords

    return check


def _one_argument(handler: Callable[..., Awaitable[Any]]) -> Callable[[ServerConnection], Awaitable[Any]]:
    """Let a handler that wants the path as a second argument have it."""
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
