"""What ``recv`` and ``send`` do, in Python. Rank 5. Twin of ``src/asyncio/_queue_c.pyx``; see ``queue``."""

from __future__ import annotations

import asyncio
import collections
import contextvars
from collections.abc import AsyncIterable, Callable, Coroutine, Generator, Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

from wsframe._events_py import Message
from wsframe.asyncio._stream_py import Stream
from wsframe.constants import State
from wsframe.exceptions import ConcurrencyError, ConnectionClosed, ConnectionClosedOK
from wsframe.fragments import give_back

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from wsframe.connection import Connection
    from wsframe.prepared import PreparedMessage

__all__ = ["QueueStream", "Waiter"]


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
        try:
            if decode is None:
                return message.data
            return message.payload.decode() if decode else message.payload
        except UnicodeDecodeError as exc:
            error = exc
        except BaseException:
            # Out of memory: it is there for the next call.
            self._queue.appendleft(message)
            raise
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
        if self.reading_paused and (self._queue_low is None or len(self._queue) <= self._queue_low):
            try:
                self.resume_reading()
            except BaseException:
                self._queue.appendleft(message)
                raise
        self._answering = True
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
            RuntimeError: If the caller is in another thread than the event loop.
        """
        self._check_thread()
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
        "_loop",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callback: Callable[[Waiter], object] | None = None
        self._context: contextvars.Context | None = None
        self._done = False
        self._cancelled = False
        self._cancel_message: Any = None
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
        self.wake_soon()
        self._cancelled = True
        self._cancel_message = msg
        return True

    def wake_soon(self) -> None:
        """Resume the task in the next turn of the event loop."""
        if not self._done:
            self._done = True
            if self._callback is not None:
                try:
                    self._loop.call_soon(self._run, context=self._context)
                except BaseException:
                    self._done = False
                    raise

    def _run(self) -> None:
        """Resume the task, once: an exception may have come behind what was scheduled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback(self)

    def wake(self) -> None:
        """Resume the task now if that can be, in the next turn of the event loop if not."""
        if self._done or self._callback is None or asyncio.current_task(self._loop) is not None:
            self.wake_soon()
            return
        assert self._context is not None
        try:
            self._context.run(self._resume)
        except RuntimeError:
            if self._done:
                raise
            # A context cannot be entered twice: we are running in the task's own.
            self.wake_soon()

    def _resume(self) -> None:
        self._done = True
        self._run()
