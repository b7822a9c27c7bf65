"""The opening handshake over HTTP/1.1, based on h11, with wsproto's names (RFC 6455 §4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Generator, Iterable, Mapping, Sequence
from typing import Any, cast

import h11

from wsframe.adapters.wsproto.connection import Connection, ConnectionState, ConnectionType
from wsframe.adapters.wsproto.events import AcceptConnection, Event, RejectConnection, RejectData, Request
from wsframe.adapters.wsproto.extensions import Extension
from wsframe.adapters.wsproto.typing import Headers
from wsframe.adapters.wsproto.utilities import (
    LocalProtocolError,
    RemoteProtocolError,
    generate_accept_token,
    generate_nonce,
    normed_header_dict,
    split_comma_header,
)
from wsframe.hosting import escape

__all__ = [
    "WEBSOCKET_UPGRADE",
    "WEBSOCKET_VERSION",
    "H11Handshake",
    "client_extensions_handshake",
    "server_extensions_handshake",
]

WEBSOCKET_VERSION = b"13"
"""Value of Sec-WebSocket-Version (RFC 6455 §4.1)."""

WEBSOCKET_UPGRADE = b"websocket"
"""Value of Upgrade (RFC 6455 §4.1)."""


class H11Handshake:
    """The opening handshake of one end.

    State       event                                                            next
    CONNECTING  a server sends AcceptConnection; a client receives it            OPEN
    CONNECTING  RejectConnection with a body is sent, or a response is received  REJECTING
    CONNECTING  RejectConnection without a body is sent                          CLOSED
    REJECTING   the last RejectData is sent or received                          CLOSED

    Args:
        connection_type: Which end this is.
    """

    def __init__(self, connection_type: ConnectionType) -> None:
        self.client = connection_type is ConnectionType.CLIENT
        self._type = connection_type
        self._state = ConnectionState.CONNECTING
        self._http = h11.Connection(h11.CLIENT if self.client else h11.SERVER)
        self._connection: Connection | None = None
        self._events: deque[Event] = deque()
        # The request sent or received, and the key sent with it.
        self._request: Request | None = None
        self._nonce = b""

    def __repr__(self) -> str:
        return f"H11Handshake(client={self.client}, state={self.state})"

    @property
    def state(self) -> ConnectionState:
        """The current state."""
        return self._state

    @property
    def connection(self) -> Connection | None:
        """The connection that the handshake has opened; None until then."""
        return self._connection

    def initiate_upgrade_connection(self, headers: Headers, path: bytes | str) -> None:
        """Process, as a server, a request that other code has parsed.

        Args:
            headers: The headers of the request.
            path: The target of the request.

        Raises:
            LocalProtocolError: If this is a client.
            RemoteProtocolError: If the request does not open a connection.
        """
        if self.client:
            raise LocalProtocolError("a client receives no request")
        request = h11.Request(method=b"GET", target=path, headers=headers)
        self.receive_data(h11.Connection(h11.CLIENT).send(request))

    def send(self, event: Event) -> bytes:
        """Return the bytes to send to the peer for an event.

        Raises:
            LocalProtocolError: If the event does not belong to the handshake, or the state does not allow it.
        """
        if isinstance(event, Request):
            return self._send_request(event)
        if isinstance(event, AcceptConnection):
            return self._accept(event)
        if isinstance(event, RejectConnection):
            return self._reject(event)
        if isinstance(event, RejectData):
            return self._send_reject_data(event)
        raise LocalProtocolError(f"cannot send {event} during the opening handshake")

    def receive_data(self, data: bytes | None) -> None:
        """Receive the next bytes from the peer; ``events`` yields the resulting events.

        Args:
            data: The bytes; None for the end of the stream.

        Raises:
            RemoteProtocolError: If they do not open a connection; ``event_hint`` is the server's answer.
        """
        self._http.receive_data(data or b"")
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as exc:
                raise _refusal("Bad HTTP message") from exc
            if isinstance(event, h11.ConnectionClosed) or event is h11.NEED_DATA or event is h11.PAUSED:
                return
            if isinstance(event, h11.Request):
                self._request = _check_request(event)
                self._events.append(self._request)
            elif self.client:
                self._receive_response(event)

    def events(self) -> Generator[Event, None, None]:
        """Yield the available events."""
        while self._events:
            yield self._events.popleft()

    def _send(self, event: h11.Event) -> bytes:
        return self._http.send(event) or b""

    # Server

    def _accept(self, event: AcceptConnection) -> bytes:
        request = self._request
        if request is None or self.client or self._state is not ConnectionState.CONNECTING:
            raise LocalProtocolError(f"there is no request to accept in state {self._state.name}")
        _check_extra(event.extra_headers, _ACCEPT_HEADERS)
        key = normed_header_dict(request.extra_headers)[b"sec-websocket-key"]
        headers = [
            (b"Upgrade", WEBSOCKET_UPGRADE),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Accept", generate_accept_token(key)),
        ]
        if event.subprotocol is not None:
            # RFC 6455 §4.2.2: one of those that the client has offered.
            if event.subprotocol not in request.subprotocols:
                raise LocalProtocolError(f"unexpected subprotocol {event.subprotocol}")
            headers.append((b"Sec-WebSocket-Protocol", event.subprotocol.encode("ascii")))
        if event.extensions:
            agreed = server_extensions_handshake(cast(Sequence[str], request.extensions), event.extensions)
            if agreed:
                headers.append((b"Sec-WebSocket-Extensions", agreed))
        response = h11.InformationalResponse(
            status_code=101, headers=headers + event.extra_headers, reason=b"Switching Protocols"
        )
        data = self._send(response)
        self._connection = Connection(self._type, event.extensions, self._http.trailing_data[0])
        self._state = ConnectionState.OPEN
        return data

    def _reject(self, event: RejectConnection) -> bytes:
        if self._state is not ConnectionState.CONNECTING:
            raise LocalProtocolError(f"cannot reject a connection in state {self._state.name}")
        headers = list(event.headers)
        # RFC 9110 §8.6: not with 204; with 304, it is the length that a response with a body would have.
        if not event.has_body and event.status_code not in (204, 304):
            headers = [header for header in headers if _lower(header[0]) != b"content-length"]
            headers.append((b"content-length", b"0"))
        data = self._send(h11.Response(status_code=event.status_code, headers=headers))
        self._state = ConnectionState.REJECTING
        if not event.has_body:
            data += self._end()
        return data

    def _send_reject_data(self, event: RejectData) -> bytes:
        if self._state is not ConnectionState.REJECTING:
            raise LocalProtocolError(f"cannot send a body in state {self._state.name}")
        data = self._send(h11.Data(data=event.data))
        if event.body_finished:
            data += self._end()
        return data

    def _end(self) -> bytes:
        data = self._send(h11.EndOfMessage())
        self._state = ConnectionState.CLOSED
        return data

    # Client

    def _send_request(self, request: Request) -> bytes:
        _check_extra(request.extra_headers, _REQUEST_HEADERS_SENT)
        self._request = request
        self._nonce = generate_nonce()
        headers = [
            (b"Host", request.host.encode("idna")),
            (b"Upgrade", WEBSOCKET_UPGRADE),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._nonce),
            (b"Sec-WebSocket-Version", WEBSOCKET_VERSION),
        ]
        if request.subprotocols:
            headers.append((b"Sec-WebSocket-Protocol", ", ".join(request.subprotocols).encode("ascii")))
        offers = {extension.name: extension.offer() for extension in cast(Sequence[Extension], request.extensions)}
        header = _build_extensions(offers)
        if header:
            headers.append((b"Sec-WebSocket-Extensions", header))
        target = request.target.encode("ascii")
        return self._send(h11.Request(method=b"GET", target=target, headers=headers + request.extra_headers))

    def _receive_response(self, event: object) -> None:
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                self._events.append(self._check_response(event))
            else:
                self._events.append(RejectConnection(event.status_code, list(event.headers)))
                self._state = ConnectionState.CLOSED
        elif isinstance(event, h11.Response):
            self._events.append(RejectConnection(event.status_code, list(event.headers), True))
            self._state = ConnectionState.REJECTING
        elif isinstance(event, h11.Data):
            self._events.append(RejectData(bytes(event.data), False))
        else:
            self._events.append(RejectData(b"", True))
            self._state = ConnectionState.CLOSED

    def _check_response(self, event: h11.InformationalResponse) -> AcceptConnection:
        """Check a response that opens the connection (RFC 6455 §4.1), and open it."""
        request = self._request
        assert request is not None
        headers, values = _split_headers(event, _RESPONSE_HEADERS)
        _check_connection(values)
        _check_upgrade(values)
        if values.get(b"sec-websocket-accept") != generate_accept_token(self._nonce):
            raise _refusal("Bad accept token")
        subprotocol = None
        if b"sec-websocket-protocol" in values:
            subprotocol = _decode(values[b"sec-websocket-protocol"])
            if subprotocol not in request.subprotocols:
                raise _refusal(f"unrecognized subprotocol {subprotocol}")
        extensions = client_extensions_handshake(
            _split(values, b"sec-websocket-extensions"), cast(Sequence[Extension], request.extensions)
        )
        self._connection = Connection(self._type, extensions, self._http.trailing_data[0])
        self._state = ConnectionState.OPEN
        return AcceptConnection(subprotocol, extensions, headers)


def server_extensions_handshake(requested: Iterable[str], supported: Sequence[Extension]) -> bytes | None:
    """Negotiate extensions from a client's offers.

    Args:
        requested: The offers.
        supported: The extensions; those that accept an offer become enabled.

    Returns:
        The value of Sec-WebSocket-Extensions for the response, or None.
    """
    agreed: dict[str, bool | str] = {}
    for offer in requested:
        name = offer.partition(";")[0].strip()
        for extension in supported:
            if extension.name == name:
                parameters = extension.accept(offer)
                if parameters is not None and parameters is not False:
                    agreed[name] = parameters
    return _build_extensions(agreed) or None


def client_extensions_handshake(accepted: Iterable[str], supported: Sequence[Extension]) -> list[Extension]:
    """Pass a server's accepted extensions to the extension objects.

    Args:
        accepted: The elements of Sec-WebSocket-Extensions in the response.
        supported: The extensions offered.

    Returns:
        The negotiated extensions.

    Raises:
        RemoteProtocolError: If an extension was not offered, or has invalid parameters.
    """
    extensions = []
    for response in accepted:
        name = response.partition(";")[0].strip()
        extension = next((extension for extension in supported if extension.name == name), None)
        if extension is None:
            raise _refusal(f"unrecognized extension {name}")
        try:
            extension.finalize(response)
        except ValueError as exc:
            raise _refusal(f"unacceptable extension {response}") from exc
        extensions.append(extension)
    return extensions


_REQUEST_HEADERS = frozenset({b"host", b"sec-websocket-extensions", b"sec-websocket-protocol"})
_RESPONSE_HEADERS = frozenset(
    {b"connection", b"sec-websocket-accept", b"sec-websocket-extensions", b"sec-websocket-protocol", b"upgrade"}
)
"""Headers for which events have fields."""


_ACCEPT_HEADERS = _RESPONSE_HEADERS | {b"content-length", b"transfer-encoding"}
_REQUEST_HEADERS_SENT = frozenset(
    {
        b"connection",
        b"content-length",
        b"host",
        b"sec-websocket-extensions",
        b"sec-websocket-key",
        b"sec-websocket-protocol",
        b"sec-websocket-version",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that only the handshake itself sends (RFC 6455 §4.1, §4.2.2)."""


