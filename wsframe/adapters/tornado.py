"""tornado, and thus Jupyter: its ``WebSocketProtocol13`` with a faster way to read and write frames.

tornado reads a frame in three or four steps, each of which may suspend. It creates a task for each message whose
handler is a coroutine and one for each message sent, and writes each frame separately. Here, a read is parsed as a
whole, data sent while its messages are handled is written in one piece, and tasks are created only for coroutines that
suspend.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import weakref
from collections.abc import Callable, Generator
from typing import Any

import tornado.websocket
from tornado.escape import json_encode, utf8
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketProtocol13

from wsframe import CloseCode, Frame, FrameParser, Opcode, Role, new_masking_key, serialize_frame
from wsframe.hosting import Cork, Waiter

__all__ = ["Protocol", "replacements"]

READ_SIZE = 64 * 1024
"""Bytes to read at once: as many as tornado requests from the system."""

TURN_BYTES = 256 * 1024
"""Bytes to handle before yielding to the event loop, when many frames arrive at once; as in tornado."""

FRAME_BYTES = 1024
"""Bytes counted for each frame in addition to its own; as in tornado."""


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes."""
    return [(tornado.websocket, "WebSocketProtocol13", Protocol)]


class Protocol(WebSocketProtocol13):
    """The protocol of one connection, for tornado's servers and clients."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Holds what is sent while a read is being handled.
        self._cork = Cork(self._write_to_stream)
        # The last write, for which callers wait if the peer does not read, and a completed future for other cases.
        self._write: Any = None
        self._written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._written.set_result(None)
        # The fragmented message being received.
        self._fragments = bytearray()
        self._fragments_opcode = Opcode.TEXT
        self._message_compressed = False

    # Reading

    async def _receive_frame_loop(self) -> None:
        parser = FrameParser(
            Role.CLIENT if self.mask_outgoing else Role.SERVER,
            max_message_size=self.params.max_message_size,
            rsv1=self._decompressor is not None,
        )
        try:
            await self._receive(parser)
        except StreamClosedError:
            self._abort()
        finally:
            self._cork.release()
            self.handler.on_ws_connection_close(self.close_code, self.close_reason)

    async def _receive(self, parser: FrameParser) -> None:
        work = 0
        # Whether more data can probably be read at once.
        whole = False
        while not self.client_terminated:
            data = await self._read(whole)
            whole = len(data) == READ_SIZE
            self._wire_bytes_in += len(data)
            work += len(data)
            for frame in parser.feed(data):
                if self.client_terminated:
                    return
                self._cork.hold()
                handled = self._receive_whole(frame)
                if handled is not None:
                    self._cork.release()
                    await handled
                work += FRAME_BYTES
                if work >= TURN_BYTES:
                    work = 0
                    self._cork.release()
                    await asyncio.sleep(0)
            self._cork.release()
            if parser.fault is not None:
                if parser.fault.close_code == CloseCode.MESSAGE_TOO_BIG:
                    self.close(1009, "message too big")
                self._abort()

    def _read(self, at_once: bool) -> Any:
        """Read available data."""
        stream = self.stream
        if at_once or type(stream) is not IOStream or stream.closed() or stream.reading() or stream._read_buffer_size:
            return stream.read_bytes(READ_SIZE, partial=True)
        # Like read_into(partial=True), but without trying first, which usually fails, and resuming our task at once.
        stream._read_future = read = _Read(asyncio.get_running_loop())
        stream._user_read_buffer = True
        stream._read_buffer = read.buffer
        stream._read_buffer_size = 0
        stream._read_bytes = READ_SIZE
        stream._read_partial = True
        stream._add_io_state(IOLoop.READ)
        return read

    def _receive_whole(self, frame: Frame) -> Any:
        """Handle a frame if it completes a message; return an awaitable if the caller has to wait."""
        opcode = frame.opcode
        payload = frame.payload
        if opcode >= Opcode.CLOSE:
            self._frame_compressed = False
            return self._handle_message(opcode, payload)
        if opcode is not Opcode.CONTINUATION:
            self._message_compressed = frame.rsv1
            if not frame.fin:
                self._fragments_opcode = opcode
                self._fragments += payload
                return None
        else:
            self._fragments += payload
            if not frame.fin:
                return None
            opcode = self._fragments_opcode
            payload = bytes(self._fragments)
            self._fragments = bytearray()
        self._frame_compressed = self._message_compressed
        return self._handle_message(opcode, payload)

    def _run_callback(self, callback: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        code = getattr(callback, "__code__", None)
        if sys.version_info >= (3, 12) and code is not None and code.co_flags & inspect.CO_COROUTINE:
            return super()._run_callback(_run_eagerly, callback, args, kwargs)
        return super()._run_callback(callback, *args, **kwargs)

    # Writing

    def write_message(self, message: str | bytes | dict[str, Any], binary: bool = False) -> Any:
        """Send a message; return a future that is done when it is written, or at once if the caller need not wait."""
        data = utf8(json_encode(message) if isinstance(message, dict) else message)
        self._message_bytes_out += len(data)
        flags = 0
        if self._compressor:
            data = self._compressor.compress(data)
            flags = self.RSV1
        try:
            future = self._write_frame(True, Opcode.BINARY if binary else Opcode.TEXT, data, flags)
        except StreamClosedError:
            raise WebSocketClosedError from None
        if future.done() and not future.cancelled() and future.exception() is None:
            return future
        return asyncio.ensure_future(_wait_for_write(future))

    def _write_frame(self, fin: bool, opcode: int, data: bytes, flags: int = 0) -> Any:
        if opcode >= Opcode.CLOSE:
            if not fin:
                raise ValueError("control frames may not be fragmented")
            if len(data) > 125:
                raise ValueError("control frame payloads may not exceed 125 bytes")
        mask = new_masking_key() if self.mask_outgoing else None
        frame = serialize_frame(opcode, data, fin=fin, rsv1=bool(flags & self.RSV1), mask=mask)
        self._wire_bytes_out += len(frame)
        if self.stream.closed():
            raise StreamClosedError
        self._cork.write(frame)
        # tornado closes the stream after a Close frame.
        if opcode == Opcode.CLOSE:
            self._cork.flush()
        return self._written if self._write is None or self._write.done() else self._write

    def _write_to_stream(self, data: bytes) -> None:
        stream = self.stream
        if stream.closed():
            return
        if type(stream) is IOStream and not stream.writing():
            try:
                sent = stream.write_to_fd(memoryview(data))
            except OSError:
                # Writing will fail again, and tornado will handle that.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        self._write = stream.write(data)

    def _abort(self) -> None:
        self._cork.release()
        super()._abort()


class _Read:
    """Stands in for tornado's future of a read; resumes the task within the read."""

    __slots__ = ("_done", "_error", "_value", "_waiter", "buffer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._waiter = Waiter(loop)
        self._done = False
        self._value = b""
        self._error: BaseException | None = None
        buffer = _read_buffers.get(loop)
        if buffer is None:
            buffer = _read_buffers[loop] = bytearray(READ_SIZE)
        self.buffer = buffer

    def __await__(self) -> Generator[Any, None, bytes]:
        try:
            yield from self._waiter.__await__()
        finally:
            self._done = True
        if self._error is not None:
            raise self._error
        return self._value

    def done(self) -> bool:
        return self._done

    cancelled = done

    def set_result(self, size: int) -> None:
        # All connections share the buffer, and the task may not run at once, so copy the data.
        self._value = bytes(memoryview(self.buffer)[:size])
        self._waiter.wake()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._waiter.wake_soon()

    def exception(self) -> BaseException | None:
        return self._error


_read_buffers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, bytearray] = weakref.WeakKeyDictionary()


def _run_eagerly(callback: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run a coroutine eagerly; return the task for the rest of it, or None if it has completed."""
    options: dict[str, Any] = {"loop": asyncio.get_running_loop(), "eager_start": True}
    task = asyncio.Task(callback(*args, **kwargs), **options)
    if not task.done():
        return task
    task.result()
    return None


async def _wait_for_write(future: Any) -> None:
    try:
        await future
    except StreamClosedError:
        raise WebSocketClosedError from None
