"""The HTTP half of the uvicorn adapter: handling around the handshake, and the responses of an application.

An application's headers are added to those of the handshake and replace none of them. The server frames a response that
denies the handshake, as the ASGI specification requires (RFC 9110 §8.6, RFC 9112 §6).
"""

from __future__ import annotations

import asyncio
import email.utils
import http
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from wsframe import Headers, Response
from wsframe.hosting import is_token

__all__ = ["Denial", "accept_headers", "bytes_after_request", "check_subprotocol", "http_version"]

HANDSHAKE_HEADERS = frozenset(
    {
        "connection",
        "content-length",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of a response with status 101 that only the handshake itself sets (RFC 6455 §4.2.2, RFC 9110 §8.6)."""

_PHRASES = {int(status): status.phrase for status in http.HTTPStatus}


def accept_headers(response: Response, defaults: Iterable[Any], message: Mapping[str, Any]) -> Headers:
    """Return the headers of the response that accepts a handshake.

    Args:
        response: The response of the handshake.
        defaults: uvicorn's headers for all responses. Those that only the handshake sets are left out.
        message: The event that the application has sent.

    Raises:
        TypeError: If the application's headers are not pairs of byte strings.
        ValueError: If a header is invalid or may only be set by the handshake.
    """
    headers = response.headers.copy()
    # If uvicorn is to send Date, it is among the default headers.
    del headers["Date"]
    for name, value in _header_lines(defaults):
        if name.lower() not in HANDSHAKE_HEADERS:
            headers[name.lower()] = value
    for name, value in _header_lines(message.get("headers", ())):
        name = name.lower()  # noqa: PLW2901 - as ASGI has them
        if name == "sec-websocket-protocol":
            raise ValueError(f"{name} is chosen by 'subprotocol' of 'websocket.accept', not by a header")
        if name in HANDSHAKE_HEADERS:
            raise ValueError(f"only the handshake itself sets the header {name}")
        headers[name] = value
    return headers


def check_subprotocol(message: Mapping[str, Any], offered: Sequence[str]) -> str | None:
    """Return the subprotocol that an application chooses, or None.

    Raises:
        TypeError: If the subprotocol is not a string.
        ValueError: If the client has not offered it, or it is not a token (RFC 6455 §4.2.2).
    """
    subprotocol = message.get("subprotocol")
    if subprotocol is None or (isinstance(subprotocol, str) and not subprotocol):
        return None
    if not isinstance(subprotocol, str):
        raise TypeError(f"a subprotocol must be a str, not {type(subprotocol).__name__}")
    if subprotocol not in offered:
        raise ValueError(f"the client has not offered the subprotocol {subprotocol!r}")
    if not is_token(subprotocol):
        raise ValueError(f"{subprotocol!r} is not a valid subprotocol")
    return subprotocol


class Denial:
    """A response that denies the handshake, with its body piece by piece.

    status      length                              header section                body
    204, 304    any                                 no added framing              none (RFC 9110 §6.4.1)
    205         any                                 Content-Length: 0             none (RFC 9110 §15.3.6)
    others      Content-Length by the application   unchanged                     exactly that many bytes
    others      the first piece is the whole body   Content-Length                unchanged
    others      unknown                             Transfer-Encoding: chunked    chunks (RFC 9112 §7.1)

    Args:
        message: ``websocket.http.response.start``.

    Attributes:
        status: The status.
        begun: Whether ``add_body`` has returned the header section.

    Raises:
        TypeError: If the status is not an int, or headers are not pairs of byte strings.
        RuntimeError: If the status is not that of a final response (RFC 9110 §15.2).
        ValueError: If a header is invalid, or Content-Length is not a single number.
    """

    def __init__(self, message: Mapping[str, Any]) -> None:
        status = message.get("status")
        if not isinstance(status, int):
            raise TypeError(f"a status must be an int, not {type(status).__name__}")
        if not 200 <= status < 600:
            raise RuntimeError(f"Invalid HTTP status code '{status:d}' in response.")
        headers = Headers()
        for name, value in _header_lines(message.get("headers", ())):
            # ASGI: servers ignore Transfer-Encoding. RFC 9110 §7.6.1: Connection describes this connection, which ends.
            if name.lower() not in ("connection", "transfer-encoding"):
                headers[name] = value
        self.status = int(status)
        self.begun = False
        self._headers = headers
        self._chunked = False
        # Bytes of the body that are still to come; None if unknown.
        self._remaining = _declared_length(headers)
        # RFC 9110 §6.4.1, §15.3.6: these responses have no content.
        self._empty = status in (204, 205, 304)
        if self._empty:
            if status != http.HTTPStatus.NOT_MODIFIED and self._remaining is not None:
                # RFC 9110 §8.6: never with 204. With 304, it is the length that a response with a body would have.
                del headers["Content-Length"]
            self._remaining = 0

    def add_body(self, message: Mapping[str, Any]) -> bytes:
        """Return the bytes to send for a piece of the body; the first piece is preceded by the header section.

        Args:
            message: ``websocket.http.response.body``.

        Raises:
            TypeError: If the body is not bytes-like.
            RuntimeError: If the body is longer or shorter than allowed; then nothing has changed.
        """
        body, more = _to_bytes(message.get("body", b""), "a body"), bool(message.get("more_body", False))
        if self._remaining is not None:
            remaining = self._remaining - len(body)
            if remaining < 0 and self._empty:
                raise RuntimeError(f"A response with status {self.status:d} has no body")
            if remaining < 0:
                raise RuntimeError("Response content longer than Content-Length")
            if remaining and not more:
                raise RuntimeError("Response content shorter than Content-Length")
            self._remaining = remaining
        elif not self.begun:
            self._chunked = more
            if not more:
                self._headers["Content-Length"] = str(len(body))
        head = b""
        if not self.begun:
            self.begun = True
            head = self._serialize_head()
        if self._chunked and body:
            body = b"%x\r\n%b\r\n" % (len(body), body)
        if self._chunked and not more:
            body += b"0\r\n\r\n"
        return head + body

    def _serialize_head(self) -> bytes:
        headers = self._headers
        if self._chunked:
            headers["Transfer-Encoding"] = "chunked"
        if self.status == http.HTTPStatus.RESET_CONTENT:
            headers["Content-Length"] = "0"
        # RFC 9110 §7.8: Upgrade, which 426 requires, is a connection option too.
        headers["Connection"] = "close, Upgrade" if "Upgrade" in headers else "close"
        if "Date" not in headers:
            headers["Date"] = email.utils.formatdate(usegmt=True)
        if "Content-Type" not in headers and not self._empty:
            headers["Content-Type"] = "text/plain; charset=utf-8"
        return Response(self.status, _PHRASES.get(self.status, ""), headers).serialize()


def http_version(transport: asyncio.BaseTransport) -> str:
    """Return the HTTP version of the client's request; uvicorn always passes requests on as HTTP/1.1."""
    scope = getattr(_http_protocol(transport), "scope", None)
    version = scope.get("http_version") if isinstance(scope, dict) else None
    return version if isinstance(version, str) else "1.1"


def bytes_after_request(transport: asyncio.BaseTransport) -> bytes:
    """Return data that uvicorn's HTTP parser has read beyond the request, and would not pass on.

    h11 keeps it; httptools gives its offset in an exception, which uvicorn is handling while it calls us.
    """
    exc = sys.exc_info()[1]
    if type(exc).__name__ == "HttpParserUpgrade" and exc is not None and exc.__traceback__ is not None:
        data = exc.__traceback__.tb_frame.f_locals.get("data")
        return data[exc.args[0] :] if isinstance(data, bytes) else b""
    trailing = getattr(getattr(_http_protocol(transport), "conn", None), "trailing_data", None)
    return trailing[0] if isinstance(trailing, tuple) else b""


def _http_protocol(transport: asyncio.BaseTransport) -> object:
    """Return uvicorn's protocol for HTTP, which owns the transport until the handshake request is passed on."""
    get_protocol = getattr(transport, "get_protocol", None)
    return get_protocol and get_protocol()


def _header_lines(lines: Iterable[Any]) -> list[tuple[str, str]]:
    """Decode the headers of an ASGI event; ``Headers`` checks their syntax."""
    decoded = []
    for line in lines:
        try:
            name, value = line
        except (TypeError, ValueError):
            raise TypeError(f"a header must be a pair of byte strings, not {line!r}") from None
        decoded.append(
            (str(_to_bytes(name, "a header's name"), "iso-8859-1"), str(_to_bytes(value, "its value"), "iso-8859-1"))
        )
    return decoded


def _declared_length(headers: Headers) -> int | None:
    """Return the Content-Length that an application declares, or None."""
    lengths = headers.get_all("Content-Length")
    if not lengths:
        return None
    # RFC 9110 §8.6: a single number.
    if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
        raise ValueError(f"Content-Length must be one number, not {', '.join(lengths)!r}")
    return int(lengths[0])


def _to_bytes(data: Any, what: str) -> bytes:
    # Not bytes() alone, which also converts numbers and lists.
    try:
        return bytes(memoryview(data))
    except TypeError:
        raise TypeError(f"{what} must be bytes-like, not {type(data).__name__}") from None
