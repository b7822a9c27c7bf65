"""A WebSocket connection without I/O: bytes in, events out, bytes out (RFC 6455 §5 to §7).

It has no sockets, clocks or tasks. The code that owns those enforces the time limits of the closing handshake, and
ends the TCP connection when ``close_expected`` returns True.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsframe._checks import as_view, check_close, check_optional_str, describe, listed
from wsframe.codec import Frame
from wsframe.constants import (
    MAX_CONTROL_PAYLOAD,
    OK_CLOSE_CODES,
    SENDABLE_CLOSE_CODES,
    CloseCode,
    Opcode,
    Role,
    State,
)
from wsframe.exceptions import (
    Close,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Fault,
    InvalidState,
    PayloadTooBig,
    ProtocolError,
    TooManyFragments,
)
from wsframe.extensions.base import Extension
from wsframe.limits import MAX_LENGTH, Limits
from wsframe.messages.events import CloseReceived, Event, Failed, PingReceived, PongReceived
from wsframe.messages.messenger import Messenger

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsframe.opening.uri import WebSocketURI

__all__ = ["SansIOConnection", "check_can_close"]

_SMALLEST_SEGMENT = 1220
"""Least bytes in a TCP segment while more data follows, at IPv6's smallest MTU (RFC 8200 §5)."""


