"""Errors: protocol violations as values, and the exception tree.

A violation by the peer is a ``Fault``: parsers and connections return it, and never raise it. The application gets
an exception from the tree below, with the names and attributes that ``websockets`` uses. Attributes keep text from
the peer unchanged; ``str()`` is for people, and escapes it::

    WebSocketException
        ConnectionClosed: ConnectionClosedOK, ConnectionClosedError
        InvalidURI, InvalidProxy
        InvalidHandshake
            SecurityError: RequestLineTooLong, StatusLineTooLong, HeaderLineTooLong, TooManyHeaders
            ProxyError: InvalidProxyMessage, InvalidProxyStatus
            InvalidMessage, InvalidMethod, InvalidProtocol, InvalidStatus
            InvalidHeader: InvalidHeaderFormat, InvalidHeaderValue, InvalidOrigin, InvalidUpgrade
            NegotiationError: DuplicateParameter, InvalidParameterName, InvalidParameterValue
        ProtocolError, PayloadTooBig, TooManyFragments
        InvalidState, ConcurrencyError
"""

from __future__ import annotations

import dataclasses
import enum
import warnings
from typing import Any

from wsframe._escape import escape
from wsframe.constants import CloseCode

__all__ = [
    "Close",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "DuplicateParameter",
    "Fault",
    "HeaderLineTooLong",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidHeaderFormat",
    "InvalidHeaderValue",
    "InvalidMessage",
    "InvalidMethod",
    "InvalidOrigin",
    "InvalidParameterName",
    "InvalidParameterValue",
    "InvalidProtocol",
    "InvalidProxy",
    "InvalidProxyMessage",
    "InvalidProxyStatus",
    "InvalidState",
    "InvalidStatus",
    "InvalidURI",
    "InvalidUpgrade",
    "NegotiationError",
    "PayloadTooBig",
    "ProtocolError",
    "ProxyError",
    "RequestLineTooLong",
    "SecurityError",
    "StatusLineTooLong",
    "TooManyFragments",
    "TooManyHeaders",
    "WebSocketException",
]


class Fault(enum.Enum):
    """A violation of the framing protocol; one member for each kind.

    Attributes:
        close_code: The code in the Close frame of the failed connection (RFC 6455 §7.4.1).
        text: What happened, in a few words; fits in the reason of a Close frame.
        section: The section of the RFC that was violated.
    """

    close_code: CloseCode
    text: str
    section: str

    RSV1_SET = (1002, "RSV1 is set where no extension gives it a meaning", "RFC 6455 §5.2")
    RSV2_SET = (1002, "RSV2 is set where no extension gives it a meaning", "RFC 6455 §5.2")
    RSV3_SET = (1002, "RSV3 is set where no extension gives it a meaning", "RFC 6455 §5.2")
    UNKNOWN_OPCODE = (1002, "the opcode is reserved", "RFC 6455 §5.2")
    CONTROL_FRAME_FRAGMENTED = (1002, "a control frame is fragmented", "RFC 6455 §5.5")
    CONTINUATION_WITHOUT_START = (1002, "a continuation frame has no message to continue", "RFC 6455 §5.4")
    DATA_FRAME_INSIDE_MESSAGE = (1002, "a new message starts inside a fragmented one", "RFC 6455 §5.4")
    UNMASKED_FRAME = (1002, "a frame from the client is not masked", "RFC 6455 §5.1")
    MASKED_FRAME = (1002, "a frame from the server is masked", "RFC 6455 §5.1")
    CONTROL_FRAME_TOO_LONG = (1002, "a control frame has more than 125 bytes of payload", "RFC 6455 §5.5")
    CLOSE_PAYLOAD_TOO_SHORT = (1002, "a close frame has 1 byte of payload", "RFC 6455 §5.5.1")
    LENGTH_NOT_MINIMAL = (1002, "the payload length is not encoded in the fewest bytes", "RFC 6455 §5.2")
    LENGTH_TOP_BIT_SET = (1002, "the payload length has its top bit set", "RFC 6455 §5.2")
    FRAGMENT_TOO_BIG = (1009, "a frame exceeds the size limit", "RFC 6455 §10.4")
    MESSAGE_TOO_BIG = (1009, "a message exceeds the size limit", "RFC 6455 §10.4")
    TOO_MANY_FRAGMENTS = (1009, "a message has too many fragments", "RFC 6455 §10.4")
    BAD_CLOSE_CODE = (1002, "a close frame has a code that must not be sent", "RFC 6455 §7.4")
    INVALID_UTF8_REASON = (1007, "the reason of a close frame is not UTF-8", "RFC 6455 §5.5.1")
    INVALID_UTF8_TEXT = (1007, "a text message is not UTF-8", "RFC 6455 §8.1")
    INVALID_DEFLATE = (1007, "a compressed message cannot be decompressed", "RFC 7692 §7.2.2")
    TOO_MANY_FINAL_BLOCKS = (1008, "a compressed message has too many final blocks", "RFC 7692 §7.2.3.4")

    def __init__(self, close_code: int, text: str, section: str) -> None:
        self.close_code = CloseCode(close_code)
        self.text = text
        self.section = section


