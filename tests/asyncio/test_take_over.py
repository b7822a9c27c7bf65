"""Connections on transports on which other code has performed the opening handshake."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from support import close_payload, dial, dial_open, echo, request, soon, until

import wsframe
from wsframe import CloseCode, ConnectionClosed, ConnectionClosedOK, Role, ServerHandshake, State
from wsframe.asyncio.connection import Connection
from wsframe.constants import Opcode

TEXT, BINARY, CLOSE = Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE


class Host(asyncio.Protocol):
    """A server that handles HTTP itself, and hands the transport over."""

    def __init__(self, make, opened):
        self.handshake = ServerHandshake()
        self.make = make
        self.opened = opened

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        request = self.handshake.receive_data(data)
        if request is not None:
            response = self.handshake.accept(request)
            self.transport.write(response.serialize())
            connection = self.make()
            connection.take_over(self.transport, self.handshake, request, response, self.handshake.unread)
            self.opened.set_result(connection)


class Watched(Connection):
    """A connection that records how it ends."""

    def __init__(self, **options):
        super().__init__(wsframe.Connection(Role.SERVER, state=State.CONNECTING), ping_interval=None, **options)
        self.calls = []

    def connection_ending(self):
        self.calls.append("ending")

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.calls.append("lost")


@contextlib.asynccontextmanager
async def hosting(**options):
    """Give a server, and a future of its connection."""
    loop = asyncio.get_running_loop()
    opened = loop.create_future()
    server = await loop.create_server(lambda: Host(lambda: Watched(**options), opened), "127.0.0.1", 0)
    try:
        yield server, opened
    finally:
        server.close()
        if opened.done():
            opened.result().transport.abort()
            await soon(opened.result().wait_closed())


async def test_messages_are_exchanged():
    async with hosting() as (server, opened), dial_open(server) as peer:
        connection = await soon(opened)
        task = asyncio.ensure_future(echo(connection))
        await peer.send_frame(TEXT, b"one")
        await peer.expect(TEXT, b"one")
        assert connection.was_open
        assert connection.request.path == "/"
        assert connection.response.status_code == 101
        await peer.send_close(1000, "bye")
        await peer.expect(CLOSE, close_payload(1000, "bye"))
        await peer.expect_end()
        await soon(task)
        await until(lambda: "lost" in connection.calls)
        assert connection.calls == ["ending", "lost"]


async def test_bytes_after_the_request_are_received():
    async with hosting() as (server, opened), dial(server) as peer:
        await peer.send(request() + peer.frame(TEXT, b"early"))
        await peer.read_head()
        assert await soon((await soon(opened)).recv()) == "early"


async def test_paused_reading_is_the_connections_to_resume():
    async with hosting() as (server, opened), dial_open(server) as peer:
        connection = await soon(opened)
        connection.pause_reading()
        await peer.send_frame(TEXT, b"one")
        assert connection.reading_paused
        connection.resume_reading()
        assert await soon(connection.recv()) == "one"


async def test_start_closing_does_not_wait():
    async with hosting() as (server, opened), dial_open(server) as peer:
        connection = await soon(opened)
        connection.start_closing(3000, "enough")
        assert connection.state is State.CLOSING
        assert connection.calls == ["ending"]
        # Again, which does nothing.
        connection.start_closing(3001)
        await peer.expect(CLOSE, close_payload(3000, "enough"))
        await peer.send_close(3000)
        with pytest.raises(ConnectionClosed) as caught:
            await soon(connection.recv())
        assert caught.value.rcvd.code == 3000


@pytest.mark.parametrize("code", [1005, 999, "1000"])
async def test_start_closing_refuses_a_wrong_code(code):
    async with hosting() as (server, opened), dial_open(server):
        connection = await soon(opened)
        with pytest.raises((TypeError, wsframe.ProtocolError)):
            connection.start_closing(code)
        assert connection.state is State.OPEN


async def test_without_waiting_recv_returns_what_has_arrived_and_then_raises():
    async with hosting() as (server, opened), dial_open(server) as peer:
        connection = await soon(opened)
        await peer.send(peer.frame(TEXT, b"one") + peer.frame(TEXT, b"two"))
        await until(lambda: connection.queue_depth == 2)
        connection.start_closing(1000)
        connection.stop_waiting()
        assert [await soon(connection.recv()) for _ in range(2)] == ["one", "two"]
        # The peer has not answered.
        with pytest.raises(ConnectionClosed) as caught:
            await soon(connection.recv())
        assert (caught.value.sent.code, caught.value.rcvd) == (1000, None)
        with pytest.raises(ConnectionClosed):
            await soon(connection.send("three"))
        assert connection.state is State.CLOSING


async def test_without_waiting_later_messages_are_dropped():
    async with hosting() as (server, opened), dial_open(server) as peer:
        connection = await soon(opened)
        connection.start_closing(1000)
        connection.stop_waiting()
        await peer.send_frame(TEXT, b"late")
        await peer.send_close(1000)
        await soon(connection.wait_closed())
        assert connection.queue_depth == 0
        with pytest.raises(ConnectionClosedOK):
            await soon(connection.recv())


async def test_stopping_ends_recv_that_waits():
    async with hosting() as (server, opened), dial_open(server):
        connection = await soon(opened)
        waiting = asyncio.ensure_future(connection.recv())
        await asyncio.sleep(0)
        connection.start_closing(1001)
        connection.stop_waiting()
        with pytest.raises(ConnectionClosed):
            await soon(waiting)


async def test_stopping_ends_an_iteration_after_both_close_frames():
    async with hosting() as (server, opened), dial_open(server) as peer:
        connection = await soon(opened)
        received = []

        async def receive():
            async for message in connection:
                received.append(message)
                connection.start_closing(1000)

        connection.connection_ending = lambda: connection.protocol.close_rcvd and connection.stop_waiting()
        await peer.send(peer.frame(TEXT, b"one"))
        task = asyncio.ensure_future(receive())
        await peer.expect(CLOSE, close_payload(1000))
        await peer.send_close(1000)
        await soon(task)
        assert received == ["one"]


@pytest.mark.parametrize("answered", [True, False])
async def test_violation_after_a_message_ends_recv_at_once(answered):
    """The failure waits for the answer to what came before it; recv() that follows releases it."""
    async with hosting(close_timeout=60) as (server, opened), dial_open(server) as peer:
        connection = await soon(opened)

        def stop():
            connection.calls.append("ending")
            connection.stop_waiting()

        connection.connection_ending = stop
        await peer.send(peer.frame(TEXT, b"one") + peer.frame(3, b"reserved"))
        assert await soon(connection.recv()) == "one"
        await until(lambda: connection.protocol.failed)
        if answered:
            await connection.send("answer")
        with pytest.raises(ConnectionClosed) as caught:
            await soon(connection.recv())
        assert caught.value.sent.code == CloseCode.PROTOCOL_ERROR
        assert connection.state is not State.CLOSED
        if answered:
            await peer.expect(TEXT, b"answer")
        await peer.expect_failure(1002)


async def test_drain_waits_for_the_peer_to_read():
    async with hosting(write_limit=1000) as (server, opened), dial_open(server, limit=1000) as peer:
        connection = await soon(opened)
        await soon(connection.drain())
        message = bytes(100_000)
        count = 0
        while not connection.writing_paused:
            connection.try_send(message)
            count += 1
        draining = asyncio.ensure_future(connection.drain())
        await asyncio.sleep(0)
        assert not draining.done()
        for _ in range(count):
            await peer.expect(BINARY, message)
        await soon(draining)
        assert not connection.writing_paused


async def test_drain_ends_when_the_connection_is_lost():
    async with hosting(write_limit=1000) as (server, opened), dial_open(server, limit=1000):
        connection = await soon(opened)
        while not connection.writing_paused:
            connection.try_send(bytes(100_000))
        draining = asyncio.ensure_future(connection.drain())
        await asyncio.sleep(0)
        connection.transport.abort()
        with pytest.raises(ConnectionClosed):
            await soon(draining)