class SansIOConnection(Messenger):
    """One end of a WebSocket connection, after the opening handshake.

    State       event                                                next
    CONNECTING  ``open()``, once the opening handshake is done       OPEN
    OPEN        ``send_close``, ``fail``, or sending the answer to   CLOSING
                a Close frame or to a violation
    CLOSING     only ``receive_eof``                                 CLOSED
    any         ``receive_eof``: the TCP connection is closed        CLOSED

    The connection itself sends the answers that the protocol requires. It queues a Pong as soon as it reads the
    Ping. The answer to a Close frame, and the Close frame that reports a violation, leave with the next
    ``data_to_send``. So data that the application sends while it handles the events of one ``receive_data``
    still precedes them (RFC 6455 §5.5.1 lets an endpoint finish what it sends)::

        for event in connection.receive_data(data):
            if isinstance(event, Message):
                connection.send_text("thanks")
        sock.sendall(connection.data_to_send())

    Args:
        role: Which end this is.
        state: CONNECTING if the opening handshake is not done yet.
        limits: Bounds on what the peer may send; the defaults of ``Limits`` if None.
        subprotocol: The negotiated subprotocol, or None.
        extensions: The negotiated extensions, in encoding order.

    Attributes:
        role: Which end this is.
        state: The state.
        uri: The URI that a client has connected to, or None.
        subprotocol: The negotiated subprotocol, or None.
        extensions: The negotiated extensions.
        fault: The peer's violation that failed the connection, or None.
        peer_is_sending: Whether the peer probably has more data in flight after the violation. Read and discard it
            before you end the outgoing stream: many peers close TCP when they see that end.
        close_rcvd: The ``Close`` received, or None.
        close_sent: The ``Close`` sent, or None.
        close_rcvd_then_sent: Whether the peer's Close came first; None unless both exist.
        hold_pongs: While true, Pongs are not queued; when it becomes false, only the last Ping is answered, which
            is enough (RFC 6455 §5.5.3). Set it while the peer does not read.
        frame_log: Called for each frame, with ``"<"`` for a received or ``">"`` for a sent one, and the frame as on
            the wire; None for no log.
        messages_received, frames_received, bytes_received, payload_bytes_received: Counters of whole messages, frames,
            bytes of the stream, and bytes of the messages when decoded.
        messages_sent, frames_sent, bytes_sent, payload_bytes_sent: The same counters for sent data.
        hold_failure: While true, ``data_to_send`` withholds the Close frame for a violation. Set it until
            messages that arrived before the violation are answered.

    Raises:
        TypeError: If an argument has a wrong type: a str as the role, a factory as an extension, and so on.
    """

    __slots__ = (
        "_fault_exc",
        "close_rcvd",
        "close_rcvd_then_sent",
        "close_sent",
        "fault",
        "peer_is_sending",
        "subprotocol",
        "uri",
    )

    def __init__(
        self,
        role: Role,
        *,
        state: State = State.OPEN,
        limits: Limits | None = None,
        subprotocol: str | None = None,
        extensions: Sequence[Extension] = (),
    ) -> None:
        check_optional_str("subprotocol", subprotocol)
        super().__init__(role, state, Limits.checked(limits), checked_extensions(extensions))
        self.uri: WebSocketURI | None = None
        self.subprotocol = subprotocol
        self.fault: Fault | None = None
        self.peer_is_sending = False
        self._fault_exc: Exception | None = None
        self.close_rcvd: Close | None = None
        self.close_sent: Close | None = None
        self.close_rcvd_then_sent: bool | None = None

    # Receiving

    def open(self, subprotocol: str | None = None, extensions: Sequence[Extension] = ()) -> None:
        """Open the connection: the opening handshake is done.

        Args:
            subprotocol: The negotiated subprotocol, or None.
            extensions: The negotiated extensions, in encoding order.

        Raises:
            InvalidState: If the state is not CONNECTING.
            TypeError: If an argument has a wrong type.
        """
        check_optional_str("subprotocol", subprotocol)
        extensions = checked_extensions(extensions)
        if self.state is not State.CONNECTING:
            raise InvalidState(f"cannot open a connection in state {self.state.name}")
        self.state = State.OPEN
        self.subprotocol = subprotocol
        self._use(extensions)

    def receive_eof(self) -> None:
        """Close the connection: the TCP connection is closed."""
        self.state = State.CLOSED
        self._answer = None
        self._discard_output()

    def _receive_control(self, frame: Frame) -> Event:
        payload = frame.payload
        if frame.opcode is Opcode.PING:
            # RFC 6455 §5.5.2: answer with the same payload, unless a Close frame was received or sent.
            if self.hold_pongs:
                self._held_pong = payload
            elif self.state is State.OPEN:
                self._send(Opcode.PONG, payload)
            return PingReceived(payload)
        if frame.opcode is Opcode.PONG:
            return PongReceived(payload)
        # RFC 6455 §7.1.5: an empty payload counts as code 1005.
        if payload:
            close = Close(payload[0] << 8 | payload[1], payload[2:].decode())
        else:
            close = Close(CloseCode.NO_STATUS_RCVD)
        self.close_rcvd = close
        if self.close_sent is not None:
            self.close_rcvd_then_sent = False
        else:
            # RFC 6455 §5.5.1: answer with a Close frame that echoes the code.
            self._answer = close
        return CloseReceived(close)

    def _receive_fault(self, fault: Fault, refused_length: int, refused_payload: bytes, read: int) -> Event:
        self.fault = fault
        self._failed = True
        self.peer_is_sending = refused_length > read or read >= _SMALLEST_SEGMENT
        cause, reason = self._explain(fault, refused_length, refused_payload)
        self._fault_exc = cause
        if self.state is State.OPEN:
            self._answer = Close(fault.close_code, reason)
        return Failed(fault)

    def _explain(self, fault: Fault, length: int, payload: bytes) -> tuple[Exception, str]:
        """Return the cause of ConnectionClosed and the Close frame's reason, as in websockets where that says more."""
        if fault is Fault.TOO_MANY_FRAGMENTS:
            return TooManyFragments(f"{fault.text} ({fault.section})", fault=fault), fault.text
        before = None if self._fragments is None else self._message_size
        if fault.close_code == CloseCode.MESSAGE_TOO_BIG:
            # Without other limits, MAX_LENGTH is the limit.
            limits = [MAX_LENGTH, self._limits.max_fragment_size]
            if self._limits.max_message_size is not None:
                limits.append(self._limits.max_message_size - (before or 0))
            room = min(limit for limit in limits if limit is not None)
            error = PayloadTooBig(length or None, room, before, fault=fault)
            return error, str(error)
        if payload:
            if fault is Fault.INVALID_UTF8_TEXT and self._fragments is not None:
                payload = bytes(self._fragments) + payload
            try:
                payload.decode()
            except UnicodeDecodeError as exc:
                return exc, f"{exc.reason} at position {exc.start}"
        return ProtocolError(f"{fault.text} ({fault.section})", fault=fault), fault.text

    # Sending

    def send_continuation(self, data: str | Buffer, fin: bool) -> None:
        """Send the next fragment of a message (RFC 6455 §5.4).

        Args:
            data: Text, or any bytes-like object.
            fin: Whether this is the last fragment.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If no fragmented message is in progress.
        """
        self._check_open()
        if not self._sending_fragments:
            raise ProtocolError("there is no fragmented message to continue")
        self._send_data(Opcode.CONTINUATION, data, fin, None)

    def send_ping(self, data: Buffer = b"") -> None:
        """Send a Ping (RFC 6455 §5.5.2).

        Args:
            data: At most 125 bytes.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If ``data`` is longer.
        """
        self._send_control(Opcode.PING, data)

    def send_pong(self, data: Buffer = b"") -> None:
        """Send an unsolicited Pong (RFC 6455 §5.5.3); Pings are answered automatically.

        Args:
            data: As in ``send_ping``, which also raises the same exceptions.
        """
        self._send_control(Opcode.PONG, data)

    def send_close(self, code: CloseCode | int | None = None, reason: str = "") -> None:
        """Start the closing handshake, or answer the peer's Close with your own code (RFC 6455 §5.5.1, §7.1.2).

        Args:
            code: 1000 to 1003, 1007 to 1014, 3000 to 4999, or None for a Close frame without a code.
            reason: At most 123 bytes of UTF-8.

        Raises:
            InvalidState: If the connection is not open.
            TypeError: If ``code`` is not an int, or ``reason`` is not a str.
            ProtocolError: If ``code`` or ``reason`` must not be sent.
        """
        check_close(code, reason)
        self._check_open()
        check_can_close(code, reason)
        self._send_close_frame(Close(int(CloseCode.NO_STATUS_RCVD if code is None else code), reason))

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        """Fail the connection: send a Close frame, and process nothing more from the peer (RFC 6455 §7.1.7).

        Args:
            code: As in ``send_close``.
            reason: As in ``send_close``.
        """
        if self.state is State.OPEN:
            self.send_close(code, reason)
        self._failed = True
        # Nothing tells whether it is.
        self.peer_is_sending = True

    @property
    def hold_pongs(self) -> bool:
        return self._hold_pongs

    @hold_pongs.setter
    def hold_pongs(self, hold: bool) -> None:
        self._hold_pongs = hold
        if not hold and self._held_pong is not None:
            if self.state is State.OPEN:
                self._send(Opcode.PONG, self._held_pong)
            self._held_pong = None

    def _check_open(self) -> None:
        if self.state is not State.OPEN:
            raise InvalidState(f"cannot send in state {self.state.name}")

    def _send_control(self, opcode: Opcode, data: Buffer) -> None:
        self._check_open()
        if as_view(data).nbytes > MAX_CONTROL_PAYLOAD:
            raise ProtocolError("control frame too long")
        self._send(opcode, data)

    def _send_close_frame(self, close: Close) -> None:
        payload = _close_payload(close)
        frames_sent = self.frames_sent
        before = self._answer, self.close_sent, self.state
        # Set these first, since RFC 6455 §5.5.1 allows no data after the frame, whatever code runs meanwhile.
        self._answer, self.close_sent, self.state = None, close, State.CLOSING
        try:
            self._send(Opcode.CLOSE, payload)
        except BaseException:
            if self.frames_sent == frames_sent:
                self._answer, self.close_sent, self.state = before
            raise
        if self.close_rcvd is not None:
            self.close_rcvd_then_sent = True

    # Ending the connection

    @property
    def failed(self) -> bool:
        """Whether the connection was failed, so that nothing more from the peer is processed."""
        return self._failed

    @property
    def failure_held(self) -> bool:
        """Whether the Close frame for a violation is held back until ``hold_failure`` is false."""
        return self.hold_failure and self._failed and self._answer is not None

    def close_expected(self) -> bool:
        """Return whether the TCP connection should end soon.

        A server closes it as soon as there is nothing left to send; a client waits for the server to close
        it (RFC 6455 §7.1.1), but not forever.
        """
        if self.state is State.CLOSING:
            return self._failed or self.close_rcvd is not None
        return self.state is State.CLOSED

    @property
    def limits(self) -> Limits:
        """Bounds on what the peer may send, and on the data waiting to be sent to it."""
        return self._limits

    @property
    def close_code(self) -> int | None:
        """The close code received (RFC 6455 §7.1.5): 1005 if the Close frame had none, 1006 if none was received.

        None until the state is CLOSED.
        """
        if self.state is not State.CLOSED:
            return None
        return CloseCode.ABNORMAL_CLOSURE if self.close_rcvd is None else self.close_rcvd.code

    @property
    def close_reason(self) -> str | None:
        """The close reason received (RFC 6455 §7.1.6), or ""; None until the state is CLOSED."""
        if self.state is not State.CLOSED:
            return None
        return "" if self.close_rcvd is None else self.close_rcvd.reason

    @property
    def close_exc(self) -> ConnectionClosed:
        """The exception that describes how the connection ended.

        Its cause is the peer's violation, if any: ProtocolError, PayloadTooBig, TooManyFragments or UnicodeDecodeError.

        Raises:
            InvalidState: If the state is not CLOSED.
        """
        if self.state is not State.CLOSED:
            raise InvalidState("the connection isn't closed yet")
        return self.describe_end()

    def describe_end(self) -> ConnectionClosed:
        """Return what ``close_exc`` would be if TCP ended now."""
        rcvd, sent = self.close_rcvd, self.close_sent
        ok = rcvd is not None and sent is not None and {rcvd.code, sent.code} <= OK_CLOSE_CODES
        kind = ConnectionClosedOK if ok else ConnectionClosedError
        exc = kind(rcvd, sent, self.close_rcvd_then_sent)
        exc.__cause__ = self._fault_exc
        return exc


