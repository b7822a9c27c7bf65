"""Both ends of a connection, joined in memory."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from wsframe._checks import check_type
from wsframe.asyncio.client import ClientConnection, connect
from wsframe.asyncio.datapath.lifecycle import BaseProtocol
from wsframe.asyncio.server import Server, ServerConnection, serve
from wsframe.testing.clock import Clock

__all__ = ["MemoryTransport", "Pair", "connect_pair"]


class MemoryTransport(asyncio.Transport):
    """One end of a byte stream in memory, with flow control like TCP's.

    Args:
        protocol: Protocol that receives what the other end writes.
        name: Address of this end.

    Attributes:
        peer: The other end, set by ``join``.
    """

    peer: MemoryTransport

    def __init__(self, protocol: BaseProtocol, name: str) -> None:
        super().__init__({"sockname": (name, 0)})
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        # Data that this end has written and the other end has not read; None for the end of the stream.
        self._written: collections.deque[bytes | None] = collections.deque()
        self._size = 0
        self._high, self._low = 64 * 1024, 16 * 1024
        self._writing_paused = False
        self._reading = True
        self._delivery: asyncio.Handle | None = None
        self._eof_written = False
        self._closing = False
        self._lost = False

    @classmethod
    def join(cls, first: BaseProtocol, second: BaseProtocol) -> None:
        """Create a transport for each of two protocols, and connect them."""
        one, other = cls(first, "first"), cls(second, "second")
        one.peer, other.peer = other, one
        one._extra["peername"], other._extra["peername"] = other._extra["sockname"], one._extra["sockname"]  # type: ignore[attr-defined]
        first.connection_made(one)
        second.connection_made(other)

    # Writing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write bytes for the other end to read in a later iteration of the event loop."""
        if data and not self._eof_written and not self._closing:
            self._put(bytes(data))

    def _put(self, data: bytes | None) -> None:
        if self.peer._lost:
            # It will never be read.
            return
        self._written.append(data)
        self._size += len(data or b"")
        self.peer._deliver_soon()
        if self._size > self._high and not self._writing_paused:
            self._writing_paused = True
            self._protocol.pause_writing()

    def write_eof(self) -> None:
        """End the stream in this direction."""
        if not self._eof_written:
            self._eof_written = True
            self._put(None)

    def can_write_eof(self) -> bool:
        """Return True: ``write_eof`` is supported."""
        return True

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that the other end has not read."""
        return self._size

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the low limit and the high limit."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the numbers of bytes above which writing pauses, and below which it resumes."""
        self._high = high if high is not None else 64 * 1024
        self._low = low if low is not None else self._high // 4

    # Reading

    def is_reading(self) -> bool:
        """Return whether this end is reading."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Stop reading what the other end writes."""
        self._reading = False

    def resume_reading(self) -> None:
        """Resume reading."""
        self._reading = True
        self._deliver_soon()

    def _deliver_soon(self) -> None:
        if self._delivery is None and not self._lost:
            self._delivery = self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        source = self.peer
        while source._written and self._reading and not self._lost:
            data = source._written.popleft()
            if data is None:
                self._protocol.eof_received()
                self.close()
                break
            buffer = self._protocol.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            if size < len(data):
                source._written.appendleft(data[size:])
            source._size -= size
            self._protocol.buffer_updated(size)
        source._read_by_peer()

    def _read_by_peer(self) -> None:
        if self._writing_paused and self._size <= self._low:
            self._writing_paused = False
            self._protocol.resume_writing()
        if self._closing and not self._size:
            self._lose()

    # The end

    def is_closing(self) -> bool:
        """Return whether this end is closed or closing."""
        return self._closing

    def close(self) -> None:
        """End the stream once the other end has read it."""
        if not self._closing:
            self._closing = True
            self.write_eof()
            if not self._size:
                self._lose()

    def abort(self) -> None:
        """End the stream at once, even if the other end has not read everything."""
        self._closing = self._eof_written = True
        self._written.clear()
        self._size = 0
        self._written.append(None)
        self.peer._deliver_soon()
        self._lose()

    def _lose(self) -> None:
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            # Data that the other end has written will never be read.
            self.peer._written.clear()
            self.peer._size = 0
            self.peer._read_by_peer()


@dataclasses.dataclass
class Pair:
    """Both ends of a connection.

    Attributes:
        client: The client's end.
        server: The server's end.
        clock: The clock for the timers of both ends.
    """

    client: ClientConnection
    server: ServerConnection
    clock: Clock


class _Listener:
    """Stands in for the ``asyncio.Server`` of a server that does not listen on any socket."""

    sockets: tuple[Any, ...] = ()

    def __init__(self) -> None:
        self._serving = True
        self.get_loop = asyncio.get_running_loop

    def is_serving(self) -> bool:
        return self._serving

    def close(self) -> None:
        self._serving = False

    async def wait_closed(self) -> None:
        pass


class _MemoryConnect(connect):
    """Connects to a server in memory."""

    server: Server
    clock: Clock

    async def open_tcp_connection(self) -> ClientConnection:
        ours, theirs = self.factory(self.ws_uri), self.server.new_connection()
        ours.clock = theirs.clock = self.clock
        MemoryTransport.join(theirs, ours)
        return ours


@contextlib.asynccontextmanager
async def connect_pair(
    uri: str = "ws://localhost/",
    *,
    server_options: dict[str, Any] | None = None,
    client_options: dict[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Pair]:
    """Connect a client to a server in memory; both are closed on exit.

    Args:
        uri: URI that the client requests.
        server_options: Options of ``serve`` for the server alone.
        client_options: Options of ``connect`` for the client alone.
        options: Options for both: ``ping_interval``, ``max_size``, ``subprotocols`` and so on.

    Raises:
        TypeError: If an option is unknown or has the wrong type, as for ``serve`` and ``connect``.
        InvalidHandshake: If the opening handshake fails.
    """
    for name, given in (("server_options", server_options), ("client_options", client_options)):
        if given is not None:
            check_type(name, given, dict, "a dict or None")
    opened: asyncio.Future[ServerConnection] = asyncio.get_running_loop().create_future()

    def handler(websocket: ServerConnection) -> Awaitable[None]:
        opened.set_result(websocket)
        return websocket.wait_closed()

    server = serve(handler, **{**options, **(server_options or {})})
    server.server = _Listener()  # type: ignore[assignment]
    connecting = _MemoryConnect(uri, **{"proxy": None, **options, **(client_options or {})})
    connecting.server = server
    connecting.clock = clock = Clock()
    client = await connecting
    try:
        pair = Pair(client, await opened, clock)
        try:
            yield pair
        finally:
            for connection in (pair.client, pair.server):
                connection.transport.resume_reading()
            closing = asyncio.ensure_future(asyncio.gather(pair.client.close(), pair.server.close()))
            while not closing.done():
                # All delays here depend on this clock.
                await clock.advance(1)
            await closing
            server.close()
            await server.wait_closed()
    finally:
        # If that was cancelled, the clock stands still, so abort.
        client.transport.abort()
