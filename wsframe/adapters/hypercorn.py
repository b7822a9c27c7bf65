"""hypercorn: less work around each message. Rank 6.

hypercorn speaks WebSocket by wsproto, so ``wsframe.patch("wsproto")`` is what puts wsframe's codec under it. This
shortens the way between codec and socket, for HTTP/1.1 on asyncio:

* a message of the application goes to the transport, past five coroutines and a lock, as long as the transport has
  sent all before; what is sent while more messages wait for the application leaves together with the last of them,
  at the latest at the end of the turn of the event loop;
* bytes of an open connection go to its stream past the wrapper of h11;
* a message that comes in one part is not copied.

HTTP/2 and trio keep hypercorn's way.
"""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["replacements"]

CORK_LIMIT = 2**16
"""Bytes that may wait for the end of the turn: what one write to a socket takes."""


def replacements() -> list[tuple[object, str, object]]:
    """Return what ``wsframe.patch`` sets in hypercorn."""
    import hypercorn.asyncio.tcp_server  # noqa: PLC0415 - only where it is patched
    import hypercorn.events  # noqa: PLC0415
    import hypercorn.protocol.events  # noqa: PLC0415
    import hypercorn.protocol.h11  # noqa: PLC0415
    import hypercorn.protocol.ws_stream  # noqa: PLC0415

    ws_stream, h11 = hypercorn.protocol.ws_stream, hypercorn.protocol.h11
    stream_type, tcp_server = ws_stream.WSStream, hypercorn.asyncio.tcp_server.TCPServer
    connected = ws_stream.ASGIWebsocketState.CONNECTED
    data_event, raw_data_event = hypercorn.protocol.events.Data, hypercorn.events.RawData
    app_send, handle = ws_stream.WSStream.app_send, h11.H11Protocol.handle

    def find_output(stream: Any) -> Output | None:
        """Return a stream's way out, None for hypercorn's; looked for once."""
        protocol = getattr(stream.send, "__self__", None)
        if isinstance(protocol, h11.H11Protocol):
            server = getattr(protocol.send, "__self__", None)
            if isinstance(server, tcp_server) and isinstance(server.writer, asyncio.StreamWriter):
                return Output(stream, server.writer.transport, stream.app_put.__self__)
        return None

    async def send_message(self: Any, message: Any) -> Any:
        if message is None or message["type"] != "websocket.send" or self.state is not connected or self.closed:
            return await app_send(self, message)
        try:
            output = self._wsframe_output
        except AttributeError:
            output = self._wsframe_output = find_output(self)
        data, text = message.get("bytes"), message.get("text")
        if output is None or (data is None and type(text) is not str):
            return await app_send(self, message)
        event = ws_stream.TextMessage(text) if data is None else ws_stream.BytesMessage(bytes(data))
        try:
            data = self.connection.send(event)
        except ws_stream.LocalProtocolError:
            return None
        if not output.write(data):
            await self.send(data_event(stream_id=self.stream_id, data=data))
        return None

    async def handle_bytes(self: Any, event: Any) -> Any:
        stream, connection = self.stream, self.connection
        if type(connection) is h11.H11WSConnection and type(stream) is stream_type:
            is_open = stream.handshake.accepted and not stream.closed
            if is_open and type(event) is raw_data_event and not connection.buffer:
                stream.connection.receive_data(event.data)
                return await stream._handle_events()
            output = getattr(stream, "_wsframe_output", None)
            if output is not None:
                output.flush()
        return await handle(self, event)

    class WebsocketBuffer(MessageBuffer):
        error = ws_stream.FrameTooLargeError

    return [
        (ws_stream, "WebsocketBuffer", WebsocketBuffer),
        (ws_stream.WSStream, "app_send", send_message),
        (h11.H11Protocol, "handle", handle_bytes),
    ]


class Output:
    """The way of a stream's frames to its transport.

    Args:
        stream: A WSStream, whose ``send`` sends in order from now on.
        transport: The transport.
        queue: Messages that wait for the application.
    """

    def __init__(self, stream: Any, transport: asyncio.WriteTransport, queue: asyncio.Queue[Any]) -> None:
        self._transport = transport
        self._queue = queue
        self._loop = asyncio.get_running_loop()
        self._frames: list[bytes] = []
        self._size = 0
        self._send = stream.send
        stream.send = self._send_in_order

    def write(self, data: bytes) -> bool:
        """Write a frame, or keep it for the end of the turn; return False if hypercorn has to wait before it does."""
        if self._transport.get_write_buffer_size() or self._transport.is_closing():
            return False
        frames = self._frames
        if self._queue.empty() or self._size + len(data) > CORK_LIMIT:
            if frames:
                frames.append(data)
                self.flush()
            else:
                self._transport.write(data)
        else:
            if not frames:
                self._loop.call_soon(self.flush)
            frames.append(data)
            self._size += len(data)
        return True

    def flush(self) -> None:
        """Write the frames that were kept."""
        frames = self._frames
        if frames:
            data = b"".join(frames)
            frames.clear()
            self._size = 0
            if not self._transport.is_closing():
                self._transport.write(data)

    async def _send_in_order(self, event: Any) -> None:
        self.flush()
        await self._send(event)


class MessageBuffer:
    """The parts of a message that is being received.

    Args:
        max_length: Characters or bytes that it may have.
    """

    error: type[Exception]

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self._parts: list[Any] = []

    def extend(self, event: Any) -> None:
        """Take the part that an event has.

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
        """Forget the message."""
        self._parts.clear()
        self.length = 0

    def to_message(self) -> dict[str, Any]:
        """Return the message as the application receives it."""
        parts = self._parts
        data = parts[0] if len(parts) == 1 else type(parts[0])().join(parts)
        is_text = isinstance(data, str)
        return {"type": "websocket.receive", "bytes": None if is_text else data, "text": data if is_text else None}
