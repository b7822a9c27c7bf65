"""Connections in memory with a clock of their own: ``wsframe.testing``."""

from __future__ import annotations

import asyncio
import importlib
import importlib.metadata
import subprocess
import sys

import pytest
from support import environment, soon

import wsframe_pytest
from wsframe import ConnectionClosedError, ConnectionClosedOK, InvalidStatus, State
from wsframe.testing import Clock, connect_pair
from wsframe.testing.clock import settle


async def test_messages_go_both_ways():
    async with connect_pair(compression=None) as pair:
        assert pair.client.state is pair.server.state is State.OPEN
        assert pair.client.remote_address == pair.server.local_address
        for sender, receiver in ((pair.client, pair.server), (pair.server, pair.client)):
            for message in ("hello", b"\0" * 1_000_000, ["a", "b"]):
                task = asyncio.ensure_future(sender.send(message))
                expected = "".join(message) if isinstance(message, list) else message
                assert await soon(receiver.recv()) == expected
                await soon(task)
    assert (pair.client.close_code, pair.server.close_code) == (1000, 1000)


async def test_options_apply_to_both_ends_or_to_one():
    async with connect_pair(
        "ws://example.com/path",
        compression=None,
        max_size=100,
        server_options={"subprotocols": ["b"], "max_size": 10},
        client_options={"subprotocols": ["a", "b"]},
    ) as pair:
        assert pair.server.request.path == "/path"
        assert pair.server.request.headers["Host"] == "example.com"
        assert pair.client.subprotocol == pair.server.subprotocol == "b"
        assert "Sec-WebSocket-Extensions" not in pair.server.request.headers
        await pair.client.send("x" * 11)
        with pytest.raises(ConnectionClosedError) as info:
            await soon(pair.client.recv())
        assert info.value.rcvd.code == 1009


async def test_handshake_may_fail():
    def deny(connection, request):
        return connection.respond(403, "no")

    with pytest.raises(InvalidStatus) as info:
        async with connect_pair(server_options={"process_request": deny}):
            raise AssertionError("never opened")
    assert info.value.response.body == b"no"


async def test_keepalive_runs_by_the_clock():
    async with connect_pair(ping_interval=20, ping_timeout=20) as pair:
        await pair.clock.advance(19)
        assert pair.server.stats.pings_sent == 0
        await pair.clock.advance(1)
        assert (pair.server.stats.pings_sent, pair.server.stats.pongs_received) == (1, 1)
        assert pair.server.latency == 0
        await pair.clock.advance(200)
        assert pair.server.stats.pings_sent == 11
        assert pair.server.state is State.OPEN


async def test_keepalive_drops_a_peer_that_does_not_read():
    async with connect_pair(client_options={"ping_interval": None}) as pair:
        pair.client.transport.pause_reading()
        await pair.clock.advance(39)
        assert pair.server.state is State.OPEN
        await pair.clock.advance(1)
        assert pair.server.state is State.CLOSING
        await pair.clock.advance(10)
        with pytest.raises(ConnectionClosedError, match="keepalive ping timeout"):
            await soon(pair.server.recv())


async def test_close_timeout_runs_by_the_clock():
    async with connect_pair(close_timeout=10, ping_interval=None) as pair:
        pair.client.transport.pause_reading()
        task = asyncio.ensure_future(pair.server.close())
        await pair.clock.advance(9)
        assert not task.done()
        await pair.clock.advance(1)
        await soon(task)
        with pytest.raises(ConnectionClosedError):
            await soon(pair.server.recv())


async def test_latency_is_measured_by_the_clock():
    async with connect_pair(ping_interval=None) as pair:
        pair.server.transport.pause_reading()
        pong = await pair.client.ping()
        await pair.clock.advance(0.25)
        pair.server.transport.resume_reading()
        assert await soon(pong) == 0.25 == pair.client.latency


async def test_backpressure():
    async with connect_pair(ping_interval=None, write_limit=1000, compression=None) as pair:
        pair.client.transport.pause_reading()
        tasks = []
        for _ in range(3):
            tasks.append(asyncio.ensure_future(pair.server.send(bytes(600))))
            await settle()
        assert [task.done() for task in tasks] == [True, False, False]
        assert pair.server.buffered_bytes == 3 * 604
        assert pair.server.transport.get_write_buffer_limits() == (250, 1000)
        assert not pair.client.transport.is_reading()
        pair.client.transport.resume_reading()
        await soon(asyncio.gather(*tasks))
        assert pair.client.queue_depth == 3


@pytest.mark.parametrize("way", ["abort", "write_eof"])
async def test_connection_may_break(way):
    async with connect_pair() as pair:
        getattr(pair.client.transport, way)()
        getattr(pair.client.transport, way)()
        pair.client.transport.write(b"too late")
        with pytest.raises(ConnectionClosedError, match="no close frame received or sent"):
            await soon(pair.server.recv())


async def test_closing_in_the_block():
    async with connect_pair() as pair:
        await soon(pair.client.close(1001, "bye"))
        with pytest.raises(ConnectionClosedOK) as info:
            await soon(pair.server.recv())
        assert info.value.rcvd.reason == "bye"


async def test_unread_data_does_not_delay_the_end():
    async with connect_pair(max_queue=1, compression=None) as pair:
        pair.server.transport.pause_reading()
        await pair.client.send(bytes(30_000))


async def test_clock_calls_timers_in_their_order():
    clock = Clock(100)
    called = []
    for delay in (3, 1, 2, 1):
        clock.call_later(delay, lambda delay=delay: called.append((delay, clock.time())))
    clock.call_later(1, lambda: called.append("cancelled")).cancel()
    clock.call_later(2, lambda: clock.call_later(0.5, lambda: called.append(clock.time())))
    await clock.advance(2.75)
    assert called == [(1, 101), (1, 101), (2, 102), 102.5]
    assert clock.time() == 102.75
    await clock.advance(1)
    assert called[-1] == (3, 103)


def test_the_fixture_is_the_function():
    assert importlib.reload(wsframe_pytest)._websocket_pair() is connect_pair


def test_pytest_finds_the_fixture(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import asyncio\n\n"
        "def test_it(websocket_pair):\n"
        "    async def main():\n"
        "        async with websocket_pair() as pair:\n"
        "            await pair.client.send('hello')\n"
        "            assert await pair.server.recv() == 'hello'\n"
        "    asyncio.run(main())\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    if not any(point.value == wsframe_pytest.__name__ for point in importlib.metadata.entry_points(group="pytest11")):
        command += ["-p", wsframe_pytest.__name__]  # run from the source tree
    result = subprocess.run(command, cwd=tmp_path, env=environment("py"), capture_output=True, text=True, timeout=60)
    assert "1 passed" in result.stdout, result.stdout + result.stderr
