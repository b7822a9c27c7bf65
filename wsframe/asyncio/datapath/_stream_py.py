"""Reads and writes of a connection in Python.

Twin of ``src/wsframe/asyncio/datapath/_stream_c.pyx``; the contract is in ``stream``.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeGuard

from wsframe.codec._message_py import Message
from wsframe.constants import CloseCode, State
from wsframe.limits import JOINED_BYTES, PARSE_SIZE, READ_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsframe.messages.connection import SansIOConnection
    from wsframe.messages.events import Event
    from wsframe.messages.prepared import PreparedMessage

__all__ = ["CallbackStream", "Stream"]


class _Share:
    """State shared by the connections of an event loop.

    Nothing runs between ``get_buffer``, the read and ``buffer_updated``, so an idle connection needs no buffer of
    its own.
    """

    __slots__ = ("buffer", "parsing")

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))
        # Number of connections that are handling data, one within a callback of another.
        self.parsing = 0


_shares: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Share] = weakref.WeakKeyDictionary()


class Stream:
    """Turn reads into messages, and messages into writes.

    Data sent while a read is being handled is written in one piece when the read has been handled. Other data is
    written at once, or together with more data sent in the same iteration of the event loop.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
    """

    __slots__ = (
        "_corked",
        "_ending",
        "_has_idle_timeout",
        "_idle_timer",
        "_joined_bytes",
        "_own_buffer",
        "_received_meanwhile",
        "_receiving",
        "_share",
        "_thread",
        "_write_high",
        "alive",
        "loop",
        "protocol",
        "reading_paused",
        "transport",
        "writing_paused",
    )

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop

    def __init__(self, protocol: SansIOConnection, write_high: int) -> None:
        # A Connection of either implementation.
        if not hasattr(protocol, "receive_data"):
            raise TypeError(f"protocol must be a Connection, not {type(protocol).__name__}")
        self.protocol = protocol
        # The thread of the event loop, once attached.
        self._thread: int | None = None
        # Whether any data has arrived since keepalive last checked.
        self.alive = False
        self.reading_paused = False
        self._write_high = write_high
        self.writing_paused = False
        self._corked = False
        # Bytes sent in this iteration of the event loop after the first write; None until that write.
        self._joined_bytes: int | None = None
        # A buffer for a transport that delivers while the shared one is in use; whether received data is being
        # handled; and the data that has arrived in the meantime.
        self._own_buffer: memoryview | None = None
        self._receiving = False
        self._received_meanwhile: list[bytes] = []
        # Whether the end of the TCP connection has begun.
        self._ending = False
        # Runs while an extension holds memory that an idle connection does not need.
        self._has_idle_timeout = False
        self._idle_timer: Any = None

    # Implemented by subclasses

    def _on_handshake_data(self, data: memoryview) -> None:
        """Handle bytes of the opening handshake."""
        raise NotImplementedError

    def _on_message(self, message: Message) -> None:
        """Handle a message."""
        raise NotImplementedError

    def _on_read(self) -> None:
        """Handle the end of a read; data sent now is still written together with the answers to its events."""

    def _on_event(self, event: Event) -> None:
        """Handle an event other than a message."""
        raise NotImplementedError

    def _has_answers_to_come(self) -> bool:
        """Return whether the application may still answer messages already received."""
        return False

    def _hold_failure(self) -> None:
        """Report the violation to the peer once the application has answered everything before it."""
        raise NotImplementedError

    def _release_failure(self) -> None:
        """Report the violation to the peer now: everything before it has been answered."""
        raise NotImplementedError

    def _application_failed(self) -> None:
        """Handle an exception from the application that cannot be raised anywhere."""
        raise NotImplementedError

    def _watch_idleness(self) -> None:
        """Release what extensions need only while messages flow, after a timeout without messages."""
        raise NotImplementedError

    def _end(self) -> None:
        """End the TCP connection within the time limit (RFC 6455 §7.1.1)."""
        raise NotImplementedError

    def _admit(self) -> bool:
        """Return whether one more message may be buffered for a peer that does not read."""
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
        share = _shares.get(loop)
        if share is None:
            share = _shares[loop] = _Share()
        self._share = share

    def _detach(self) -> None:
        """Handle the loss of the TCP connection."""

    # Reading

    def _take_reads(self) -> None:
        """From now on, read without the transport if that is faster."""

    def _why_not_direct(self) -> tuple[str | None, str | None]:
        """Return why the socket is not read and not written without the transport; None where it is."""
        reason = "the pure implementation leaves it to the transport"
        return reason, reason

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._share.parsing:
            # A transport delivers while earlier data has not been parsed yet.
            self._own_buffer = memoryview(bytearray(PARSE_SIZE))
            return self._own_buffer
        return self._share.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.alive = True
        view = self._share.buffer if self._own_buffer is None else self._own_buffer
        self._own_buffer = None
        self._take(view[: max(nbytes, 0)])

    def _take(self, data: memoryview) -> None:
        """Handle received data."""
        if self.protocol.state is not State.CONNECTING:
            self._receive(data)
        elif not self._ending:
            self._on_handshake_data(data)

    def _receive(self, data: bytes | memoryview) -> None:
        """Handle bytes received after the opening handshake."""
        if self._receiving:
            # A callback of this same connection makes its transport deliver: queue the data after the current data.
            self._received_meanwhile.append(bytes(data))
            return
        protocol = self.protocol
        share = self._share
        was_corked = self._corked
        self._receiving = self._corked = True
        share.parsing += 1
        try:
            if protocol.hold_pongs and not self.writing_paused:
                protocol.hold_pongs = self.transport.get_write_buffer_size() > self._write_high
            self._parse(data)
            while self._received_meanwhile:
                self._parse(self._received_meanwhile.pop(0))
        except Exception:
            self._application_failed()
        except BaseException:
            # KeyboardInterrupt: data not yet handled is lost, and so is the connection.
            if protocol.state is State.OPEN:
                protocol.fail(CloseCode.INTERNAL_ERROR)
            self._flush_later()
            raise
        finally:
            share.parsing -= 1
            self._receiving = False
            self._corked = was_corked
        if protocol.failed and not self._ending and self._has_answers_to_come():
            self._hold_failure()
        self._flush()

    def _parse(self, data: bytes | memoryview) -> None:
        for start in range(0, len(data), PARSE_SIZE):
            for event in self.protocol.receive_data(data[start : start + PARSE_SIZE]):
                if isinstance(event, Message):
                    self._on_message(event)
                else:
                    self._on_event(event)
            self._on_read()

    def pause_reading(self) -> None:
        """Stop reading from the peer, so that TCP flow control makes it wait."""
        if not self.reading_paused and not self.transport.is_closing():
            self.transport.pause_reading()
            self.reading_paused = True

    def resume_reading(self) -> None:
        """Resume reading from the peer."""
        if self.reading_paused:
            # Set first, because the transport may deliver at once, and reading may have to pause again.
            self.reading_paused = False
            try:
                if not self.transport.is_closing():
                    self.transport.resume_reading()
            except BaseException:
                self.reading_paused = True
                raise

    # Writing

    def _check_thread(self) -> None:
        """Raise RuntimeError if called from a thread other than the event loop's."""
        if self._thread not in (None, threading.get_ident()):
            raise RuntimeError(
                "called from another thread than the event loop's; "
                "use loop.call_soon_threadsafe() or asyncio.run_coroutine_threadsafe()"
            )

    def _flush_joined(self, size: int) -> None:
        """Write a message of ``size`` bytes at once, or with others sent in this iteration of the event loop."""
        if self._corked:
            return
        if self._joined_bytes is None:
            self._flush()
            self._begin_joining()
            return
        # Add the minimum header size of 2 bytes, so that an empty message counts too.
        self._joined_bytes += 2 + size
        if self._joined_bytes <= JOINED_BYTES:
            return
        self._joined_bytes = 0
        self._flush()

    def _begin_joining(self) -> None:
        """From now on, write sent data at the end of this iteration of the event loop."""
        try:
            self.loop.call_soon(self._join)
        except Exception:
            # Out of memory, or the event loop is closed: write each message at once.
            return
        self._joined_bytes = 0

    def _join(self) -> None:
        joined, self._joined_bytes = self._joined_bytes, None
        try:
            if joined and self.protocol.state is not State.CLOSED:
                self._flush()
        except BaseException as exc:
            self._retry(exc)
            raise

    def _flush(self) -> None:
        """Write pending output, and end the TCP connection when it is due."""
        # Signal handlers, finalizers and tracers may run anywhere in here, and the transport may call the application.
        # Data that they send is written by this loop, after the rest, or by themselves, once this loop has ended.
        while not self._corked and self.protocol._has_output():
            self._corked = True
            try:
                while self.protocol._has_output():
                    self._write()
            except BaseException as exc:
                self._retry(exc)
                raise
            finally:
                self._corked = False
        if self._corked:
            return
        if self._has_idle_timeout and self._idle_timer is None:
            self._watch_idleness()
        if self.protocol.state is State.CLOSING or (self.protocol.failed and not self.protocol.failure_held):
            self._end()

    def _write(self) -> None:
        """Write pending output."""
        if self.transport.is_closing():
            self.protocol.data_to_send()
            return
        try:
            self.transport.write(self.protocol.data_to_send())
        except BaseException:
            # It is unknown how much was written: the next data might be mistaken for the rest of a frame.
            with contextlib.suppress(NotImplementedError):
                self.transport.abort()
            raise

    def _retry(self, exc: BaseException) -> None:
        """Write later what an exception has left, unless the exception might recur forever."""
        if not isinstance(exc, Exception) or isinstance(exc, MemoryError):
            self._flush_later()

    def _flush_later(self) -> None:
        """Write pending output in the next iteration of the event loop."""
        # If that fails too, it is written with the next message.
        with contextlib.suppress(Exception):
            self.loop.call_soon(self._flush)


class CallbackStream(Stream):
    """A stream that passes messages to a method.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
    """

    __slots__ = ()

    # Implemented by subclasses

    def _send_other(self, data: object) -> None:
        """Send data that is neither text nor bytes, if supported."""
        raise NotImplementedError

    def message_received(self, data: str | bytes) -> None:
        """Called when a message arrives: text as str, binary as bytes."""

    def send(self, data: str | Buffer | PreparedMessage, *, compress: bool | None = None) -> None:
        """Send a message.

        The message is written when the current read has been handled, or else at once. Data that the transport
        cannot write yet is buffered up to ``Limits.max_send_buffer``; ``pause_writing`` signals when to stop.

        Args:
            data: A str for a text message, a bytes-like object for a binary one, or a prepared message.
            compress: Whether to compress the message if compression was negotiated; None decides by the threshold.

        Raises:
            InvalidState: If the connection is not open.
            TypeError: If ``data`` has another type.
            BufferError: If too much data is waiting to be sent and the policy is to wait.
            RuntimeError: If called from a thread other than the event loop's.
        """
        self._check_thread()
        if self.writing_paused and not self._admit():
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
