"""Limits that need a clock or a write buffer: control frames in a second, messages for a peer that does not read."""

from __future__ import annotations

import asyncio
import builtins
import dataclasses
import inspect
import logging
import sys

import pytest
from support import CLOSE, PING, PONG, TEXT, close_payload, dial_open, echo, idle, port_of, request, soon, until, uri_of

import wsframe
from wsframe import ConnectionClosedError, Limits, PreparedMessage, broadcast, connect, serve
from wsframe.testing.clock import settle

HERE = "127.0.0.1"
MIB = bytes(2**20)


# Every entry point


@pytest.mark.parametrize("name", ["serve", "connect", "WebSocketProtocol"])
def test_entry_points_accept_limits(name):
    parameter = inspect.signature(getattr(wsframe, name)).parameters["limits"]
    assert parameter.default is None
    assert parameter.kind is parameter.KEYWORD_ONLY


async def test_limits_reach_the_connection():
    limits = Limits(max_message_size=3)
    async with serve(echo, HERE, 0, limits=limits) as server:
        async with connect(uri_of(server), limits=dataclasses.replace(limits, max_message_size=2)) as websocket:
            assert websocket.protocol.limits.max_message_size == 2
            (connection,) = server.connections
            assert connection.protocol.limits is limits
            await websocket.send("abc")
            with pytest.raises(ConnectionClosedError) as info:
                await soon(websocket.recv())
            assert info.value.sent.code == 1009


async def test_limits_apply_to_the_handshake():
    async with serve(echo, HERE, 0, limits=Limits(max_headers=8)) as server, dial_open(server) as peer:
        reader, writer = await asyncio.open_connection(HERE, port_of(server))
        writer.write(request({f"X-{i}": "x" for i in range(9)}))
        assert (await soon(reader.read())).startswith(b"HTTP/1.1 431 ")
        writer.close()
        await peer.send_close(1000)


# Control frames


async def test_flood_of_pings_fails_the_connection(caplog):
    async with serve(echo, HERE, 0, limits=Limits(max_control_rate=100)) as server, dial_open(server) as peer:
        with caplog.at_level(logging.INFO):
            await peer.send(peer.frame(PING, b"a") * 250)
            frames = await peer.read_pairs()
    assert frames[-1] == (CLOSE, close_payload(1008, "too many control frames"))
    assert set(frames[:-1]) <= {(PONG, b"a")}
    assert "connection failed: more than 100 control frames in a second" in caplog.messages


async def test_flood_of_pongs_fails_the_connection():
    async with serve(echo, HERE, 0, limits=Limits(max_control_rate=100)) as server, dial_open(server) as peer:
        await peer.send(peer.frame(PONG) * 250)
        assert await peer.read_pairs() == [(CLOSE, close_payload(1008, "too many control frames"))]


async def test_slow_pings_are_within_the_limit():
    async with serve(echo, HERE, 0, limits=Limits(max_control_rate=3)) as server, dial_open(server) as peer:
        (connection,) = server.connections
        for _ in range(10):
            # What a second is, is the event loop's business; here, it has passed.
            connection._control_frames_since -= 2
            await peer.send_frame(PING)
            await peer.expect(PONG)
        await peer.send_close(1000)


async def test_control_frame_limit_may_be_none():
    async with serve(echo, HERE, 0, limits=Limits(max_control_rate=None)) as server, dial_open(server) as peer:
        await peer.send(peer.frame(PONG) * 30_000)
        await peer.send_frame(TEXT, b"a")
        await peer.expect(TEXT, b"a")


# The write buffer


async def full_connection(server, size=2):
    """Return the server's connection, once the peer, which does not read, has that many MiB and more to come."""
    await until(lambda: server.connections)
    (connection,) = server.connections
    while connection.buffered_bytes <= size * 2**20:
        connection.push(PreparedMessage(MIB))
        await asyncio.sleep(0)
    return connection


def limited(policy):
    return {"limits": Limits(max_send_buffer=2**21, send_buffer_policy=policy), "close_timeout": 0.2}


