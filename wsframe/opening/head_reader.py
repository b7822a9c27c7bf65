"""Heads of HTTP messages, and the response that a client receives (RFC 9112).

h11 parses. This module bounds h11's input, and refuses what RFC 9112 lets lenient parsers accept.
"""

from __future__ import annotations

import http
import re
from typing import NoReturn

import h11

from wsframe.exceptions import (
    HeaderLineTooLong,
    InvalidMessage,
    SecurityError,
    StatusLineTooLong,
    TooManyHeaders,
)
from wsframe.limits import Limits
from wsframe.opening.fields import Headers
from wsframe.opening.http import Response

__all__ = ["MAX_INTERIM_RESPONSES", "HeadBuffer", "ResponseReader"]

MAX_INTERIM_RESPONSES = 8
"""1xx responses that a server may send before the final one."""

_NOT_IN_HEADS = re.compile(
    rb"(?P<control>[\x00-\x08\x0b\x0c\x0e-\x1f\x7f])|(?P<line>\r(?=[^\n])|(?<!\r)\n)|(?P<fold>\r\n[ \t])"
)
_REASONS = {
    "control": "the head has control characters",
    "line": "a line of the head does not end with CRLF",
    "fold": "a header is folded over two lines",
}
_VERSION_SIZE = len(b"HTTP/1.1 ")
_SHOWN_BYTES = 80


