"""Keepalive (RFC 6455 §5.5.2): pings at intervals, and dropping a peer that shows no sign of life."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import support
from support import CLOSE, PING, PONG, TEXT, clocked, connection_of, dial_open, echo, read_to_end, soon, until, uri_of

from wsframe import ClientConnection, ConnectionClosed, ConnectionClosedError, WebSocketProtocol, connect, serve
from wsframe.asyncio.datapath.keepalive import Keepalive
from wsframe.testing import Clock

HERE = "127.0.0.1"


async def test_pings_are_sent_at_intervals():
    """RFC 6455 §5.5.2: different ones, and the latency is measured."""
    async with serve(echo, HERE, 0, ping_interval=0.02) as server, dial_open(server) as peer:
        payloads = set()
        for _ in range(5):
            frame = await peer.read_frame()
            assert frame.opcode == PING
            payloads.add(frame.payload)
            await peer.send_frame(PONG, frame.payload)
        assert len(payloads) == 5
        (connection,) = server.connections
        await until(lambda: connection.latency > 0)


async def test_ping_interval_none_sends_no_pings():
    clock = Clock()
    options = {"ping_interval": None, "create_connection": clocked(clock)}
    async with serve(echo, HERE, 0, **options) as server, dial_open(server):
        connection = await connection_of(server)
        await clock.advance(1000)
        assert connection.stats.pings_sent == 0


@pytest.mark.parametrize("answers", [0, 3])
async def test_missing_pong_fails_the_connection(answers):
    """RFC 6455 §7.1.7: with 1011."""
    ended = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        try:
            await websocket.recv()
        except ConnectionClosedError as exc:
            ended.set_result((exc.sent.code, exc.sent.reason, type(exc.__cause__)))

    options = {"ping_interval": 0.03, "ping_timeout": 0.2, "close_timeout": 0.1}
    async with serve(handler, HERE, 0, **options) as server, dial_open(server) as peer:
        for _ in range(answers):
            frame = await peer.read_frame()
            await peer.send_frame(PONG, frame.payload)
        assert await soon(ended) == (1011, "keepalive ping timeout", TimeoutError)
        frames = await peer.read_frames()
        assert frames[-1].opcode == CLOSE


async def test_any_byte_counts_as_a_sign_of_life():
    """DESIGN §5: not only the matching pong; a slow upload is alive."""
    clock = Clock()
    reads = []
    options = {
        "ping_interval": 20,
        "ping_timeout": 20,
        "create_connection": support.recorded_reads(reads, clocked(clock)),
    }
    async with serve(echo, HERE, 0, **options) as server, contextlib.AsyncExitStack() as stack:
        pong, message, byte = [await stack.enter_async_context(dial_open(server)) for _ in range(3)]
        await byte.send(byte.frame(TEXT, b"y" * 1000)[:10])
        for _ in range(20):
            reads.clear()
            await pong.send_frame(PONG, b"other")
            await message.send_frame(TEXT, b"x")
            await byte.send(b"y")
            await until(lambda: {connection for connection, _ in reads} == server.connections)
            await clock.advance(15)
            assert len(server.connections) == 3


async def test_keepalive_does_not_time_out_while_reading_is_paused():
    """Pongs that are not read do not count as missing."""
    clock = Clock()
    options = {"ping_interval": 20, "ping_timeout": 20, "max_queue": 1, "create_connection": clocked(clock)}
    release = asyncio.Event()

    async def handler(websocket):
        await release.wait()
        assert websocket.reading_paused
        await echo(websocket)

    async with serve(handler, HERE, 0, **options) as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") * 5)
        connection = await connection_of(server)
        await until(lambda: connection.reading_paused)
        await clock.advance(200)
        assert connection.state.name == "OPEN"
        release.set()
        received = 0
        while received < 5:
            frame = await peer.read_frame()
            if frame.opcode == PING:
                await peer.send_frame(PONG, frame.payload)
            else:
                received += 1


async def test_ping_timeout_none_keeps_pinging():
    options = {"ping_interval": 0.02, "ping_timeout": None}
    async with serve(echo, HERE, 0, **options) as server, dial_open(server) as peer:
        for _ in range(5):
            assert (await peer.read_frame()).opcode == PING
        (connection,) = server.connections
        # Unanswered keepalive pings are not collected.
        assert len(connection._pings) == 1


async def test_keepalive_does_not_discard_pings_of_the_application():
    options = {"ping_interval": 0.02, "ping_timeout": None}

    async def script(peer):
        await peer.accept()
        frames = [await peer.read_frame() for _ in range(4)]
        (mine,) = [frame.payload for frame in frames if frame.payload == b"mine"]
        await peer.send_frame(PONG, mine)
        await read_to_end(peer)

    async with support.raw_server(script) as server, connect(server.uri, close_timeout=0.1, **options) as websocket:
        pong = await websocket.ping(b"mine")
        assert await soon(pong) >= 0


async def test_keepalive_stops_when_closing_starts():
    """RFC 6455 §7.1.1: there is no second Close frame."""
    options = {"ping_interval": 0.02, "ping_timeout": 0.05, "close_timeout": 0.3}
    async with serve(echo, HERE, 0, **options) as server, dial_open(server) as peer:
        (connection,) = server.connections
        assert (await peer.read_frame()).opcode == PING
        await soon(connection.close(4000))
        frames = await peer.read_frames()
        assert [frame.payload for frame in frames if frame.opcode == CLOSE] == [b"\x0f\xa0"]


async def test_ping_payloads_are_not_reused(monkeypatch):
    """RFC 6455 §5.5.3: or a pong would be ambiguous."""
    payloads = [b"aaaa", b"bbbb", b"aaaa", b"bbbb", b"cccc"]
    async with serve(echo, HERE, 0, ping_interval=None) as server, connect(uri_of(server)) as websocket:
        websocket._pings.add(b"bbbb", None, 0.0)
        monkeypatch.setattr("wsframe.messages.pings.os.urandom", lambda size: payloads.pop(0))
        assert websocket._pings.new_payload() == b"aaaa"
        assert websocket._pings.new_payload() == b"aaaa"
        assert websocket._pings.new_payload() == b"cccc"
        monkeypatch.undo()


async def test_ping_without_keepalive_is_answered():
    async with serve(echo, HERE, 0, ping_interval=None) as server:
        async with connect(uri_of(server), ping_interval=None) as websocket:
            assert await soon(await websocket.ping()) >= 0


async def test_client_drops_a_silent_server():
    async def script(peer):
        await peer.accept()
        await read_to_end(peer)

    options = {"ping_interval": 0.03, "ping_timeout": 0.1, "close_timeout": 0.1}
    async with support.raw_server(script) as server, connect(server.uri, **options) as websocket:
        with pytest.raises(ConnectionClosedError) as info:
            await soon(websocket.recv())
        assert info.value.sent.code == 1011
        assert websocket.close_code == 1006


async def test_callbacks_have_keepalive():
    closed = []

    class Protocol(WebSocketProtocol):
        def connection_closed(self, code, reason):
            closed.append(code)

    loop = asyncio.get_running_loop()
    options = {"ping_interval": 0.03, "ping_timeout": 0.1, "close_timeout": 0.1}
    server = await loop.create_server(lambda: Protocol(**options), HERE, 0)
    async with dial_open(server) as peer:
        assert (await peer.read_frame()).opcode == PING
        await until(lambda: closed)
    assert closed == [1006]
    server.close()
    await soon(server.wait_closed())


async def test_two_wsframes_keep_each_other_alive():
    clock = Clock()
    options = {"ping_interval": 20, "ping_timeout": 20}
    async with (
        serve(echo, HERE, 0, create_connection=clocked(clock), **options) as server,
        connect(uri_of(server), create_connection=clocked(clock, ClientConnection), **options) as websocket,
    ):
        connection = await connection_of(server)
        for count in range(1, 6):
            await clock.advance(20)
            await until(lambda: connection.stats.pongs_received == websocket.stats.pongs_received == count)
        await websocket.send("a")
        assert await soon(websocket.recv()) == "a"


# The timer by itself


class FakeConnection:
    def __init__(self):
        self.buffered_bytes = 0
        self.reading_paused = False
        self.pinged = 0
        self.timed_out = False

    def send_keepalive_ping(self):
        self.pinged += 1
        return self.buffered_bytes

    def keepalive_timed_out(self):
        self.timed_out = True


async def test_progress_in_sending_counts_as_a_sign_of_life():
    """The ping waits after what was sent before."""
    connection = FakeConnection()
    connection.buffered_bytes = 1000
    keepalive = Keepalive(connection, 0.02, 0.02)
    send_keepalive_ping = connection.send_keepalive_ping

    def make_progress_after_each_of_four_pings():
        backlog = send_keepalive_ping()
        connection.buffered_bytes -= connection.pinged <= 4
        return backlog

    connection.send_keepalive_ping = make_progress_after_each_of_four_pings
    await until(lambda: connection.timed_out)
    assert connection.pinged == 5
    keepalive.stop()
    keepalive.stop()


async def test_pong_without_a_pending_ping_changes_nothing():
    connection = FakeConnection()
    clock = Clock()
    keepalive = Keepalive(connection, 20, None, clock)
    keepalive.pong_received()
    await clock.advance(20)
    assert connection.pinged == 1
    keepalive.pong_received()
    keepalive.pong_received()
    keepalive.stop()
    keepalive.pong_received()
    await clock.advance(100)
    assert connection.pinged == 1


async def test_sending_a_ping_may_end_the_connection():
    connection = FakeConnection()
    keepalive = Keepalive(connection, 0.01, 0.01)

    def end():
        keepalive.stop()
        ended.set()
        return 0

    ended = asyncio.Event()
    connection.send_keepalive_ping = end
    await soon(ended.wait())
    await asyncio.sleep(0)
    assert keepalive._handle is None


async def test_cancelled_ping_ends_with_the_connection():
    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:
        websocket.transport.pause_reading()
        waiting, cancelled = await websocket.ping(), await websocket.ping()
        cancelled.cancel()
        websocket.transport.abort()
        with pytest.raises(ConnectionClosed):
            await soon(waiting)
        assert cancelled.cancelled()