# What users know it as: in error messages and in help().
SansIOConnection.__name__ = SansIOConnection.__qualname__ = "Connection"


def check_can_close(code: CloseCode | int | None, reason: str) -> None:
    """Check the code and reason of a Close frame, whose types were checked before (RFC 6455 §5.5.1, §7.4).

    Raises:
        ProtocolError: If they must not be sent.
    """
    if code is None:
        if reason:
            raise ProtocolError("cannot send a reason without a code")
    # RFC 6455 §7.4: 1005, 1006 and 1015 must not be sent, nor codes without a defined meaning.
    elif code not in SENDABLE_CLOSE_CODES and not 3000 <= code <= 4999:
        raise ProtocolError("invalid status code")
    if len(reason.encode()) > MAX_CONTROL_PAYLOAD - 2:
        raise ProtocolError("control frame too long")


def checked_extensions(extensions: Sequence[Extension]) -> list[Extension]:
    """Check negotiated extensions and return them as a list; factories, which only handshakes can use, are refused."""
    extensions = listed("extensions", extensions, "a list of extensions")
    for extension in extensions:
        if isinstance(extension, type) or not (
            hasattr(extension, "encode") and hasattr(extension, "decode") and hasattr(extension, "rsv1")
        ):
            raise TypeError(f"extensions must have extensions as agreed on, not {describe(extension)}")
    return extensions


def _close_payload(close: Close) -> bytes:
    if close.code == CloseCode.NO_STATUS_RCVD:
        return b""
    return close.code.to_bytes(2, "big") + close.reason.encode()
