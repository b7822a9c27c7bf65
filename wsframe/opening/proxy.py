"""Proxies: which one to use, and how to request a tunnel (RFC 6455 §4.1, RFC 9110 §9.3.6)."""

from __future__ import annotations

import contextlib
import dataclasses
import urllib.parse
from collections.abc import Iterator

import h11

from wsframe._checks import check_type
from wsframe.exceptions import InvalidHandshake, InvalidProxy, InvalidProxyMessage, InvalidProxyStatus, ProxyError
from wsframe.limits import Limits
from wsframe.opening.fields import Headers
from wsframe.opening.grammar import bracket_host, build_basic_authorization, build_host
from wsframe.opening.head_reader import ResponseReader
from wsframe.opening.http import USER_AGENT, Request
from wsframe.opening.uri import Credentials, WebSocketURI

__all__ = [
    "Proxy",
    "ProxyHandshake",
    "get_proxy",
    "parse_proxy",
    "prepare_connect_request",
    "socks_arguments",
    "socks_errors",
]

_NO_SOCKS = "connecting through a SOCKS proxy requires python-socks: pip install 'wsframe[proxy]'"

_SOCKS = {
    "socks5h": ("SOCKS5", True),
    "socks5": ("SOCKS5", False),
    "socks4a": ("SOCKS4", True),
    "socks4": ("SOCKS4", False),
}
"""For each scheme, the protocol version and whether the proxy resolves host names."""

_DEFAULT_PORTS = {"http": 80, "https": 443, **dict.fromkeys(_SOCKS, 1080)}


@dataclasses.dataclass(frozen=True)
class Proxy(Credentials):
    """The address of a proxy.

    Attributes:
        scheme: ``http``, ``https``, ``socks5h``, ``socks5``, ``socks4a`` or ``socks4``.
        host: Name or address, in lower case.
        port: 80, 443 or 1080 if the address has none.
        username: User name in the address, decoded, or None.
        password: Password in the address, decoded, or None.
    """

    scheme: str
    host: str
    port: int
    username: str | None = None
    password: str | None = None

    @property
    def is_socks(self) -> bool:
        """Whether this is a SOCKS proxy, not an HTTP proxy."""
        return self.scheme in _SOCKS


def parse_proxy(proxy: str) -> Proxy:
    """Parse the address of a proxy, such as ``http://user:password@host:port``.

    Raises:
        TypeError: If it is not a str.
        InvalidProxy: If the scheme is not supported, there is no host, or there is a path, a query, a
            fragment, a user name without a password, or a port out of range.
    """
    check_type("proxy", proxy, str, "a str")
    try:
        parsed = urllib.parse.urlsplit(proxy)
        host, port = parsed.hostname, parsed.port
    except ValueError as exc:
        raise InvalidProxy(proxy, str(exc)) from exc
    if parsed.scheme not in _DEFAULT_PORTS:
        raise InvalidProxy(proxy, f"scheme {parsed.scheme} isn't supported")
    if not host:
        raise InvalidProxy(proxy, "hostname isn't provided")
    for part, meaningless in (
        ("path", parsed.path not in ("", "/")),
        ("query", parsed.query),
        ("fragment", parsed.fragment),
    ):
        if meaningless:
            raise InvalidProxy(proxy, f"{part} is meaningless")
    username, password = parsed.username, parsed.password
    try:
        if username is not None:
            if password is None:
                raise InvalidProxy(proxy, "username provided without password")
            username = urllib.parse.unquote(username, errors="strict")
            password = urllib.parse.unquote(password, errors="strict")
        if not host.isascii():
            host = host.encode("idna").decode()
    except UnicodeError as exc:
        raise InvalidProxy(proxy, "hostname, username or password cannot be decoded") from exc
    return Proxy(parsed.scheme, host, port or _DEFAULT_PORTS[parsed.scheme], username, password)


def get_proxy(uri: WebSocketURI) -> str | None:
    """Find the proxy for a URI in the system's settings or environment variables.

    ``wss_proxy`` or ``ws_proxy`` come first, since they can mean nothing else; then ``socks_proxy``,
    ``https_proxy`` and, for ``ws``, ``http_proxy``, in the order of RFC 6455 §4.1. ``no_proxy`` lists hosts
    to connect to without a proxy.

    Returns:
        The proxy's address, or None.
    """
    # This import takes longer than the rest of this package, and many programs never need it.
    import urllib.request  # noqa: PLC0415

    if urllib.request.proxy_bypass(f"{uri.host}:{uri.port}"):
        return None
    proxies = urllib.request.getproxies()
    for scheme in ("wss", "socks", "https") if uri.secure else ("ws", "socks", "https", "http"):
        proxy = proxies.get(scheme)
        if proxy is not None:
            # The settings of macOS and Windows give a SOCKS proxy this scheme.
            if scheme == "socks" and proxy.startswith("http://"):
                proxy = "socks5h://" + proxy.removeprefix("http://")
            return proxy
    return None