class HeadBuffer:
    """Collect the head of an HTTP message up to a limit, and refuse what only a lenient parser accepts.

    RFC 9112 §2.2 and §5.2 allow a recipient to reject bare CR, bare LF, NUL and folded lines. If two parsers
    in a row read them differently, requests can be smuggled.

    Args:
        limits: Bounds on the head.
        start_line_too_long: The exception class to raise if the start line alone exceeds them.
    """

    def __init__(self, limits: Limits, start_line_too_long: type[SecurityError]) -> None:
        self._limits = limits
        self._start_line_too_long = start_line_too_long
        self._buffer = bytearray()

    @property
    def pending(self) -> bytes:
        """The bytes received of an incomplete head."""
        return bytes(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> tuple[bytes, bytes] | None:
        """Add data; return the head, with the empty line that ends it, and the bytes after it; None if incomplete.

        Raises:
            SecurityError: If the head exceeds a limit.
            InvalidMessage: If the head contains bytes that are not allowed in one.
        """
        scanned = max(0, len(self._buffer) - 3)
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n", scanned) + 4
        size = end if end > 3 else len(self._buffer)
        # Check now, not at the end of the head: with bare LFs, that end may never come.
        wrong = _NOT_IN_HEADS.search(self._buffer, max(0, scanned - 1), min(size, self._limits.max_head_size))
        if wrong is not None:
            assert wrong.lastgroup is not None
            raise InvalidMessage(_REASONS[wrong.lastgroup])
        if size > self._limits.max_head_size:
            in_headers = self._buffer.find(b"\r\n", 0, self._limits.max_head_size) != -1
            error = HeaderLineTooLong if in_headers else self._start_line_too_long
            raise error(f"more than {self._limits.max_head_size} bytes")
        if end <= 3:
            return None
        head, rest = bytes(self._buffer[:end]), bytes(self._buffer[end:])
        self._buffer.clear()
        # The start line and the empty line have the same ending as the header lines between them.
        if head.count(b"\r\n") - 2 > self._limits.max_headers:
            raise TooManyHeaders(f"more than {self._limits.max_headers} headers")
        return head, rest


class ResponseReader:
    """Read the response to one request: first its head, then its body.

    Args:
        request: The request, which determines how to read a response without a length. The request actually
            sent may have other headers.
        limits: Bounds on the response.
        allow_http_1_0: Whether to accept an HTTP/1.0 response, which some proxies still send.

    Attributes:
        unread: Bytes after the head, once the head is complete.
    """

    def __init__(self, request: h11.Request, limits: Limits, *, allow_http_1_0: bool = False) -> None:
        self._limits = limits
        self._versions = (b"HTTP/1.1 ", b"HTTP/1.0 ") if allow_http_1_0 else (b"HTTP/1.1 ",)
        self._head = HeadBuffer(limits, StatusLineTooLong)
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.max_head_size)
        self._parser.send(request)
        self._parser.send(h11.EndOfMessage())
        self._interim_responses = 0
        self.unread = b""

    def receive_head(self, data: bytes | bytearray | memoryview) -> Response | None:
        """Process the next bytes from the server.

        Returns:
            The response without its body, once its head is complete.

        Raises:
            InvalidMessage: If it is not an HTTP response; the cause says why.
            SecurityError: If the head exceeds a limit.
        """
        try:
            while self._check_version(data) and (complete := self._head.feed(data)) is not None:
                head, data = complete
                self._parser.receive_data(head)
                event = self._parser.next_event()
                if not isinstance(event, (h11.Response, h11.InformationalResponse)):
                    raise InvalidMessage("the server sent no response")
                status = event.status_code
                # RFC 9110 §15: there are no others.
                if not 100 <= status <= 599:
                    raise ValueError(f"invalid status code; expected 100-599; got {status}")
                if isinstance(event, h11.Response) or status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                    self.unread = data
                    headers = Headers.from_wire(event.headers.raw_items())
                    return Response(status, event.reason.decode("latin-1"), headers)
                # RFC 9110 §15.2: any number of interim responses may precede the final one; we accept a few.
                self._interim_responses += 1
                if self._interim_responses > MAX_INTERIM_RESPONSES:
                    raise SecurityError(f"more than {MAX_INTERIM_RESPONSES} interim responses")
        except (h11.RemoteProtocolError, InvalidMessage, ValueError) as exc:
            raise InvalidMessage("did not receive a valid HTTP response") from exc
        return None

    def _check_version(self, data: bytes | bytearray | memoryview) -> bool:
        """Check how a head begins: a peer of another protocol may wait for us, and never end its head."""
        begun = self._head.pending
        if len(begun) < _VERSION_SIZE and len(data) <= self._limits.max_head_size:
            begun += bytes(data)
            version = begun[:_VERSION_SIZE]
            if not any(expected.startswith(version) for expected in self._versions):
                raise _not_http(begun)
        return True

    def receive_body(self, response: Response, data: bytes | bytearray | memoryview) -> bool:
        """Process the next bytes from the server after the head, and store the body in the response.

        Returns:
            Whether the body is complete; a body that exceeds its limit is cut off there.

        Raises:
            InvalidMessage: If the body does not follow the grammar.
        """
        try:
            if data:
                self._parser.receive_data(bytes(data))
            return self._read_body(response)
        except h11.RemoteProtocolError as exc:
            raise InvalidMessage("did not receive a valid HTTP response") from exc

    def receive_eof(self) -> NoReturn:
        """Process the end of the server's stream before the head is complete.

        Raises:
            InvalidMessage: Always; its cause is an EOFError.
        """
        part = "headers" if b"\r\n" in self._head.pending else "status line"
        cause = EOFError(f"connection closed while reading HTTP {part}")
        raise InvalidMessage("did not receive a valid HTTP response") from cause

    def _read_body(self, response: Response) -> bool:
        while True:
            event = self._parser.next_event()
            if isinstance(event, h11.Data):
                room = self._limits.max_body_size - len(response.body)
                response.body += bytes(event.data[:room])
                if len(event.data) <= room:
                    continue
            return event is not h11.NEED_DATA


def _not_http(data: bytes) -> ValueError:
    line = data.partition(b"\r\n")[0][:_SHOWN_BYTES].decode("latin-1").encode("unicode_escape").decode()
    return ValueError(f"unsupported protocol; expected HTTP/1.1: {line}")
