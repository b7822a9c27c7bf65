"""The end of a connection over a socket: time limits, resets, half-closed streams, held failures (RFC 6455 §7)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import support
from support import CLOSE, TEXT, close_payload, connection_of, dial_open, echo, idle, raw_server, soon, until, uri_of

from wsframe import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidState, State, connect, serve
from wsframe.testing import Clock
from wsframe.testing.clock import settle

HERE = "127.0.0.1"


async def test_x6_server_drops_a_client_that_does_not_answer_close():
    """RFC 6455 §7.1.1."""
    async with serve(idle, HERE, 0, close_timeout=0.2) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        await soon(connection.close(), 10)
        assert connection.close_code == 1006
        assert isinstance(connection.close_exc.__cause__, TimeoutError)
        await peer.expect(CLOSE, close_payload(1000))


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_close_timeout_none_waits_for_the_peer(end):
    clock = Clock()
    options = {"close_timeout": None, "ping_interval": None, "create_connection": support.clocked(clock)}
    async with serve(idle, HERE, 0, **options) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        closing = asyncio.ensure_future(connection.close())
        await clock.advance(1000)
        assert not closing.done()
        if end == "close":
            await peer.send_close(1000)
        else:
            peer.abort()
        await soon(closing)


async def test_close_exc_is_available_only_at_the_end():
    async with serve(idle, HERE, 0) as server, connect(uri_of(server)) as websocket:
        with pytest.raises(InvalidState):
            _ = websocket.close_exc
        await websocket.close()
        assert isinstance(websocket.close_exc, ConnectionClosedOK)


async def test_reset_while_receiving_is_the_cause_of_the_exception():
    """RFC 6455 §7.1.5."""

    async def script(peer):
        await peer.accept()
        peer.abort()

    async with raw_server(script) as server, connect(server.uri) as websocket:
        with pytest.raises(ConnectionClosedError) as info:
            await soon(websocket.recv())
        assert isinstance(info.value.__cause__, (ConnectionError, EOFError))
        assert (info.value.rcvd, info.value.sent) == (None, None)


async def test_end_in_the_middle_of_a_frame_is_1006():
    """RFC 6455 §7.1.5."""
    async with serve(idle, HERE, 0) as server:
        async with dial_open(server) as peer:
            connection = await connection_of(server)
            await peer.send(peer.frame(TEXT, b"abc")[:-1])
        await soon(connection.wait_closed())
        assert connection.close_code == 1006
        with pytest.raises(ConnectionClosedError):
            await connection.recv()


async def test_half_closed_client_is_dropped():
    """RFC 6455 §7.1.1: a client that ends its stream without Close expects nothing more."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"a")
        await peer.expect(TEXT, b"a")
        peer.writer.write_eof()
        assert await peer.read_frames() == []


async def test_close_frame_before_a_half_close_is_answered():
    """RFC 6455 §5.5.1."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        peer.writer.write(peer.frame(CLOSE, close_payload(1000)))
        peer.writer.write_eof()
        assert await peer.read_pairs() == [(CLOSE, close_payload(1000))]


async def test_close_while_sending_sends_everything_first():
    """RFC 6455 §5.5.1: what was sent before Close arrives before Close."""

    async def handler(websocket):
        await asyncio.gather(*(websocket.send(bytes(200_000)) for _ in range(20)))

    async with serve(handler, HERE, 0) as server, dial_open(server, limit=1000) as peer:
        for _ in range(20):
            assert len((await peer.read_frame()).payload) == 200_000
        await peer.expect(CLOSE, close_payload(1000))
        await peer.send_close(1000)
        await peer.expect_end()


async def test_server_close_with_many_clients():
    """RFC 6455 §7.4.1: 1001, and each of them is answered."""
    async with contextlib.AsyncExitStack() as stack:
        server = await serve(echo, HERE, 0)
        clients = [await stack.enter_async_context(connect(uri_of(server))) for _ in range(30)]
        await until(lambda: len(server.connections) == 30)
        server.close()
        await soon(server.wait_closed())
        for client in clients:
            await soon(client.wait_closed())
            assert client.close_code == 1001


async def test_server_close_drops_silent_clients():
    """RFC 6455 §7.1.1."""
    server = await serve(echo, HERE, 0, close_timeout=0.2)
    async with dial_open(server), dial_open(server):
        await until(lambda: len(server.connections) == 2)
        server.close()
        await soon(server.wait_closed(), 15)


async def test_server_close_waits_for_a_slow_handler():
    ended, release = [], asyncio.Event()

    async def handler(websocket):
        with contextlib.suppress(ConnectionClosed):
            await websocket.recv()
        await release.wait()
        ended.append(websocket.state)

    server = await serve(handler, HERE, 0)
    async with connect(uri_of(server)) as websocket:
        await until(lambda: server.connections)
        server.close()
        closing = asyncio.ensure_future(server.wait_closed())
        await soon(websocket.wait_closed())
        await settle()
        assert not closing.done()
        release.set()
        await soon(closing)
    assert ended == [State.CLOSED]


# What came before a violation is answered before the connection fails


async def test_failure_waits_for_the_answers():
    """RFC 6455 §7.1.7: several messages, and an application that has to wait for nothing."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        messages = [(TEXT, str(i).encode()) for i in range(10)]
        await peer.send(b"".join(peer.frame(*message) for message in messages) + b"\xff\xff")
        await peer.expect_failure(1002, *messages)


