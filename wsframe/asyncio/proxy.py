"""TCP connections through proxies (RFC 9110 §9.3.6, RFC 1928).

``wsframe.proxy`` requests a tunnel from HTTP proxies; SOCKS is left to the ``python-socks`` library.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, cast

from wsframe.exceptions import InvalidHandshake, InvalidProxyMessage
from wsframe.opening.http import USER_AGENT
from wsframe.opening.proxy import Proxy, ProxyHandshake, socks_arguments, socks_errors
from wsframe.opening.uri import WebSocketURI

__all__ = ["Tunnel", "connect_http_proxy", "connect_socks_proxy"]


class Tunnel(asyncio.Protocol):
    """A connection to an HTTP proxy, until another protocol takes over its transport.

    Args:
        handshake: The handshake with the proxy.

    Attributes:
        transport: The transport, once connected.
        established: Completes when the tunnel is established, with an exception if that fails.
        is_lost: Whether the connection is lost.
    """

    transport: asyncio.Transport

    def __init__(self, handshake: ProxyHandshake) -> None:
        self._handshake = handshake
        self.established: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(self._handshake.build_request().serialize())

    def data_received(self, data: bytes) -> None:
        if not self.established.done():
            try:
                if self._handshake.receive_data(data):
                    self.established.set_result(None)
                    # Further data belongs to the protocol that takes over.
                    self.transport.pause_reading()
            except InvalidHandshake as exc:
                self._fail(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if not self.established.done():
            try:
                self._handshake.receive_eof()
            except InvalidHandshake as error:
                self._fail(error)

    def _fail(self, exc: Exception) -> None:
        self.established.set_exception(exc)
        # Mark the exception as retrieved, in case no task waits for it any more.
        self.established.exception()

    def take_over(self, transport: asyncio.Transport, protocol: asyncio.BaseProtocol) -> None:
        """Hand the transport over to a protocol.

        Raises:
            InvalidProxyMessage: If the connection is lost.
        """
        if self.is_lost:
            raise InvalidProxyMessage("the connection to the proxy was lost")
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        transport.resume_reading()


async def connect_http_proxy(
    proxy: Proxy, uri: WebSocketURI, *, user_agent_header: str | None = USER_AGENT, **kwargs: Any
) -> Tunnel:
    """Connect to an HTTP proxy and request a tunnel.

    Args:
        proxy: The proxy.
        uri: The destination of the tunnel.
        user_agent_header: Value of the User-Agent header; None omits it.
        kwargs: Passed to ``loop.create_connection``.

    Raises:
        OSError: If the proxy cannot be reached.
        ProxyError: If it does not open the tunnel.
    """
    tunnel = Tunnel(ProxyHandshake(proxy, uri, user_agent_header))
    await asyncio.get_running_loop().create_connection(lambda: tunnel, proxy.host, proxy.port, **kwargs)
    try:
        await tunnel.established
    except BaseException:
        tunnel.transport.abort()
        raise
    return tunnel


async def connect_socks_proxy(proxy: Proxy, uri: WebSocketURI, **kwargs: Any) -> socket.socket:
    """Connect through a SOCKS proxy.

    Args:
        proxy: The proxy.
        uri: URI to connect to.
        kwargs: Passed to ``python_socks``.

    Raises:
        ImportError: If ``python-socks`` is not installed.
        OSError: If the proxy cannot be reached.
        ProxyError: If it refuses; the cause is the exception of ``python_socks``.
    """
    with socks_errors():
        from python_socks import ProxyType  # noqa: PLC0415
        from python_socks.async_.asyncio import Proxy as SocksProxy  # noqa: PLC0415

        version, *_ = arguments = socks_arguments(proxy)
        sock: socket.socket = await SocksProxy(ProxyType[version], *arguments[1:]).connect(uri.host, uri.port, **kwargs)
    return sock
