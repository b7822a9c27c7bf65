"""``recv`` and ``send`` in Python.

Twin of ``src/wsframe/asyncio/datapath/_queue_c.pyx``; the contract is in ``queue``.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

from wsframe.asyncio.datapath._stream_py import Stream
from wsframe.codec._message_py import Message
from wsframe.constants import State
from wsframe.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK
from wsframe.messages.streaming import give_back

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsframe.messages.connection import SansIOConnection
    from wsframe.messages.prepared import PreparedMessage

__all__ = ["QueueStream", "Waiter"]


class QueueStream(Stream):
    """A stream that queues messages for ``recv()``.

    Args:
        protocol: The connection without I/O.
        write_high: Bytes in the write buffer above which sending pauses.
        queue_high: Messages that may wait before reading pauses; None for no limit.
        queue_low: Messages at which reading resumes; None to resume at once.
    """

    __slots__ = (
        "_answering",
        "_dropping",
        "_fragments_sent",
        "_queue",
        "_queue_high",
        "_queue_low",
        "_receiver",
        "_sent_in_a_row",
        "_stopped",
        "_streaming",
    )

    def __init__(
        self, protocol: SansIOConnection, write_high: int, queue_high: int | None, queue_low: int | None
    ) -> None:
        Stream.__init__(self, protocol, write_high)
        self._queue: collections.deque[Message] = collections.deque()
        self._queue_high = queue_high
        self._queue_low = queue_low
        # The waiter of recv().
        self._receiver: Waiter | None = None
        # Whether recv_streaming() is running, or was left too early.
        self._streaming = False
        # Whether recv() and send() raise ConnectionClosed before TCP has ended.
        self._stopped = False
        # Whether messages are dropped that come after the application has closed the connection.
        self._dropping = False
        # Whether the application may still be answering a message that it has received.
        self._answering = False
        # Set while a fragmented message is being sent, which no other message may interrupt.
        self._fragments_sent: asyncio.Future[None] | None = None
        self._sent_in_a_row = 0

    # Implemented by subclasses

    @property
    def close_exc(self) -> ConnectionClosed:
        """The exception that describes how the connection ended."""
        raise NotImplementedError

    async def _refuse_text(self, exc: UnicodeDecodeError) -> None:
        """Fail the connection because a message to be decoded is not UTF-8; raise ``close_exc``."""
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
        """Number of messages waiting to be received."""
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
        """Receive the next complete message.

        The call may be cancelled at any time; the message is then left for the next call.

        Args:
            decode: True for str and False for bytes, regardless of the message type; by default, str for text
                messages and bytes for binary ones.

        Raises:
            ConnectionClosed: When the connection is closed and all its messages have been received, or when it
                fails because ``decode`` is True and a binary message is not UTF-8.
            ConcurrencyError: If another task is receiving.
            RuntimeError: If called from a thread other than the event loop's.
        """
        self._check_can_receive("recv")
        message = await self._next_message()
        try:
            if decode is None:
                return message.data
            return message.payload.decode() if decode else message.payload
        except UnicodeDecodeError as exc:
            error = exc
        except BaseException:
            # Out of memory: keep the message for the next call.
            self._queue.appendleft(message)
            raise
        await self._refuse_text(error)
        raise AssertionError("unreachable")

    def _check_can_receive(self, method: str) -> None:
        """Raise an exception if called from another thread, or while another task is receiving."""
        self._check_thread()
        if self._receiver is not None or self._streaming:
            raise ConcurrencyError(
                f"cannot call {method} while another coroutine is already running recv or recv_streaming"
            )

    async def _next_message(self) -> Message:
        """Wait for a message, or for a fragment of the one being streamed, and take it from the queue."""
        while not self._queue:
            if self.protocol.state is State.CLOSED:
                raise self.close_exc
            # The application asks for the next message: it has answered the earlier ones.
            self._answering = False
            self._release_failure()
            if self._stopped:
                raise self.protocol.describe_end()
            self._receiver = Waiter(self.loop)
            self._sent_in_a_row = 0
            try:
                await self._receiver
            finally:
                self._receiver = None
        message = self._queue.popleft()
        if self.reading_paused and (self._queue_low is None or len(self._queue) <= self._queue_low):
            try:
                self.resume_reading()
            except BaseException:
                self._queue.appendleft(message)
                raise
        self._answering = True
        return message

    def stop_waiting(self) -> None:
        """Drop messages that arrive from now on, and do not wait for the end of TCP before raising ConnectionClosed.

        For connections that are ending, but whose peer may take its time. ``recv()`` still returns earlier messages.
        """
        self._stopped = self._dropping = True
        self._wake_receiver()

    def _give_back(self) -> None:
        """Rejoin a message whose fragments are in the queue, so that it is received whole after all."""
        give_back(self._queue, self.protocol)

    def _on_message(self, message: Message) -> None:
        full = self._queue_high is not None and len(self._queue) >= self._queue_high
        # Reading continues while the connection is closing, because the peer's Close frame is still to come.
        # The application needs no more messages then, so those from the first one that exceeds the queue are dropped.
        # Each may be a fragment, so nothing may come after a gap.
        if self.protocol.state is State.OPEN or not (self._dropping or full):
            self._queue.append(message)
        else:
            self._dropping = True

    def _on_read(self) -> None:
        if self._queue:
            if self._receiver is not None:
                self._receiver.wake()
            # Reading does not pause while the connection is closing: see above.
            full = self._queue_high is not None and len(self._queue) > self._queue_high
            if full and self.protocol.state is State.OPEN:
                self.pause_reading()

    def _has_answers_to_come(self) -> bool:
        return bool(self._queue) or self._answering

    def _wake_receiver(self) -> None:
        """Make recv() check again in the next iteration of the event loop."""
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

        The call waits while the write buffer is above its limit. Cancelling it never leaves a partial frame on
        the wire; cancelling it between two fragments closes the connection.

        Args:
            message: A str for a text message, a bytes-like object for a binary one, a prepared message, or
                an iterable or asynchronous iterable of str or bytes-like objects, which are sent as the
                fragments of one message.
            text: True to send bytes, which must be UTF-8, as text, and False to send a str as binary.
            compress: Whether to compress the message if compression was negotiated; None leaves it to the
                extension, which does not compress messages below its threshold.

        Raises:
            ConnectionClosed: When the connection is closed.
            TypeError: If ``message`` has another type, is a mapping, or mixes str and bytes.
            RuntimeError: If called from a thread other than the event loop's.
        """
        return self._send(message, text, compress)

    def push(self, message: PreparedMessage) -> None:
        """Send a message at once, regardless of the write buffer; used by ``broadcast``.

        Raises:
            ConcurrencyError: If a fragmented message is being sent.
            InvalidState: If the connection is not open.
            BufferError: If too much data is waiting to be sent and the policy is to wait.
            RuntimeError: If called from a thread other than the event loop's.
        """
        self._check_thread()
        if self._fragments_sent is not None:
            raise ConcurrencyError("sending a fragmented message")
        if self.writing_paused and not self._admit():
            return
        self.protocol.send_prepared(message)
        self._flush_joined(len(message.payload))


