"""WebSocket clients for threads: ``connect`` and ``reconnect`` (RFC 6455 §4.1). Rank 5.

Names and behaviour are those of the ``websockets`` library's ``sync`` API.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import ssl as ssl_module
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any, Literal, overload

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
from wsframe.exceptions import SecurityError
from wsframe.extensions import AnyExtensionFactory
from wsframe.extensions.permessage_deflate import extension_factories
from wsframe.handshake import ClientHandshake
from wsframe.headers import check_subprotocols
from wsframe.http11 import USER_AGENT
from wsframe.limits import CLOSE_TIMEOUT_S, MAX_QUEUE, MAX_SIZE, OPEN_TIMEOUT_S, PING_INTERVAL_S, PING_TIMEOUT_S, Limits
from wsframe.proxy import get_proxy, parse_proxy
from wsframe.sync.connection import Connection
from wsframe.sync.proxy import connect_http_proxy, connect_socks_proxy
from wsframe.sync.utils import Deadline
from wsframe.sync.wire import Wire
from wsframe.typing import LoggerLike
from wsframe.uri import WebSocketURI, parse_uri

__all__ = ["ClientConnection", "connect", "reconnect", "unix_connect", "unix_reconnect"]


class ClientConnection(Connection):
    """A client's end of a connection, which ``connect`` gives; see ``Connection`` for what it can do.

    Args:
        sock: The socket, or the wire that ``connect`` has made of it.
        protocol: The connection without I/O.
        options: As for ``Connection``.

    Attributes:
        opening: The opening handshake without I/O, which ``connect`` sets.
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
        """Perform the opening handshake; ``connect`` calls it.

        Args:
            additional_headers: Headers to add to the request; Host, Origin and the like take the place of ours.
            user_agent_header: Value of the User-Agent header unless it is one of those; None for none.
            timeout: Seconds that it may take; None for no limit.

        Raises:
            InvalidHandshake: If it fails.
            TimeoutError: If it takes too long.
        """
        opening = self.opening
        assert opening is not None
        self.request = opening.build_request()
        add_custom_headers(self.request.headers, additional_headers)
        if user_agent_header is not None and "User-Agent" not in self.request.headers:
            self.request.headers["User-Agent"] = user_agent_header
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
            # Only its body takes too long.
            self.response = opening.receive_eof()
        except OSError:
            # The end of the response, if it has no other.
            self.response = opening.receive_eof()
        log_response(self.logger, self.response)
        opening.check(self.response)
        self.protocol.open(opening.subprotocol, opening.extensions)
        if opening.unread:
            self._receive(opening.unread)
        self._start()

    def abort(self) -> None:
        """End the TCP connection at once, before the opening handshake is done."""
        self._end(None)


