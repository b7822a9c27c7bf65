"""TCP connections through proxies (RFC 9110 §9.3.6, RFC 1928), for threads.

``wsframe.proxy`` requests a tunnel from HTTP proxies; SOCKS is left to the ``python-socks`` library.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from wsframe.opening.http import USER_AGENT
from wsframe.opening.proxy import Proxy, ProxyHandshake, socks_arguments, socks_errors
from wsframe.opening.uri import WebSocketURI
from wsframe.sync.threads import Deadline, connect_tcp
from wsframe.sync.wire import Wire

__all__ = ["connect_http_proxy", "connect_socks_proxy"]


def connect_http_proxy(
    proxy: Proxy,
    uri: WebSocketURI,
    deadline: Deadline,
    *,
    user_agent_header: str | None = USER_AGENT,
    context: ssl.SSLContext | None = None,
    server_hostname: str | None = None,
    **kwargs: Any,
) -> Wire:
    """Connect to an HTTP proxy and request a tunnel.

    Args:
        proxy: The proxy.
        uri: The destination of the tunnel.
        deadline: The deadline for the whole operation.
        user_agent_header: Value of the User-Agent header; None omits it.
        context: TLS context for an HTTPS proxy; the default one if None.
        server_hostname: The name that its certificate must have; the host of ``proxy`` if None.
        kwargs: Passed to ``socket.create_connection``.

    Raises:
        OSError: If the proxy cannot be reached.
        TimeoutError: If the operation takes too long.
        ProxyError: If the proxy does not open the tunnel.
    """
    wire = Wire(connect_tcp((proxy.host, proxy.port), deadline, **kwargs))
    try:
        if proxy.scheme == "https":
            wire.start_tls(context or ssl.create_default_context(), server_hostname or proxy.host, deadline)
        _ask_for_tunnel(wire, ProxyHandshake(proxy, uri, user_agent_header), deadline)
    except BaseException:
        wire.close()
        raise
    return wire


def _ask_for_tunnel(wire: Wire, handshake: ProxyHandshake, deadline: Deadline) -> None:
    try:
        wire.write(wire.queue(handshake.build_request().serialize()), deadline)
        while not handshake.receive_data(data := wire.read_in_time(deadline)):
            if not data:
                handshake.receive_eof()
    except TimeoutError as exc:
        raise TimeoutError("timed out while connecting to HTTP proxy") from exc
    except ConnectionError:
        handshake.receive_eof()


class _TimedSocket(socket.socket):
    """A socket that applies one deadline to all calls, for code that supports only a timeout per call."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self._deadline = deadline

    def recv(self, *args: Any) -> bytes:
        self.settimeout(self._deadline.timeout())
        return super().recv(*args)

    def sendall(self, *args: Any) -> None:
        self.settimeout(self._deadline.timeout())
        super().sendall(*args)


class _Dialer:
    """Stands in for the ``python_socks`` proxy that another proxy is reached through."""

    def __init__(self, deadline: Deadline, source_address: tuple[str, int] | None) -> None:
        self._deadline = deadline
        self._source_address = source_address

    def connect(self, dest_host: str, dest_port: int, timeout: float | None) -> _TimedSocket:
        sock = connect_tcp((dest_host, dest_port), self._deadline, source_address=self._source_address)
        return _TimedSocket(sock, self._deadline)


def connect_socks_proxy(
    proxy: Proxy, uri: WebSocketURI, deadline: Deadline, *, local_addr: tuple[str, int] | None = None
) -> socket.socket:
    """Connect through a SOCKS proxy.

    Args:
        proxy: The proxy.
        uri: URI to connect to.
        deadline: The deadline for the whole operation.
        local_addr: Local address to connect from; None for any.

    Raises:
        ImportError: If ``python-socks`` is not installed.
        OSError: If the proxy cannot be reached; a TimeoutError if connecting takes too long.
        ProxyError: If it refuses; the cause is the exception of ``python_socks``.
    """
    with socks_errors():
        from python_socks import ProxyType  # noqa: PLC0415
        from python_socks.sync import Proxy as SocksProxy  # noqa: PLC0415

        version, *_ = arguments = socks_arguments(proxy)
        dialer: Any = _Dialer(deadline, local_addr)
        sock: socket.socket = SocksProxy(ProxyType[version], *arguments[1:], forward=dialer).connect(uri.host, uri.port)
    return socket.socket(fileno=sock.detach())