async def test_failure_waits_for_answers_only_until_close_timeout():
    """RFC 6455 §7.1.7: an application that never comes back."""

    async def handler(websocket):
        await websocket.recv()
        await websocket.wait_closed()

    async with serve(handler, HERE, 0, close_timeout=0.2) as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") + b"\xff\xff")
        await peer.expect_failure(1002)


async def test_failure_does_not_wait_for_answers_when_the_application_closes():
    async def handler(websocket):
        await websocket.recv()
        await until(lambda: websocket.protocol.failure_held)
        await websocket.close(4000)

    async with serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") + b"\xff\xff")
        await peer.expect_failure(1002)


@pytest.mark.parametrize("close_timeout", [None, 10])
async def test_failure_is_reported_after_a_second_at_most(close_timeout):
    async def handler(websocket):
        await websocket.recv()
        with contextlib.suppress(ConnectionClosed):
            await asyncio.wait_for(websocket.wait_closed(), 10)

    async with serve(handler, HERE, 0, close_timeout=close_timeout) as server, dial_open(server) as peer:
        began = asyncio.get_running_loop().time()
        await peer.send(peer.frame(TEXT, b"a") + b"\xff\xff")
        await peer.expect_failure(1002)
        assert asyncio.get_running_loop().time() - began < 8


async def test_end_of_tcp_while_a_failure_is_held():
    """RFC 6455 §7.1.5."""
    held = asyncio.Event()
    closed = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        await websocket.recv()
        await until(lambda: websocket.protocol.failure_held)
        held.set()
        await websocket.wait_closed()
        closed.set_result(websocket.close_code)

    async with serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") + b"\xff\xff")
        await soon(held.wait())
        peer.abort()
        assert await soon(closed) == 1006


@pytest.mark.parametrize("error", [OSError, RuntimeError])
async def test_transport_that_fails_to_half_close_is_aborted(error):
    """The peer has reset the connection, which asyncio reports only now, with an exception."""
    async with serve(echo, HERE, 0) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        transport = connection.transport

        class Broken:
            def __getattr__(self, name):
                return getattr(transport, name)

            def write_eof(self):
                raise error

        connection.transport = Broken()
        await peer.send(b"\xff\xff")
        await soon(connection.wait_closed(), 5)
        with contextlib.suppress(ConnectionError):
            await peer.expect_failure(1002)


async def test_close_in_the_opening_handshake_drops_tcp():
    """The peer does not expect a Close frame yet."""
    seen = []

    async def process_request(connection, received):
        seen.append(connection.close_code)
        await connection.close()
        seen.append(connection.state)

    async with serve(echo, HERE, 0, process_request=process_request) as server:
        with pytest.raises(Exception, match="valid HTTP response"):
            await soon(connect(uri_of(server)))
    assert seen == [None, State.CLOSED]
