"""The opening handshake, bytes in and bytes out, for both roles (RFC 6455 §4).

h11 parses HTTP; ``head_reader`` passes it only strict HTTP within bounds. This module checks what RFC 6455 adds. It
refuses requests with a body, and sends none.

``ServerHandshake``: call ``receive_data`` until it returns the request, and ``accept`` or ``reject`` it; ``settle`` the
response if the application has changed it; send its ``serialize()``, and pass ``unread`` to the connection.
``ClientHandshake``: send ``build_request().serialize()``; call ``receive_data`` until it returns the response, and
``check`` it; pass ``unread`` to the connection.
"""

from __future__ import annotations

import base64
import binascii
import email.utils
import hashlib
import http
import inspect
import os
import re
from collections.abc import Callable, Sequence

import h11

from wsframe._checks import check_origins, check_type, describe
from wsframe.constants import ACCEPT_GUID, WEBSOCKET_VERSION
from wsframe.exceptions import (
    InvalidHandshake,
    InvalidHeader,
    InvalidHeaderValue,
    InvalidMessage,
    InvalidMethod,
    InvalidOrigin,
    InvalidProtocol,
    InvalidStatus,
    InvalidUpgrade,
    NegotiationError,
    RequestLineTooLong,
    SecurityError,
)
from wsframe.extensions.base import Extension, ExtensionFactory
from wsframe.extensions.negotiation import check_agreed, check_factories, choose_extensions
from wsframe.limits import Limits
from wsframe.opening.custom_fields import set_header, settle_framing
from wsframe.opening.fields import Headers, MultipleValuesError
from wsframe.opening.grammar import (
    build_basic_authorization,
    build_extensions,
    build_host,
    check_subprotocols,
    check_value,
    is_host,
    parse_extensions,
    parse_tokens,
)
from wsframe.opening.head_reader import HeadBuffer, ResponseReader
from wsframe.opening.http import Request, Response
from wsframe.opening.uri import WebSocketURI, split_target

__all__ = ["ClientHandshake", "NotHTTPError", "ServerHandshake", "accept_key", "reject"]


def accept_key(key: str) -> str:
    """Compute Sec-WebSocket-Accept from Sec-WebSocket-Key (RFC 6455 §4.2.2, step 5.4)."""
    check_type("key", key, str, "a str")
    return base64.b64encode(hashlib.sha1(key.encode() + ACCEPT_GUID, usedforsecurity=False).digest()).decode()