@dataclasses.dataclass(frozen=True)
class Close:
    """Code and reason of a Close frame (RFC 6455 §5.5.1); ``str()`` spells both out, for people."""

    code: int
    reason: str = ""

    def __str__(self) -> str:
        if 3000 <= self.code < 4000:
            meaning = "registered"
        elif 4000 <= self.code < 5000:
            meaning = "private use"
        else:
            meaning = _CLOSE_CODE_WORDS.get(self.code, "unknown")
        return f"{self.code} ({meaning}) {escape(self.reason)}".rstrip()


_CLOSE_CODE_WORDS = {
    1000: "OK",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "no status received [internal]",
    1006: "abnormal closure [internal]",
    1007: "invalid frame payload data",
    1008: "policy violation",
    1009: "message too big",
    1010: "mandatory extension",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
    1015: "TLS handshake failure [internal]",
}


class WebSocketException(Exception):
    """Base of every exception that this package defines."""

    def __str__(self) -> str:
        return escape(super().__str__())


class ConnectionClosed(WebSocketException):
    """The connection is closed, so nothing more can be sent or received.

    Attributes:
        rcvd: The ``Close`` that was received, or None.
        sent: The ``Close`` that was sent, or None.
        rcvd_then_sent: Whether the peer's Close came first; None unless both exist.
    """

    def __init__(self, rcvd: Close | None, sent: Close | None, rcvd_then_sent: bool | None = None) -> None:
        if (rcvd_then_sent is None) != (rcvd is None or sent is None):
            raise TypeError("rcvd_then_sent goes with both rcvd and sent, and only with both")
        super().__init__(rcvd, sent, rcvd_then_sent)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent

    def __str__(self) -> str:
        if self.rcvd is None:
            if self.sent is None:
                return "no close frame received or sent"
            return f"sent {self.sent}; no close frame received"
        if self.sent is None:
            return f"received {self.rcvd}; no close frame sent"
        if self.rcvd_then_sent:
            return f"received {self.rcvd}; then sent {self.sent}"
        return f"sent {self.sent}; then received {self.rcvd}"

    @property
    def code(self) -> int:
        """The received close code, or 1006. Deprecated, as in ``websockets``: use ``rcvd.code``."""
        warnings.warn("ConnectionClosed.code is deprecated; use rcvd.code", DeprecationWarning, stacklevel=2)
        return CloseCode.ABNORMAL_CLOSURE if self.rcvd is None else self.rcvd.code

    @property
    def reason(self) -> str:
        """The received close reason, or "". Deprecated, as in ``websockets``: use ``rcvd.reason``."""
        warnings.warn("ConnectionClosed.reason is deprecated; use rcvd.reason", DeprecationWarning, stacklevel=2)
        return "" if self.rcvd is None else self.rcvd.reason


class ConnectionClosedOK(ConnectionClosed):
    """Both sides closed with code 1000, 1001 or no code."""


class ConnectionClosedError(ConnectionClosed):
    """One side closed with an error code, or the closing handshake was not completed."""


class InvalidURI(WebSocketException, ValueError):
    """The URI is not a WebSocket URI (RFC 6455 §3)."""

    def __init__(self, uri: str, msg: str) -> None:
        super().__init__(uri, msg)
        self.uri = uri
        self.msg = msg

    def __str__(self) -> str:
        return escape(f"{self.uri} isn't a valid URI: {self.msg}")


class InvalidProxy(WebSocketException):
    """The address of the proxy is not valid."""

    def __init__(self, proxy: str, msg: str) -> None:
        super().__init__(proxy, msg)
        self.proxy = proxy
        self.msg = msg

    def __str__(self) -> str:
        return escape(f"{self.proxy} isn't a valid proxy: {self.msg}")


class InvalidHandshake(WebSocketException):
    """The opening handshake failed (RFC 6455 §4)."""


class SecurityError(InvalidHandshake):
    """A handshake message breaks a security rule, such as a limit on its size."""


class RequestLineTooLong(SecurityError):
    """The request line exceeds its limit."""


class StatusLineTooLong(SecurityError):
    """The status line exceeds its limit."""


class HeaderLineTooLong(SecurityError):
    """The headers exceed their limit."""


class TooManyHeaders(SecurityError):
    """There are more header lines than the limit allows."""


class ProxyError(InvalidHandshake):
    """The proxy could not be used."""


class InvalidProxyMessage(ProxyError):
    """The proxy's response is not HTTP."""


class InvalidProxyStatus(ProxyError):
    """The proxy refused the connection; ``response`` is its response."""

    def __init__(self, response: Any) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return f"proxy rejected connection: HTTP {self.response.status_code:d}"


class InvalidMessage(InvalidHandshake):
    """A handshake message is not valid HTTP/1.1, or did not arrive."""


class InvalidMethod(InvalidHandshake):
    """The request's method is not GET."""

    def __init__(self, method: str) -> None:
        super().__init__(method)
        self.method = method

    def __str__(self) -> str:
        return escape(f"unsupported HTTP method: {self.method}")