def _check_extra(headers: Headers, known: Container[bytes]) -> None:
    """Raise an exception if headers of an application would duplicate those of the handshake."""
    for name in (_lower(name) for name, _ in headers):
        if name in known:
            raise LocalProtocolError(f"only the handshake itself sends the header {name.decode()}")


def _lower(name: Any) -> bytes:
    # h11 also accepts text.
    return (name.encode("ascii", "replace") if isinstance(name, str) else bytes(memoryview(name))).lower()


def _check_request(event: h11.Request) -> Request:
    """Check a request that opens a connection (RFC 6455 §4.2.1)."""
    if event.method != b"GET":
        raise _refusal("Request method must be GET")
    headers, values = _split_headers(event, _REQUEST_HEADERS)
    _check_connection(values)
    version = values.get(b"sec-websocket-version")
    if version != WEBSOCKET_VERSION:
        # RFC 6455 §4.2.2: with the version that we support.
        hint = RejectConnection(426 if version else 400, [(b"Sec-WebSocket-Version", WEBSOCKET_VERSION)])
        raise RemoteProtocolError("Missing header, 'Sec-WebSocket-Version'", hint)
    if b"sec-websocket-key" not in values:
        raise _refusal("Missing header, 'Sec-WebSocket-Key'")
    _check_upgrade(values)
    if b"host" not in values:
        raise _refusal("Missing header, 'Host'")
    return Request(
        host=_decode(values[b"host"], "idna"),
        target=_decode(event.target),
        extensions=_split(values, b"sec-websocket-extensions"),
        extra_headers=headers,
        subprotocols=_split(values, b"sec-websocket-protocol"),
    )


