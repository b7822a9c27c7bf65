"""WebSocket clients for threads: ``connect`` and ``reconnect`` (RFC 6455 §4.1).

Names and behaviour follow the ``sync`` API of the ``websockets`` library.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
import socket
import ssl as ssl_module
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, overload

from wsframe._checks import (
    check_callable,
    check_keywords,
    check_max_queue,
    check_optional_str,
    check_path,
    check_timeouts,
    check_tls,
    describe,
)
from wsframe._options import describe_client_options
from wsframe.exceptions import SecurityError
from wsframe.extensions.base import AnyExtensionFactory
from wsframe.extensions.deflate import PerMessageDeflateFactory
from wsframe.limits import CLOSE_TIMEOUT_S, MAX_QUEUE, MAX_SIZE, OPEN_TIMEOUT_S, PING_INTERVAL_S, PING_TIMEOUT_S, Limits
from wsframe.messages.connection import SansIOConnection
from wsframe.opening.attempts import MAX_REDIRECTS, REFUSAL_BODY_S, RENAMED, backoff, process_exception
from wsframe.opening.connecting import Connecting
from wsframe.opening.custom_fields import add_request_headers
from wsframe.opening.fields import HeadersLike
from wsframe.opening.handshake import ClientHandshake
from wsframe.opening.http import USER_AGENT, log_request, log_response
from wsframe.opening.proxy import get_proxy, parse_proxy
from wsframe.sync.connection import Connection
from wsframe.sync.proxy import connect_http_proxy, connect_socks_proxy
from wsframe.sync.threads import Deadline, connect_tcp
from wsframe.sync.wire import Wire
from wsframe.typing import LoggerLike

__all__ = ["ClientConnection", "connect", "reconnect", "unix_connect", "unix_reconnect"]


class ClientConnection(Connection):
    """The client's end of a connection, as returned by ``connect``; see ``Connection`` for its methods.

    Args:
        sock: The socket, or the wire that ``connect`` has created for it.
        protocol: The connection without I/O.
        options: As for ``Connection``.

    Attributes:
        opening: The opening handshake without I/O, set by ``connect``.
    """

    def __init__(self, sock: socket.socket | Wire, protocol: SansIOConnection, **options: Any) -> None:
        super().__init__(sock, protocol, **options)
        self.opening: ClientHandshake | None = None

    def handshake(
        self,
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        timeout: float | None = None,
    ) -> None:
        """Perform the opening handshake; called by ``connect``.

        Args:
            additional_headers: Headers to add to the request; Host, Origin and the like override ours.
            user_agent_header: Value of the User-Agent header, unless ``additional_headers`` has one; None omits it.
            timeout: Seconds allowed for the handshake; None for no limit.

        Raises:
            InvalidHandshake: If the handshake fails.
            TimeoutError: If the handshake takes too long.
        """
        opening = self.opening
        assert opening is not None
        self.request = opening.build_request()
        add_request_headers(self.request.headers, additional_headers, user_agent_header)
        log_request(self.logger, self.request)
        deadline = Deadline(timeout)
        refused = False
        try:
            self._wire.write(self._wire.queue(self.request.serialize()), deadline)
            while self.response is None:
                data = self._wire.read_in_time(deadline)
                self.response = opening.receive_data(data) if data else opening.receive_eof()
                if opening.refusal is not None and not refused:
                    refused = True
                    left = deadline.timeout(raise_if_elapsed=False)
                    deadline = Deadline(REFUSAL_BODY_S if left is None else min(left, REFUSAL_BODY_S))
        except TimeoutError as exc:
            if opening.refusal is None:
                raise TimeoutError("timed out while waiting for handshake response") from exc
            # Only the body of the response takes too long.
            self.response = opening.receive_eof()
        except OSError:
            # Marks the end of the response, if nothing else does.
            self.response = opening.receive_eof()
        log_response(self.logger, self.response)
        opening.check(self.response)
        self.protocol.open(opening.subprotocol, opening.extensions)
        if opening.unread:
            self._receive(opening.unread)
        self._start()

    def abort(self) -> None:
        """End the TCP connection at once, before the opening handshake is complete."""
        self._end(None)


class reconnect(Connecting):  # noqa: N801 - used like a function
    """Connect to a WebSocket server, and reconnect when that fails or the connection ends.

    Use it as an endless iterator. It reconnects, after a delay, when an attempt fails for a reason that may be
    temporary, and closes each connection at the end of its iteration::

        for websocket in reconnect("ws://localhost:8765"):
            try:
                for message in websocket:
                    print(message)
            except ConnectionClosed:
                continue

    Or use it as a context manager, which connects once.

    Args:
        uri: URI to connect to: ``ws://host:port/path`` or ``wss://...``.
        process_exception (Callable[[Exception], Exception | None], default process_exception): Called in ``for``
            with the exception of a failed attempt; returns None to retry, or the exception to raise. The default
            retries after errors that may be temporary; see ``wsframe.opening.attempts``.
        reconnect_delays (Callable[[], Iterator[float]], default backoff): Called in ``for`` after the first of a
            series of failed attempts; returns an iterator of the seconds to wait before each further attempt. The
            default delays start at random and grow up to 90 seconds, so that a recovering server is not overrun.
        sock: As for ``connect``, like all the following.
        ssl: As for ``connect``.
        server_hostname: As for ``connect``.
        origin: As for ``connect``.
        extensions: As for ``connect``.
        subprotocols: As for ``connect``.
        compression: As for ``connect``.
        additional_headers: As for ``connect``.
        user_agent_header: As for ``connect``.
        proxy: As for ``connect``.
        proxy_ssl: As for ``connect``.
        proxy_server_hostname: As for ``connect``.
        open_timeout: As for ``connect``.
        ping_interval: As for ``connect``.
        ping_timeout: As for ``connect``.
        close_timeout: As for ``connect``.
        max_size: As for ``connect``.
        limits: As for ``connect``.
        max_queue: As for ``connect``.
        logger: As for ``connect``.
        create_connection: As for ``connect``.
        kwargs: As for ``connect``.

    Raises:
        TypeError: If an argument has the wrong type or an unknown name.
        ValueError: If a value is out of range, a subprotocol is not a token, or a header cannot be sent.
        InvalidURI: (a ValueError) if ``uri`` is not a WebSocket URI.
        ValueError: If ``additional_headers`` contains a header of the opening handshake.
    """

    def __init__(
        self,
        uri: str,
        *,
        sock: socket.socket | None = None,
        ssl: ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        origin: str | None = None,
        extensions: Sequence[AnyExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        compression: str | PerMessageDeflateFactory | None = "deflate",
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        proxy: str | Literal[True] | None = True,
        proxy_ssl: ssl_module.SSLContext | None = None,
        proxy_server_hostname: str | None = None,
        process_exception: Callable[[Exception], Exception | None] = process_exception,
        open_timeout: float | None = OPEN_TIMEOUT_S,
        ping_interval: float | None = PING_INTERVAL_S,
        ping_timeout: float | None = PING_TIMEOUT_S,
        close_timeout: float | None = CLOSE_TIMEOUT_S,
        reconnect_delays: Callable[[], Iterator[float]] = backoff,
        max_size: int | tuple[int | None, int | None] | None = MAX_SIZE,
        limits: Limits | None = None,
        max_queue: int | tuple[int | None, int | None] | None = MAX_QUEUE,
        logger: LoggerLike | None = None,
        create_connection: Callable[..., ClientConnection] | None = None,
        **kwargs: Any,
    ) -> None:
        if ssl is None and "ssl_context" in kwargs:
            warnings.warn("ssl_context was renamed to ssl", DeprecationWarning, stacklevel=3)
            ssl = kwargs.pop("ssl_context")
        check_keywords("connect", kwargs, _SOCKET_OPTIONS, _RENAMED)
        super().__init__(uri, additional_headers, user_agent_header, proxy, process_exception, reconnect_delays, logger)
        check_tls("ssl", ssl)
        if not self.ws_uri.secure and ssl is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        self.ssl = ssl
        if sock is not None and not hasattr(sock, "recv"):
            raise TypeError(f"sock must be a socket.socket or None, not {describe(sock)}")
        self.sock = sock
        check_path(kwargs.get("path"))
        self.open_socket_kwargs = kwargs
        check_optional_str("server_hostname", server_hostname)
        self.server_hostname = server_hostname
        self._set_handshake(origin, subprotocols, extensions, compression, Limits.for_max_size(max_size, limits))
        check_tls("proxy_ssl", proxy_ssl)
        self.proxy_ssl = proxy_ssl
        check_optional_str("proxy_server_hostname", proxy_server_hostname)
        self.proxy_server_hostname = proxy_server_hostname
        check_timeouts(open_timeout, ping_interval, ping_timeout, close_timeout)
        self.open_timeout = open_timeout
        check_max_queue(max_queue)
        check_callable("create_connection", create_connection, "sock", "protocol", keywords=_OPTIONS, never_async=True)
        self.create_connection: Callable[..., ClientConnection] = create_connection or ClientConnection
        self.connection: ClientConnection | None = None
        self._connection_options: dict[str, Any] = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": close_timeout,
            "max_queue": max_queue,
        }

    # Connecting

    def open_socket(self, deadline: Deadline) -> Wire:
        """Connect to TCP, directly or through a proxy, or to a Unix socket.

        Args:
            deadline: The deadline for the whole operation.
        """
        kwargs = dict(self.open_socket_kwargs)
        if kwargs.pop("unix", False):
            return Wire(_connect_unix(kwargs.pop("path"), deadline))
        proxy = get_proxy(self.ws_uri) if self.proxy is True else self.proxy
        if proxy:
            return self._open_through(proxy, kwargs, deadline)
        address = kwargs.pop("address", (self.ws_uri.host, self.ws_uri.port))
        return Wire(connect_tcp(address, deadline, **kwargs))

    def _open_through(self, address: str, kwargs: dict[str, Any], deadline: Deadline) -> Wire:
        proxy = parse_proxy(address)
        host, port = kwargs.pop("address", (self.ws_uri.host, self.ws_uri.port))
        target = dataclasses.replace(self.ws_uri, host=host, port=port)
        if proxy.is_socks:
            source = kwargs.get("source_address")
            return Wire(connect_socks_proxy(proxy, target, deadline, local_addr=source))
        if proxy.scheme != "https" and self.proxy_ssl is not None:
            raise ValueError("proxy_ssl argument is incompatible with an http:// proxy")
        return connect_http_proxy(
            proxy,
            target,
            deadline,
            user_agent_header=self.user_agent_header,
            context=self.proxy_ssl,
            server_hostname=self.proxy_server_hostname,
            **kwargs,
        )

    def open_connection(self, deadline: Deadline, additional_headers: HeadersLike | None = None) -> ClientConnection:
        """Connect, and perform the opening handshake.

        Args:
            deadline: The deadline for the whole operation.
            additional_headers: Headers to add to the request.
        """
        wire = self.open_socket(deadline) if self.sock is None else Wire(self.sock)
        try:
            if wire.sock.family in (socket.AF_INET, socket.AF_INET6):
                wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.ws_uri.secure:
                context = self.ssl or ssl_module.create_default_context()
                wire.start_tls(context, self.server_hostname or self.ws_uri.host.partition("%")[0], deadline)
            connection = self.create_connection(wire, self._new_protocol(self.ws_uri), **self._connection_options)
        except BaseException:
            wire.close()
            raise
        self._prepare(connection, self.ws_uri)
        try:
            connection.handshake(additional_headers, self.user_agent_header, deadline.timeout())
        except BaseException:
            connection.abort()
            raise
        return connection

    def _ties(self) -> tuple[bool, str | None]:
        tied_to = None
        if self.open_socket_kwargs.get("unix"):
            tied_to = "a Unix socket"
        elif self.open_socket_kwargs.get("address") is not None:
            tied_to = "an explicit host and port"
        return self.sock is not None, tied_to

    def connect(self) -> ClientConnection:
        """Connect, follow redirects, and perform the opening handshake.

        Raises:
            OSError: As for the function ``connect``, like all other exceptions.
        """
        deadline = Deadline(self.open_timeout)
        self._undo_redirects()
        headers = self.additional_headers
        for _ in range(MAX_REDIRECTS):
            try:
                return self.open_connection(deadline, headers)
            except Exception as exc:  # noqa: PERF203 - it is the exception
                headers = self._follow(exc, headers)
        raise SecurityError(f"more than {MAX_REDIRECTS} redirects")

    def __enter__(self) -> ClientConnection:
        if self.connection is not None:
            raise RuntimeError("connect() isn't reentrant")
        self.connection = self.connect()
        return self.connection.__enter__()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self.connection is not None
        connection, self.connection = self.connection, None
        connection.__exit__(exc_type, exc_value, traceback)

    def __iter__(self) -> Iterator[ClientConnection]:
        """Connect repeatedly; see the class."""
        delays: Iterator[float] | None = None
        while True:
            try:
                with self as connection:
                    yield connection
            except Exception as exc:  # noqa: PERF203 - it is the exception
                delay, delays = self._next_delay(exc, delays)
                time.sleep(delay)
            else:
                delays = None


@overload
def connect(uri: str, *, legacy: Literal[True] | None = None, **kwargs: Any) -> ClientConnection: ...
@overload
def connect(uri: str, *, legacy: Literal[False], **kwargs: Any) -> reconnect: ...


@describe_client_options
def connect(uri: str, *, legacy: bool | None = None, **kwargs: Any) -> ClientConnection | reconnect:
    """Connect to a WebSocket server.

    The connection is a context manager, which closes it on exit::

        with connect("ws://localhost:8765") as websocket:
            websocket.send("hello")
            print(websocket.recv())

    Redirects are followed, except from ``wss`` to ``ws``, and never with ``sock``. On a redirect to another origin,
    Host and credentials in ``additional_headers`` are dropped. The next attempt starts from ``uri`` again.

    Args:
        uri (str): URI to connect to: ``ws://host:port/path`` or ``wss://...``.
        legacy (bool | None, default None): False to return the result of ``reconnect``, which ``websockets`` has
            announced as its future default.
        kwargs (Any): The options below; any others are passed to ``socket.create_connection``, where ``address``
            overrides the TCP destination.
        sock (socket.socket | None, default None): A connected socket to use; created for ``uri`` if None.
        ssl (ssl_module.SSLContext | None, default None): TLS context for a ``wss`` URI; if None,
            ``ssl.create_default_context()``, which uses the system's trusted certificates.
        server_hostname (str | None, default None): The name that the server's certificate must have; the host of
            ``uri`` if None.
        {origin, extensions, subprotocols, compression, additional_headers, user_agent_header, proxy}
        proxy_ssl (ssl_module.SSLContext | None, default None): TLS context for an ``https`` proxy; as for ``ssl`` if
            None.
        proxy_server_hostname (str | None, default None): The name that the proxy's certificate must have; the host of
            its address if None.
        {open_timeout, ping_interval, ping_timeout, close_timeout}
        {max_size, limits, max_queue, logger, create_connection}

    Raises:
        InvalidURI: (a ValueError) if ``uri`` is not a WebSocket URI.
        InvalidProxy: If the address of the proxy is not valid.
        OSError: If the TCP connection or TLS fails.
        InvalidHandshake: If the opening handshake fails.
        TimeoutError: If the opening handshake takes too long.
    """
    connecting = reconnect(uri, **kwargs)
    return connecting if legacy is False else connecting.connect()


def unix_reconnect(path: str | os.PathLike[str] | None = None, uri: str | None = None, **kwargs: Any) -> reconnect:
    """Connect to a WebSocket server that listens on a Unix socket, as ``reconnect`` does.

    Args:
        path: Path of the socket.
        uri: The URI for the handshake; ``ws://localhost/``, or ``wss://localhost/`` with ``ssl``, if None.
        kwargs: As in ``reconnect``.

    Raises:
        ValueError: If neither or both of ``path`` and ``sock`` are given.
    """
    sock = kwargs.get("sock")
    if path is None and sock is None:
        raise ValueError("missing path argument")
    if path is not None and sock is not None:
        raise ValueError("path is incompatible with sock")
    if uri is None:
        has_tls = kwargs.get("ssl") is not None or kwargs.get("ssl_context") is not None
        uri = "wss://localhost/" if has_tls else "ws://localhost/"
    return reconnect(uri, unix=True, path=path, **kwargs)


@overload
def unix_connect(
    path: str | os.PathLike[str] | None = None,
    uri: str | None = None,
    *,
    legacy: Literal[True] | None = None,
    **kwargs: Any,
) -> ClientConnection: ...
@overload
def unix_connect(
    path: str | os.PathLike[str] | None = None, uri: str | None = None, *, legacy: Literal[False], **kwargs: Any
) -> reconnect: ...


def unix_connect(
    path: str | os.PathLike[str] | None = None, uri: str | None = None, *, legacy: bool | None = None, **kwargs: Any
) -> ClientConnection | reconnect:
    """Connect to a WebSocket server that listens on a Unix socket.

    Args:
        path: Path of the socket.
        uri: The URI for the handshake; ``ws://localhost/``, or ``wss://localhost/`` with ``ssl``, if None.
        legacy: As in ``connect``.
        kwargs: As in ``connect``.

    Raises:
        ValueError: If neither or both of ``path`` and ``sock`` are given.
    """
    connecting = unix_reconnect(path, uri, **kwargs)
    return connecting if legacy is False else connecting.connect()


_OPTIONS = "ping_interval", "ping_timeout", "close_timeout", "max_queue"
"""Options that connections are created with."""

_SOCKET_OPTIONS = frozenset({"unix", "path", "all_errors"}).union(
    inspect.signature(socket.create_connection).parameters
)
"""Names of the arguments that may be passed to ``socket.create_connection``, including ``timeout``."""

_RENAMED = {name: hint for name, hint in RENAMED.items() if name not in _SOCKET_OPTIONS}


def _connect_unix(path: str | os.PathLike[str], deadline: Deadline) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(deadline.timeout())
        sock.connect(os.fspath(path))
    except BaseException:
        sock.close()
        raise
    return sock
