"""WebSocket clients with coroutines: ``connect`` (RFC 6455 §4.1). Rank 5.

§4.1 also wants a client to have one connection at a time in state CONNECTING to an address. That is meant for browsers,
which run programs of strangers; here it is left to the application.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import Any

from wsframe.asyncio.connection import Connection
from wsframe.asyncio.tls import tls_timeouts
from wsframe.connection import Connection as SansIOConnection
from wsframe.constants import Role, State
from wsframe.datastructures import HeadersLike
from wsframe.deflate import PerMessageDeflateFactory, compression_factories
from wsframe.exceptions import InvalidHandshake, InvalidMessage
from wsframe.handshake import ClientHandshake
from wsframe.headers import check_subprotocols
from wsframe.http11 import USER_AGENT
from wsframe.limits import (
    CLOSE_TIMEOUT_S,
    MAX_QUEUE,
    OPEN_TIMEOUT_S,
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
    WRITE_LIMIT,
    Limits,
)
from wsframe.uri import WebSocketURI, parse_uri

__all__ = ["ClientConnection", "connect", "unix_connect"]


class ClientConnection(Connection):
    """A client's end of a connection, which ``connect`` gives; see ``Connection`` for what it can do.

    Args:
        protocol: The connection without I/O.
        options: As for ``Connection``.
    """

    def __init__(self, protocol: SansIOConnection, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._handshake: ClientHandshake | None = None
        self._handshake_done: asyncio.Future[None] | None = None

    async def handshake(
        self,
        handshake: ClientHandshake,
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
    ) -> None:
        """Perform the opening handshake.

        Raises:
            InvalidHandshake: If it fails.
        """
        self.request = handshake.build_request()
        if additional_headers is not None:
            self.request.headers.update(additional_headers)
        if user_agent_header is not None and "User-Agent" not in self.request.headers:
            self.request.headers["User-Agent"] = user_agent_header
        if self.state is State.CLOSED:
            raise InvalidMessage("the connection was closed during the opening handshake")
        self._handshake = handshake
        self._handshake_done = self.loop.create_future()
        self.transport.write(self.request.serialize())
        await self._handshake_done

    def _on_handshake_data(self, data: memoryview) -> None:
        handshake = self._handshake
        if handshake is None:
            return
        try:
            self.response = handshake.receive_data(data)
            if self.response is not None:
                self._check_response(handshake)
                self._receive(handshake.unread)
        except InvalidHandshake as exc:
            self._finish_handshake(exc)

    def _check_response(self, handshake: ClientHandshake) -> None:
        assert self.response is not None
        handshake.check(self.response)
        self._opened(handshake)
        self._finish_handshake(None)

    def _finish_handshake(self, exc: Exception | None) -> None:
        self._handshake = None
        if self._handshake_done is not None and not self._handshake_done.done():
            if exc is None:
                self._handshake_done.set_result(None)
            else:
                self._handshake_done.set_exception(exc)
        self._handshake_done = None

    def eof_received(self) -> None:
        if self._handshake is not None:
            try:
                self.response = self._handshake.receive_eof()
                self._check_response(self._handshake)
            except InvalidHandshake as exc:
                self._finish_handshake(exc)

    def _on_lost(self, exc: Exception | None) -> None:
        error = InvalidMessage("did not receive a valid HTTP response: connection closed")
        error.__cause__ = exc
        self._finish_handshake(error)
        super()._on_lost(exc)


class connect:  # noqa: N801 - used like a function
    """Connect to a WebSocket server.

    Use it as an asynchronous context manager, which closes the connection at its end, or await it::

        async with connect("ws://localhost:8765") as websocket:
            await websocket.send("hello")
            print(await websocket.recv())

    Args:
        uri: Where to connect to: ``ws://host:port/path`` or ``wss://...``.
        origin: Value of the Origin header, for servers that want one.
        subprotocols: Subprotocols to offer, the preferred one first.
        compression: ``"deflate"`` for permessage-deflate (RFC 7692), a ``PerMessageDeflateFactory`` for other
            options than its defaults, or None for none.
        additional_headers: Headers to add to the request.
        user_agent_header: Value of the User-Agent header; None for none.
        open_timeout: Seconds for connecting and the opening handshake; None for no limit.
        ping_interval: Seconds between keepalive pings; None for none.
        ping_timeout: Seconds to wait for a sign of life behind one; None for no limit.
        close_timeout: Seconds for the closing handshake, then TCP is cut; None for no limit.
        max_size: Bytes of a message, or a pair of the bytes of a message and of a fragment; None for no limit.
        max_queue: Messages that wait to be received before reading pauses, or a pair with the number at
            which it resumes; None for no limit.
        write_limit: Bytes in the write buffer above which ``send`` waits, or a pair with those below which
            it goes on.
        logger: Where to log to; ``wsframe.client`` if None.
        create_connection: Makes the connection: a subclass of ClientConnection, or a function with its
            signature.
        kwargs: Passed on to ``loop.create_connection``: ``ssl``, ``sock``, ``server_hostname`` and so on;
            ``host`` and ``port`` override where TCP goes to.

    Raises:
        InvalidURI: (a ValueError) if ``uri`` is not a WebSocket URI.
        OSError: If the TCP connection or TLS fails.
        InvalidHandshake: If the opening handshake fails.
        TimeoutError: If it takes too long.
    """

    def __init__(
        self,
        uri: str,
        *,
        origin: str | None = None,
        subprotocols: Sequence[str] | None = None,
        compression: str | PerMessageDeflateFactory | None = "deflate",
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        open_timeout: float | None = OPEN_TIMEOUT_S,
        ping_interval: float | None = PING_INTERVAL_S,
        ping_timeout: float | None = PING_TIMEOUT_S,
        close_timeout: float | None = CLOSE_TIMEOUT_S,
        max_size: int | tuple[int | None, int | None] | None = 2**20,
        max_queue: int | tuple[int | None, int | None] | None = MAX_QUEUE,
        write_limit: int | tuple[int, int | None] = WRITE_LIMIT,
        logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
        create_connection: Callable[..., ClientConnection] | None = None,
        **kwargs: Any,
    ) -> None:
        self.uri = uri
        self.ws_uri: WebSocketURI = parse_uri(uri)
        if not self.ws_uri.secure and kwargs.get("ssl") is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        # RFC 6455 §10.6: wss is never without TLS.
        if self.ws_uri.secure and not kwargs.setdefault("ssl", True):
            raise ValueError("ssl=None is incompatible with a wss:// URI")
        if subprotocols is not None:
            check_subprotocols(subprotocols)
        self.origin = origin
        self.subprotocols = subprotocols
        self.additional_headers = additional_headers
        self.user_agent_header = user_agent_header
        self.open_timeout = open_timeout
        self.logger = logger or logging.getLogger("wsframe.client")
        self.connection: ClientConnection | None = None
        self._extensions = compression_factories(compression)
        self._limits = Limits.for_max_size(max_size)
        self._kwargs = kwargs
        if kwargs.get("ssl"):
            kwargs.update(tls_timeouts(kwargs, open_timeout, close_timeout))

        def factory() -> ClientConnection:
            return (create_connection or ClientConnection)(
                SansIOConnection(Role.CLIENT, state=State.CONNECTING, limits=self._limits),
                ping_interval=ping_interval,
                ping_timeout=ping_timeout,
                close_timeout=close_timeout,
                max_queue=max_queue,
                write_limit=write_limit,
                logger=self.logger,
            )

        self._factory = factory

    async def _open_tcp(self) -> ClientConnection:
        loop = asyncio.get_running_loop()
        kwargs = dict(self._kwargs)
        if self.ws_uri.secure:
            kwargs.setdefault("server_hostname", self.ws_uri.host)
        if kwargs.pop("unix", False):
            _, connection = await loop.create_unix_connection(self._factory, **kwargs)
            return connection
        if kwargs.get("sock") is None:
            kwargs.setdefault("host", self.ws_uri.host)
            kwargs.setdefault("port", self.ws_uri.port)
        _, connection = await loop.create_connection(self._factory, **kwargs)
        return connection

    async def _connect(self) -> ClientConnection:
        connection = await self._open_tcp()
        handshake = ClientHandshake(
            self.ws_uri,
            origin=self.origin,
            subprotocols=self.subprotocols,
            extensions=self._extensions,
            limits=self._limits,
        )
        try:
            await connection.handshake(handshake, self.additional_headers, self.user_agent_header)
        except BaseException:
            connection.transport.abort()
            raise
        return connection

    async def _connect_in_time(self) -> ClientConnection:
        try:
            return await asyncio.wait_for(self._connect(), self.open_timeout)
        except asyncio.TimeoutError as exc:
            raise TimeoutError("timed out during opening handshake") from exc

    def __await__(self) -> Generator[Any, None, ClientConnection]:
        return self._connect_in_time().__await__()

    async def __aenter__(self) -> ClientConnection:
        if self.connection is not None:
            raise RuntimeError("connect() isn't reentrant")
        self.connection = await self
        return await self.connection.__aenter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self.connection is not None
        connection, self.connection = self.connection, None
        await connection.__aexit__(exc_type, exc_value, traceback)


def unix_connect(path: str | None = None, uri: str | None = None, **kwargs: Any) -> connect:
    """Connect to a WebSocket server that listens on a Unix socket.

    Args:
        path: Path of the socket.
        uri: The URI for the handshake; ``ws://localhost/``, or ``wss://localhost/`` with ``ssl``, if None.
        kwargs: As in ``connect``.
    """
    if uri is None:
        uri = "wss://localhost/" if kwargs.get("ssl") else "ws://localhost/"
    return connect(uri, unix=True, path=path, **kwargs)