def _check_connection(values: Mapping[bytes, bytes]) -> None:
    if "upgrade" not in (token.lower() for token in _split(values, b"connection")):
        raise _refusal("Missing header, 'Connection: Upgrade'")


def _check_upgrade(values: Mapping[bytes, bytes]) -> None:
    if values.get(b"upgrade", b"").lower() != WEBSOCKET_UPGRADE:
        raise _refusal("Missing header, 'Upgrade: websocket'")


def _split_headers(
    event: h11.Request | h11.InformationalResponse, known: Container[bytes]
) -> tuple[Headers, dict[bytes, bytes]]:
    """Return the headers other than the known ones, and the joined values of all headers."""
    headers = [(name.lower(), value) for name, value in event.headers]
    return [header for header in headers if header[0] not in known], normed_header_dict(headers)


def _split(values: Mapping[bytes, bytes], name: bytes) -> list[str]:
    try:
        return split_comma_header(values[name]) if name in values else []
    except UnicodeError as exc:
        raise _refusal("Bad HTTP message") from exc


def _decode(value: bytes, encoding: str = "ascii") -> str:
    try:
        return value.decode(encoding)
    except UnicodeError as exc:
        raise _refusal("Bad HTTP message") from exc


def _build_extensions(parameters: Mapping[str, bool | str]) -> bytes:
    """Build the value of Sec-WebSocket-Extensions from names and parameters; False omits an extension."""
    elements = []
    for name, value in parameters.items():
        if isinstance(value, str) and value:
            elements.append(f"{name}; {value}")
        elif value is not False:
            elements.append(name)
    return ", ".join(elements).encode("ascii")


def _refusal(message: str) -> RemoteProtocolError:
    return RemoteProtocolError(escape(message), RejectConnection())