def socks_arguments(proxy: Proxy) -> tuple[str, str, int, str | None, str | None, bool]:
    """Return the arguments of ``python_socks``: version, host, port, user name, password, remote DNS."""
    version, remote_dns = _SOCKS[proxy.scheme]
    return version, proxy.host, proxy.port, proxy.username, proxy.password, remote_dns


@contextlib.contextmanager
def socks_errors() -> Iterator[None]:
    """Convert the exceptions of importing and using ``python_socks``.

    Raises:
        ImportError: If ``python-socks`` is not installed.
        OSError: As it is.
        ProxyError: For all others.
    """
    try:
        yield
    except OSError:
        raise
    except ImportError as exc:
        raise ImportError(_NO_SOCKS) from exc
    except Exception as exc:
        raise ProxyError("failed to connect to SOCKS proxy") from exc


class ProxyHandshake:
    """The client's side of a CONNECT request to an HTTP proxy (RFC 9110 §9.3.6).

    Send ``build_request().serialize()``, then call ``receive_data`` until it returns True.

    Args:
        proxy: The proxy.
        uri: The destination of the tunnel.
        user_agent_header: Value of the User-Agent header; None for no header.
        limits: Bounds on the response.
    """

    def __init__(
        self,
        proxy: Proxy,
        uri: WebSocketURI,
        user_agent_header: str | None = USER_AGENT,
        limits: Limits | None = None,
    ) -> None:
        self._proxy = proxy
        self._uri = uri
        self._user_agent = user_agent_header
        self._reader = ResponseReader(_CONNECT_REQUEST, Limits.checked(limits), allow_http_1_0=True)

    def build_request(self) -> Request:
        """Create the request."""
        uri = self._uri
        headers = Headers()
        headers["Host"] = build_host(uri.host, uri.port, uri.secure)
        if self._user_agent is not None:
            headers["User-Agent"] = self._user_agent
        if self._proxy.user_info is not None:
            headers["Proxy-Authorization"] = build_basic_authorization(*self._proxy.user_info)
        return Request(f"{bracket_host(uri.host)}:{uri.port}", headers, method="CONNECT")

    def receive_data(self, data: bytes | bytearray | memoryview) -> bool:
        """Process the next bytes from the proxy.

        Returns:
            Whether the tunnel is established.

        Raises:
            InvalidProxyMessage: If they are not an HTTP response, or exceed a limit; the cause says why.
            InvalidProxyStatus: If the proxy refuses.
        """
        try:
            response = self._reader.receive_head(data)
        except InvalidHandshake as exc:
            raise InvalidProxyMessage(_NO_RESPONSE) from (exc.__cause__ or exc)
        if response is None:
            return False
        if not 200 <= response.status_code < 300:
            raise InvalidProxyStatus(response)
        # The server at the other end of the tunnel never sends first.
        if self._reader.unread:
            raise InvalidProxyMessage(_NO_RESPONSE) from ValueError("there are bytes behind the response")
        return True

    def receive_eof(self) -> None:
        """Process the end of the proxy's stream.

        Raises:
            InvalidProxyMessage: Always; its cause is an EOFError.
        """
        try:
            self._reader.receive_eof()
        except InvalidHandshake as exc:
            raise InvalidProxyMessage(_NO_RESPONSE) from exc.__cause__


def prepare_connect_request(proxy: Proxy, ws_uri: WebSocketURI, user_agent_header: str | None = USER_AGENT) -> bytes:
    """Serialize the CONNECT request to an HTTP proxy.

    Args:
        proxy: The proxy.
        ws_uri: The destination of the tunnel.
        user_agent_header: Value of the User-Agent header; None for no header.
    """
    return ProxyHandshake(proxy, ws_uri, user_agent_header).build_request().serialize()


_NO_RESPONSE = "did not receive a valid HTTP response from proxy"
_CONNECT_REQUEST = h11.Request(method="CONNECT", target="_", headers=[("Host", "_")])
