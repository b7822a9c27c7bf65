"""Backpressure in both directions: a slow reader makes the writer wait (RFC 6455 §10.4)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import support
from support import BINARY, CLOSE, PING, PONG, TEXT, connection_of, dial_open, idle, soon, stays, steady, until, uri_of

from wsframe import ConnectionClosed, ConnectionClosedError, InvalidState, PreparedMessage, connect, serve

HERE = "127.0.0.1"


# Towards the peer


async def test_send_waits_while_the_peer_does_not_read():
    sent = 0

    async def handler(websocket):
        nonlocal sent
        while sent < 1000:
            await websocket.send(bytes(100_000))
            sent += 1

    async with serve(handler, HERE, 0, close_timeout=1) as server, dial_open(server, limit=1000) as peer:
        connection = await connection_of(server)
        await until(lambda: connection.buffered_bytes > 0)
        before = await steady(lambda: sent)
        assert before < 1000
        # One message above the limit, at most.
        assert connection.buffered_bytes <= 2**15 + 100_010
        # It goes on as the peer reads.
        for _ in range(before + 20):
            assert (await peer.read_frame()).opcode == BINARY
        assert sent > before
        peer.abort()


async def test_write_limit_may_be_a_pair():
    async with serve(idle, HERE, 0, write_limit=(1000, 500), close_timeout=0.1) as server:
        async with dial_open(server, limit=1000) as peer:
            connection = await connection_of(server)
            assert connection.transport.get_write_buffer_limits() == (500, 1000)
            peer.abort()


async def test_end_of_the_connection_wakes_a_waiting_sender():
    ended = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        try:
            while True:
                await websocket.send(bytes(100_000))
        except ConnectionClosedError as exc:
            ended.set_result(exc)

    async with serve(handler, HERE, 0) as server, dial_open(server, limit=1000) as peer:
        connection = await connection_of(server)
        await until(lambda: connection.buffered_bytes > 2**15)
        peer.abort()
        await soon(ended)


async def test_several_tasks_may_wait_to_send():
    async def handler(websocket):
        await asyncio.gather(*(websocket.send(bytes([i]) * 100_000) for i in range(30)))

    async with serve(handler, HERE, 0) as server, dial_open(server, limit=1000) as peer:
        received = {(await peer.read_frame()).payload[0] for _ in range(30)}
        assert received == set(range(30))
        await peer.expect(CLOSE, support.close_payload(1000))
        await peer.send_close(1000)


async def test_sender_in_a_loop_notices_the_end():
    """One who sends without ever waiting must not keep the event loop from telling that TCP is gone."""
    ended = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        websocket.transport.abort()
        try:
            while True:
                await websocket.send("a")
        except ConnectionClosed as exc:
            ended.set_result(type(exc))

    async with serve(handler, HERE, 0) as server, dial_open(server):
        assert await soon(ended) is ConnectionClosedError


async def test_cancelled_sender_is_not_woken():
    async with serve(idle, HERE, 0, close_timeout=0.1) as server, dial_open(server):
        connection = await connection_of(server)
        connection.pause_writing()
        task = asyncio.ensure_future(connection.send("a"))
        await asyncio.sleep(0)
        task.cancel()
        connection.resume_writing()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_reading_is_not_resumed_when_tcp_is_ending():
    async with serve(idle, HERE, 0, close_timeout=0.1) as server, dial_open(server):
        connection = await connection_of(server)
        connection.pause_reading()
        connection.transport.abort()
        connection.resume_reading()
        assert not connection.reading_paused
        connection.pause_reading()
        assert not connection.reading_paused


async def test_f10_one_pong_is_held_while_the_peer_does_not_read():
    """RFC 6455 §5.5.3: only the last ping need be answered."""

    async def handler(websocket):
        await websocket.send(bytes(8_000_000))
        await websocket.wait_closed()

    async with serve(handler, HERE, 0, close_timeout=1) as server, dial_open(server, limit=1000) as peer:
        connection = await connection_of(server)
        await until(lambda: connection.buffered_bytes > 0)
        for i in range(200):
            await peer.send_frame(PING, bytes([i]))
        await peer.send_frame(TEXT, b"a")
        # The handler does not receive, and yet the server read all of it.
        await until(lambda: connection.queue_depth)
        assert (await peer.read_frame()).opcode == BINARY
        await peer.expect(PONG, bytes([199]))
        peer.abort()


# From the peer


@pytest.mark.parametrize("max_queue", [1, 16, (4, 2)])
async def test_reading_pauses_while_the_application_does_not_receive(max_queue):
    high = max_queue if isinstance(max_queue, int) else max_queue[0]
    async with serve(idle, HERE, 0, max_queue=max_queue, close_timeout=0.1) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        assert not connection.reading_paused
        for i in range(high + 1):
            await peer.send_frame(TEXT, str(i).encode())
        await until(lambda: connection.reading_paused)
        await peer.send_frame(TEXT, b"later")
        await stays(lambda: connection.queue_depth == high + 1)
        assert [await soon(connection.recv()) for _ in range(high + 2)] == [*map(str, range(high + 1)), "later"]
        assert not connection.reading_paused


async def test_reading_resumes_at_the_low_mark():
    async with serve(idle, HERE, 0, max_queue=(4, 1), close_timeout=0.1) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        for _ in range(5):
            await peer.send_frame(TEXT, b"a")
        await until(lambda: connection.reading_paused)
        for left in (4, 3, 2):
            await connection.recv()
            assert connection.queue_depth == left
            assert connection.reading_paused
        await connection.recv()
        assert not connection.reading_paused


@pytest.mark.parametrize("max_queue", [None, (None, None)])
async def test_no_limit_on_the_queue(max_queue):
    async with serve(idle, HERE, 0, max_queue=max_queue, close_timeout=0.1) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        await peer.send(peer.frame(TEXT, b"a") * 5000)
        await until(lambda: connection.queue_depth == 5000)
        assert not connection.reading_paused


async def test_slow_receiver_gets_everything():
    async with serve(idle, HERE, 0, max_queue=2) as server, connect(uri_of(server)) as websocket:
        connection = await connection_of(server)

        async def send():
            for i in range(100):
                await websocket.send(str(i))

        async def receive():
            received = []
            for _ in range(100):
                await asyncio.sleep(0)
                received.append(await connection.recv())
            return received

        _, received = await soon(asyncio.gather(send(), receive()))
        assert received == [str(i) for i in range(100)]


async def test_close_completes_though_reading_was_paused():
    """RFC 6455 §7.1.2: the answer to our Close frame follows messages that the application does not receive."""
    async with serve(idle, HERE, 0, max_queue=1) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        await peer.send(peer.frame(TEXT, b"a") * 50)
        await until(lambda: connection.reading_paused)
        closing = asyncio.ensure_future(connection.close())
        await peer.expect(CLOSE, support.close_payload(1000))
        await peer.send(peer.frame(TEXT, b"b") * 50)
        await peer.send_close(1000)
        await soon(closing)
        assert connection.close_code == 1000
        assert await connection.recv() == "a"


async def test_close_frame_is_handled_after_earlier_messages():
    """Messages that came before the Close frame can be received, though reading was paused."""
    async with serve(idle, HERE, 0, max_queue=1) as server, connect(uri_of(server)) as websocket:
        connection = await connection_of(server)
        for i in range(20):
            await websocket.send(str(i))
        closing = asyncio.ensure_future(websocket.close())
        assert [message async for message in connection] == [str(i) for i in range(20)]
        await soon(closing)
        assert websocket.close_code == 1000


async def test_client_that_does_not_receive_makes_the_server_wait():
    sent = 0

    async def script(peer):
        nonlocal sent
        await peer.accept()
        with contextlib.suppress(ConnectionError):
            while sent < 1000:
                await peer.send_frame(BINARY, bytes(100_000))
                sent += 1

    async with support.raw_server(script) as server:
        async with connect(server.uri, close_timeout=0.2) as websocket:
            await until(lambda: websocket.reading_paused)
            before = await steady(lambda: sent)
            assert before < 1000
            for _ in range(before + 20):
                await soon(websocket.recv())
            assert sent > before
            websocket.transport.abort()


async def test_close_frame_after_unreceived_messages_is_read():
    async def handler(websocket):
        for _ in range(200):
            await websocket.send(bytes(2000))
        await websocket.wait_closed()

    async with serve(handler, HERE, 0) as server:
        async with connect(uri_of(server), close_timeout=20) as websocket:
            await until(lambda: websocket.reading_paused)
            started = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - started < 15
        assert websocket.close_code == 1000


# What one can see and do about it


async def test_try_send_never_waits():
    async with serve(idle, HERE, 0, compression=None, close_timeout=0.1) as server:
        async with dial_open(server, limit=1000) as peer:
            connection = await connection_of(server)
            sent = 0
            while connection.try_send(bytes(100_000)):
                sent += 1
                assert sent < 1000
                await asyncio.sleep(0)
            assert 2**15 < connection.buffered_bytes <= 2**15 + 100_010
            assert not connection.try_send("")
            assert not connection.try_send(PreparedMessage("a"))
            for _ in range(sent):
                assert (await peer.read_frame()).opcode == BINARY
            await until(lambda: connection.buffered_bytes == 0)
            assert connection.try_send("a")
            assert connection.try_send("b", text=False)
            assert connection.try_send(PreparedMessage("c"))
            received = [await peer.read_frame() for _ in range(3)]
            assert [(frame.opcode, frame.payload) for frame in received] == [(TEXT, b"a"), (BINARY, b"b"), (TEXT, b"c")]
            assert connection.stats.messages_sent == sent + 3
            peer.abort()


async def test_try_send_counts_messages_sent_within_a_read():
    """Nothing gets into the write buffer before the end of the read."""
    sent = []

    async def handler(websocket):
        await websocket.recv()
        while len(sent) < 1000 and websocket.try_send(bytes(1000)):
            sent.append(websocket.protocol.unsent_bytes)

    async with serve(handler, HERE, 0, compression=None) as server, dial_open(server, limit=1000) as peer:
        await peer.send_frame(TEXT, b"a")
        await until(lambda: sent)
        await soon(peer.read_frame())
    assert len(sent) < 1000


async def test_try_send_does_not_interrupt_a_fragmented_message():
    """RFC 6455 §5.4."""
    async with serve(idle, HERE, 0) as server, connect(uri_of(server)) as client:
        connection = await connection_of(server)
        proceed = asyncio.Event()
        task = asyncio.ensure_future(connection.send(support.two_fragments(proceed)))
        await until(lambda: connection._fragments_sent is not None)
        assert not connection.try_send("c")
        proceed.set()
        await soon(task)
        assert connection.try_send("c", compress=False)
        assert [await soon(client.recv()) for _ in range(2)] == ["ab", "c"]


async def test_try_send_refuses_invalid_messages_and_states():
    async with serve(idle, HERE, 0) as server:
        async with connect(uri_of(server)) as client:
            for message in (["a"], 1, None, {}):
                with pytest.raises(TypeError, match="prepared"):
                    client.try_send(message)
            closing = asyncio.ensure_future(client.close())
            await asyncio.sleep(0)
            with pytest.raises(InvalidState):
                client.try_send("a")
            await soon(closing)
        with pytest.raises(ConnectionClosed):
            client.try_send("a")


async def test_reading_may_be_paused_and_resumed():
    async with serve(idle, HERE, 0) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        connection.pause_reading()
        assert connection.reading_paused
        await peer.send_frame(TEXT, b"a")
        await stays(lambda: connection.queue_depth == 0)
        connection.resume_reading()
        assert not connection.reading_paused
        assert await soon(connection.recv()) == "a"
