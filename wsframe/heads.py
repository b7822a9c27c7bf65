"""Heads of HTTP messages, and the response that a client gets (RFC 9112). Rank 3.

h11 parses; this module bounds what h11 gets to see, and refuses what RFC 9112 lets lenient parsers accept.
"""

from __future__ import annotations

import http
from typing import NoReturn

import h11

from wsframe.datastructures import Headers
from wsframe.exceptions import (
    HeaderLineTooLong,
    InvalidMessage,
    SecurityError,
    StatusLineTooLong,
    TooManyHeaders,
)
from wsframe.http11 import Response
from wsframe.limits import Limits

__all__ = ["MAX_INTERIM_RESPONSES", "HeadBuffer", "ResponseReader"]

MAX_INTERIM_RESPONSES = 8
"""1xx responses that a server may send before the final one."""

_HEAD_BYTES = bytes([0x09, 0x0A, 0x0D, *range(0x20, 0x7F), *range(0x80, 0x100)])
_STATUS_LINE_START = b"HTTP/1."
_SHOWN_BYTES = 80


class HeadBuffer:
    """Collect the head of an HTTP message, bounded, and refuse what only a lenient parser accepts.

    RFC 9112 §2.2 and §5.2 allow a recipient to reject bare CR, bare LF, NUL and folded lines; two parsers
    in a row that read them differently are how requests get smuggled.

    Args:
        limits: Bounds on the head.
        start_line_too_long: What to raise if the start line alone exceeds them.
    """

    def __init__(self, limits: Limits, start_line_too_long: type[SecurityError]) -> None:
        self._limits = limits
        self._start_line_too_long = start_line_too_long
        self._buffer = bytearray()

    @property
    def pending(self) -> bytes:
        """The bytes of a head that is not complete."""
        return bytes(self._buffer)

    def feed(self, data: bytes | bytearray | memoryview) -> tuple[bytes, bytes] | None:
        """Return the head, with the empty line that ends it, and what follows; or None if there is no end yet.

        Raises:
            SecurityError: If the head exceeds a limit.
            InvalidMessage: If it has what must not be in one.
        """
        scanned = max(0, len(self._buffer) - 3)
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n", scanned) + 4
        size = end if end > 3 else len(self._buffer)
        if size > self._limits.max_head_size:
            in_headers = self._buffer.find(b"\r\n", 0, self._limits.max_head_size) != -1
            error = HeaderLineTooLong if in_headers else self._start_line_too_long
            raise error(f"more than {self._limits.max_head_size} bytes")
        if end <= 3:
            return None
        head, rest = bytes(self._buffer[:end]), bytes(self._buffer[end:])
        self._buffer.clear()
        # The start line and the empty line end like the header lines between them.
        if head.count(b"\r\n") - 2 > self._limits.max_headers:
            raise TooManyHeaders(f"more than {self._limits.max_headers} headers")
        if head.translate(None, _HEAD_BYTES):
            raise InvalidMessage("the head has control characters")
        if head.count(b"\r") != head.count(b"\r\n") or head.count(b"\n") != head.count(b"\r\n"):
            raise InvalidMessage("a line of the head does not end with CRLF")
        if b"\r\n " in head or b"\r\n\t" in head:
            raise InvalidMessage("a header is folded over two lines")
        return head, rest


class ResponseReader:
    """Read the response to one request: first its head, then its body.

    Args:
        request: The request, which tells what a response without a length means. What is sent may have
            other headers.
        limits: Bounds on the response.

    Attributes:
        unread: Bytes behind the head, once that is complete.
    """

    def __init__(self, request: h11.Request, limits: Limits) -> None:
        self._limits = limits
        self._head = HeadBuffer(limits, StatusLineTooLong)
        self._parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=limits.max_head_size)
        self._parser.send(request)
        self._parser.send(h11.EndOfMessage())
        self._interim_responses = 0
        self.unread = b""

    def receive_head(self, data: bytes | bytearray | memoryview) -> Response | None:
        """Take the next bytes from the server.

        Returns:
            The response without its body, once its head is complete.

        Raises:
            InvalidMessage: If it is not an HTTP response; the cause tells why.
            SecurityError: If the head exceeds a limit.
        """
        try:
            while (complete := self._head.feed(data)) is not None:
                head, data = complete
                if not head.startswith(_STATUS_LINE_START):
                    raise _not_http(head)
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
                # RFC 9110 §15.2: any number of interim responses may come first; a few are enough.
                self._interim_responses += 1
                if self._interim_responses > MAX_INTERIM_RESPONSES:
                    raise SecurityError(f"more than {MAX_INTERIM_RESPONSES} interim responses")
            # Who speaks another protocol may wait for us, and never end its head.
            pending = self._head.pending
            if pending[: len(_STATUS_LINE_START)] != _STATUS_LINE_START[: len(pending)]:
                raise _not_http(pending)
        except (h11.RemoteProtocolError, InvalidMessage, ValueError) as exc:
            raise InvalidMessage("did not receive a valid HTTP response") from exc
        return None

    def receive_body(self, response: Response, data: bytes | bytearray | memoryview) -> bool:
        """Take the next bytes from the server behind the head, and put the body into the response.

        Returns:
            Whether the body is complete; one that exceeds its limit is cut off there.

        Raises:
            InvalidMessage: If the body does not follow the grammar.
        """
        try:
            if data:
                self._parser.receive_data(bytes(data))
            return self._read_body(response)
        except h11.RemoteProtocolError as exc:
            raise InvalidMessage("did not receive a valid HTTP response") from exc

    def receive_eof(self, response: Response | None) -> None:
        """Take note that the server sends no more, which may be the end of the body.

        Args:
            response: The response whose body comes in; None if there is none yet.

        Raises:
            InvalidMessage: If there is no complete response; its cause is an EOFError.
        """
        if response is None:
            _fail_at_end("headers" if b"\r\n" in self._head.pending else "status line")
        try:
            self._parser.receive_data(b"")
            self._read_body(response)
        except h11.RemoteProtocolError:
            _fail_at_end("body")

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


def _fail_at_end(part: str) -> NoReturn:
    raise InvalidMessage("did not receive a valid HTTP response") from EOFError(
        f"connection closed while reading HTTP {part}"
    )
