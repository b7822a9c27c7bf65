"""Parsers under test: each takes a server's end of a stream, read by read, and gives up the payloads as bytes."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from benchmarks.registry import HOST

Parse = Callable[[Sequence[bytes]], int]
"""Parses a whole number of frames, cut into reads, and returns how many there were."""

MAX_SIZE = 2**20


def wsframe_parser() -> Parse:
    """Make ours."""
    import wsframe

    return _with_feed(wsframe.FrameParser(wsframe.Role.SERVER))


def wsframe_pure_parser() -> Parse:
    """Make ours without a compiler's help."""
    from wsframe import Role
    from wsframe.codec._framing_py import FrameParser

    return _with_feed(FrameParser(Role.SERVER))


def _with_feed(parser: Any) -> Parse:
    feed = parser.feed

    def parse(reads: Sequence[bytes]) -> int:
        count = 0
        for read in reads:
            count += len(feed(read))
        return count

    return parse


def websockets_parser() -> Parse:
    """Make that of websockets' sans-IO layer."""
    from websockets.protocol import State
    from websockets.server import ServerProtocol

    protocol = ServerProtocol(state=State.OPEN, max_size=MAX_SIZE)

    def parse(reads: Sequence[bytes]) -> int:
        count = 0
        for read in reads:
            protocol.receive_data(read)
            count += len(protocol.events_received())
        return count

    return parse


@contextlib.contextmanager
def websockets_pure() -> Iterator[None]:
    """Let websockets mask in Python, as it does when it is built without its extension."""
    from websockets import utils

    frames: Any = importlib.import_module("websockets.frames")
    compiled = frames.apply_mask
    frames.apply_mask = utils.apply_mask
    try:
        yield
    finally:
        frames.apply_mask = compiled


def websockets_frame_parser() -> Parse:
    """Make websockets' parser of frames, without what its sans-IO layer does with them."""
    from websockets.frames import Frame
    from websockets.streams import StreamReader

    reader = StreamReader()
    frames: list[Frame] = []

    def endless() -> Generator[None, None, None]:
        while True:
            frame = yield from Frame.parse(reader.read_exact, mask=True, max_size=MAX_SIZE)
            frames.append(frame)

    generator = endless()

    def parse(reads: Sequence[bytes]) -> int:
        count = 0
        for read in reads:
            reader.feed_data(read)
            next(generator)
            count += len(frames)
            frames.clear()
        return count

    return parse


def wsproto_parser() -> Parse:
    """Make wsproto's."""
    from wsproto.connection import Connection, ConnectionType

    connection = Connection(ConnectionType.SERVER)

    def parse(reads: Sequence[bytes]) -> int:
        count = 0
        for read in reads:
            connection.receive_data(read)
            for event in connection.events():
                # What has come of a message that is not whole is an event of its own.
                count += event.message_finished
        return count

    return parse


def aiohttp_parser() -> Parse:
    """Make aiohttp's, in Cython, with the queue that it feeds."""
    from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

    loop = asyncio.get_running_loop()
    protocol: Any = SimpleNamespace(_reading_paused=False)

    def parse(reads: Sequence[bytes]) -> int:
        # A queue that is never full; one for all would remember what nobody has taken from it.
        queue = WebSocketDataQueue(protocol, 2**30, loop=loop)
        reader = WebSocketReader(queue, MAX_SIZE, compress=False, decode_text=True)
        count = 0
        for read in reads:
            reader.feed_data(read)
            count += len(queue._buffer)
            queue._buffer.clear()
        return count

    return parse


REQUEST = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@contextlib.asynccontextmanager
async def picows_parser(read_size: int) -> AsyncIterator[Parse]:
    """Make that of a server of picows, which is fed as its event loop would, and calls back with payloads as bytes.

    Args:
        read_size: Bytes of a read, at most.
    """
    from picows import WSListener, ws_create_server

    made: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    class Listener(WSListener):
        def on_ws_connected(self, transport: Any) -> None:
            made.set_result(transport)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            frame.get_payload_as_bytes()

    # Counting would count against it, so only the first pass does, and the others repeat what that one said.
    uncounted = Listener.on_ws_frame
    count = 0

    def counted(self: Any, transport: Any, frame: Any) -> None:
        nonlocal count
        count += 1

    Listener.on_ws_frame = counted  # type: ignore[method-assign]
    server = await ws_create_server(lambda request: Listener(), HOST, 0, read_buffer_init_size=4 * read_size)
    reader, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1])
    writer.write(REQUEST)
    await reader.readuntil(b"\r\n\r\n")
    transport = await made
    protocol = transport.underlying_transport.get_protocol()

    def parse(reads: Sequence[bytes]) -> int:
        for read in reads:
            protocol.get_buffer(-1)[: len(read)] = read
            protocol.buffer_updated(len(read))
        Listener.on_ws_frame = uncounted  # type: ignore[method-assign]
        return count

    try:
        yield parse
        if transport.is_disconnected:
            raise RuntimeError("picows has closed the connection")
    finally:
        writer.close()
        transport.disconnect(False)
        server.close()
