"""WebSocket clients with coroutines: ``connect`` (RFC 6455 §4.1). Rank 5.

§4.1 also wants a client to have one connection at a time in state CONNECTING to an address. That is meant for browsers,
which run programs of strangers; here it is left to the application.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import ssl
import traceback
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal

from wsframe.asyncio.connection import Connection
from wsframe.asyncio.proxy import connect_http_proxy, connect_socks_proxy
from wsframe.asyncio.tls import tls_timeouts
from wsframe.client import (
    MAX_REDIRECTS,
    REFUSAL_BODY_S,
    backoff,
    is_same_origin,
    log_request,
    log_response,
    process_exception,
    redirect_target,
    without_credentials,
)
from wsframe.connection import Connection as SansIOConnection
from wsframe.constants import Role, State
from wsframe.custom_headers import add_custom_headers, check_custom_headers
from wsframe.datastructures import HeadersLike
from wsframe.deflate import PerMessageDeflateFactory
from wsframe.exceptions import InvalidHandshake, InvalidStatus, SecurityError
from wsframe.extensions import AnyExtensionFactory
from wsframe.extensions.permessage_deflate import extension_factories
from wsframe.handshake import ClientHandshake
from wsframe.headers import check_subprotocols
from wsframe.http11 import USER_AGENT
from wsframe.limits import (
    CLOSE_TIMEOUT_S,
    MAX_QUEUE,
    MAX_SIZE,
    OPEN_TIMEOUT_S,
    PING_INTERVAL_S,
    PING_TIMEOUT_S,
    WRITE_LIMIT,
    Limits,
)
from wsframe.proxy import Proxy, get_proxy, parse_proxy
from wsframe.typing import LoggerLike
from wsframe.uri import WebSocketURI, parse_uri

__all__ = ["ClientConnection", "connect", "unix_connect"]


class ClientConnection(Connection):
    """A client's end of a connection, which ``connect`` gives; see ``Connection`` for what it can do.

    Args:
        protocol: The connection without I/O.
        options: As for ``Connection``.

    Attributes:
        opening: The opening handshake without I/O, which ``connect`` sets.
    """

    __slots__ = ("_handshake", "_handshake_done", "opening")

    def __init__(self, protocol: SansIOConnection, **options: Any) -> None:
        super().__init__(protocol, **options)
        self.opening: ClientHandshake | None = None
        # The same one, from the request to the response.
        self._handshake: ClientHandshake | None = None
        self._handshake_done: asyncio.Future[None] | None = None

    async def handshake(
        self, additional_headers: HeadersLike | None = None, user_agent_header: str | None = USER_AGENT
    ) -> None:
        """Perform the opening handshake; ``connect`` calls it.

        Args:
            additional_headers: Headers to add to the request; Host, Origin and the like take the place of ours.
            user_agent_header: Value of the User-Agent header unless it is one of those; None for none.

        Raises:
            InvalidHandshake: If it fails.
        """
        handshake = self.opening
        assert handshake is not None
        self.request = handshake.build_request()
        add_custom_headers(self.request.headers, additional_headers)
        if user_agent_header is not None and "User-Agent" not in self.request.headers:
            self.request.headers["User-Agent"] = user_agent_header
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
            # A server that talks first is none of WebSocket, and what comes behind a refusal is of no interest.
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
        """The server sends no more."""
        if self._handshake is not None:
            try:
                self.response = self._handshake.receive_eof()
                self._check_response(self._handshake)
            except InvalidHandshake as error:
                if error.__cause__ is not None:
                    error.__cause__.__cause__ = exc
                self._finish_handshake(error)


class connect:  # noqa: N801 - used like a function
    """Connect to a WebSocket server.

    Use it as an asynchronous context manager, which closes the connection at its end, or await it::

        async with connect("ws://localhost:8765") as websocket:
            await websocket.send("hello")
            print(await websocket.recv())

    or as an endless asynchronous iterator, which connects again, after a while, when an attempt has failed
    for a reason that may pass, and closes each connection at the end of its turn::

        async for websocket in connect("ws://localhost:8765"):
            try:
                async for message in websocket:
                    print(message)
            except ConnectionClosed:
                continue

    Redirects are followed: not from ``wss`` to ``ws``, to another origin without Host and credentials in
    ``additional_headers``, and not at all with ``sock``. The next attempt begins with ``uri`` again.

    Args:
        uri (str): Where to connect to: ``ws://host:port/path`` or ``wss://...``.
        origin (str | None, default None): Value of the Origin header, for servers that want one; programs that are no
            browsers have none.
        extensions (Sequence[AnyExtensionFactory] | None, default None): Factories of extensions to offer besides
            compression, in the order in which they encode; permessage-deflate among them takes the place of
            ``compression``.
        subprotocols (Sequence[str] | None, default None): Subprotocols to offer, the preferred one first; none, since
            they are for applications to invent.
        compression (str | PerMessageDeflateFactory | None, default "deflate"): ``"deflate"`` for permessage-deflate
            (RFC 7692), a ``PerMessageDeflateFactory`` for other options than its defaults, or None for none. On, since
            most messages are text that repeats itself; short ones are left as they are.
        additional_headers (HeadersLike | None, default None): Headers to add to the request, at each attempt. Host,
            Origin, User-Agent and Authorization take the place of ours; those of the handshake are refused.
        user_agent_header (str | None, default USER_AGENT): Value of the User-Agent header; None for none. Versions of
            Python and wsframe, for those who read the server's logs.
        proxy (str | Literal[True] | None, default True): True for the proxy that environment variables or the system's
            settings name, if any, as other programs do; the address of one, ``http://``, ``https://``, ``socks5h://``
            and so on; None for none.
        process_exception (Callable[[Exception], Exception | None], default process_exception): Called in ``async for``
            with the exception of an attempt that failed; returns None to try again, or the exception to raise. The
            default one tries again what may be better later; see ``wsframe.client``.
        open_timeout (float | None, default 10): Seconds for the opening handshake, with TLS and, for a client, TCP;
            None for no limit. 10 are several round trips of a slow mobile network, and little for an attacker.
        ping_interval (float | None, default 20): Seconds between keepalive pings; None for none. 20 are below the 30 to
            60 after which proxies drop silent connections.
        ping_timeout (float | None, default 20): Seconds to wait for a sign of life behind a ping; None for no limit.
            Within 20, TCP has sent a lost segment again several times.
        close_timeout (float | None, default 10): Seconds for the closing handshake, then TCP is cut; None for no limit.
            10, for the same reasons as for the opening one.
        reconnect_delays (Callable[[], Iterator[float]], default backoff): Called in ``async for`` when the first
            attempt in a row has failed; returns an iterator of the seconds to wait before each further one. The
            default ones are random at first, then grow up to 90, so that a server which comes back is not overrun.
        max_size (int | tuple[int | None, int | None] | None, default 2**20): Bytes of a message, decompressed, or a
            pair of the bytes of a message and of a fragment; None for no limit. At 1 MiB, what the peers of this
            field allow, thousands of connections fit into memory.
        limits (Limits | None, default None): All other limits on what a peer can make us hold and do; if None, the
            defaults of ``Limits``, which gives the reason for each.
        max_queue (int | tuple[int | None, int | None] | None, default 16): Messages that wait to be received before
            reading pauses, or a pair with the number at which it resumes, a quarter otherwise; None for no limit. 16
            keep a task busy while more arrive.
        write_limit (int | tuple[int, int | None], default 2**15): Bytes in the write buffer above which ``send`` waits,
            or a pair with those below which it goes on, a quarter otherwise. 32 KiB are more than most connections
            carry in a round trip.
        logger (LoggerLike | None, default None): Where to log to; ``wsframe.client`` if None.
        create_connection (Callable[..., ClientConnection] | None, default None): Makes the connection: a subclass of
            ClientConnection, which it is if None, or a function with its signature.
        kwargs (Any): Passed on to ``loop.create_connection``: ``ssl``, ``sock``, ``server_hostname`` and so on;
            ``host`` and ``port`` override where TCP goes to. With a proxy, those about TLS are for the server
            behind it, and the same names with ``proxy_`` before them, such as ``proxy_ssl``, for the proxy.
            TLS to a server through TLS to a proxy needs Python 3.11 or uvloop.

    Raises:
        InvalidURI: (a ValueError) if ``uri`` is not a WebSocket URI.
        ValueError: If ``additional_headers`` has a header of the opening handshake.
        InvalidProxy: If the address of the proxy is not valid.
        OSError: If the TCP connection or TLS fails.
        InvalidHandshake: If the opening handshake fails.
        TimeoutError: If it takes too long.
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
        open_timeout: float | None = OPEN_TIMEOUT_S,
        ping_interval: float | None = PING_INTERVAL_S,
        ping_timeout: float | None = PING_TIMEOUT_S,
        close_timeout: float | None = CLOSE_TIMEOUT_S,
        reconnect_delays: Callable[[], Iterator[float]] = backoff,
        max_size: int | tuple[int | None, int | None] | None = MAX_SIZE,
        limits: Limits | None = None,
        max_queue: int | tuple[int | None, int | None] | None = MAX_QUEUE,
        write_limit: int | tuple[int, int | None] = WRITE_LIMIT,
        logger: LoggerLike | None = None,
        create_connection: Callable[..., ClientConnection] | None = None,
        **kwargs: Any,
    ) -> None:
        self.uri = uri
        self.ws_uri: WebSocketURI = parse_uri(uri)
        if not self.ws_uri.secure and kwargs.get("ssl") is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        _check_tls(self.ws_uri, kwargs.get("ssl", True))
        if subprotocols is not None:
            check_subprotocols(subprotocols)
        factories = extension_factories(extensions, compression)
        bounds = Limits.for_max_size(max_size, limits)
        # Each attempt adds them again.
        self.additional_headers = (
            list(additional_headers) if isinstance(additional_headers, Iterator) else additional_headers
        )
        check_custom_headers(self.additional_headers or ())
        self.user_agent_header = user_agent_header
        self.proxy = proxy
        self.process_exception = process_exception
        self.open_timeout = open_timeout
        self.reconnect_delays = reconnect_delays
        self.logger = logger or logging.getLogger("wsframe.client")
        self.create_connection_kwargs = kwargs
        self.connection: ClientConnection | None = None
        self._close_timeout = close_timeout
        # Where an attempt began that was sent elsewhere, and the connection of the one that is under way.
        self._before_redirects: tuple[str, WebSocketURI] | None = None
        self._attempt: ClientConnection | None = None

        def factory(uri: WebSocketURI) -> ClientConnection:
            protocol = SansIOConnection(Role.CLIENT, state=State.CONNECTING, limits=bounds)
            protocol.uri = uri
            connection = (create_connection or ClientConnection)(
                protocol,
                ping_interval=ping_interval,
                ping_timeout=ping_timeout,
                close_timeout=close_timeout,
                max_queue=max_queue,
                write_limit=write_limit,
            )
            # Not an argument: constructors written for ``websockets`` do not take it.
            connection.log_to(self.logger)
            connection.opening = ClientHandshake(
                uri, origin=origin, subprotocols=subprotocols, extensions=factories, limits=bounds
            )
            return connection

        self.factory = factory

    # Connecting

    async def open_tcp_connection(self) -> ClientConnection:
        """Connect by TCP, through a proxy or not, or to a Unix socket, and by TLS on top; nothing is sent yet."""
        loop = asyncio.get_running_loop()
        options = dict(self.create_connection_kwargs)
        is_unix = options.pop("unix", False)
        proxy_options = {name[6:]: options.pop(name) for name in list(options) if name.startswith("proxy_")}
        if self.ws_uri.secure:
            _check_tls(self.ws_uri, options.setdefault("ssl", True))
            # Without a zone, of which certificates know nothing.
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
            options: As for ``loop.create_connection``: those about TLS, for the server behind the proxy, and
                others, for the proxy.
            proxy_options: Those about TLS for the proxy.
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

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Tell where to go instead, after an attempt has failed.

        Override it to follow none, or others.

        Args:
            exc: Why it failed.

        Returns:
            The new URI, or the exception to raise: ``exc`` if it is no redirect.
        """
        options = self.create_connection_kwargs
        tied_to = None
        if options.get("unix"):
            tied_to = "a Unix socket"
        elif options.get("host") is not None or options.get("port") is not None:
            tied_to = "an explicit host or port"
        return redirect_target(exc, self.uri, sock=options.get("sock") is not None, tied_to=tied_to)

    async def connect(self) -> ClientConnection:
        """Connect, follow redirects, and perform the opening handshake.

        Raises:
            OSError: As for the class; so are the others.
        """
        self._attempt = None
        try:
            return await asyncio.wait_for(self._connect(), self.open_timeout)
        except (asyncio.TimeoutError, TimeoutError) as exc:
            raise self._out_of_time() from exc

    def _out_of_time(self) -> Exception:
        opening = None if self._attempt is None else self._attempt.opening
        if opening is not None and opening.refusal is not None:
            # Only its body takes too long.
            return InvalidStatus(opening.refusal)
        return TimeoutError("timed out during opening handshake")

    async def _connect(self) -> ClientConnection:
        # RFC 9110 §15.4: a redirect is for one attempt. A permanent one need not be kept either, and is not: where it
        # leads may be gone before it is.
        if self._before_redirects is not None:
            self.uri, self.ws_uri = self._before_redirects
            self._before_redirects = None
        headers = self.additional_headers
        for _ in range(MAX_REDIRECTS):
            self._attempt = None
            self._attempt = connection = await self.open_tcp_connection()
            try:
                await connection.handshake(headers, self.user_agent_header)
            except BaseException as exc:
                connection.transport.abort()
                target = self.process_redirect(exc) if isinstance(exc, Exception) else exc
                if target is exc:
                    raise
                if isinstance(target, BaseException):
                    raise target from exc
                if self._before_redirects is None:
                    self._before_redirects = self.uri, self.ws_uri
                new = parse_uri(target)
                if not is_same_origin(self.ws_uri, new):
                    headers = without_credentials(headers or ())
                self.uri, self.ws_uri = target, new
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
        """Connect again and again; see the class."""
        delays: Iterator[float] | None = None
        while True:
            try:
                async with self as connection:
                    yield connection
            except Exception as exc:  # noqa: PERF203 - it is the exception
                self._give_up_unless_transient(exc)
                if delays is None:
                    delays = iter(self.reconnect_delays())
                delay = next(delays)
                reason = traceback.format_exception_only(exc)[0].strip()
                self.logger.info("connect failed; reconnecting in %.1f seconds: %s", delay, reason)
                await asyncio.sleep(delay)
            else:
                delays = None

    def _give_up_unless_transient(self, exc: Exception) -> None:
        try:
            error = self.process_exception(exc)
        except Exception as raised:
            error = raised
        if error is exc:
            raise exc
        if error is not None:
            raise error from exc


def _check_tls(uri: WebSocketURI, ssl_option: Any) -> None:
    # RFC 6455 §10.6: wss is never without TLS.
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