class InvalidProtocol(InvalidHandshake):
    """The request is not HTTP/1.1."""

    def __init__(self, protocol: str) -> None:
        super().__init__(protocol)
        self.protocol = protocol

    def __str__(self) -> str:
        return escape(f"unsupported HTTP version: {self.protocol}")


class InvalidStatus(InvalidHandshake):
    """The server did not answer with status 101; ``response`` is its response."""

    def __init__(self, response: Any) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return f"server rejected WebSocket connection: HTTP {self.response.status_code:d}"


def _describe_value(what: str, value: str | None) -> str:
    if not value:
        return escape(f"{'missing' if value is None else 'empty'} {what}")
    return escape(f"invalid {what}: {value}")


class InvalidHeader(InvalidHandshake):
    """A header is missing or invalid."""

    def __init__(self, name: str, value: str | None = None) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return _describe_value(f"{self.name} header", self.value)


class InvalidHeaderFormat(InvalidHeader):
    """A header does not follow its grammar."""

    def __init__(self, name: str, error: str, header: str, pos: int) -> None:
        super().__init__(name, f"{error} at {pos} in {header}")
        self.args = (name, error, header, pos)


class InvalidHeaderValue(InvalidHeader, ValueError):
    """A header is well-formed, but its value is not acceptable."""


class InvalidOrigin(InvalidHeader):
    """The Origin header does not have an allowed value."""

    def __init__(self, origin: str | None) -> None:
        super().__init__("Origin", origin)
        self.args = (origin,)


class InvalidUpgrade(InvalidHeader):
    """The Upgrade or the Connection header does not request WebSocket."""


class NegotiationError(InvalidHandshake):
    """The two sides did not agree on an extension or a subprotocol."""


class DuplicateParameter(NegotiationError):
    """An extension's parameter appears twice."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return escape(f"duplicate parameter: {self.name}")


class InvalidParameterName(NegotiationError):
    """An extension's parameter is unknown."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return escape(f"invalid parameter name: {self.name}")


class InvalidParameterValue(NegotiationError):
    """An extension's parameter has an invalid value."""

    def __init__(self, name: str, value: str | None) -> None:
        super().__init__(name, value)
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return _describe_value(f"value for parameter {self.name}", self.value)


class ProtocolError(WebSocketException):
    """The peer violated the protocol (see ``fault``), or the application tried to.

    Attributes:
        fault: The peer's violation, or None if the application's call was refused.
    """

    def __init__(self, message: str, fault: Fault | None = None) -> None:
        super().__init__(message, fault)
        self.fault = fault

    def __str__(self) -> str:
        return escape(str(self.args[0]))


class PayloadTooBig(WebSocketException):
    """A frame or a message exceeds the size limit.

    Args:
        size_or_message: Size of the frame in bytes, None if unknown, or a text to show instead.
        max_size: Maximum size of the frame, in bytes.
        current_size: Bytes of the message before the frame.
        fault: The peer's violation.

    Attributes:
        message: The text to show instead, or None.
        size: Bytes of the frame, or None.
        max_size: Maximum size of the whole message, in bytes, or None.
        current_size: Bytes of the message before the frame, or None.
        fault: The peer's violation, or None.
    """

    def __init__(
        self,
        size_or_message: int | str | None,
        max_size: int | None = None,
        current_size: int | None = None,
        fault: Fault | None = None,
    ) -> None:
        is_text = isinstance(size_or_message, str)
        if is_text is not (max_size is None) or (is_text and current_size is not None):
            raise TypeError("max_size goes with a size, and only with a size")
        super().__init__(size_or_message, max_size, current_size, fault)
        self.message = size_or_message if isinstance(size_or_message, str) else None
        self.size = None if isinstance(size_or_message, str) else size_or_message
        self.max_size = max_size
        self.current_size: int | None = None
        self.fault = fault
        self.set_current_size(current_size)

    def set_current_size(self, current_size: int | None) -> None:
        """Record the size of the message before the frame; ``max_size`` then applies to the whole message."""
        if current_size is not None and self.max_size is not None:
            self.max_size += current_size
            self.current_size = current_size

    def __str__(self) -> str:
        if self.message is not None:
            return escape(self.message)
        size = "" if self.size is None else f" with {self.size} bytes"
        before = "" if self.current_size is None else f" after reading {self.current_size} bytes"
        return f"frame{size}{before} exceeds limit of {self.max_size} bytes"


class TooManyFragments(WebSocketException):
    """A message has more fragments than the limit allows.

    Args:
        max_fragments: The limit, or a text to show instead.
        fault: The peer's violation.
    """

    def __init__(self, max_fragments: int | str, fault: Fault | None = None) -> None:
        super().__init__(max_fragments, fault)
        self.fault = fault

    def __str__(self) -> str:
        if isinstance(self.args[0], str):
            return escape(self.args[0])
        return f"fragmented message exceeds limit of {self.args[0]} frames"


class InvalidState(WebSocketException, AssertionError):
    """A frame cannot be sent in the connection's current state."""


class ConcurrencyError(WebSocketException, RuntimeError):
    """Two tasks receive at once, or a second fragmented message was started."""
