"""Requests and responses of the opening handshake as objects (RFC 6455 §4). For parsing, see ``handshake``."""

from __future__ import annotations

import dataclasses
import logging
import sys

from wsframe._escape import escape
from wsframe._version import VERSION
from wsframe.opening.fields import Headers
from wsframe.opening.grammar import is_valid_value
from wsframe.typing import LoggerLike

__all__ = ["SERVER", "USER_AGENT", "Request", "Response", "log_request", "log_response"]

USER_AGENT = SERVER = f"Python/{sys.version_info.major}.{sys.version_info.minor} wsframe/{VERSION}"
"""Default value of the User-Agent and Server headers."""


@dataclasses.dataclass
class Request:
    """An HTTP request.

    Attributes:
        path: The request target: path and query.
        headers: The headers.
        method: ``GET`` in a handshake.
        protocol: ``HTTP/1.1`` in a handshake.
    """

    path: str
    headers: Headers
    method: str = "GET"
    protocol: str = "HTTP/1.1"

    def serialize(self) -> bytes:
        """Serialize the request's head.

        Raises:
            ValueError: If the path is not ASCII.
        """
        return f"{self.method} {self.path} {self.protocol}\r\n".encode("ascii") + self.headers.serialize()


@dataclasses.dataclass
class Response:
    """An HTTP response.

    Attributes:
        status_code: 101 accepts the handshake.
        reason_phrase: Description of the status.
        headers: The headers.
        body: The body, not encoded in any way; a received body is cut off at a limit.
    """

    status_code: int
    reason_phrase: str
    headers: Headers
    body: bytes | bytearray = b""

    def serialize(self) -> bytes:
        """Serialize the response.

        Raises:
            ValueError: If the status code does not have 3 digits, or the reason phrase has control characters
                or characters outside ISO-8859-1.
        """
        if not 100 <= self.status_code <= 999:
            raise ValueError(f"invalid status code: {self.status_code}")
        if not is_valid_value(self.reason_phrase):
            raise ValueError(f"invalid reason phrase: {self.reason_phrase!r}")
        head = f"HTTP/1.1 {self.status_code:d} {self.reason_phrase}\r\n".encode("iso-8859-1")
        return b"".join((head, self.headers.serialize(), self.body))


def log_request(logger: LoggerLike, request: Request) -> None:
    """Log a handshake request, if debug logging is enabled."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("> %s %s %s", request.method, request.path, request.protocol)
        for name, value in request.headers.raw_items():
            logger.debug("> %s: %s", name, escape(value))


def log_response(logger: LoggerLike, response: Response) -> None:
    """Log a handshake response, if debug logging is enabled."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("< HTTP/1.1 %d %s", response.status_code, escape(response.reason_phrase))
        for name, value in response.headers.raw_items():
            logger.debug("< %s: %s", name, escape(value))
        if response.body:
            logger.debug("< [body] (%d bytes)", len(response.body))
