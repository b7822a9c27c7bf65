"""WebSocket connections with coroutines: the part that servers and clients share.

Names and behaviour follow the asyncio API of the ``websockets`` library.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Iterable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from wsframe import limits as defaults
from wsframe._checks import (
    check_close,
    check_logger,
    check_max_queue,
    check_timeouts,
    check_type,
    check_write_limit,
    describe,
)
from wsframe.asyncio.datapath.lifecycle import SLOTS, BaseProtocol
from wsframe.asyncio.datapath.queue import QueueStream
from wsframe.constants import CloseCode, State
from wsframe.exceptions import ConcurrencyError
from wsframe.limits import SENDS_IN_A_ROW
from wsframe.messages.connection import SansIOConnection
from wsframe.messages.facade import ClosedFacade
from wsframe.messages.pings import control_payload
from wsframe.messages.prepared import PreparedMessage
from wsframe.messages.streaming import FragmentReader
from wsframe.opening.handshake import ClientHandshake, ServerHandshake
from wsframe.opening.http import Request, Response

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

__all__ = ["Connection"]


class Connection(ClosedFacade, QueueStream, BaseProtocol):
    """A WebSocket connection; servers use ``ServerConnection`` and clients ``ClientConnection``.

    Receive messages with ``recv()`` or ``async for``, and send them with ``send()``. One task may receive
    while others send. ``async with`` closes the connection on exit.

    Args:
        protocol: The connection without I/O, in state CONNECTING.
        open_timeout: Seconds allowed for the opening handshake; None for no limit.
        ping_interval: Seconds between keepalive pings; None disables them.
        ping_timeout: Seconds to wait for a sign of life after a ping; None for no limit.
        close_timeout: Seconds allowed for the closing handshake before TCP is aborted; None for no limit.
        max_queue: Messages that may wait to be received before reading pauses, or a pair that also sets the
            number at which reading resumes (a quarter by default); None for no limit.
        write_limit: Bytes in the write buffer above which ``send`` waits, or a pair that also sets the bytes
            below which it continues.
        logger: Logger to use.

    Attributes:
        id: A unique identifier, for logs.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If a number is out of range.
    """

    __slots__ = (*SLOTS, "_lost", "_lost_exc", "_writers", "id")

    def __init__(
        self,
        protocol: SansIOConnection,
        *,
        open_timeout: float | None = None,
        ping_interval: float | None = defaults.PING_INTERVAL_S,
        ping_timeout: float | None = defaults.PING_TIMEOUT_S,
        close_timeout: float | None = defaults.CLOSE_TIMEOUT_S,
        max_queue: int | tuple[int | None, int | None] | None = defaults.MAX_QUEUE,
        write_limit: int | tuple[int, int | None] = defaults.WRITE_LIMIT,
        logger: logging.Logger | logging.LoggerAdapter[Any] | None = None,
    ) -> None:
        check_type("protocol", protocol, SansIOConnection, "a wsframe.Connection")
        check_timeouts(open_timeout, ping_interval, ping_timeout, close_timeout)
        check_logger(logger)
        write_high, write_low = check_write_limit(write_limit)
        queue_high, queue_low = check_max_queue(max_queue)
        if queue_low is None and queue_high is not None:
            queue_low = queue_high // 4
        QueueStream.__init__(self, protocol, write_high, queue_high, queue_low)
        BaseProtocol.__init__(
            self,
            open_timeout=open_timeout,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            close_timeout=close_timeout,
            write_low=write_low,
            logger=logger or logging.getLogger(f"wsframe.{protocol.role.name.lower()}"),
        )
        # For logging formatters and filters, as in websockets.
        self.log_to(self.logger)
        self.id = uuid.uuid4()
        # Futures of those waiting for room in the write buffer, and for the end of the connection.
        self._writers: set[asyncio.Future[None]] = set()
        self._lost: asyncio.Future[None] | None = None
        # Why TCP ended; becomes the cause of ConnectionClosed.
        self._lost_exc: Exception | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close(CloseCode.NORMAL_CLOSURE if exc_type is None else CloseCode.INTERNAL_ERROR)

    def take_over(
        self,
        transport: asyncio.Transport,
        handshake: ServerHandshake | ClientHandshake,
        request: Request,
        response: Response,
        unread: bytes = b"",
    ) -> None:
        """Run on a transport on which other code has completed the opening handshake.

        Args:
            transport: The transport; this connection becomes its protocol.
            handshake: The handshake, which must have succeeded.
            request: The handshake request.
            response: The handshake response, which must have been written.
            unread: Bytes of the peer that came after its request or response.
        """
        self.request, self.response = request, response
        transport.set_protocol(self)
        self.connection_made(transport)
        self._opened(handshake)
        if unread:
            self._receive(unread)

    # Receiving

    def __aiter__(self) -> Self:
        """Iterate over messages until the connection closes.

        The iteration ends when both sides have closed normally, and raises ConnectionClosedError otherwise.
        """
        return self

    @overload
    def recv_streaming(self, decode: Literal[True]) -> AsyncGenerator[str, None]: ...
    @overload
    def recv_streaming(self, decode: Literal[False]) -> AsyncGenerator[bytes, None]: ...
    @overload
    def recv_streaming(self, decode: bool | None = None) -> AsyncGenerator[str | bytes, None]: ...

    async def recv_streaming(self, decode: bool | None = None) -> AsyncGenerator[Any, None]:
        """Receive the next message fragment by fragment, each as soon as it arrives.

        How the peer and intermediaries split a message into fragments has no meaning (RFC 6455 §5.4). The message
        size limit applies to all fragments together; with ``max_size=(None, n)``, only each fragment is limited.

        Cancelling before the first fragment loses nothing. After that, an iteration that does not run to completion
        leaves the connection usable only for ``close()``.

        Args:
            decode: As in ``recv``, for each fragment.

        Raises:
            ConnectionClosed: As in ``recv``.
            ConcurrencyError: If another task is receiving.
            RuntimeError: If called from a thread other than the event loop's.
        """
        self._check_can_receive("recv_streaming")
        self._streaming = True
        reader = FragmentReader(decode)
        begun = False
        try:
            message = None if self.queue_depth else self.protocol.stream_message()
            while not reader.done:
                if message is None:
                    message = await self._next_message()
                for fragment in reader.read(message):
                    begun = True
                    # The last fragment completes the message.
                    self._streaming = not reader.done
                    yield fragment
                message = None
        except UnicodeDecodeError as exc:
            await self._refuse_text(exc)
        finally:
            if not begun:
                self._give_back()
            if not reader.done:
                self._streaming = begun

    async def _refuse_text(self, exc: UnicodeDecodeError) -> None:
        self._lost_exc = self._lost_exc or exc
        if self.protocol.close_rcvd is None:
            self.protocol.fail(CloseCode.INVALID_FRAME_PAYLOAD_DATA, f"{exc.reason} at position {exc.start}")
        self._flush()
        await self.wait_closed()
        raise self.close_exc

    # Sending

    async def _send(
        self,
        message: str | Buffer | PreparedMessage | Iterable[str | Buffer] | AsyncIterable[str | Buffer],
        text: bool | None,
        compress: bool | None,
    ) -> None:
        self._check_thread()
        while self._fragments_sent is not None:
            await asyncio.shield(self._fragments_sent)
        if self.writing_paused and not await self._admit_later():
            return
        if isinstance(message, (str, bytes, bytearray, memoryview)):
            await self._check_open()
            self._put_fragment(message, text, True, compress)
            self._flush_joined(len(message))
            await self._drain()
        elif isinstance(message, PreparedMessage):
            await self._check_open()
            self.protocol.send_prepared(message)
            self._flush_joined(len(message.payload))
            await self._drain()
        elif isinstance(message, Mapping):
            raise TypeError("data is a dict-like object")
        elif isinstance(message, (Iterable, AsyncIterable)):
            await self._send_fragments(message, text, compress)
        else:
            raise TypeError("data must be str, bytes, iterable, or async iterable")

    async def _send_fragments(
        self,
        message: Iterable[str | Buffer] | AsyncIterable[str | Buffer],
        text: bool | None,
        compress: bool | None,
    ) -> None:
        fragments, kind = (
            (message, "async iterable") if isinstance(message, AsyncIterable) else (_iterate(message), "iterable")
        )
        begun = False
        is_text = False
        try:
            async for fragment in fragments:
                if not begun and not isinstance(fragment, (str, bytes, bytearray, memoryview)):
                    raise TypeError(f"{kind} must contain bytes or str")
                if begun and not isinstance(fragment, str if is_text else (bytes, bytearray, memoryview)):
                    raise TypeError(f"{kind} must contain uniform types")
                if not begun:
                    while self._fragments_sent is not None:
                        await asyncio.shield(self._fragments_sent)
                await self._check_open()
                if begun:
                    self.protocol.send_continuation(fragment, False)
                else:
                    self._fragments_sent = self.loop.create_future()
                    begun = True
                    is_text = isinstance(fragment, str)
                    self._put_fragment(fragment, text, False, compress)
                self._flush()
                await self._drain()
            if begun:
                await self._check_open()
                self.protocol.send_continuation(b"", True)
                self._flush()
                await self._drain()
        except BaseException:
            # An incomplete message makes the connection unusable.
            if begun and self.protocol.state is State.OPEN:
                self.protocol.fail(CloseCode.INTERNAL_ERROR, "error in fragmented message")
                self._flush()
            raise
        finally:
            if begun and self._fragments_sent is not None:
                self._fragments_sent.set_result(None)
                self._fragments_sent = None

    def try_send(
        self, message: str | Buffer | PreparedMessage, text: bool | None = None, *, compress: bool | None = None
    ) -> bool:
        """Send a message if that is possible without waiting.

        Args:
            message: A str for a text message, a bytes-like object for a binary one, or a prepared message.
            text: As in ``send``.
            compress: As in ``send``.

        Returns:
            True if it was sent; False if the write buffer is above its limit or a fragmented message is being sent.

        Raises:
            ConnectionClosed: When the connection is closed.
            InvalidState: If the connection is closing.
            TypeError: If ``message`` has another type.
            RuntimeError: If called from a thread other than the event loop's.
        """
        self._check_thread()
        if not isinstance(message, (str, bytes, bytearray, memoryview, PreparedMessage)):
            raise TypeError(f"data must be str, bytes-like, or a prepared message, not {describe(message)}")
        if self.protocol.state is State.CLOSED:
            raise self.close_exc
        if self.protocol.state is State.OPEN:
            # While a read is being handled, nothing enters the write buffer.
            waiting = self.buffered_bytes + self.protocol.unsent_bytes
            if self.writing_paused or waiting > self._write_high or self._fragments_sent is not None:
                return False
        if isinstance(message, PreparedMessage):
            self.protocol.send_prepared(message)
            self._flush_joined(len(message.payload))
        else:
            self._put_fragment(message, text, True, compress)
            self._flush_joined(len(message))
        return True

    async def ping(self, data: str | Buffer | None = None) -> Awaitable[float]:
        """Send a ping.

        Args:
            data: At most 125 bytes; four random ones by default.

        Returns:
            An awaitable that completes when the pong arrives and returns the round-trip time in seconds::

                latency = await (await websocket.ping())

        Raises:
            ConnectionClosed: When the connection is closed.
            ConcurrencyError: If a ping with the same data is still unanswered.
            ProtocolError: If ``data`` is longer than that.
        """
        self._check_thread()
        payload = self._pings.new_payload() if data is None else control_payload(data)
        await self._check_open()
        if payload in self._pings:
            raise ConcurrencyError("already waiting for a pong with the same data")
        waiter: asyncio.Future[float] = self.loop.create_future()
        self._send_ping(payload, waiter)
        await self._drain()
        return waiter

    async def pong(self, data: str | Buffer = b"") -> None:
        """Send an unsolicited pong; pings are answered automatically.

        Args:
            data: At most 125 bytes.

        Raises:
            ConnectionClosed: When the connection is closed.
            ProtocolError: If ``data`` is longer than that.
        """
        self._check_thread()
        payload = control_payload(data)
        await self._check_open()
        self.protocol.send_pong(payload)
        self._flush()
        await self._drain()

    async def _check_open(self) -> None:
        """Raise ConnectionClosed unless the connection is open; first wait until its outcome is final."""
        if self.protocol.state is not State.OPEN:
            if self._stopped:
                raise self.protocol.describe_end()
            await self.wait_closed()
            raise self.close_exc

    async def _drain(self) -> None:
        """Wait until there is room in the write buffer."""
        self._sent_in_a_row += 1
        if self._sent_in_a_row >= SENDS_IN_A_ROW or self.transport.is_closing():
            # A task that sends in a loop must not keep the event loop from reading or from reporting the loss of TCP.
            self._sent_in_a_row = 0
            await asyncio.sleep(0)
        if self.writing_paused:
            await self._wait_until_written()

    async def drain(self) -> None:
        """Wait until the write buffer is below its limit, as ``send`` does after a message.

        Raises:
            ConnectionClosed: If the connection is lost while waiting.
        """
        while self.writing_paused:
            await self._wait_until_written()

    async def _wait_until_written(self) -> None:
        waiter = self.loop.create_future()
        self._writers.add(waiter)
        try:
            await waiter
        finally:
            self._writers.discard(waiter)
        if self.protocol.state is State.CLOSED:
            raise self.close_exc

    async def _admit_later(self) -> bool:
        """Wait for room to buffer one more message for a peer that does not read; return whether it is admitted."""
        while self.writing_paused and self.protocol.state is State.OPEN:
            try:
                admitted = self._admit()
            except BufferError:
                await self._wait_until_written()
                continue
            if admitted or self.protocol.state is State.OPEN:
                return admitted
        return True

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wake_writers()

    def _wake_writers(self) -> None:
        for waiter in self._writers:
            if not waiter.done():
                waiter.set_result(None)

    # Closing

    async def close(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Perform the closing handshake, and wait until the TCP connection is closed.

        If the connection is already closing or closed, only wait.

        Args:
            code: 1000 to 1003, 1007 to 1014, 3000 to 4999.
            reason: At most 123 bytes of UTF-8.

        Raises:
            TypeError: If ``code`` is not an int or ``reason`` is not a str.
            ProtocolError: If the code or reason cannot be sent.
        """
        self.start_closing(code, reason)
        await self.wait_closed()

    def start_closing(self, code: CloseCode | int = CloseCode.NORMAL_CLOSURE, reason: str = "") -> None:
        """Start the closing handshake, without waiting for its end; do nothing if that has already happened.

        Args:
            code: As in ``close``.
            reason: As in ``close``.

        Raises:
            TypeError: If ``code`` is not an int or ``reason`` is not a str.
            ProtocolError: If the code or reason cannot be sent.
        """
        check_close(code, reason)
        self._check_thread()
        self._release_failure()
        if self.protocol.state is State.OPEN:
            if self._fragments_sent is not None:
                self.protocol.fail(CloseCode.INTERNAL_ERROR, "close during fragmented message")
            else:
                self.protocol.send_close(code, reason)
            self._flush()
        elif self.protocol.state is State.CONNECTING:
            self.transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is closed, including TCP."""
        if self.protocol.state is not State.CLOSED:
            if self._lost is None:
                self._lost = self.loop.create_future()
            await asyncio.shield(self._lost)

    def keepalive_timed_out(self) -> None:
        self._lost_exc = TimeoutError("keepalive ping timeout")
        super().keepalive_timed_out()

    def _close_timed_out(self) -> None:
        self._lost_exc = self._lost_exc or TimeoutError("timed out while closing connection")
        super()._close_timed_out()

    def _on_lost(self, exc: Exception | None) -> None:
        if exc is None and self.protocol.close_rcvd is None and not self.protocol.failed:
            exc = EOFError("unexpected end of stream")
        self._lost_exc = self._lost_exc or exc
        self._wake_receiver()
        self._wake_writers()
        if self._lost is not None:
            self._lost.set_result(None)


async def _iterate(fragments: Iterable[Any]) -> AsyncIterable[Any]:
    for fragment in fragments:
        yield fragment