class ServerHandshake:
    """The server's side of the opening handshake (RFC 6455 §4.2).

    Args:
        origins: Accepted values of Origin, as strings or compiled patterns; None in the list also accepts a
            request without Origin. None accepts everything.
        subprotocols: Subprotocols that the server supports, in order of preference, or None.
        select_subprotocol: Called with the subprotocols that the client offers; returns one of them, or None.
        extensions: Extensions that the server may use.
        limits: Bounds on the request's head.

    Attributes:
        request: The request, once received.
        unread: Bytes after the request; they belong to the connection (RFC 6455 §4.2.2).
        subprotocol: The negotiated subprotocol, or None.
        extensions: The negotiated extensions.
        origin: The request's Origin, or None.
        error: Why ``accept`` refused the request, or None.
        judged: Whether ``accept`` has been called; False if the request was only answered as plain HTTP.

    Raises:
        TypeError: If an argument has a wrong type, such as a str for ``subprotocols`` or ``origins``.
        ValueError: If a subprotocol is not a token.
    """

    def __init__(
        self,
        *,
        origins: Sequence[str | re.Pattern[str] | None] | None = None,
        subprotocols: Sequence[str] | None = None,
        select_subprotocol: Callable[[Sequence[str]], str | None] | None = None,
        extensions: Sequence[ExtensionFactory] = (),
        limits: Limits | None = None,
    ) -> None:
        if select_subprotocol is not None and (
            not callable(select_subprotocol) or inspect.iscoroutinefunction(select_subprotocol)
        ):
            expected = "a function that takes (subprotocols), or None"
            raise TypeError(f"select_subprotocol must be {expected}, not {describe(select_subprotocol)}")
        self._origins = check_origins(origins)
        self._subprotocols = check_subprotocols(subprotocols)
        self._select_subprotocol = select_subprotocol
        self._extensions = check_factories(extensions)
        self._head = HeadBuffer(Limits.checked(limits), RequestLineTooLong)
        self.request: Request | None = None
        self.unread = b""
        self.subprotocol: str | None = None
        self.extensions: list[Extension] = []
        self.origin: str | None = None
        self.error: Exception | None = None
        self.judged = False
        # The negotiated headers of the response, and the subprotocols that the client offers.
        self._agreed: dict[str, str] = {}
        self._offered: list[str] = []

    def receive_data(self, data: bytes | bytearray | memoryview) -> Request | None:
        """Process the next bytes from the client.

        Returns:
            The request, once its head is complete.

        Raises:
            NotHTTPError: If it is not HTTP at all; there is no HTTP client to answer.
            InvalidHandshake: If it is not an HTTP request without a body, or if it exceeds a limit. ``refuse``
                converts the exception to the response to send.
        """
        self._check_request_line(data)
        complete = self._head.feed(data)
        if complete is None:
            return None
        head, self.unread = complete
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=len(head))
        try:
            parser.receive_data(head)
            event = parser.next_event()
        except h11.RemoteProtocolError as exc:
            raise InvalidMessage("did not receive a valid HTTP request") from exc
        if not isinstance(event, h11.Request):
            raise InvalidMessage("the request is empty")
        headers = Headers.from_wire(event.headers.raw_items())
        if "Transfer-Encoding" in headers or headers.get("Content-Length", "0").strip("0"):
            raise InvalidMessage("a handshake request must not have a body")
        # RFC 9112 §3.2: a server must refuse an invalid Host. h11 has already refused more than one.
        host = headers.get("Host")
        if host is not None and not is_host(host):
            raise InvalidHeaderValue("Host", host)
        try:
            authority, path = split_target(event.target.decode("ascii"))
        except ValueError as exc:
            raise InvalidMessage("did not receive a valid HTTP request") from exc
        if authority is not None:
            # RFC 9112 §3.2.2: the host of an absolute-form takes precedence over Host.
            lines = [line for line in headers.raw_items() if line[0].lower() != "host"]
            headers = Headers([("Host", authority), *lines])
        method, version = event.method.decode("ascii"), event.http_version.decode("ascii")
        self.request = Request(path, headers, method, f"HTTP/{version}")
        return self.request

    def _check_request_line(self, data: bytes | bytearray | memoryview) -> None:
        """Check the request line as it arrives, rather than when the handshake times out.

        RFC 9112 §3 wants 400 as the response to an invalid one; a client of another protocol would not understand it.
        """
        begun = self._head.pending
        if b"\n" in begun or len(begun) > MAX_JUDGED_LINE:
            return
        line, newline, _ = (begun + bytes(data)).partition(b"\n")
        if not line and not newline:
            return
        if _CONTROL.search(line.removesuffix(b"\r")):
            is_http = _HTTP_METHOD.match(line) is not None
        elif newline:
            is_http = _METHOD.match(line) is not None and b"http" in line.lower()
        else:
            is_http = _LINE_BEGUN.fullmatch(line) is not None
        if not is_http:
            raise NotHTTPError("did not receive a valid HTTP request")
        if newline and _REQUEST_LINE.fullmatch(line) is None:
            raise InvalidMessage("did not receive a valid HTTP request") from ValueError("the request line is invalid")

    def accept(self, request: Request) -> Response:
        """Answer a request: with status 101 if it is valid, else with another status, and set ``error``.

        The response may be changed before it is sent.
        """
        check_type("request", request, Request, "a Request")
        self.judged = True
        try:
            key = self._check(request)
            offers = parse_extensions(request.headers.get_all("Sec-WebSocket-Extensions"))
            self.subprotocol = self._negotiate_subprotocol(request)
        except InvalidHandshake as exc:
            return self.refuse(exc)
        headers = Headers()
        headers["Date"] = email.utils.formatdate(usegmt=True)
        headers["Upgrade"] = "websocket"
        headers["Connection"] = "Upgrade"
        headers["Sec-WebSocket-Accept"] = accept_key(key)
        if self.subprotocol is not None:
            headers["Sec-WebSocket-Protocol"] = self.subprotocol
        chosen, self.extensions = choose_extensions(offers, self._extensions)
        if chosen:
            headers["Sec-WebSocket-Extensions"] = build_extensions(chosen)
        self._agreed = dict(headers.raw_items())
        return Response(http.HTTPStatus.SWITCHING_PROTOCOLS.value, "Switching Protocols", headers)

    def settle(self, response: Response) -> list[str]:
        """Correct a response that the application has changed or created, where it contradicts itself or the handshake.

        ``headers[name] = value`` adds a line; where only one line is allowed, that of the handshake stays. The
        application may replace or remove headers. Without Sec-WebSocket-Extensions, no extensions are used; another
        Sec-WebSocket-Protocol, from those that the client offers, becomes the subprotocol.

        Returns:
            The names of the headers whose lines were removed or corrected.

        Raises:
            ValueError: If it is an interim response, after which the client would keep waiting (RFC 9110 §15.2).
        """
        if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
            return self._settle_agreement(response)
        if response.status_code < 200:
            raise ValueError(f"a response with status {response.status_code} answers no request")
        return settle_framing(response, self.request is not None and self.request.method == "HEAD")

    def _settle_agreement(self, response: Response) -> list[str]:
        headers = response.headers
        settled = []
        for name in _ONCE_IN_AGREEMENTS:
            values = headers.get_all(name)
            if name == "Sec-WebSocket-Protocol" and len(values) == 1 and values[0] in self._offered:
                self._agreed[name] = values[0]
            ours = self._agreed.get(name)
            # Other headers may have another value by choice, or for a test; negotiated ones may not.
            if len(values) > 1 or (values and values[0] != ours and name in _NEGOTIATED):
                set_header(headers, name, ours)
                settled.append(name)
        if "Sec-WebSocket-Extensions" not in headers:
            self.extensions = []
        self.subprotocol = headers.get("Sec-WebSocket-Protocol")
        # RFC 9110 §8.6, RFC 9112 §6.1: a 101 has no body; frames follow.
        settled += [name for name in ("Content-Length", "Transfer-Encoding") if set_header(headers, name, None)]
        response.body = b""
        return settled

    def reject(self, status: http.HTTPStatus | int, text: str) -> Response:
        """Create a plain-text response; see the function ``reject``."""
        return reject(status, text)

    def refuse(self, error: InvalidHandshake) -> Response:
        """Create the response that describes what is wrong with a request, and set ``error``."""
        check_type("error", error, InvalidHandshake, "an InvalidHandshake")
        self.error = error
        status = next((status for kind, status in _REFUSALS if isinstance(error, kind)), http.HTTPStatus.BAD_REQUEST)
        wrong_version = isinstance(error, InvalidHeader) and error.name == "Sec-WebSocket-Version"
        if wrong_version:
            status = http.HTTPStatus.UPGRADE_REQUIRED
        causes: list[BaseException] = [error]
        while (cause := causes[-1].__cause__) is not None:
            causes.append(cause)
        text = f"Failed to open a WebSocket connection: {'; '.join(map(str, causes))}.\n"
        if isinstance(error, InvalidUpgrade):
            text += "\nThis is a WebSocket server: open it with a WebSocket client.\n"
        response = self.reject(status, text.encode("utf-8", "replace").decode())
        if status == http.HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = "GET"
        if status == http.HTTPStatus.UPGRADE_REQUIRED:
            response.headers["Upgrade"] = "websocket"
            # RFC 6455 §4.4: list the supported versions.
            response.headers["Sec-WebSocket-Version"] = WEBSOCKET_VERSION
        return response

    def _check(self, request: Request) -> str:
        """Check the requirements of RFC 6455 §4.2.1 on a request; return its key."""
        if request.method != "GET":
            raise InvalidMethod(request.method)
        # HTTP/1.1 is the only version above 1.0 with this kind of upgrade.
        if request.protocol != "HTTP/1.1":
            raise InvalidProtocol(request.protocol)
        headers = request.headers
        _check_upgrade(headers)
        key = _single_value(headers, "Sec-WebSocket-Key")
        try:
            raw_key = base64.b64decode(key.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as exc:
            raise InvalidHeaderValue("Sec-WebSocket-Key", key) from exc
        if len(raw_key) != 16:
            raise InvalidHeaderValue("Sec-WebSocket-Key", key)
        version = _single_value(headers, "Sec-WebSocket-Version")
        if version != WEBSOCKET_VERSION:
            raise InvalidHeaderValue("Sec-WebSocket-Version", version)
        self._check_origin(headers)
        return key

    def _check_origin(self, headers: Headers) -> None:
        """Check Origin, which identifies the page that a browser connects for (RFC 6455 §10.2)."""
        # RFC 6454 §7.3: at most one.
        self.origin = origin = _single_value(headers, "Origin") if "Origin" in headers else None
        if self._origins is None:
            return
        for allowed in self._origins:
            if allowed == origin:
                return
            if isinstance(allowed, re.Pattern) and origin is not None and allowed.fullmatch(origin):
                return
        raise InvalidOrigin(origin)

    def _negotiate_subprotocol(self, request: Request) -> str | None:
        """Choose a subprotocol among those offered (RFC 6455 §4.2.2, step 5.5)."""
        offered = parse_tokens(request.headers.get_all("Sec-WebSocket-Protocol"), "Sec-WebSocket-Protocol")
        self._offered = offered
        if self._select_subprotocol is not None:
            subprotocol = self._select_subprotocol(offered)
            if subprotocol is not None and subprotocol not in offered:
                raise ValueError(f"select_subprotocol chose {subprotocol!r}, which the client did not offer")
            return subprotocol
        if not self._subprotocols:
            return None
        if not offered:
            raise NegotiationError("missing subprotocol")
        for subprotocol in self._subprotocols:
            if subprotocol in offered:
                return subprotocol
        raise NegotiationError(f"invalid subprotocol; expected one of {', '.join(self._subprotocols)}")


class NotHTTPError(InvalidMessage):
    """The data received does not even begin like an HTTP request, so an HTTP response would not be understood."""


MAX_JUDGED_LINE = 1024
"""Bytes of an incomplete request line that are checked: the first ones already reveal another protocol."""

_REQUEST_LINE = re.compile(rb"[\w!#$%&'*+.^`|~-]+ [^ ]+ HTTP/\d\.\d\r")
"""A request line, up to its line feed (RFC 9112 §3)."""

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_HTTP_METHOD = re.compile(rb"(CONNECT|DELETE|GET|HEAD|OPTIONS|PATCH|POST|PUT|TRACE) ")
_METHOD = re.compile(rb"[\w!#$%&'*+.^`|~-]+ ")
_LINE_BEGUN = re.compile(rb"[\w!#$%&'*+.^`|~-]+( .*)?", re.DOTALL)
"""A possible beginning of a request line."""

_NEGOTIATED = ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions")
_ONCE_IN_AGREEMENTS = ("Upgrade", "Connection", "Sec-WebSocket-Accept", *_NEGOTIATED)


def reject(status: http.HTTPStatus | int, text: str) -> Response:
    """Create a plain-text response that rejects the handshake and ends the TCP connection.

    Args:
        status: The HTTP status.
        text: The body.
    """
    status = http.HTTPStatus(status)
    check_type("text", text, str, "a str")
    body = text.encode()
    headers = Headers()
    headers["Date"] = email.utils.formatdate(usegmt=True)
    headers["Connection"] = "close"
    headers["Content-Length"] = str(len(body))
    headers["Content-Type"] = "text/plain; charset=utf-8"
    return Response(status.value, status.phrase, headers, body)


_REFUSALS: list[tuple[type[InvalidHandshake], http.HTTPStatus]] = [
    (InvalidMethod, http.HTTPStatus.METHOD_NOT_ALLOWED),
    (InvalidProtocol, http.HTTPStatus.HTTP_VERSION_NOT_SUPPORTED),
    (InvalidOrigin, http.HTTPStatus.FORBIDDEN),
    (InvalidUpgrade, http.HTTPStatus.UPGRADE_REQUIRED),
    (RequestLineTooLong, http.HTTPStatus.REQUEST_URI_TOO_LONG),
    (SecurityError, http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
]
"""The status for each kind of error; 400 for all others."""


class ClientHandshake:
    """The client's side of the opening handshake (RFC 6455 §4.1).

    Args:
        uri: The URI to connect to.
        origin: Value of Origin, for servers that require one.
        subprotocols: Subprotocols to offer, in order of preference, or None.
        extensions: Extensions to offer.
        limits: Bounds on the response.

    Attributes:
        refusal: The response that rejects the handshake, once its head is complete; its body may still be incomplete.
        response: The response, once complete.
        unread: Bytes after the response; they belong to the connection.
        subprotocol: The negotiated subprotocol, or None.
        extensions: The negotiated extensions.

    Raises:
        TypeError: If an argument has a wrong type, such as a str for ``uri`` or ``subprotocols``.
        ValueError: If a subprotocol is not a token, or ``origin`` is not valid in a header.
    """

    def __init__(
        self,
        uri: WebSocketURI,
        *,
        origin: str | None = None,
        subprotocols: Sequence[str] | None = None,
        extensions: Sequence[ExtensionFactory] = (),
        limits: Limits | None = None,
    ) -> None:
        check_type("uri", uri, WebSocketURI, "a WebSocketURI, from parse_uri")
        check_value("origin", "Origin", origin)
        self._uri = uri
        self._extensions = check_factories(extensions)
        self._origin = origin
        self._subprotocols = check_subprotocols(subprotocols)
        # RFC 6455 §4.1: a nonce of 16 random bytes, fresh for each connection.
        self._key = base64.b64encode(os.urandom(16)).decode()
        # h11 accepts a 101 only after a request with an upgrade; the request actually sent comes from build_request.
        self._reader = ResponseReader(_UPGRADE_REQUEST, Limits.checked(limits))
        self.refusal: Response | None = None
        self.response: Response | None = None
        self.unread = b""
        self.subprotocol: str | None = None
        self.extensions: list[Extension] = []

    def build_request(self) -> Request:
        """Create the request; headers may be added before it is sent."""
        headers = Headers()
        headers["Host"] = build_host(self._uri.host, self._uri.port, self._uri.secure)
        if self._uri.user_info is not None:
            headers["Authorization"] = build_basic_authorization(*self._uri.user_info)
        if self._origin is not None:
            headers["Origin"] = self._origin
        headers["Upgrade"] = "websocket"
        headers["Connection"] = "Upgrade"
        headers["Sec-WebSocket-Key"] = self._key
        headers["Sec-WebSocket-Version"] = WEBSOCKET_VERSION
        if self._subprotocols:
            headers["Sec-WebSocket-Protocol"] = ", ".join(self._subprotocols)
        offers = [(factory.name, parameters) for factory in self._extensions for parameters in factory.offer()]
        if offers:
            headers["Sec-WebSocket-Extensions"] = build_extensions(offers)
        return Request(self._uri.resource_name, headers)

    def receive_data(self, data: bytes | bytearray | memoryview) -> Response | None:
        """Process the next bytes from the server.

        Returns:
            The response, once complete; a body that exceeds its limit is cut off there.

        Raises:
            InvalidHandshake: If it is not an HTTP response, or if its head exceeds a limit.
        """
        if self.refusal is None:
            response = self._reader.receive_head(data)
            if response is None:
                return None
            data = self._reader.unread
            if response.status_code == http.HTTPStatus.SWITCHING_PROTOCOLS:
                self.unread = data
                self.response = response
                return response
            self.refusal = response
        if self._reader.receive_body(self.refusal, data):
            self.response = self.refusal
        return self.response

    def receive_eof(self) -> Response:
        """Process the end of the server's stream, which ends the response's body.

        Raises:
            InvalidMessage: If there is no response; its cause is an EOFError.
        """
        if self.refusal is None:
            self._reader.receive_eof()
        self.response = self.refusal
        return self.refusal

    def check(self, response: Response) -> None:
        """Check a response (RFC 6455 §4.1), and set ``subprotocol`` and ``extensions``.

        Raises:
            InvalidStatus: If the status is not 101.
            InvalidHandshake: If a header is missing or wrong.
        """
        if response.status_code != http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise InvalidStatus(response)
        headers = response.headers
        _check_upgrade(headers)
        accept = _single_value(headers, "Sec-WebSocket-Accept")
        if accept != accept_key(self._key):
            raise InvalidHeaderValue("Sec-WebSocket-Accept", accept)
        agreed = parse_extensions(headers.get_all("Sec-WebSocket-Extensions"))
        self.extensions = check_agreed(agreed, self._extensions)
        chosen = parse_tokens(headers.get_all("Sec-WebSocket-Protocol"), "Sec-WebSocket-Protocol")
        if len(chosen) > 1:
            raise InvalidHeader("Sec-WebSocket-Protocol", f"multiple values: {', '.join(chosen)}")
        if chosen:
            if self._subprotocols is None:
                raise NegotiationError("no subprotocols supported")
            if chosen[0] not in self._subprotocols:
                raise NegotiationError(f"unsupported subprotocol: {chosen[0]}")
            self.subprotocol = chosen[0]


_UPGRADE_REQUEST = h11.Request(
    method="GET", target="/", headers=[("Host", "_"), ("Connection", "Upgrade"), ("Upgrade", "websocket")]
)


def _check_upgrade(headers: Headers) -> None:
    """Check Connection and Upgrade, which have the same rules in both roles (RFC 6455 §4.1, §4.2.1)."""
    for name, wanted in (("Connection", "upgrade"), ("Upgrade", "websocket")):
        tokens = parse_tokens(headers.get_all(name), name)
        if wanted not in map(str.lower, tokens):
            raise InvalidUpgrade(name, ", ".join(tokens) or None)


def _single_value(headers: Headers, name: str) -> str:
    """Return the value of a header that must appear exactly once (RFC 6455 §11.3)."""
    try:
        return headers[name]
    except MultipleValuesError:
        raise InvalidHeader(name, "multiple values") from None
    except KeyError:
        raise InvalidHeader(name) from None
