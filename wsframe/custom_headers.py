"""Headers that an application adds to the heads of the opening handshake (RFC 6455 §4.1, §4.2.2). Rank 3.

Those that the handshake or the framing of the message depend on are not the application's to add. Of those that stand
once, the application's takes the place of ours.
"""

from __future__ import annotations

import http

from wsframe.datastructures import Headers, HeadersLike
from wsframe.http11 import Response

__all__ = ["add_custom_headers", "check_custom_headers", "set_header", "settle_framing"]

_RESERVED = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})
_RESERVED_PREFIX = "sec-websocket-"
_OPTIONS = {
    "sec-websocket-extensions": "; use the options extensions and compression",
    "sec-websocket-protocol": "; use the option subprotocols",
}
_SINGLE = frozenset({"authorization", "date", "host", "origin", "server", "user-agent"})
_WITHOUT_BODY = (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED)


def check_custom_headers(custom: HeadersLike) -> Headers:
    """Check headers that an application wants to add to a request or a response.

    Returns:
        The headers.

    Raises:
        ValueError: If one of them is reserved for the handshake, stands twice and may stand only once, or has a name
            or a value that cannot be sent.
    """
    headers = Headers(custom)
    for name in headers:
        if name in _RESERVED or name.startswith(_RESERVED_PREFIX):
            raise ValueError(
                f"additional_headers must not have {name}: the opening handshake sets it{_OPTIONS.get(name, '')}"
            )
        if name in _SINGLE and len(headers.get_all(name)) > 1:
            raise ValueError(f"additional_headers must not have more than one {name}")
    return headers


def add_custom_headers(headers: Headers, custom: HeadersLike | None) -> None:
    """Add an application's headers to those of a request or a response.

    Args:
        headers: What the handshake has made; each stands there once.
        custom: The application's, which take the place of ours of the same name.

    Raises:
        ValueError: As ``check_custom_headers`` does.
    """
    if custom is None:
        return
    added = check_custom_headers(custom)
    # In place: Host should come first (RFC 9110 §7.2).
    lines = [(name, added.get(name, value)) for name, value in headers.raw_items()]
    lines += [(name, value) for name, value in added.raw_items() if name not in headers]
    headers.clear()
    headers.update(lines)


def settle_framing(response: Response, is_to_head: bool) -> list[str]:
    """Let the headers of a response that ends the connection say how long its body is, and that once.

    Args:
        response: The response, which is changed.
        is_to_head: Whether it answers HEAD, so that its length may be that of another body (RFC 9110 §9.3.2).

    Returns:
        The names of the headers that contradicted something.
    """
    headers = response.headers
    settled = []
    if len(set(map(str.lower, headers.get_all("Connection")))) > 1:
        settled.append("Connection")
        set_header(headers, "Connection", "close")
    lengths = headers.get_all("Content-Length")
    if response.status_code in _WITHOUT_BODY:
        # RFC 9110 §6.4.1, §8.6: neither a body nor, but for 304, the length of one.
        response.body = b""
        if response.status_code != http.HTTPStatus.NOT_MODIFIED:
            set_header(headers, "Content-Length", None)
            set_header(headers, "Transfer-Encoding", None)
    elif lengths and not (is_to_head and len(lengths) == 1):
        # RFC 9112 §6.2: not both; and the body is not encoded.
        if set_header(headers, "Transfer-Encoding", None):
            settled.append("Transfer-Encoding")
        size = str(len(response.body))
        if lengths != [size]:
            settled.append("Content-Length")
            set_header(headers, "Content-Length", size)
    return settled


def set_header(headers: Headers, name: str, value: str | None) -> bool:
    """Leave one line with this name and value, or none; tell whether there was one before."""
    found = name in headers
    if found:
        del headers[name]
    if value is not None:
        headers[name] = value
    return found
