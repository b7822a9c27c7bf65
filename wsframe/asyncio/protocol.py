"""WebSocket connections with callbacks: an asyncio Protocol to subclass."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

from wsframe import limits as defaults
from wsframe._checks import check_close, check_logger, check_timeouts, check_write_limit, describe
from wsframe._escape import escape
from wsframe._options import describe_options
from wsframe.asyncio.datapath.lifecycle import SLOTS, BaseProtocol
from wsframe.asyncio.datapath.stream import CallbackStream
from wsframe.constants import CloseCode, Role, State
from wsframe.exceptions import InvalidHandshake, InvalidMessage
from wsframe.extensions.deflate import PerMessageDeflateFactory, compression_factories
from wsframe.limits import Limits
from wsframe.messages.connection import SansIOConnection
from wsframe.messages.prepared import PreparedMessage
from wsframe.opening.attempts import check_headers
from wsframe.opening.custom_fields import add_custom_headers, add_request_headers
from wsframe.opening.fields import HeadersLike
from wsframe.opening.grammar import check_value
from wsframe.opening.handshake import ClientHandshake, ServerHandshake
from wsframe.opening.http import SERVER, USER_AGENT, Request, Response
from wsframe.opening.uri import parse_uri

__all__ = ["WebSocketProtocol"]


@describe_options
class WebSocketProtocol(CallbackStream, BaseProtocol):
    """A WebSocket connection that calls a method for each event; subclass it and override the methods you need.

    A server passes it to ``loop.create_server``; a client passes it, with ``uri``, to ``loop.create_connection``::

        class Echo(WebSocketProtocol):
            def message_received(self, data):
                self.send(data)

        server = await loop.create_server(Echo, "localhost", 8765)

    Hooks: ``connection_open()``, ``message_received(data)``, ``ping_received(data)``, ``pong_received(data)``,
    ``connection_closed(code, reason)``, ``handshake_failed(exc)``, ``pause_writing()``, ``resume_writing()``.
    An exception in one of them closes the connection with code 1011 and is logged.

    Args:
        uri: URI that a client connects to; None for a server. TLS is up to ``loop.create_connection``.
        origin: Client: value of the Origin header.
        origins: Server: accepted values of the Origin header, strings or compiled patterns; None in the list
            accepts requests without one. None accepts everything, which lets any web page connect from its
            visitors' browsers (RFC 6455 §10.2).
        subprotocols: Subprotocols, in order of preference.
        select_subprotocol: Server: called with the subprotocols that the client offers; returns one or None.
        {compression}
        additional_headers: Client: headers to add to the request. Server: headers to add to the response. Headers
            of the handshake itself are refused; Host, Origin, Date and the like override ours.
        user_agent_header: Client: value of the User-Agent header; None omits it.
        server_header: Server: value of the Server header; None omits it.
        {open_timeout, ping_interval, ping_timeout, close_timeout, max_size, limits}
        write_limit: Bytes in the write buffer above which ``pause_writing`` is called, or a pair that also sets the
            bytes below which ``resume_writing`` is called.
        logger: Logger to use; ``wsframe.server`` or ``wsframe.client`` if None.

    Attributes:
        request: The handshake request; None on a server until it arrives.
        response: The handshake response; None until it is available.

    Raises:
        TypeError: If an argument has the wrong type.
        InvalidURI: If ``uri`` is not a WebSocket URI.
        ValueError: If a number is out of range, or if a subprotocol, a limit or a header of the client's request is
            not valid.
    """

    __slots__ = (*SLOTS, "_additional_headers", "_agent", "_handshake")

    def __init__(
        self,
        uri: str | None = None,
        *,
        origin: str | None = None,
        origins: Sequence[str | re.Pattern[str] | None] | None = None,
        subprotocols: Sequence[str] | None = None,
        select_subprotocol: Callable[[Sequence[str]], str | None] | None = None,
        compression: str | PerMessageDeflateFactory | None = "deflate",
        additional_headers: HeadersLike | None = None,
        user_agent_header: str | None = USER_AGENT,
        server_header: str | None = SERVER,
        open_timeout: float | None = defaults.OPEN_TIMEOUT_S,
        ping_interval: float | None = defaults.PING_INTERVAL_S,
        ping_timeout: float | None = defaults.PING_TIMEOUT_S,
        close_timeout: float | None = defaults.CLOSE_TIMEOUT_S,
        max_size: int | tuple[int | None, int | None] | None = defaults.MAX_SIZE,
        limits: Limits | None = None,
        write_limit: int | tuple[int, int | None] = defaults.WRITE_LIMIT,
        logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
    ) -> None:
        check_value("user_agent_header", "User-Agent", user_agent_header)
        check_value("server_header", "Server", server_header)
        check_timeouts(open_timeout, ping_interval, ping_timeout, close_timeout)
        check_logger(logger)
        limits = Limits.for_max_size(max_size, limits)
        extensions = compression_factories(compression)
        role = Role.SERVER if uri is None else Role.CLIENT
        write_high, write_low = check_write_limit(write_limit)
        additional_headers = check_headers(additional_headers)
        CallbackStream.__init__(self, SansIOConnection(role, state=State.CONNECTING, limits=limits), write_high)
        BaseProtocol.__init__(
            self,
            open_timeout=open_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=close_timeout,
            write_low=write_low,
            logger=logger or logging.getLogger(f"wsframe.{role.name.lower()}"),
        )
        self._additional_headers = additional_headers
        self._handshake: ServerHandshake | ClientHandshake | None
        if uri is None:
            self._agent = server_header
            self._handshake = ServerHandshake(
                origins=origins,
                subprotocols=subprotocols,
                select_subprotocol=select_subprotocol,
                extensions=extensions,
                limits=limits,
            )
        else:
            self._handshake = ClientHandshake(
                parse_uri(uri), origin=origin, subprotocols=subprotocols, extensions=extensions, limits=limits
            )
            self.request = self._handshake.build_request()
            add_request_headers(self.request.headers, additional_headers, user_agent_header)

    # Hooks

    def connection_open(self) -> None:
        """Called when the opening handshake is complete; messages may be sent."""

    def ping_received(self, data: bytes) -> None:
        """Called when a ping arrives; it has already been answered."""

    def pong_received(self, data: bytes) -> None:
        """Called when a pong arrives."""

    def connection_closed(self, code: int, reason: str) -> None:
        """Called when a connection that was open has closed.

        Args:
            code: The code of the peer's Close frame; 1005 if the frame had no code, 1006 if no frame arrived.
            reason: The reason of the peer's Close frame.
        """

    def handshake_failed(self, exc: Exception) -> None:
        """Called when the opening handshake fails; ``connection_open`` and ``connection_closed`` are not called."""

    def pause_writing(self) -> None:
        """Called when the write buffer exceeds its limit: the peer reads more slowly than we send.

        A server then stops reading from the peer, so that a client that sends requests without reading the
        answers has to wait. When overriding this, call ``super().pause_writing()`` unless you handle that yourself.
        """
        super().pause_writing()
        if self.protocol.role is Role.SERVER:
            self.pause_reading()

    def resume_writing(self) -> None:
        """Called when the write buffer has fallen below its limit again."""
        super().resume_writing()
        if self.protocol.role is Role.SERVER:
            self.resume_reading()

    # Methods

    def ping(self, data: bytes = b"") -> None:
        """Send a ping; ``pong_received`` is called when the answer arrives.

        Args:
            data: At most 125 bytes.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If ``data`` is longer than that.
            RuntimeError: If called from a thread other than the event loop's.
        """
        self._check_thread()
        self._send_ping(data, None)

    def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Start the closing handshake; ``connection_closed`` is called at its end. Does nothing if already closing.

        Args:
            code: 1000 to 1003, 1007 to 1014, 3000 to 4999.
            reason: At most 123 bytes of UTF-8.

        Raises:
            TypeError: If ``code`` is not an int or ``reason`` is not a str.
            ProtocolError: If the code or reason cannot be sent.
            RuntimeError: If called from a thread other than the event loop's.
        """
        check_close(code, reason)
        self._check_thread()
        if self.protocol.state is State.OPEN:
            self.protocol.send_close(code, reason)
            self._flush()
        elif self.protocol.state is State.CONNECTING:
            self.transport.abort()

    # The opening handshake

    def _on_connected(self) -> None:
        if isinstance(self._handshake, ClientHandshake):
            assert self.request is not None
            self.transport.write(self.request.serialize())

    def _on_handshake_data(self, data: memoryview) -> None:
        try:
            if isinstance(self._handshake, ServerHandshake):
                self._serve_handshake(self._handshake, data)
            else:
                assert self._handshake is not None
                self.response = self._handshake.receive_data(data)
                if self.response is not None:
                    self._handshake.check(self.response)
                    self._start(self._handshake)
        except InvalidHandshake as exc:
            self._ending = True
            self._fail_handshake(exc)
            self.transport.abort()

    def _serve_handshake(self, handshake: ServerHandshake, data: memoryview) -> None:
        try:
            self.request = handshake.receive_data(data)
        except InvalidHandshake as exc:
            self.response = handshake.refuse(exc)
        else:
            if self.request is None:
                return
            self.response = self._answer(handshake, self.request)
        if self._agent is not None and "Server" not in self.response.headers:
            self.response.headers["Server"] = self._agent
        if handshake.error is None:
            self.transport.write(self.response.serialize())
            self._start(handshake)
        else:
            self._fail_handshake(handshake.error)
            self._refuse(self.response)

    def _answer(self, handshake: ServerHandshake, request: Request) -> Response:
        try:
            response = handshake.accept(request)
            if handshake.error is None:
                add_custom_headers(response.headers, self._additional_headers)
        except Exception as exc:
            self.logger.exception("the opening handshake failed")
            handshake.error = exc
            return handshake.reject(500, "Failed to open a WebSocket connection; the server's log has more.\n")
        return response

    def _start(self, handshake: ServerHandshake | ClientHandshake) -> None:
        self._handshake = None
        self._opened(handshake)
        self._call(self.connection_open)
        if handshake.unread:
            self._receive(handshake.unread)

    def _fail_handshake(self, exc: Exception) -> None:
        self._handshake = None
        self.logger.info("opening handshake failed: %s", escape(str(exc)))
        self._call(self.handshake_failed, exc)

    # Events

    def _send_other(self, data: object) -> None:
        if not isinstance(data, PreparedMessage):
            raise TypeError(f"data must be str or bytes-like, not {describe(data)}")
        self.protocol.send_prepared(data)

    def _on_ping(self, payload: bytes) -> None:
        self.ping_received(payload)

    def _on_pong(self, payload: bytes) -> None:
        self.pong_received(payload)

    def eof_received(self) -> None:
        if isinstance(self._handshake, ClientHandshake):
            self._end_response(self._handshake)

    def _end_response(self, handshake: ClientHandshake) -> None:
        """Handle the end of the server's response, or a response that takes too long."""
        try:
            self.response = handshake.receive_eof()
            handshake.check(self.response)
        except InvalidHandshake as exc:
            self._fail_handshake(exc)

    def _on_lost(self, exc: Exception | None) -> None:
        if isinstance(self._handshake, ClientHandshake) and self._handshake.refusal is not None:
            self._end_response(self._handshake)
        elif self._handshake is not None:
            error = InvalidMessage("the connection was lost during the opening handshake")
            error.__cause__ = exc
            self._fail_handshake(error)
        elif self.was_open:
            code, reason = self.protocol.close_code, self.protocol.close_reason
            assert code is not None
            assert reason is not None
            self._call(self.connection_closed, code, reason)

    def _call(self, hook: Callable[..., None], *args: Any) -> None:
        """Call a hook outside a read, and handle its exceptions as within one."""
        try:
            hook(*args)
        except Exception:
            self._application_failed()