async def test_broadcast_skips_a_peer_that_does_not_read(caplog):
    async with serve(idle, HERE, 0, **limited("wait")) as server, dial_open(server, limit=1000) as peer:
        connection = await full_connection(server)
        before = connection.buffered_bytes
        broadcast([connection], "more")
        assert connection.buffered_bytes == before
        (message,) = [message for message in caplog.messages if message.startswith("skipped broadcast")]
        assert message.endswith("BufferError: more than 2097152 bytes are waiting to be sent")
        if sys.version_info >= (3, 11):
            with pytest.raises(builtins.ExceptionGroup) as info:
                broadcast([connection], "more", raise_exceptions=True)
            assert isinstance(info.value.exceptions[0].__cause__, BufferError)
        peer.abort()


async def test_send_waits_before_it_adds_to_a_full_buffer():
    async with serve(idle, HERE, 0, **limited("wait")) as server, dial_open(server, limit=1000) as peer:
        connection = await full_connection(server)
        before = connection.buffered_bytes
        tasks = [asyncio.ensure_future(connection.send(message)) for message in ("a", ["b"], b"c")]
        await settle()
        assert connection.buffered_bytes <= before
        assert not any(task.done() for task in tasks)
        payloads = []
        while len(payloads) < 4:
            payload = (await peer.read_frame()).payload
            if len(payload) < 2:
                payloads.append(payload)
        await soon(asyncio.gather(*tasks))
        assert sorted(payloads) == [b"", b"a", b"b", b"c"]
        peer.abort()


async def test_end_of_the_connection_wakes_a_waiting_send():
    async with serve(idle, HERE, 0, **limited("wait")) as server, dial_open(server, limit=1000) as peer:
        connection = await full_connection(server)
        task = asyncio.ensure_future(connection.send("a"))
        await settle()
        peer.abort()
        with pytest.raises(ConnectionClosedError):
            await soon(task)


async def test_policy_drop_discards_messages():
    async with serve(idle, HERE, 0, **limited("drop")) as server, dial_open(server, limit=1000) as peer:
        connection = await full_connection(server)
        before = connection.buffered_bytes
        await connection.send("a")
        broadcast([connection], "b")
        await connection.send(["c"])
        assert connection.buffered_bytes == before
        peer.abort()


@pytest.mark.parametrize("way", ["send", "broadcast"])
async def test_policy_close_fails_the_connection(way, caplog):
    async with serve(idle, HERE, 0, **limited("close")) as server, dial_open(server, limit=1000) as peer:
        connection = await full_connection(server)
        with caplog.at_level(logging.INFO):
            if way == "send":
                with pytest.raises(ConnectionClosedError) as info:
                    await soon(connection.send("a"))
                assert info.value.sent == wsframe.exceptions.Close(1008, "the peer does not read")
            else:
                broadcast([connection, connection], "a")
            await soon(connection.wait_closed())
        assert "connection failed: more than 2097152 bytes are waiting to be sent" in caplog.messages
        peer.abort()


async def test_write_buffer_limit_may_be_none():
    limits = Limits(max_send_buffer=None, send_buffer_policy="close")
    async with serve(idle, HERE, 0, limits=limits, close_timeout=0.2) as server:
        async with dial_open(server, limit=1000) as peer:
            connection = await full_connection(server, 20)
            assert connection.state is wsframe.State.OPEN
            peer.abort()


@pytest.mark.parametrize("policy", ["wait", "drop", "close"])
async def test_policies_apply_to_callbacks(policy):
    connections = []

    class Full(wsframe.WebSocketProtocol):
        def connection_open(self):
            connections.append(self)

    def factory():
        return Full(**limited(policy))

    server = await asyncio.get_running_loop().create_server(factory, HERE, 0)
    async with dial_open(server, limit=1000) as peer:
        await until(lambda: connections)
        (connection,) = connections
        while connection.buffered_bytes <= 2**21:
            connection.send(MIB)
            await asyncio.sleep(0)
        before = connection.buffered_bytes
        if policy == "wait":
            for message in ("a", b"a", PreparedMessage("a")):
                with pytest.raises(BufferError, match="more than 2097152 bytes are waiting to be sent"):
                    connection.send(message)
        else:
            connection.send("a")
        if policy == "close":
            await until(lambda: connection.state is wsframe.State.CLOSED)
        else:
            assert connection.buffered_bytes == before
        peer.abort()
    server.close()
    await until(lambda: connection.state is wsframe.State.CLOSED)
