"""WebSocket clients with coroutines: ``connect`` (RFC 6455 §4.1).

§4.1 also requires that a client have at most one connection to an address in state CONNECTING. That rule is meant for
browsers, which run untrusted programs; here it is left to the application.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import ssl
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal

from wsframe import limits as defaults
from wsframe._checks import (
    check_callable,
    check_keywords,
    check_max_queue,
    check_path,
    check_port,
    check_timeouts,
    check_tls,
    check_write_limit,
)
from wsframe._options import describe_client_options
from wsframe.asyncio.connection import Connection
from wsframe.asyncio.proxy import connect_http_proxy, connect_socks_proxy
from wsframe.asyncio.timeouts import tls_timeouts, within
from wsframe.constants import State
from wsframe.exceptions import InvalidHandshake, InvalidStatus, SecurityError
from wsframe.extensions.base import AnyExtensionFactory
from wsframe.extensions.deflate import PerMessageDeflateFactory
from wsframe.limits import Limits
from wsframe.messages.connection import SansIOConnection
from wsframe.opening.attempts import MAX_REDIRECTS, REFUSAL_BODY_S, RENAMED, backoff, process_exception
from wsframe.opening.connecting import Connecting
from wsframe.opening.custom_fields import add_request_headers
from wsframe.opening.fields import HeadersLike
from wsframe.opening.handshake import ClientHandshake
from wsframe.opening.http import USER_AGENT, log_request, log_response
from wsframe.opening.proxy import Proxy, get_proxy, parse_proxy
from wsframe.opening.uri import WebSocketURI
from wsframe.typing import LoggerLike

__all__ = ["ClientConnection", "connect", "unix_connect"]


class ClientConnection(Connection):
    """The client's end of a connection, as returned by ``connect``; see ``Connection`` for its methods.

    Args:
        protocol: The connection without I/O.
        options: As for ``Connection``.

    Attributes:
        opening: The opening handshake without I/O, set by ``connect``.
    """

    __slots__ = ("_handshake", "_handshake_done", "opening")

    def __init__(self, protocol: SansIOConnection, **options: Any) -> None:
        super().__init__(protocol, **options)
        self.opening: ClientHandshake | None = None
        # The same object, from the request until the response.
        self._handshake: ClientHandshake | None = None
        self._handshake_done: asyncio.Future[None] | None = None

    async def handshake(
        self, additional_headers: HeadersLike | None = None, user_agent_header: str | None = USER_AGENT
    ) -> None:
        """Perform the opening handshake; called by ``connect``.

        Args:
            additional_headers: Headers to add to the request; Host, Origin and the like override ours.
            user_agent_header: Value of the User-Agent header, unless ``additional_headers`` has one; None omits it.

        Raises:
            InvalidHandshake: If the handshake fails.
        """
        handshake = self.opening
        assert handshake is not None
        self.request = handshake.build_request()
        add_request_headers(self.request.headers, additional_headers, user_agent_header)
        if self.state is State.CLOSED:
            handshake.receive_eof()
        log_request(self.logger, self.request)
        self._handshake = handshake
        self._handshake_done = self.loop.create_future()
        self.transport.write(self.request.serialize())
        await self._handshake_done

    def _on_handshake_data(self, data: memoryview) -> None:
        handshake = self._handshake
        if handshake is None:
            # Data before our request is not WebSocket, and data after a refusal is not needed.
            self.transport.abort()
            return
        try:
            self.response = handshake.receive_data(data)
            if self.response is not None:
                self._check_response(handshake)
                self._receive(handshake.unread)
            elif handshake.refusal is not None and self._timer is None:
                self._set_timer(REFUSAL_BODY_S, self.eof_received)
        except InvalidHandshake as exc:
            self._finish_handshake(exc)

    def _check_response(self, handshake: ClientHandshake) -> None:
        assert self.response is not None
        log_response(self.logger, self.response)
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
        self._end_handshake(None)

    def _on_lost(self, exc: Exception | None) -> None:
        self._end_handshake(exc)
        super()._on_lost(exc)

    def _end_handshake(self, exc: Exception | None) -> None:
        """Handle the end of the server's stream."""
        if self._handshake is not None:
            try:
                self.response = self._handshake.receive_eof()
                self._check_response(self._handshake)
            except InvalidHandshake as error:
                if error.__cause__ is not None:
                    error.__cause__.__cause__ = exc
                self._finish_handshake(error)


