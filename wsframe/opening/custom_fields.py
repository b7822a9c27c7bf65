"""Headers that an application adds to the opening handshake (RFC 6455 §4.1, §4.2.2).

An application must not add headers that the handshake or the framing of the message depends on. Where a header may
appear only once, the application's replaces ours.
"""

from __future__ import annotations

import http

from wsframe.opening.fields import Headers, HeadersLike
from wsframe.opening.http import Response

__all__ = ["add_custom_headers", "add_request_headers", "check_custom_headers", "set_header", "settle_framing"]

_RESERVED = frozenset({"connection", "content-length", "transfer-encoding", "upgrade"})
_RESERVED_PREFIX = "sec-websocket-"
_OPTIONS = {
    "sec-websocket-extensions": "; use the options extensions and compression",
    "sec-websocket-protocol": "; use the option subprotocols",
}
_SINGLE = frozenset({"authorization", "date", "host", "origin", "server", "user-agent"})
_WITHOUT_BODY = (http.HTTPStatus.NO_CONTENT, http.HTTPStatus.NOT_MODIFIED)


def check_custom_headers(custom: HeadersLike) -> Headers:
    """Check the headers that an application adds to a request or a response.

    Returns:
        The headers.

    Raises:
        ValueError: If a header is reserved for the handshake, appears twice but may appear only once, or has a name
            or a value that must not be sent.
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
        headers: The handshake's headers; each appears once.
        custom: The application's headers, which replace those of the same name.

    Raises:
        ValueError: See ``check_custom_headers``.
    """
    if custom is None:
        return
    added = check_custom_headers(custom)
    # Replace in place, since Host should be the first header (RFC 9110 §7.2).
    lines = [(name, added.get(name, value)) for name, value in headers.raw_items()]
    lines += [(name, value) for name, value in added.raw_items() if name not in headers]
    headers.clear()
    headers.update(lines)


def add_request_headers(headers: Headers, custom: HeadersLike | None, user_agent: str | None) -> None:
    """Add an application's headers to those of a request, then User-Agent unless it is there or None.

    Raises:
        ValueError: See ``check_custom_headers``.
    """
    add_custom_headers(headers, custom)
    if user_agent is not None and "User-Agent" not in headers:
        headers["User-Agent"] = user_agent


def settle_framing(response: Response, is_to_head: bool) -> list[str]:
    """Make the headers of a response that ends the connection give the length of its body exactly once.

    Args:
        response: The response, modified in place.
        is_to_head: Whether it answers HEAD; then Content-Length may be that of another body (RFC 9110 §9.3.2).

    Returns:
        The names of the headers that were contradictory.
    """
    headers = response.headers
    settled = []
    if len(set(map(str.lower, headers.get_all("Connection")))) > 1:
        settled.append("Connection")
        set_header(headers, "Connection", "close")
    lengths = headers.get_all("Content-Length")
    if response.status_code in _WITHOUT_BODY:
        # RFC 9110 §6.4.1, §8.6: no body and, except for 304, no length of one.
        response.body = b""
        if response.status_code != http.HTTPStatus.NOT_MODIFIED:
            set_header(headers, "Content-Length", None)
            set_header(headers, "Transfer-Encoding", None)
    elif lengths and not (is_to_head and len(lengths) == 1):
        # RFC 9112 §6.2: not both; and the body has no transfer coding.
        if set_header(headers, "Transfer-Encoding", None):
            settled.append("Transfer-Encoding")
        size = str(len(response.body))
        if lengths != [size]:
            settled.append("Content-Length")
            set_header(headers, "Content-Length", size)
    return settled


def set_header(headers: Headers, name: str, value: str | None) -> bool:
    """Leave one line with this name and value, or none; return whether there was one before."""
    found = name in headers
    if found:
        del headers[name]
    if value is not None:
        headers[name] = value
    return found
