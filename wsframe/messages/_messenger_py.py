"""Messages in and out of a connection, in Python.

Twin of ``src/wsframe/messages/_messenger_c.pyx``; the contract is in ``messenger``.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from wsframe._checks import as_view, check_role, check_state
from wsframe.codec._framing_py import Frame, FrameParser, serialize_frame
from wsframe.codec._masking_py import new_masking_key
from wsframe.codec._message_py import Message, plain_bytes
from wsframe.codec._utf8_py import Utf8Validator
from wsframe.constants import Opcode, Role, State
from wsframe.exceptions import Close, Fault, InvalidState, PayloadTooBig, ProtocolError
from wsframe.limits import MAX_LENGTHS

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsframe.extensions.base import Extension
    from wsframe.limits import Limits
    from wsframe.messages.events import Event
    from wsframe.messages.prepared import PreparedMessage

__all__ = ["Messenger"]

# For the path of every message, where looking up an Enum member takes as long as all the rest.
_CONTINUATION = Opcode.CONTINUATION
_CLOSE = Opcode.CLOSE
_OPEN = State.OPEN


class Messenger:
    """The part of a connection that every message passes through: frames to events, messages to frames.

    Args:
        role: Which end this is.
        state: The initial state.
        limits: Bounds on what the peer may send.
        extensions: The negotiated extensions, in encoding order.

    Raises:
        TypeError: If ``role`` is not a ``Role``, or ``state`` not a ``State``.
    """

    __slots__ = (
        "_answer",
        "_deferred",
        "_encoding",
        "_extensions",
        "_failed",
        "_fragment_count",
        "_fragments",
        "_held_pong",
        "_hold_pongs",
        "_lengths",
        "_limits",
        "_message_size",
        "_opcode",
        "_output",
        "_parser",
        "_refused_text",
        "_sending_fragments",
        "_sending_plain",
        "_streaming",
        "_utf8",
        "bytes_received",
        "bytes_sent",
        "frame_log",
        "frames_received",
        "frames_sent",
        "hold_failure",
        "messages_received",
        "messages_sent",
        "payload_bytes_received",
        "payload_bytes_sent",
        "role",
        "state",
    )

    def __init__(self, role: Role, state: State, limits: Limits, extensions: Sequence[Extension]) -> None:
        check_role(role)
        check_state(state)
        self.role = role
        self.state = state
        self.hold_failure = False
        self.frame_log: Callable[[str, Frame], object] | None = None
        self.bytes_received = self.bytes_sent = 0
        self.frames_received = self.frames_sent = 0
        self.messages_received = self.messages_sent = 0
        self.payload_bytes_received = self.payload_bytes_sent = 0
        self._limits = limits
        self._failed = False
        self._hold_pongs = False
        self._held_pong: bytes | None = None
        # The Close frame that the next data_to_send returns.
        self._answer: Close | None = None
        # Whether we are sending a fragmented message, and whether it bypasses the extensions.
        self._sending_fragments = False
        self._sending_plain = False
        # What the extensions are encoding, if anything: a message or its last fragment, or another fragment; and the
        # arguments of messages sent meanwhile.
        self._encoding: _Encoding | None = None
        self._deferred: list[tuple[Opcode, str | bytes, bool, bool | None] | PreparedMessage] = []
        self._output: list[bytes] = []
        # The incoming fragmented message: its kind, the part not handed out yet (None outside such a message), the
        # lengths of the fragments in that part, and the number of fragments and bytes so far.
        self._opcode = Opcode.CONTINUATION
        self._fragments: bytearray | None = None
        self._lengths: list[int] = []
        self._fragment_count = 0
        self._message_size = 0
        # Whether the incoming message, or the next one, is handed out fragment by fragment.
        self._streaming = False
        # Set while receiving a text message that an extension has encoded.
        self._utf8: Utf8Validator | None = None
        # The output of an extension that is not UTF-8.
        self._refused_text = b""
        self._use(extensions)

    def _use(self, extensions: Sequence[Extension]) -> None:
        """Get ready for frames, with these negotiated extensions."""
        agreed = list(extensions)
        self._parser = FrameParser(
            self.role,
            max_message_size=self._limits.max_message_size,
            max_fragment_size=self._limits.max_fragment_size,
            rsv1=any(extension.rsv1 for extension in agreed),
        )
        self._extensions = agreed

    @property
    def extensions(self) -> list[Extension]:
        """The negotiated extensions, in encoding order."""
        return self._extensions

    @extensions.setter
    def extensions(self, extensions: Sequence[Extension]) -> None:
        self._extensions = list(extensions)

    @extensions.deleter
    def extensions(self) -> None:
        raise TypeError("extensions cannot be deleted")

    # Implemented by subclasses

    def _receive_control(self, frame: Frame) -> Event:
        """Handle a control frame."""
        raise NotImplementedError

    def _receive_fault(self, fault: Fault, refused_length: int, refused_payload: bytes, read: int) -> Event:
        """Handle a violation by the peer, such as a frame that is too long, or a payload that is not UTF-8.

        It occurred in a read of ``read`` bytes.
        """
        raise NotImplementedError

    def _send_close_frame(self, close: Close) -> None:
        """Send the pending Close frame."""
        raise NotImplementedError

    # Receiving

    def receive_data(self, data: Buffer) -> list[Event]:
        """Process the next bytes from the peer.

        Args:
            data: Any C-contiguous bytes-like object. It is not kept.

        Returns:
            The resulting events, in order; none after a Close frame or a violation (RFC 6455 §1.4, §7.1.7).

        Raises:
            InvalidState: If the state is CONNECTING.
        """
        if self.state is State.CONNECTING:
            raise InvalidState("cannot receive frames before the opening handshake is done")
        if self._failed or self.state is State.CLOSED:
            return []
        size = as_view(data).cast("B").nbytes
        try:
            return self._receive(data, size)
        except BaseException:
            # The received data is lost, and further data would make no sense without it.
            self._failed = True
            raise

    def _receive(self, data: Buffer, size: int) -> list[Event]:
        events: list[Event] = []
        frames = self._parser.feed(data)
        self.bytes_received += size
        self.frames_received += len(frames)
        for frame in frames:
            if self.frame_log is not None:
                self.frame_log("<", frame)
            if frame.opcode >= Opcode.CLOSE:
                events.append(self._receive_control(frame))
                continue
            message = self._receive_fragment(frame)
            if isinstance(message, Fault):
                events.append(self._receive_fault(message, 0, self._refused_text, size))
                return events
            if message is not None:
                self.messages_received += message.fin
                self.payload_bytes_received += len(message.payload)
                events.append(message)
        fault = self._parser.fault
        if fault is not None:
            parser = self._parser
            events.append(self._receive_fault(fault, parser.refused_length, parser.refused_payload, size))
        return events

    def _receive_fragment(self, frame: Frame) -> Message | Fault | None:
        """Process a data frame; return the message that it completes, if any, or a Fault.

        The parser has checked the order and size of the frames, and the text of those that no extension has encoded.
        """
        opcode = frame.opcode
        payload = frame.payload
        if self._extensions:
            decoded = self._decode(frame)
            if isinstance(decoded, Fault):
                return decoded
            payload = decoded
        if opcode is not Opcode.CONTINUATION:
            if frame.fin:
                self._streaming = False
                return Message(opcode, payload)
            self._opcode = opcode
        # One growing buffer, so that memory depends on the message's size, not on its number of fragments.
        if self._fragments is None:
            self._fragments = bytearray()
            self._fragment_count = self._message_size = 0
        self._fragment_count += 1
        limit = self._limits.max_fragments
        if limit is not None and self._fragment_count > limit:
            return Fault.TOO_MANY_FRAGMENTS
        self._message_size += len(payload)
        if self._streaming:
            if frame.fin:
                self._streaming = False
                self._fragments = None
            return Message(self._opcode, payload, fin=frame.fin)
        self._fragments += payload
        if len(self._lengths) <= MAX_LENGTHS:
            self._lengths.append(len(payload))
        if not frame.fin:
            return None
        message = self._join()
        self._fragments = None
        return message

    def _join(self, fin: bool = True) -> Message:
        """Return the part assembled so far as a Message."""
        lengths = tuple(self._lengths) if len(self._lengths) <= MAX_LENGTHS else None
        message = Message(self._opcode, bytes(self._fragments or b""), fin=fin, lengths=lengths)
        self._lengths = []
        return message

    def stream_message(self) -> Message | None:
        """Hand out the next fragmented message fragment by fragment, as Messages with ``fin``.

        Call this after handling all events.

        Returns:
            The part of the message received already, with ``fin`` False, or None.
        """
        self._streaming = True
        if not self._lengths:
            return None
        message = self._join(fin=False)
        self._fragments = bytearray()
        return message

    def join_message(self, fragments: Sequence[Message]) -> Message | None:
        """Hand out the message whole after all.

        Args:
            fragments: All fragments of it handed out since ``stream_message``.

        Returns:
            The message, if the fragments complete it.
        """
        parts = list(fragments)
        for part in parts:
            if not isinstance(part, Message):
                raise TypeError(f"fragments must be Messages, not {type(part).__name__}")
        if not parts or parts[0].fin:
            self._streaming = False
            return parts[0] if parts else None
        payload = b"".join([part.payload for part in parts])
        lengths = [len(part.payload) for part in parts[: MAX_LENGTHS + 1]]
        if parts[-1].fin:
            # The next message may be arriving already.
            kept = tuple(lengths) if len(lengths) <= MAX_LENGTHS else None
            message = Message(parts[0].opcode, payload, lengths=kept)
            self._streaming = False
            return message
        joined = bytearray(payload)
        self._streaming = False
        self._fragments = joined
        self._lengths = lengths
        return None

    def _decode(self, frame: Frame) -> bytes | Fault:
        """Pass a frame through the extensions, and check the decoded payload."""
        if frame.opcode is not Opcode.CONTINUATION:
            self._utf8 = Utf8Validator() if frame.opcode is Opcode.TEXT else None
        room, too_big = self._limits.max_message_size, Fault.MESSAGE_TOO_BIG
        if room is not None and self._fragments is not None:
            room -= self._message_size
        limit = self._limits.max_fragment_size
        # As in the parser, a frame over both limits counts as a frame that is too big.
        if limit is not None and (room is None or limit <= room):
            room, too_big = limit, Fault.FRAGMENT_TOO_BIG
        try:
            for extension in reversed(self._extensions):
                frame = _check_frame(extension.decode(frame, max_size=room), "decode")
        except PayloadTooBig:
            return too_big
        except ProtocolError as exc:
            return exc.fault or Fault.INVALID_DEFLATE
        # RFC 6455 §8.1, RFC 7692 §6.2: the decoded text must be UTF-8.
        if self._utf8 is not None and not (self._utf8.feed(frame.payload) and (not frame.fin or self._utf8.finish())):
            self._refused_text = frame.payload
            return Fault.INVALID_UTF8_TEXT
        return frame.payload

    # Sending

    def send_text(self, data: str | Buffer, fin: bool = True, compress: bool | None = None) -> None:
        """Send a text message, or its first fragment (RFC 6455 §5.6).

        Args:
            data: The text, or its UTF-8 encoding.
            fin: Whether this is the whole message.
            compress: Whether to compress the message, if compression was negotiated; None lets the extension decide.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If a fragmented message is in progress.
        """
        self._send_message(Opcode.TEXT, data, fin, compress)

    def send_binary(self, data: Buffer, fin: bool = True, compress: bool | None = None) -> None:
        """Send a binary message, or its first fragment (RFC 6455 §5.6).

        Args:
            data: Any bytes-like object.
            fin: Whether this is the whole message.
            compress: Whether to compress the message, if compression was negotiated; None lets the extension decide.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If a fragmented message is in progress.
        """
        if isinstance(data, str):
            raise TypeError("a bytes-like object is required, not 'str'")
        self._send_message(Opcode.BINARY, data, fin, compress)

    def send_prepared(self, message: PreparedMessage) -> None:
        """Send a message prepared for many connections.

        Args:
            message: The message.

        Raises:
            InvalidState: If the connection is not open.
            ProtocolError: If a fragmented message is in progress.
        """
        if self.state is not _OPEN or self._sending_fragments:
            self._refuse_message()
        if not self._extensions:
            frame = message.serialize(self.role, ())
        elif self._encoding is not None:
            self._defer(message)
            return
        else:
            try:
                self._encoding = _Encoding.WHOLE
                try:
                    frame = message.serialize(self.role, self._extensions)
                finally:
                    self._encoding = None
            except BaseException:
                self._start_afresh()
                raise
        opcode, payload = message.opcode, message.payload
        if type(frame) is not bytes or type(payload) is not bytes:
            frame, payload = plain_bytes(frame), plain_bytes(payload)
        self._append(opcode, frame, len(payload))
        if self.frame_log is not None:
            self.frame_log(">", Frame(opcode, payload))
        if self._deferred:
            self._send_deferred()

    def data_to_send(self) -> bytes:
        """Return the bytes to send to the peer now; the caller must send all of them, in order."""
        self._has_output()
        output, self._output = self._output, []
        try:
            data = output[0] if len(output) == 1 else b"".join(output)
            self.bytes_sent += len(data)
        except BaseException:
            self._output[:0] = output
            raise
        return data

    def _has_output(self) -> bool:
        """Return whether there is something to send."""
        if self._answer is not None and not (self.hold_failure and self._failed):
            self._send_close_frame(self._answer)
        return bool(self._output)

    @property
    def unsent_bytes(self) -> int:
        """Bytes that ``data_to_send`` would return now."""
        return sum(map(len, self._output))

    def _discard_output(self) -> None:
        """Discard what is to be sent, since the peer is gone."""
        self._output.clear()
        self._deferred.clear()

    def _refuse_message(self) -> NoReturn:
        if self.state is not State.OPEN:
            raise InvalidState(f"cannot send in state {self.state.name}")
        raise ProtocolError("a fragmented message is in progress")

    def _send_message(self, opcode: Opcode, data: str | Buffer, fin: bool, compress: bool | None) -> None:
        if self.state is not _OPEN or self._sending_fragments:
            self._refuse_message()
        if self._encoding is not None:
            self._defer((opcode, data if isinstance(data, str) else bytes(memoryview(data)), fin, compress))
            return
        self._sending_plain = compress is False
        self._send_data(opcode, data, fin, compress)

    def _send_data(self, opcode: Opcode, data: str | Buffer, fin: bool, compress: bool | None) -> None:
        """Send the data frame that is next in order."""
        if isinstance(data, str):
            data = data.encode()
        # bytes() also accepts values that are not bytes-like, and would build something else from them.
        payload = data if type(data) is bytes else bytes(as_view(data))
        if not self._extensions or self._sending_plain:
            self._write(opcode, payload, fin, False, len(payload))
            return
        if self._encoding is not None:
            raise ProtocolError("a fragment is being sent")
        try:
            self._encoding = _Encoding.WHOLE if fin else _Encoding.FRAGMENT
            try:
                frame = Frame(opcode, payload, fin)
                for extension in self._extensions:
                    frame = _check_frame(extension.encode(frame, compress), "encode")
            finally:
                self._encoding = None
            self._write(opcode, frame.payload, fin, frame.rsv1, len(payload))
        except BaseException:
            # The peer never receives what the extensions have encoded.
            self._start_afresh()
            raise
        self._send_deferred()

    def _write(self, opcode: Opcode, payload: bytes, fin: bool, rsv1: bool, size: int) -> None:
        """Send a data frame; ``size`` is the payload's size before extensions encoded it."""
        frame = self._serialize(opcode, payload, fin, rsv1)
        self._append(opcode, frame, size)
        self._sending_fragments = not fin
        if self.frame_log is not None:
            self.frame_log(">", Frame(opcode, payload, fin, rsv1))

    def _send(self, opcode: Opcode, payload: Buffer, fin: bool = True, rsv1: bool = False) -> None:
        """Send a frame."""
        frame = self._serialize(opcode, payload, fin, rsv1)
        self._append(opcode, frame)
        if self.frame_log is not None:
            self.frame_log(">", Frame(opcode, bytes(memoryview(payload)), fin, rsv1))

    def _serialize(self, opcode: Opcode, payload: Buffer, fin: bool, rsv1: bool) -> bytes:
        # RFC 6455 §5.1, §5.3: a client masks each frame with a fresh key.
        mask = new_masking_key() if self.role is Role.CLIENT else None
        return serialize_frame(opcode, payload, fin=fin, rsv1=rsv1, mask=mask)

    def _append(self, opcode: Opcode, frame: bytes, size: int = 0) -> None:
        """Queue a frame, if it may be the next one: other code may have sent something since the last check."""
        # Compute the counters first, since memory for them may run out.
        frames = self.frames_sent + 1
        messages = self.messages_sent
        payload_bytes = self.payload_bytes_sent + size
        if opcode < _CLOSE:
            is_continuation = opcode is _CONTINUATION
            if self.state is not _OPEN or self._sending_fragments is not is_continuation:
                if not is_continuation or self.state is not _OPEN:
                    self._refuse_message()
                raise ProtocolError("there is no fragmented message to continue")
            messages += not is_continuation
        self._output.append(frame)
        self.frames_sent, self.messages_sent, self.payload_bytes_sent = frames, messages, payload_bytes

    def _start_afresh(self) -> None:
        """Reset the extensions: what they have encoded was not sent, so nothing may refer to it."""
        for extension in self._extensions:
            extension.standalone_sent()
        self._send_deferred()

    def _defer(self, message: tuple[Opcode, str | bytes, bool, bool | None] | PreparedMessage) -> None:
        """Send a message after the one that an extension is encoding.

        Signal handlers, finalizers and tracers run meanwhile, and may send too.
        """
        if self._encoding is _Encoding.FRAGMENT:
            raise ProtocolError("a fragmented message is in progress")
        self._deferred.append(message)

    def _send_deferred(self) -> None:
        while self._deferred and self._encoding is None:
            message = self._deferred.pop(0)
            if self.state is not State.OPEN:
                self._deferred.clear()
            elif isinstance(message, tuple):
                self._send_message(*message)
            else:
                self.send_prepared(message)


class _Encoding(enum.Enum):
    """What the extensions are encoding: a message or its last fragment, or another fragment."""

    WHOLE = enum.auto()
    FRAGMENT = enum.auto()


def _check_frame(frame: Frame, verb: str) -> Frame:
    # Accept frames of either implementation: extensions create those of the selected one.
    if not isinstance(getattr(frame, "payload", None), bytes):
        raise TypeError(f"an extension must {verb} to a Frame, not {type(frame).__name__}")
    return frame