class Waiter:
    """A future for a single task, compatible with ``asyncio.Future`` as far as tasks need it.

    If no task is running, ``wake`` resumes the task immediately, in the task's own context. Otherwise, or if
    that context is already entered, the event loop resumes the task in its next iteration.

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
        "_loop",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callback: Callable[[Waiter], object] | None = None
        self._context: contextvars.Context | None = None
        self._done = False
        self._cancelled = False
        self._cancel_message: Any = None
        # Tasks check this attribute of the objects that they wait for.
        self._asyncio_future_blocking = False

    def __await__(self) -> Generator[Waiter, None, None]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        self.result()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop, which a task compares with its own."""
        return self._loop

    def add_done_callback(self, callback: Callable[[Waiter], object], *, context: contextvars.Context) -> None:
        """Set the single callback, which resumes the task."""
        self._callback = callback
        self._context = context

    def result(self) -> None:
        """Return None if the task was woken.

        Raises:
            CancelledError: If the waiter was cancelled.
        """
        if self._cancelled:
            raise asyncio.CancelledError(*([] if self._cancel_message is None else [self._cancel_message]))

    def cancel(self, msg: Any = None) -> bool:
        """Resume the task with CancelledError; return whether it was still waiting."""
        if self._done:
            return False
        self.wake_soon()
        self._cancelled = True
        self._cancel_message = msg
        return True

    def wake_soon(self) -> None:
        """Resume the task in the next iteration of the event loop."""
        if not self._done:
            self._done = True
            if self._callback is not None:
                try:
                    self._loop.call_soon(self._run, context=self._context)
                except BaseException:
                    self._done = False
                    raise

    def _run(self) -> None:
        """Resume the task only once: an exception may have followed the scheduled call."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(self)

    def wake(self) -> None:
        """Resume the task now if possible, otherwise in the next iteration of the event loop."""
        if self._done or self._callback is None or asyncio.current_task(self._loop) is not None:
            self.wake_soon()
            return
        assert self._context is not None
        try:
            self._context.run(self._resume)
        except RuntimeError:
            if self._done:
                raise
            # A context cannot be entered twice: we are already running in the task's own.
            self.wake_soon()

    def _resume(self) -> None:
        self._done = True
        self._run()
