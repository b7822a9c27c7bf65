"""A connection's data path in Python. Rank 5. Twin of ``src/asyncio/_stream_c.pyx``; the contract is in ``stream``."""

from __future__ import annotations

import asyncio
import collections
import contextvars
import threading
import weakref
from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, overload

from wsframe._events_py import Message
from wsframe.constants import State
from wsframe.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK
from wsframe.fragments import give_back
from wsframe.limits import JOINED_BYTES, PARSE_SIZE, READ_SIZE

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsframe.connection import Connection
    from wsframe.events import Event
    from wsframe.prepared import PreparedMessage

__all__ = ["CallbackStream", "QueueStream", "Stream", "Waiter"]

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


class QueueStream(Stream):
    """A stream that queues messages for ``recv()``.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
        queue_high: Messages that wait before reading pauses; None for no limit.
        queue_low: Messages at which it resumes; None for at once.
    """

    __slots__ = (
        "_answering",
        "_fragments_sent",
        "_queue",
        "_queue_high",
        "_queue_low",
        "_receiver",
        "_sent_in_a_row",
        "_streaming",
    )

    def __init__(self, protocol: Connection, write_high: int, queue_high: int | None, queue_low: int | None) -> None:
        Stream.__init__(self, protocol, write_high)
        self._queue: collections.deque[Message] = collections.deque()
        self._queue_high = queue_high
        self._queue_low = queue_low
        # Who waits in recv().
        self._receiver: Waiter | None = None
        # Whether somebody is in recv_streaming(), or has left it too early.
        self._streaming = False
        # Whether a message was handed out that the application may still be answering.
        self._answering = False
        # Set while a fragmented message is being sent, which no other message may interrupt.
        self._fragments_sent: asyncio.Future[None] | None = None
        self._sent_in_a_row = 0

    # What subclasses implement

    @property
    def close_exc(self) -> ConnectionClosed:
        """The exception that tells how the connection ended."""
        raise NotImplementedError

    async def _refuse_text(self, exc: UnicodeDecodeError) -> None:
        """A message that was to be text is not UTF-8: fail the connection, and raise how it ended."""
        raise NotImplementedError

    async def _send(
        self,
        message: str | Buffer | PreparedMessage | Iterable[str | Buffer] | AsyncIterable[str | Buffer],
        text: bool | None,
        compress: bool | None,
    ) -> None:
        """Send a message of any kind, in any state."""
        raise NotImplementedError

    # Receiving

    @property
    def queue_depth(self) -> int:
        """Messages that wait to be received."""
        return len(self._queue)

    async def __anext__(self) -> str | bytes:
        try:
            return await self.recv()
        except ConnectionClosedOK:
            raise StopAsyncIteration from None

    @overload
    async def recv(self, decode: Literal[True]) -> str: ...
    @overload
    async def recv(self, decode: Literal[False]) -> bytes: ...
    @overload
    async def recv(self, decode: bool | None = None) -> str | bytes: ...

    async def recv(self, decode: bool | None = None) -> str | bytes:
        """Receive the next message, whole.

        It may be cancelled at any time; the message is then there for the next call.

        Args:
            decode: True for a str and False for bytes, whatever the message is; by default, text comes as
                str and binary as bytes.

        Raises:
            ConnectionClosed: When the connection is closed and all its messages have been received, or fails
                because ``decode`` is True and a binary message is not UTF-8.
            ConcurrencyError: If another task is receiving.
            RuntimeError: If the caller is in another thread than the event loop.
        """
        self._check_can_receive("recv")
        message = await self._next_message()
        if decode is None:
            return message.data
        if not decode:
            return message.payload
        try:
            return message.payload.decode()
        except UnicodeDecodeError as exc:
            error = exc
        await self._refuse_text(error)
        raise AssertionError("unreachable")

    def _check_can_receive(self, method: str) -> None:
        """Refuse to receive in another thread, and while somebody else does."""
        self._check_thread()
        if self._receiver is not None or self._streaming:
            raise ConcurrencyError(
                f"cannot call {method} while another coroutine is already running recv or recv_streaming"
            )

    async def _next_message(self) -> Message:
        """Wait for a message, or for a fragment of the one that is being streamed, and take it from the queue."""
        while not self._queue:
            if self.protocol.state is State.CLOSED:
                raise self.close_exc
            # The application has come back for more: what there was to answer is answered.
            self._answering = False
            self._release_failure()
            self._receiver = Waiter(self.loop)
            self._sent_in_a_row = 0
            try:
                await self._receiver
            finally:
                self._receiver = None
        message = self._queue.popleft()
        self._answering = True
        if self.reading_paused and (self._queue_low is None or len(self._queue) <= self._queue_low):
            self.resume_reading()
        return message

    def _give_back(self) -> None:
        """Have a message handed out whole after all of which fragments are in the queue."""
        give_back(self._queue, self.protocol)

    def _on_message(self, message: Message) -> None:
        full = self._queue_high is not None and len(self._queue) >= self._queue_high
        # Reading goes on while the connection is closing, since the peer's Close frame is still to come.
        # The application has said that it wants no more, so what exceeds the queue is not kept.
        if not full or self.protocol.state is State.OPEN:
            self._queue.append(message)

    def _on_read(self) -> None:
        if self._queue:
            if self._receiver is not None:
                self._receiver.wake()
            # Nor does reading pause while the connection is closing: see above.
            full = self._queue_high is not None and len(self._queue) > self._queue_high
            if full and self.protocol.state is State.OPEN:
                self.pause_reading()

    def _has_answers_to_come(self) -> bool:
        return bool(self._queue) or self._answering

    def _wake_receiver(self) -> None:
        """Have recv() look again, in the next turn of the event loop."""
        if self._receiver is not None:
            self._receiver.wake_soon()

    # Sending

    def send(
        self,
        message: str | Buffer | PreparedMessage | Iterable[str | Buffer] | AsyncIterable[str | Buffer],
        text: bool | None = None,
        *,
        compress: bool | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Send a message.

        The call waits while the write buffer is above its limit. Cancelling it never leaves half a frame on
        the wire; cancelling it between two fragments closes the connection.

        Args:
            message: A str for a text message, a bytes-like object for a binary one, a prepared message, or
                an iterable or asynchronous iterable of str or bytes-like objects, which become the
                fragments of one message.
            text: True to send bytes, which must be UTF-8, as text, and False to send a str as binary.
            compress: Whether to compress the message if that was agreed on; None leaves it to the
                extension, which does not compress messages below its threshold.

        Raises:
            ConnectionClosed: When the connection is closed.
            TypeError: If ``message`` is none of these, a mapping, or a mix of str and bytes.
            RuntimeError: If the caller is in another thread than the event loop.
        """
        return self._send(message, text, compress)

    def push(self, message: PreparedMessage) -> None:
        """Send a message at once, whatever waits in the write buffer; ``broadcast`` uses it.

        Raises:
            ConcurrencyError: If a fragmented message is being sent.
            InvalidState: If the connection is not open.
            BufferError: If too much is waiting to be sent, and the policy is to wait.
        """
        if self._fragments_sent is not None:
            raise ConcurrencyError("sending a fragmented message")
        if self._write_paused and not self._admit():
            return
        self.protocol.send_prepared(message)
        self._flush_joined(len(message.payload))


class Waiter:
    """What one task waits for; compatible with ``asyncio.Future`` as far as tasks need it.

    ``wake`` resumes the task right there, in its own context, if no task is running. Otherwise, and if that
    context is the one that is running already, the task is resumed by the event loop in its next turn.

    Args:
        loop: The event loop of the task.
    """

    __slots__ = (
        "_asyncio_future_blocking",
        "_callback",
        "_cancel_message",
        "_cancelled",
        "_context",
        "_done",
        "_entered",
        "_loop",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callback: Callable[[Waiter], object] | None = None
        self._context: contextvars.Context | None = None
        self._done = False
        self._cancelled = False
        self._cancel_message: Any = None
        self._entered = False
        # Tasks look for this attribute on what they are given to wait for.
        self._asyncio_future_blocking = False

    def __await__(self) -> Generator[Waiter, None, None]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        self.result()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop; a task checks that it is its own."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Waiter], object], *, context: contextvars.Context) -> None:
        """Take the one callback that resumes the task."""
        self._callback = callback
        self._context = context

    def result(self) -> None:
        """Return if the task was woken.

        Raises:
            CancelledError: If it was cancelled.
        """
        if self._cancelled:
            raise asyncio.CancelledError(*([] if self._cancel_message is None else [self._cancel_message]))

    def cancel(self, msg: Any = None) -> bool:
        """Have the task resumed with CancelledError; return whether it was still waiting."""
        if self._done:
            return False
        self._cancelled = True
        self._cancel_message = msg
        self.wake_soon()
        return True

    def wake_soon(self) -> None:
        """Resume the task in the next turn of the event loop."""
        if not self._done:
            self._done = True
            if self._callback is not None:
                self._loop.call_soon(self._callback, self, context=self._context)

    def wake(self) -> None:
        """Resume the task now if that can be, in the next turn of the event loop if not."""
        if self._done or self._callback is None or asyncio.current_task(self._loop) is not None:
            self.wake_soon()
            return
        assert self._context is not None
        self._done = True
        try:
            self._context.run(self._resume)
        except RuntimeError:
            if self._entered:
                raise
            # A context cannot be entered twice: we are running in the task's own.
            self._loop.call_soon(self._callback, self, context=self._context)

    def _resume(self) -> None:
        self._entered = True
        assert self._callback is not None
        self._callback(self)