@describe_client_options
class connect(Connecting):  # noqa: N801 - used like a function
    """Connect to a WebSocket server.

    Use it as an asynchronous context manager, which closes the connection on exit, or await it::

        async with connect("ws://localhost:8765") as websocket:
            await websocket.send("hello")
            print(await websocket.recv())

    Or use it as an endless asynchronous iterator. It reconnects, after a delay, when an attempt fails for a
    reason that may be temporary, and closes each connection at the end of its iteration::

        async for websocket in connect("ws://localhost:8765"):
            try:
                async for message in websocket:
                    print(message)
            except ConnectionClosed:
                continue

    Redirects are followed, except from ``wss`` to ``ws``, and never with ``sock``. On a redirect to another origin,
    Host and credentials in ``additional_headers`` are dropped. The next attempt starts from ``uri`` again.

    Args:
        uri (str): URI to connect to: ``ws://host:port/path`` or ``wss://...``.
        {origin, extensions, subprotocols, compression, additional_headers, user_agent_header, proxy}
        process_exception (Callable[[Exception], Exception | None], default process_exception): Called in ``async for``
            with the exception of a failed attempt; returns None to retry, or the exception to raise. The default
            retries after errors that may be temporary; see ``wsframe.opening.attempts``.
        {open_timeout, ping_interval, ping_timeout, close_timeout}
        reconnect_delays (Callable[[], Iterator[float]], default backoff): Called in ``async for`` after the first of a
            series of failed attempts; returns an iterator of the seconds to wait before each further attempt. The
            default delays start at random and grow up to 90 seconds, so that a recovering server is not overrun.
        {max_size, limits, max_queue, write_limit, logger, create_connection}
        kwargs (Any): Passed to ``loop.create_connection``: ``ssl``, ``sock``, ``server_hostname`` and so on; ``host``
            and ``port`` override the TCP destination. With a proxy, TLS arguments apply to the server behind it; the
            same names prefixed with ``proxy_``, such as ``proxy_ssl``, apply to the proxy. TLS to a server through TLS
            to a proxy requires Python 3.11 or uvloop.

    Raises:
        TypeError: If an argument has the wrong type or an unknown name.
        ValueError: If a value is out of range, a subprotocol is not a token, or a header cannot be sent.
        InvalidURI: (a ValueError) if ``uri`` is not a WebSocket URI.
        ValueError: If ``additional_headers`` contains a header of the opening handshake.
        InvalidProxy: If the address of the proxy is not valid.
        OSError: If the TCP connection or TLS fails.
        InvalidHandshake: If the opening handshake fails.
        TimeoutError: If the opening handshake takes too long.
    """

    def __init__(
        self,
        uri: str,
        *,
        origin: str | None = None,
        extensions: Sequence[AnyExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        compression: str | PerMessageDeflateFactory | None = "deflate",
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        proxy: str | Literal[True] | None = True,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        open_timeout: float | None = defaults.OPEN_TIMEOUT_S,
        ping_interval: float | None = defaults.PING_INTERVAL_S,
        ping_timeout: float | None = defaults.PING_TIMEOUT_S,
        close_timeout: float | None = defaults.CLOSE_TIMEOUT_S,
        reconnect_delays: Callable[[], Iterator[float]] = backoff,
        max_size: int | tuple[int | None, int | None] | None = defaults.MAX_SIZE,
        limits: Limits | None = None,
        max_queue: int | tuple[int | None, int | None] | None = defaults.MAX_QUEUE,
        write_limit: int | tuple[int, int | None] = defaults.WRITE_LIMIT,
        logger: LoggerLike | None = None,
        create_connection: Callable[..., ClientConnection] | None = None,
        **kwargs: Any,
    ) -> None:
        check_keywords("connect", kwargs, _LOOP_OPTIONS | {f"proxy_{name}" for name in _LOOP_OPTIONS}, RENAMED)
        super().__init__(uri, additional_headers, user_agent_header, proxy, process_exception, reconnect_delays, logger)
        check_tls("ssl", kwargs.get("ssl"), True, False)
        check_tls("proxy_ssl", kwargs.get("proxy_ssl"), True, False)
        check_port("port", kwargs.get("port"))
        check_path(kwargs.get("path"))
        if not self.ws_uri.secure and kwargs.get("ssl") is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        _check_tls(self.ws_uri, kwargs.get("ssl", True))
        self._set_handshake(origin, subprotocols, extensions, compression, Limits.for_max_size(max_size, limits))
        check_timeouts(open_timeout, ping_interval, ping_timeout, close_timeout)
        check_max_queue(max_queue)
        check_write_limit(write_limit)
        check_callable("create_connection", create_connection, "protocol", keywords=_OPTIONS, never_async=True)
        self.open_timeout = open_timeout
        self.create_connection_kwargs = kwargs
        self.connection: ClientConnection | None = None
        self._close_timeout = close_timeout
        # The connection of the current attempt.
        self._attempt: ClientConnection | None = None

        def factory(uri: WebSocketURI) -> ClientConnection:
            connection = (create_connection or ClientConnection)(
                self._new_protocol(uri),
                ping_interval=ping_interval,
                ping_timeout=ping_timeout,
                close_timeout=close_timeout,
                max_queue=max_queue,
                write_limit=write_limit,
            )
            self._prepare(connection, uri)
            return connection

        self.factory = factory

    # Connecting

    async def open_tcp_connection(self) -> ClientConnection:
        """Connect to TCP, directly or through a proxy, or to a Unix socket, with TLS if needed; send nothing yet."""
        loop = asyncio.get_running_loop()
        options = dict(self.create_connection_kwargs)
        is_unix = options.pop("unix", False)
        proxy_options = {name[6:]: options.pop(name) for name in list(options) if name.startswith("proxy_")}
        if self.ws_uri.secure:
            _check_tls(self.ws_uri, options.setdefault("ssl", True))
            # Without the zone, which certificates do not contain.
            options.setdefault("server_hostname", self.ws_uri.host.partition("%")[0])
        options.update(self._tls_timeouts(options))
        if is_unix:
            _, connection = await loop.create_unix_connection(self._new_connection, **options)
            return connection
        if options.get("sock") is None:
            proxy = get_proxy(self.ws_uri) if self.proxy is True else self.proxy
            if proxy:
                return await self._open_through(parse_proxy(proxy), options, proxy_options)
            options.setdefault("host", self.ws_uri.host)
            options.setdefault("port", self.ws_uri.port)
        _, connection = await loop.create_connection(self._new_connection, **options)
        return connection

    def _new_connection(self) -> ClientConnection:
        return self.factory(self.ws_uri)

    async def _open_through(
        self, proxy: Proxy, options: dict[str, Any], proxy_options: dict[str, Any]
    ) -> ClientConnection:
        """Connect through a proxy.

        Args:
            proxy: The proxy.
            options: As for ``loop.create_connection``: TLS options apply to the server behind the proxy, all
                others to the proxy.
            proxy_options: TLS options for the proxy.
        """
        loop = asyncio.get_running_loop()
        host, port = options.pop("host", None), options.pop("port", None)
        target = dataclasses.replace(self.ws_uri, host=host or self.ws_uri.host, port=port or self.ws_uri.port)
        tls = {name: options.pop(name) for name in list(options) if name.startswith(("ssl", "server_hostname"))}
        if proxy.is_socks:
            sock = await connect_socks_proxy(proxy, target, local_addr=options.get("local_addr"))
            _, connection = await loop.create_connection(self._new_connection, sock=sock, **tls)
            return connection
        if proxy.scheme == "https":
            if proxy_options.setdefault("ssl", True) is None:
                raise ValueError("proxy_ssl=None is incompatible with an https:// proxy")
        elif proxy_options.get("ssl") is not None:
            raise ValueError("proxy_ssl argument is incompatible with an http:// proxy")
        proxy_options.update(self._tls_timeouts(proxy_options))
        tunnel = await connect_http_proxy(
            proxy, target, user_agent_header=self.user_agent_header, **options, **proxy_options
        )
        transport = tunnel.transport
        try:
            context = tls.pop("ssl", None)
            if context:
                context = ssl.create_default_context() if context is True else context
                secured = await loop.start_tls(transport, tunnel, context, **tls)
                assert secured is not None
                transport = secured
            connection = self._new_connection()
            tunnel.take_over(transport, connection)
        except BaseException:
            transport.abort()
            raise
        return connection

    def _tls_timeouts(self, options: dict[str, Any]) -> dict[str, float | None]:
        return tls_timeouts(options, self.open_timeout, self._close_timeout) if options.get("ssl") else {}

    def _ties(self) -> tuple[bool, str | None]:
        options = self.create_connection_kwargs
        tied_to = None
        if options.get("unix"):
            tied_to = "a Unix socket"
        elif options.get("host") is not None or options.get("port") is not None:
            tied_to = "an explicit host or port"
        return options.get("sock") is not None, tied_to

    async def connect(self) -> ClientConnection:
        """Connect, follow redirects, and perform the opening handshake.

        Raises:
            OSError: As for the class, like all other exceptions.
        """
        self._attempt = None
        try:
            return await within(self.open_timeout, self._connect(), _abort)
        except (asyncio.TimeoutError, TimeoutError) as exc:
            raise self._out_of_time() from exc

    def _out_of_time(self) -> Exception:
        opening = None if self._attempt is None else self._attempt.opening
        if opening is not None and opening.refusal is not None:
            # Only the body of the response takes too long.
            return InvalidStatus(opening.refusal)
        return TimeoutError("timed out during opening handshake")

    async def _connect(self) -> ClientConnection:
        self._undo_redirects()
        headers = self.additional_headers
        for _ in range(MAX_REDIRECTS):
            self._attempt = None
            self._attempt = connection = await self.open_tcp_connection()
            try:
                await connection.handshake(headers, self.user_agent_header)
            except BaseException as exc:
                connection.transport.abort()
                if not isinstance(exc, Exception):
                    raise
                headers = self._follow(exc, headers)
            else:
                self._attempt = None
                return connection
        raise SecurityError(f"more than {MAX_REDIRECTS} redirects")

    def __await__(self) -> Generator[Any, None, ClientConnection]:
        return self.connect().__await__()

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

    async def __aiter__(self) -> AsyncIterator[ClientConnection]:
        """Connect repeatedly; see the class."""
        delays: Iterator[float] | None = None
        while True:
            try:
                async with self as connection:
                    yield connection
            except Exception as exc:  # noqa: PERF203 - it is the exception
                delay, delays = self._next_delay(exc, delays)
                await asyncio.sleep(delay)
            else:
                delays = None


_OPTIONS = "ping_interval", "ping_timeout", "close_timeout", "max_queue", "write_limit"
"""Options that connections are created with."""

# Event loops may support arguments that asyncio added after the running version of Python.
_LOOP_OPTIONS = frozenset({"unix", "ssl_shutdown_timeout", "all_errors"}).union(
    inspect.signature(asyncio.AbstractEventLoop.create_connection).parameters,
    inspect.signature(asyncio.AbstractEventLoop.create_unix_connection).parameters,
)
"""Names of the arguments that may be passed to an event loop."""


def _abort(connection: ClientConnection) -> None:
    connection.transport.abort()


def _check_tls(uri: WebSocketURI, ssl_option: Any) -> None:
    # RFC 6455 §10.6: wss always uses TLS.
    if uri.secure and not ssl_option:
        raise ValueError("ssl=None is incompatible with a wss:// URI")


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
