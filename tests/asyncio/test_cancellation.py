"""Cancellation: ``recv`` loses nothing, and ``send`` leaves no half frame on the wire."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys

import pytest
from support import CLOSE, TEXT, connection_of, dial_open, echo, soon, until, uri_of, wire_frame

from wsframe import ConnectionClosedError, connect, serve

HERE = "127.0.0.1"


async def sender(websocket, count, chooser):
    for i in range(count):
        await websocket.send(str(i))
        if chooser.random() < 0.2:
            await asyncio.sleep(chooser.random() * 0.002)


async def recv_in_wait_for(websocket, limit, received):
    received.append(await asyncio.wait_for(websocket.recv(), limit))


async def recv_in_timeout(websocket, limit, received):
    async with asyncio.timeout(limit):
        received.append(await websocket.recv())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "recv",
    [
        recv_in_wait_for,
        pytest.param(
            recv_in_timeout, marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="needs asyncio.timeout")
        ),
    ],
)
async def test_recv_with_a_time_limit_loses_nothing(recv, seed):
    """The time limits often end just as a message arrives."""
    chooser = random.Random(seed)
    received = []

    async def handler(websocket):
        while len(received) < 500:
            with contextlib.suppress(asyncio.TimeoutError):
                await recv(websocket, chooser.random() * 0.001, received)

    async with serve(handler, HERE, 0) as server, connect(uri_of(server)) as websocket:
        await sender(websocket, 500, chooser)
        await soon(websocket.wait_closed())
    assert received == [str(i) for i in range(500)]


async def test_recv_cancelled_at_random_loses_nothing():
    """A task that is cancelled has either handed its message over or left it in the queue."""
    chooser = random.Random(0)
    received = []

    async def handler(websocket):
        async def receive():
            message = await websocket.recv()
            received.append(message)

        while len(received) < 300:
            task = asyncio.ensure_future(receive())
            for _ in range(chooser.randrange(4)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

    async with serve(handler, HERE, 0) as server, connect(uri_of(server)) as websocket:
        await sender(websocket, 300, chooser)
        await soon(websocket.wait_closed())
    assert received == [str(i) for i in range(300)]


async def test_recv_cancelled_as_its_message_arrives_leaves_it_to_the_next_recv():
    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:
        task = asyncio.ensure_future(websocket.recv())
        await asyncio.sleep(0)
        # The message comes, and the task is cancelled before it runs again.
        websocket._receive(wire_frame(TEXT, b"a"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await soon(websocket.recv()) == "a"


async def test_iteration_may_be_cancelled_and_restarted():
    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:

        async def iterate():
            async for message in websocket:
                received.append(message)

        received = []
        for i in range(3):
            task = asyncio.ensure_future(iterate())
            await websocket.send(str(i))
            await until(lambda: len(received) == i + 1)
            task.cancel()
            await asyncio.wait([task])
        assert received == ["0", "1", "2"]


async def test_cancelled_send_is_sent_whole_or_not_at_all():
    """RFC 6455 §5.2: messages of many sizes, sent by tasks that are cancelled, arrive whole or not at all."""
    chooser = random.Random(0)

    async def handler(websocket):
        for _ in range(60):
            size = chooser.choice([10, 1000, 70_000, 500_000])
            task = asyncio.ensure_future(websocket.send(b"x" * size))
            for _ in range(chooser.randrange(3)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await websocket.send("end")

    async with serve(handler, HERE, 0) as server, dial_open(server, limit=1000) as peer:
        connection = await connection_of(server)
        # By now, sends have to wait.
        await until(lambda: connection.buffered_bytes > 0)
        while True:
            frame = await peer.read_frame()
            if frame.opcode == TEXT:
                break
            assert frame.payload == b"x" * len(frame.payload)
            assert len(frame.payload) in (10, 1000, 70_000, 500_000)
        assert frame.payload == b"end"
        await peer.send_close(1000)


async def test_send_cancelled_between_fragments_fails_the_connection():
    """RFC 6455 §5.4: a message that was begun cannot be taken back."""
    started = asyncio.Event()

    async def fragments():
        yield "a"
        started.set()
        await asyncio.Event().wait()

    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:
        task = asyncio.ensure_future(websocket.send(fragments()))
        await soon(started.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(ConnectionClosedError) as info:
            await soon(websocket.send("b"))
        assert (info.value.sent.code, info.value.sent.reason) == (1011, "error in fragmented message")


async def test_cancelled_ping_loses_nothing():
    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:
        pong = await websocket.ping()
        with pytest.raises((asyncio.TimeoutError, asyncio.CancelledError)):
            pong.cancel()
            await asyncio.wait_for(pong, 0.01)
        await soon(await websocket.ping())


async def test_cancelled_wait_closed_changes_nothing():
    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:
        for _ in range(2):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(websocket.wait_closed(), 0.01)
        await websocket.send("a")
        assert await soon(websocket.recv()) == "a"


async def test_cancelled_close_continues():
    """RFC 6455 §7.1.2: the Close frame is sent; the end comes in its time."""
    async with serve(echo, HERE, 0, close_timeout=0.2) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(connection.close(4000), 0.02)
        assert (await peer.read_frame()).opcode == CLOSE
        await soon(connection.wait_closed(), 10)