class reconnect:  # noqa: N801 - used like a function
    """Connect to a WebSocket server, and again when that fails or the connection ends.

    It is an endless iterator, which connects again, after a while, when an attempt has failed for a reason that
    may pass, and closes each connection at the end of its turn::

        for websocket in reconnect("ws://localhost:8765"):
            try:
                for message in websocket:
                    print(message)
            except ConnectionClosed:
                continue

    or a context manager, which connects once.

    Args:
        uri: Where to connect to: ``ws://host:port/path`` or ``wss://...``.
        process_exception (Callable[[Exception], Exception | None], default process_exception): Called in ``for``
            with the exception of an attempt that failed; returns None to try again, or the exception to raise. The
            default one tries again what may be better later; see ``wsframe.client``.
        reconnect_delays (Callable[[], Iterator[float]], default backoff): Called in ``for`` when the first attempt
            in a row has failed; returns an iterator of the seconds to wait before each further one. The default ones
            are random at first, then grow up to 90, so that a server which comes back is not overrun.
        sock: As for ``connect``; so are the others.
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
        InvalidURI: (a ValueError) if ``uri`` is not a WebSocket URI.
        ValueError: If ``additional_headers`` has a header of the opening handshake.
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
        self.uri = uri
        self.ws_uri: WebSocketURI = parse_uri(uri)
        if not self.ws_uri.secure and ssl is not None:
            raise ValueError("ssl argument is incompatible with a ws:// URI")
        if subprotocols is not None:
            check_subprotocols(subprotocols)
        self.sock = sock
        self.ssl = ssl
        self.server_hostname = server_hostname
        # Each attempt adds them again.
        self.additional_headers = (
            list(additional_headers) if isinstance(additional_headers, Iterator) else additional_headers
        )
        check_custom_headers(self.additional_headers or ())
        self.user_agent_header = user_agent_header
        self.proxy = proxy
        self.proxy_ssl = proxy_ssl
        self.proxy_server_hostname = proxy_server_hostname
        self.process_exception = process_exception
        self.open_timeout = open_timeout
        self.reconnect_delays = reconnect_delays
        self.logger = logger or logging.getLogger("wsframe.client")
        self.create_connection: Callable[..., ClientConnection] = create_connection or ClientConnection
        self.open_socket_kwargs = kwargs
        self.connection: ClientConnection | None = None
        # Where an attempt began that was sent elsewhere.
        self._before_redirects: tuple[str, WebSocketURI] | None = None
        self._limits = Limits.for_max_size(max_size, limits)
        self._handshake_options: dict[str, Any] = {
            "origin": origin,
            "subprotocols": subprotocols,
            "extensions": extension_factories(extensions, compression),
            "limits": self._limits,
        }
        self._connection_options: dict[str, Any] = {
            "ping_interval": ping_interval,
            "ping_timeout": ping_timeout,
            "close_timeout": close_timeout,
            "max_queue": max_queue,
        }

    # Connecting

    def open_socket(self, deadline: Deadline) -> Wire:
        """Connect by TCP, through a proxy or not, or to a Unix socket.

        Args:
            deadline: When to give up.
        """
        kwargs = dict(self.open_socket_kwargs)
        if kwargs.pop("unix", False):
            return Wire(_connect_unix(kwargs.pop("path"), deadline))
        proxy = get_proxy(self.ws_uri) if self.proxy is True else self.proxy
        if proxy:
            return self._open_through(proxy, kwargs, deadline)
        kwargs.setdefault("address", (self.ws_uri.host, self.ws_uri.port))
        kwargs.setdefault("timeout", deadline.timeout())
        return Wire(socket.create_connection(**kwargs))

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
            deadline: When to give up.
            additional_headers: Headers to add to the request.
        """
        wire = self.open_socket(deadline) if self.sock is None else Wire(self.sock)
        try:
            if wire.sock.family in (socket.AF_INET, socket.AF_INET6):
                wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.ws_uri.secure:
                context = self.ssl or ssl_module.create_default_context()
                wire.start_tls(context, self.server_hostname or self.ws_uri.host.partition("%")[0], deadline)
            protocol = SansIOConnection(Role.CLIENT, state=State.CONNECTING, limits=self._limits)
            protocol.uri = self.ws_uri
            connection = self.create_connection(wire, protocol, **self._connection_options)
        except BaseException:
            wire.close()
            raise
        connection.log_to(self.logger)
        connection.opening = ClientHandshake(self.ws_uri, **self._handshake_options)
        try:
            connection.handshake(additional_headers, self.user_agent_header, deadline.timeout())
        except BaseException:
            connection.abort()
            raise
        return connection

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Tell where to go instead, after an attempt has failed.

        Override it to follow none, or others.

        Args:
            exc: Why it failed.

        Returns:
            The new URI, or the exception to raise: ``exc`` if it is no redirect.
        """
        tied_to = None
        if self.open_socket_kwargs.get("unix"):
            tied_to = "a Unix socket"
        elif self.open_socket_kwargs.get("address") is not None:
            tied_to = "an explicit host and port"
        return redirect_target(exc, self.uri, sock=self.sock is not None, tied_to=tied_to)

    def connect(self) -> ClientConnection:
        """Connect, follow redirects, and perform the opening handshake.

        Raises:
            OSError: As for the function ``connect``; so are the others.
        """
        deadline = Deadline(self.open_timeout)
        # RFC 9110 §15.4: a redirect is for one attempt. A permanent one need not be kept either, and is not: where it
        # leads may be gone before it is.
        if self._before_redirects is not None:
            self.uri, self.ws_uri = self._before_redirects
            self._before_redirects = None
        headers = self.additional_headers
        for _ in range(MAX_REDIRECTS):
            try:
                return self.open_connection(deadline, headers)
            except Exception as exc:  # noqa: PERF203 - it is the exception
                target = self.process_redirect(exc)
                if target is exc:
                    raise
                if isinstance(target, Exception):
                    raise target from exc
                if self._before_redirects is None:
                    self._before_redirects = self.uri, self.ws_uri
                new = parse_uri(target)
                if not is_same_origin(self.ws_uri, new):
                    headers = without_credentials(headers or ())
                self.uri, self.ws_uri = target, new
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
        """Connect again and again; see the class."""
        delays: Iterator[float] | None = None
        while True:
            try:
                with self as connection:
                    yield connection
            except Exception as exc:  # noqa: PERF203 - it is the exception
                self._give_up_unless_transient(exc)
                if delays is None:
                    delays = iter(self.reconnect_delays())
                delay = next(delays)
                reason = traceback.format_exception_only(exc)[0].strip()
                self.logger.info("connect failed; reconnecting in %.1f seconds: %s", delay, reason)
                time.sleep(delay)
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


@overload
def connect(uri: str, *, legacy: Literal[True] | None = None, **kwargs: Any) -> ClientConnection: ...
@overload
def connect(uri: str, *, legacy: Literal[False], **kwargs: Any) -> reconnect: ...


def connect(uri: str, *, legacy: bool | None = None, **kwargs: Any) -> ClientConnection | reconnect:
    """Connect to a WebSocket server.

    The connection is a context manager, which closes it at its end::

        with connect("ws://localhost:8765") as websocket:
            websocket.send("hello")
            print(websocket.recv())

    Redirects are followed: not from ``wss`` to ``ws``, to another origin without Host and credentials in
    ``additional_headers``, and not at all with ``sock``. The next attempt begins with ``uri`` again.

    Args:
        uri (str): Where to connect to: ``ws://host:port/path`` or ``wss://...``.
        legacy (bool | None, default None): False to return what ``reconnect`` returns, which ``websockets`` has
            announced to become the default there.
        kwargs (Any): The options below; others are passed on to ``socket.create_connection``, where ``address``
            overrides where TCP goes to.
        sock (socket.socket | None, default None): A connected socket to use; made for ``uri`` if None.
        ssl (ssl_module.SSLContext | None, default None): TLS for a ``wss`` URI; that of
            ``ssl.create_default_context()`` if None, since it trusts whom the system trusts.
        server_hostname (str | None, default None): The name that the server's certificate must have; that in ``uri`` if
            None.
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
        proxy_ssl (ssl_module.SSLContext | None, default None): TLS to an ``https`` proxy; as for ``ssl`` if None.
        proxy_server_hostname (str | None, default None): The name that the proxy's certificate must have; that in its
            address if None.
        open_timeout (float | None, default 10): Seconds for the opening handshake, with TLS and, for a client, TCP;
            None for no limit. 10 are several round trips of a slow mobile network, and little for an attacker.
        ping_interval (float | None, default 20): Seconds between keepalive pings; None for none. 20 are below the 30 to
            60 after which proxies drop silent connections.
        ping_timeout (float | None, default 20): Seconds to wait for a sign of life behind a ping; None for no limit.
            Within 20, TCP has sent a lost segment again several times.
        close_timeout (float | None, default 10): Seconds for the closing handshake, then TCP is cut; None for no limit.
            10, for the same reasons as for the opening one.
        max_size (int | tuple[int | None, int | None] | None, default 2**20): Bytes of a message, decompressed, or a
            pair of the bytes of a message and of a fragment; None for no limit. At 1 MiB, what the peers of this
            field allow, thousands of connections fit into memory.
        limits (Limits | None, default None): All other limits on what a peer can make us hold and do; if None, the
            defaults of ``Limits``, which gives the reason for each.
        max_queue (int | tuple[int | None, int | None] | None, default 16): Messages that wait to be received before
            reading pauses, or a pair with the number at which it resumes, a quarter otherwise; None for no limit. 16
            keep a task busy while more arrive.
        logger (LoggerLike | None, default None): Where to log to; ``wsframe.client`` if None.
        create_connection (Callable[..., ClientConnection] | None, default None): Makes the connection: a subclass of
            ClientConnection, which it is if None, or a function with its signature.

    Raises:
        InvalidURI: (a ValueError) if ``uri`` is not a WebSocket URI.
        InvalidProxy: If the address of the proxy is not valid.
        OSError: If the TCP connection or TLS fails.
        InvalidHandshake: If the opening handshake fails.
        TimeoutError: If it takes too long.
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
        ValueError: If there is neither ``path`` nor ``sock``, or both.
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
        ValueError: If there is neither ``path`` nor ``sock``, or both.
    """
    connecting = unix_reconnect(path, uri, **kwargs)
    return connecting if legacy is False else connecting.connect()


def _connect_unix(path: str | os.PathLike[str], deadline: Deadline) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(deadline.timeout())
        sock.connect(os.fspath(path))
    except BaseException:
        sock.close()
        raise
    return sock
