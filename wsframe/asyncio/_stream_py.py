"""Reads and writes of a connection in Python. Rank 5. Twin of ``src/asyncio/_stream_c.pyx``; see ``stream``."""

from __future__ import annotations

import asyncio
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeGuard

from wsframe._events_py import Message
from wsframe.constants import State
from wsframe.limits import JOINED_BYTES, PARSE_SIZE, READ_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsframe.connection import Connection
    from wsframe.events import Event
    from wsframe.prepared import PreparedMessage

__all__ = ["CallbackStream", "Stream"]

_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, memoryview] = weakref.WeakKeyDictionary()


def _read_buffer(loop: asyncio.AbstractEventLoop) -> memoryview:
    """Return the read buffer of an event loop.

    ``get_buffer``, the read and ``buffer_updated`` follow one another without anything in between, so an
    idle connection needs no buffer of its own.
    """
    buffer = _read_buffers.get(loop)
    if buffer is None:
        buffer = _read_buffers[loop] = memoryview(bytearray(READ_SIZE))
    return buffer


class Stream:
    """From a read to messages, and from messages to a write.

    What is sent while a read is being handled is written at its end, in one piece; what is sent otherwise, at once or
    together with more that is sent in the same turn of the event loop.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
    """

    __slots__ = (
        "_buffer",
        "_corked",
        "_ending",
        "_has_idle_timeout",
        "_idle_timer",
        "_joined_bytes",
        "_thread",
        "_write_high",
        "_write_paused",
        "alive",
        "loop",
        "protocol",
        "reading_paused",
        "transport",
    )

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def __init__(self, protocol: Connection, write_high: int) -> None:
        self.protocol = protocol
        # The thread of the event loop, once there is one.
        self._thread: int | None = None
        # Whether anything came since keepalive has looked.
        self.alive = False
        self.reading_paused = False
        self._write_high = write_high
        self._write_paused = False
        self._corked = False
        # Bytes sent in this turn of the event loop behind what was written at once; None at its beginning.
        self._joined_bytes: int | None = None
        # Whether the end of the TCP connection has begun.
        self._ending = False
        # Runs while an extension holds memory that an idle connection does not need.
        self._has_idle_timeout = False
        self._idle_timer: Any = None

    # What subclasses implement

    def _on_handshake_data(self, data: memoryview) -> None:
        """Bytes of the opening handshake came."""
        raise NotImplementedError

    def _on_message(self, message: Message) -> None:
        """A message came."""
        raise NotImplementedError

    def _on_read(self) -> None:
        """All events of a read have been handled; what is sent now is still written together with their answers."""

    def _on_event(self, event: Event) -> None:
        """Something else than a message came."""
        raise NotImplementedError

    def _has_answers_to_come(self) -> bool:
        """Tell whether the application may still answer what has been received."""
        return False

    def _hold_failure(self) -> None:
        """Tell the peer of its violation once the application has answered what came before it."""
        raise NotImplementedError

    def _release_failure(self) -> None:
        """Tell the peer of its violation now: everything before it has been answered."""
        raise NotImplementedError

    def _application_failed(self) -> None:
        """An exception came out of the application, which cannot be raised anywhere."""
        raise NotImplementedError

    def _watch_idleness(self) -> None:
        """Give up what extensions only need while messages flow, once a timeout has passed without any."""
        raise NotImplementedError

    def _end(self) -> None:
        """Bring the TCP connection to its end, in time (RFC 6455 §7.1.1)."""
        raise NotImplementedError

    def _admit(self) -> bool:
        """Tell whether one more message may wait for a peer that does not read."""
        raise NotImplementedError

    @property
    def state(self) -> State:
        """The state of the connection."""
        return self.protocol.state

    # The transport

    def _attach(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """Read from and write to a transport."""
        self.transport = transport
        self.loop = loop
        self._thread = threading.get_ident()
        self._buffer = _read_buffer(loop)

    def _detach(self) -> None:
        """The TCP connection is gone."""

    # Reading

    def _take_reads(self) -> None:
        """Read without the transport's help from now on, if that is faster."""

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.alive = True
        data = self._buffer[:nbytes]
        if self.protocol.state is State.CONNECTING:
            if not self._ending:
                self._on_handshake_data(data)
        else:
            self._receive(data)

    def _receive(self, data: bytes | memoryview) -> None:
        """Handle bytes that came behind the opening handshake."""
        protocol = self.protocol
        if protocol.hold_pongs and not self._write_paused:
            protocol.hold_pongs = self.transport.get_write_buffer_size() > self._write_high
        self._corked = True
        try:
            for start in range(0, len(data), PARSE_SIZE):
                for event in protocol.receive_data(data[start : start + PARSE_SIZE]):
                    if isinstance(event, Message):
                        self._on_message(event)
                    else:
                        self._on_event(event)
                self._on_read()
        except Exception:
            self._application_failed()
        finally:
            self._corked = False
        if protocol.failed and not self._ending and self._has_answers_to_come():
            self._hold_failure()
        self._flush()

    def pause_reading(self) -> None:
        """Stop reading from the peer, so that TCP makes it wait."""
        if not self.reading_paused and not self.transport.is_closing():
            self.reading_paused = True
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read from the peer again."""
        if self.reading_paused:
            self.reading_paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()

    # Writing

    def _check_thread(self) -> None:
        """Refuse to be used by another thread than the event loop's."""
        if self._thread not in (None, threading.get_ident()):
            raise RuntimeError(
                "called from another thread than the event loop's; "
                "use loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe()"
            )

    def _flush_joined(self, size: int) -> None:
        """Write a message of that many bytes at once, or together with others sent in this turn of the event loop."""
        if self._corked:
            return
        if self._joined_bytes is None:
            self._joined_bytes = 0
            self.loop.call_soon(self._join)
        else:
            # At least 2 bytes of header, so that an empty message counts too.
            self._joined_bytes += 2 + size
            if self._joined_bytes <= JOINED_BYTES:
                return
            self._joined_bytes = 0
        self._flush()

    def _join(self) -> None:
        joined, self._joined_bytes = self._joined_bytes, None
        if joined and self.protocol.state is not State.CLOSED:
            self._flush()

    def _flush(self) -> None:
        """Write what there is to send, and end the TCP connection when its time has come."""
        if self._corked:
            return
        if self._has_idle_timeout and self._idle_timer is None:
            self._watch_idleness()
        # The transport may call the application, and that may send something, which is written behind this.
        while data := self.protocol.data_to_send():
            if not self.transport.is_closing():
                self._corked = True
                try:
                    self.transport.write(data)
                finally:
                    self._corked = False
        if self.protocol.state is State.CLOSING or (self.protocol.failed and not self.protocol.failure_held):
            self._end()


class CallbackStream(Stream):
    """A stream that hands messages to a method.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
    """

    __slots__ = ()

    # What subclasses implement

    def _send_other(self, data: object) -> None:
        """Send what is neither text nor bytes, if there is a way."""
        raise NotImplementedError

    def message_received(self, data: str | bytes) -> None:
        """A message came: text as str, binary as bytes."""

    def send(self, data: str | Buffer | PreparedMessage, *, compress: bool | None = None) -> None:
        """Send a message.

        It is written at the end of the read that is being handled, or else at once. What the transport
        cannot write yet is kept, up to ``Limits.max_send_buffer``; ``pause_writing`` tells when to stop.

        Args:
            data: A str for a text message, a bytes-like object for a binary one, or a prepared message.
            compress: Whether to compress the message if that was agreed on; None leaves it to the threshold.

        Raises:
            InvalidState: If the connection is not open.
            TypeError: If ``data`` is none of these.
            BufferError: If too much is waiting to be sent, and the policy is to wait.
            RuntimeError: If the caller is in another thread than the event loop.
        """
        self._check_thread()
        if self._write_paused and not self._admit():
            return
        if isinstance(data, str):
            self.protocol.send_text(data, compress=compress)
        elif _is_buffer(data):
            self.protocol.send_binary(data, compress=compress)
        else:
            self._send_other(data)
        self._flush()

    def _on_message(self, message: Message) -> None:
        self.message_received(message.data)


def _is_buffer(data: Any) -> TypeGuard[Buffer]:
    if isinstance(data, (bytes, bytearray, memoryview)):
        return True
    try:
        memoryview(data)
    except TypeError:
        return False
    return True
