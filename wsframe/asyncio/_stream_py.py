"""Reads and writes of a connection in Python. Rank 5. Twin of ``src/asyncio/_stream_c.pyx``; see ``stream``."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeGuard

from wsframe._events_py import Message
from wsframe.constants import CloseCode, State
from wsframe.limits import JOINED_BYTES, PARSE_SIZE, READ_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsframe.connection import Connection
    from wsframe.events import Event
    from wsframe.prepared import PreparedMessage

__all__ = ["CallbackStream", "Stream"]


class _Share:
    """What the connections of an event loop share.

    ``get_buffer``, the read and ``buffer_updated`` follow one another without anything in between, so an
    idle connection needs no buffer of its own.
    """

    __slots__ = ("buffer", "parsing")

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(READ_SIZE))
        # How many connections are handling what was read, one within a callback of another.
        self.parsing = 0


_shares: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Share] = weakref.WeakKeyDictionary()


class Stream:
    """From a read to messages, and from messages to a write.

    What is sent while a read is being handled is written at its end, in one piece; what is sent otherwise, at once or
    together with more that is sent in the same turn of the event loop.

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
        # Of either implementation.
        if not hasattr(protocol, "receive_data"):
            raise TypeError(f"protocol must be a Connection, not {type(protocol).__name__}")
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
        # A buffer for the transport that delivers while the shared one is in use; whether what was read is being
        # handled, and what has come meanwhile.
        self._own_buffer: memoryview | None = None
        self._receiving = False
        self._received_meanwhile: list[bytes] = []
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
        share = _shares.get(loop)
        if share is None:
            share = _shares[loop] = _Share()
        self._share = share

    def _detach(self) -> None:
        """The TCP connection is gone."""

    # Reading

    def _take_reads(self) -> None:
        """Read without the transport's help from now on, if that is faster."""

    def _why_not_direct(self) -> tuple[str | None, str | None]:
        """Why the socket is not read and not written without the transport's help; None where it is."""
        reason = "the pure implementation leaves it to the transport"
        return reason, reason

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._share.parsing:
            # A transport delivers while what was read before is not parsed yet.
            self._own_buffer = memoryview(bytearray(PARSE_SIZE))
            return self._own_buffer
        return self._share.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.alive = True
        view = self._share.buffer if self._own_buffer is None else self._own_buffer
        self._own_buffer = None
        self._take(view[: max(nbytes, 0)])

    def _take(self, data: memoryview) -> None:
        """Handle what came."""
        if self.protocol.state is not State.CONNECTING:
            self._receive(data)
        elif not self._ending:
            self._on_handshake_data(data)

    def _receive(self, data: bytes | memoryview) -> None:
        """Handle bytes that came behind the opening handshake."""
        if self._receiving:
            # A callback of this very connection has its transport deliver: behind what is being handled.
            self._received_meanwhile.append(bytes(data))
            return
        protocol = self.protocol
        share = self._share
        was_corked = self._corked
        self._receiving = self._corked = True
        share.parsing += 1
        try:
            if protocol.hold_pongs and not self._write_paused:
                protocol.hold_pongs = self.transport.get_write_buffer_size() > self._write_high
            self._parse(data)
            while self._received_meanwhile:
                self._parse(self._received_meanwhile.pop(0))
        except Exception:
            self._application_failed()
        except BaseException:
            # KeyboardInterrupt: what has not been handled is lost, and so is the connection.
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
        """Stop reading from the peer, so that TCP makes it wait."""
        if not self.reading_paused and not self.transport.is_closing():
            self.transport.pause_reading()
            self.reading_paused = True

    def resume_reading(self) -> None:
        """Read from the peer again."""
        if self.reading_paused:
            # Before, since the transport may deliver at once, and reading may have to pause again.
            self.reading_paused = False
            try:
                if not self.transport.is_closing():
                    self.transport.resume_reading()
            except BaseException:
                self.reading_paused = True
                raise

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
            self._flush()
            self._begin_joining()
            return
        # At least 2 bytes of header, so that an empty message counts too.
        self._joined_bytes += 2 + size
        if self._joined_bytes <= JOINED_BYTES:
            return
        self._joined_bytes = 0
        self._flush()

    def _begin_joining(self) -> None:
        """Write what is sent from now on at the end of this turn of the event loop."""
        try:
            self.loop.call_soon(self._join)
        except Exception:
            # Without memory for it, or without an event loop that is open: then each message is written at once.
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
        """Write what there is to send, and end the TCP connection when its time has come."""
        # Signal handlers, finalizers and tracers run anywhere in here, and the transport may call the application. What
        # any of them sends is written by this loop, behind the rest; or by themselves, behind its end.
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
        """Write what there is."""
        if self.transport.is_closing():
            self.protocol.data_to_send()
            return
        try:
            self.transport.write(self.protocol.data_to_send())
        except BaseException:
            # Who knows how much of it is written: what came next might be taken for the rest of a frame.
            with contextlib.suppress(NotImplementedError):
                self.transport.abort()
            raise

    def _retry(self, exc: BaseException) -> None:
        """Write what an exception has left; one that is not known to be temporary might come again and again."""
        if not isinstance(exc, Exception) or isinstance(exc, MemoryError):
            self._flush_later()

    def _flush_later(self) -> None:
        """Write what there is in the next turn of the event loop."""
        # If that fails, too, with what is sent next.
        with contextlib.suppress(Exception):
            self.loop.call_soon(self._flush)


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
