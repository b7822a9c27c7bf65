"""hypercorn: less work around each message.

hypercorn uses wsproto for WebSocket, so ``wsframe.patch("wsproto")`` puts wsframe's codec under it. This module
shortens the path between codec and socket, for HTTP/1.1 on asyncio:

* Bytes of an open connection become messages in the application's queue as they arrive, without waking the task that
  reads. That task runs only when there is more to do than queueing a message, or no room in the queue.
* A message of the application goes straight to the transport, bypassing five coroutines and a lock, as long as the
  transport has no unsent data. Data sent while more messages wait for the application is written together with the
  last of them, at the latest at the end of the iteration of the event loop.
* A message that arrives in one part is not copied.

HTTP/2, trio and connections with a ``read_timeout`` use hypercorn's own path.
"""

from __future__ import annotations

import asyncio
from typing import Any

from wsframe.hosting import Cork, read_moderately

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes in hypercorn."""
    import hypercorn.asyncio.tcp_server  # noqa: PLC0415 - only where it is patched
    import hypercorn.events  # noqa: PLC0415
    import hypercorn.protocol.events  # noqa: PLC0415
    import hypercorn.protocol.h11  # noqa: PLC0415
    import hypercorn.protocol.ws_stream  # noqa: PLC0415

    ws_stream, h11, tcp_server = hypercorn.protocol.ws_stream, hypercorn.protocol.h11, hypercorn.asyncio.tcp_server
    stream_type, connected = ws_stream.WSStream, ws_stream.ASGIWebsocketState.CONNECTED
    data_event, raw_data_event = hypercorn.protocol.events.Data, hypercorn.events.RawData
    app_send, handle = stream_type.app_send, h11.H11Protocol.handle

    def find_server(protocol: Any) -> Any:
        """Return the asyncio TCPServer that a protocol sends through; None for anything else."""
        server = getattr(protocol.send, "__self__", None) if isinstance(protocol, h11.H11Protocol) else None
        if isinstance(server, tcp_server.TCPServer) and isinstance(server.writer, asyncio.StreamWriter):
            return server
        return None

    async def send_message(self: Any, message: Any) -> Any:
        if message is None or message["type"] != "websocket.send" or self.state is not connected or self.closed:
            return await app_send(self, message)
        try:
            output = self._wsframe_output
        except AttributeError:
            server = find_server(getattr(self.send, "__self__", None))
            output = Output(self, server.writer.transport) if server is not None else None
            self._wsframe_output = output
        data, text = message.get("bytes"), message.get("text")
        if output is None or (data is None and type(text) is not str):
            return await app_send(self, message)
        event = ws_stream.TextMessage(text) if data is None else ws_stream.BytesMessage(bytes(memoryview(data)))
        try:
            data = self.connection.send(event)
        except ws_stream.LocalProtocolError:
            return None
        if not output.write(data):
            await self.send(data_event(stream_id=self.stream_id, data=data))
        return None

    async def handle_bytes(self: Any, event: Any) -> Any:
        stream = self.stream
        if type(self.connection) is not h11.H11WSConnection or type(stream) is not stream_type:
            return await handle(self, event)
        reading = getattr(stream, "_wsframe_reading", None)
        if type(event) is not raw_data_event:
            # The end of the connection: handle earlier data first.
            output = getattr(stream, "_wsframe_output", None)
            if output is not None:
                output.flush()
            if reading is not None:
                await reading.idle()
        elif reading is None and can_be_read(self, stream) and len(event.data) < tcp_server.MAX_RECV:
            # The stream reader is now empty, so further data may bypass it.
            stream._wsframe_reading = Reading(stream, self.send.__self__.writer.transport)
            stream._wsframe_reading.data_received(event.data)
            return None
        return await handle(self, event)

    def can_be_read(protocol: Any, stream: Any) -> bool:
        return (
            stream.handshake.accepted
            and not stream.closed
            and isinstance(stream.buffer, MessageBuffer)
            and not protocol.connection.buffer
            and protocol.config.read_timeout is None
            and find_server(protocol) is not None
        )

    class WebsocketBuffer(MessageBuffer):
        error = ws_stream.FrameTooLargeError
        kinds = (ws_stream.TextMessage, ws_stream.BytesMessage)

    return [
        (ws_stream, "WebsocketBuffer", WebsocketBuffer),
        (stream_type, "app_send", send_message),
        (h11.H11Protocol, "handle", handle_bytes),
    ]


class Reading(asyncio.Protocol):
    """The path of bytes from a transport to a stream's application; replaces a StreamReaderProtocol.

    Args:
        stream: A WSStream whose connection is open.
        transport: The transport.
    """

    def __init__(self, stream: Any, transport: Any) -> None:
        self._stream = stream
        self._transport = transport
        self._queue: asyncio.Queue[Any] = stream.app_put.__self__
        self._streams: Any = transport.get_protocol()
        # While a task does what cannot be done at once: a future for its end, and the bytes received since.
        self._busy: asyncio.Future[None] | None = None
        self._pending: list[bytes] = []
        transport.set_protocol(self)
        read_moderately(transport)

    def data_received(self, data: bytes) -> None:
        stream = self._stream
        if self._busy is not None:
            self._pending.append(data)
            self._transport.pause_reading()
        elif stream.closed:
            self._streams.data_received(data)
        else:
            stream.connection.receive_data(data)
            if not stream.buffer.deliver(stream.connection, self._queue):
                self._busy = asyncio.get_running_loop().create_future()
                stream.task_group.spawn(self._go_on)

    async def _go_on(self) -> None:
        stream, pending = self._stream, self._pending
        try:
            await stream._handle_events()
            while pending and not stream.closed:
                stream.connection.receive_data(pending.pop(0))
                await stream._handle_events()
        finally:
            assert self._busy is not None
            self._busy.set_result(None)
            self._busy = None
        self._transport.resume_reading()

    async def idle(self) -> None:
        """Wait until all received bytes are handled."""
        if self._busy is not None:
            await asyncio.wait([self._busy])

    def eof_received(self) -> bool | None:
        result: bool | None = self._streams.eof_received()
        return result

    def connection_lost(self, exc: Exception | None) -> None:
        self._streams.connection_lost(exc)

    def pause_writing(self) -> None:
        self._streams.pause_writing()

    def resume_writing(self) -> None:
        self._streams.resume_writing()


class Output:
    """The path of a stream's frames to its transport.

    Args:
        stream: A WSStream; from now on, its ``send`` sends after the frames that are kept here.
        transport: The transport.
    """

    def __init__(self, stream: Any, transport: asyncio.WriteTransport) -> None:
        self._transport = transport
        # Messages waiting for the application.
        self._queue: asyncio.Queue[Any] = stream.app_put.__self__
        self._loop = asyncio.get_running_loop()
        self._cork = Cork(self._write)
        self._send = stream.send
        stream.send = self._send_in_order

    def write(self, data: bytes) -> bool:
        """Write a frame, or keep it until the end of the iteration; return False if hypercorn must write it."""
        if self._transport.get_write_buffer_size() or self._transport.is_closing():
            return False
        last = self._queue.empty()
        if not last:
            self._cork.hold_for_turn(self._loop)
        self._cork.write(data)
        if last:
            self._cork.flush()
        return True

    def flush(self) -> None:
        """Write the kept frames."""
        self._cork.flush()

    def _write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    async def _send_in_order(self, event: Any) -> None:
        self.flush()
        await self._send(event)


class MessageBuffer:
    """The parts of a message that is being received.

    Args:
        max_length: Maximum length of the message, in characters or bytes.

    Attributes:
        error: Raised for a message that is too long.
        kinds: Types of events that contain parts of messages.
    """

    error: type[Exception]
    kinds: tuple[type[Any], ...] = ()

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self._parts: list[Any] = []

    def deliver(self, connection: Any, queue: asyncio.Queue[Any]) -> bool:
        """Move messages from a connection to the application's queue.

        Returns:
            Whether all events were delivered; if not, the connection returns the first undelivered event again.
        """
        for event in connection.events():
            if type(event) not in self.kinds or queue.full() or self.length + len(event.data) > self.max_length:
                # Before data that has not been parsed yet.
                connection._events.appendleft(event)
                return False
            self.extend(event)
            if event.message_finished:
                queue.put_nowait(self.to_message())
                self.clear()
        return True

    def extend(self, event: Any) -> None:
        """Add the part that an event contains.

        Raises:
            FrameTooLargeError: If the message is too long.
            TypeError: If text and bytes are mixed.
        """
        data, parts = event.data, self._parts
        if parts and isinstance(data, str) is not isinstance(parts[0], str):
            raise TypeError("text and bytes are mixed in a message")
        parts.append(data)
        self.length += len(data)
        if self.length > self.max_length:
            raise self.error

    def clear(self) -> None:
        """Drop the message."""
        self._parts.clear()
        self.length = 0

    def to_message(self) -> dict[str, Any]:
        """Return the message as the application receives it."""
        parts = self._parts
        data = parts[0] if len(parts) == 1 else type(parts[0])().join(parts)
        is_text = isinstance(data, str)
        return {"type": "websocket.receive", "bytes": None if is_text else data, "text": data if is_text else None}
