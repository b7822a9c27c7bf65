"""Keepalive (RFC 6455 §5.5.2): pings at intervals, and the end of a peer that shows no sign of life."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from support import CLOSE, PING, PONG, TEXT, dial_open, echo, raw_server, soon, until, uri_of

from wsframe import ConnectionClosed, ConnectionClosedError, WebSocketProtocol, connect, serve
from wsframe.asyncio.datapath.keepalive import Keepalive

HERE = "127.0.0.1"


async def test_pings_come_at_intervals():
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


async def test_no_pings_unless_wanted():
    async with serve(echo, HERE, 0, ping_interval=None) as server, dial_open(server) as peer:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.1)


@pytest.mark.parametrize("answers", [0, 3])
async def test_silent_peer_is_given_up(answers):
    """RFC 6455 §7.1.7: told with 1011."""
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


async def test_any_byte_counts_as_life():
    """DESIGN §5: not the right pong only; a slow upload is alive."""
    options = {"ping_interval": 0.05, "ping_timeout": 0.4}

    async with serve(echo, HERE, 0, **options) as server, contextlib.AsyncExitStack() as stack:
        pong, message, byte = [await stack.enter_async_context(dial_open(server)) for _ in range(3)]
        await byte.send(byte.frame(TEXT, b"y" * 1000)[:10])
        for _ in range(30):
            await pong.send_frame(PONG, b"other")
            await message.send_frame(TEXT, b"x")
            await byte.send(b"y")
            await asyncio.sleep(0.05)
        assert len(server.connections) == 3


async def test_peer_that_we_do_not_read_from_is_not_given_up():
    """Its pongs cannot be seen."""
    options = {"ping_interval": 0.03, "ping_timeout": 0.03, "max_queue": 1}
    release = asyncio.Event()

    async def handler(websocket):
        await release.wait()
        assert websocket.reading_paused
        await echo(websocket)

    async with serve(handler, HERE, 0, **options) as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") * 5)
        (connection,) = server.connections or [None]
        await until(lambda: connection.reading_paused)
        await asyncio.sleep(0.3)
        assert connection.state.name == "OPEN"
        release.set()
        received = 0
        while received < 5:
            frame = await peer.read_frame()
            if frame.opcode == PING:
                await peer.send_frame(PONG, frame.payload)
            else:
                received += 1


async def test_pings_go_on_without_a_time_limit():
    options = {"ping_interval": 0.02, "ping_timeout": None}
    async with serve(echo, HERE, 0, **options) as server, dial_open(server) as peer:
        for _ in range(5):
            assert (await peer.read_frame()).opcode == PING
        (connection,) = server.connections
        # Pings that nobody waits for are not collected.
        assert len(connection._pings) == 1


async def test_own_pings_are_kept_while_keepalive_goes_on():
    options = {"ping_interval": 0.02, "ping_timeout": None}

    async def script(peer):
        await peer.accept()
        frames = [await peer.read_frame() for _ in range(4)]
        (mine,) = [frame.payload for frame in frames if frame.payload == b"mine"]
        await peer.send_frame(PONG, mine)
        with contextlib.suppress(ConnectionError):
            await soon(peer.reader.read())

    async with raw_server(script) as server, connect(server.uri, close_timeout=0.1, **options) as websocket:
        pong = await websocket.ping(b"mine")
        assert await soon(pong) >= 0


async def test_silence_while_closing_is_up_to_the_close_timeout():
    """RFC 6455 §7.1.1: there is no second Close frame."""
    options = {"ping_interval": 0.02, "ping_timeout": 0.05, "close_timeout": 0.3}
    async with serve(echo, HERE, 0, **options) as server, dial_open(server) as peer:
        (connection,) = server.connections
        assert (await peer.read_frame()).opcode == PING
        await soon(connection.close(4000))
        frames = await peer.read_frames()
        assert [frame.payload for frame in frames if frame.opcode == CLOSE] == [b"\x0f\xa0"]


async def test_payloads_of_pings_are_not_used_twice(monkeypatch):
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


async def test_client_gives_a_silent_server_up():
    async def script(peer):
        await peer.accept()
        with contextlib.suppress(ConnectionError):
            await peer.reader.read()

    options = {"ping_interval": 0.03, "ping_timeout": 0.1, "close_timeout": 0.1}
    async with raw_server(script) as server, connect(server.uri, **options) as websocket:
        with pytest.raises(ConnectionClosedError) as info:
            await soon(websocket.recv())
        assert info.value.sent.code == 1011
        assert websocket.close_code == 1006


async def test_callbacks_have_a_keepalive_too():
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
    options = {"ping_interval": 0.02, "ping_timeout": 1}
    async with serve(echo, HERE, 0, **options) as server, connect(uri_of(server), **options) as websocket:
        await asyncio.sleep(0.3)
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


async def test_progress_of_what_is_sent_counts_as_life():
    """The ping waits behind it."""
    connection = FakeConnection()
    connection.buffered_bytes = 1000
    keepalive = Keepalive(connection, 0.02, 0.02)
    send_keepalive_ping = connection.send_keepalive_ping

    def make_progress_behind_four_pings():
        backlog = send_keepalive_ping()
        connection.buffered_bytes -= connection.pinged <= 4
        return backlog

    connection.send_keepalive_ping = make_progress_behind_four_pings
    await until(lambda: connection.timed_out)
    assert connection.pinged == 5
    keepalive.stop()
    keepalive.stop()


async def test_pong_while_no_ping_is_out_changes_nothing():
    connection = FakeConnection()
    keepalive = Keepalive(connection, 0.02, None)
    keepalive.pong_received()
    await until(lambda: connection.pinged)
    keepalive.pong_received()
    keepalive.pong_received()
    keepalive.stop()
    keepalive.pong_received()
    pinged = connection.pinged
    await asyncio.sleep(0.06)
    assert connection.pinged == pinged


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


async def test_ping_that_nobody_waits_for_any_more_ends_with_the_connection():
    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:
        websocket.transport.pause_reading()
        waiting, cancelled = await websocket.ping(), await websocket.ping()
        cancelled.cancel()
        websocket.transport.abort()
        with pytest.raises(ConnectionClosed):
            await soon(waiting)
        assert cancelled.cancelled()
