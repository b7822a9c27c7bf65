"""TCP connections through proxies (RFC 9110 §9.3.6, RFC 1928), for threads. Rank 5.

HTTP proxies are asked for a tunnel by ``wsframe.proxy``; SOCKS is left to the ``python-socks`` library.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from wsframe.exceptions import ProxyError
from wsframe.http11 import USER_AGENT
from wsframe.proxy import NO_SOCKS, Proxy, ProxyHandshake, socks_arguments
from wsframe.sync.utils import Deadline
from wsframe.sync.wire import Wire
from wsframe.uri import WebSocketURI

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
    """Connect to an HTTP proxy and have it make a tunnel.

    Args:
        proxy: The proxy.
        uri: Where the tunnel is to end.
        deadline: When to give up.
        user_agent_header: Value of the User-Agent header; None for none.
        context: TLS to an HTTPS proxy; the default one if None.
        server_hostname: The name that its certificate must have; the host of ``proxy`` if None.
        kwargs: Passed on to ``socket.create_connection``.

    Raises:
        OSError: If the proxy cannot be reached.
        TimeoutError: If it takes too long.
        ProxyError: If the proxy makes no tunnel.
    """
    kwargs.setdefault("timeout", deadline.timeout())
    wire = Wire(socket.create_connection((proxy.host, proxy.port), **kwargs))
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


def connect_socks_proxy(proxy: Proxy, uri: WebSocketURI, deadline: Deadline, **kwargs: Any) -> socket.socket:
    """Connect through a SOCKS proxy.

    Args:
        proxy: The proxy.
        uri: Where to connect to.
        deadline: When to give up.
        kwargs: Passed on to ``python_socks``.

    Raises:
        ImportError: If ``python-socks`` is not installed.
        OSError: If the proxy cannot be reached; a TimeoutError if it takes too long.
        ProxyError: If it refuses; its cause is the exception of ``python_socks``.
    """
    try:
        from python_socks import ProxyType  # noqa: PLC0415
        from python_socks.sync import Proxy as SocksProxy  # noqa: PLC0415
    except ImportError as exc:
        raise ImportError(NO_SOCKS) from exc
    version, *_ = arguments = socks_arguments(proxy)
    try:
        sock: socket.socket = SocksProxy(ProxyType[version], *arguments[1:]).connect(
            uri.host, uri.port, timeout=deadline.timeout(), **kwargs
        )
    except OSError:
        raise
    except Exception as exc:
        raise ProxyError("failed to connect to SOCKS proxy") from exc
    return sock
