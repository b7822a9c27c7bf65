"""``recv_streaming``: messages by the fragment."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from support import BINARY, CLOSE, TEXT, close_payload, dial_open, soon, until

from wsframe import ConcurrencyError, ConnectionClosed, ConnectionClosedError, serve

HERE = "127.0.0.1"
CONTINUATION = 0


@contextlib.asynccontextmanager
async def handled(handler, **options):
    """Give the peer of a connection and what its handler will return."""
    result = asyncio.get_running_loop().create_future()

    async def run(websocket):
        try:
            result.set_result(await handler(websocket))
        except Exception as exc:
            result.set_exception(exc)

    async with (
        serve(run, HERE, 0, compression=None, ping_interval=None, close_timeout=0.5, **options) as server,
        dial_open(server) as peer,
    ):
        yield peer, result


async def test_recv_streaming_yields_fragments_as_they_arrive():
    seen = []

    async def handler(websocket):
        async for fragment in websocket.recv_streaming():
            seen.append(fragment)
        return await websocket.recv()

    async with handled(handler) as (peer, result):
        await peer.send_frame(TEXT, b"h\xc3", fin=False)
        await until(lambda: seen == ["h"])
        await peer.send_frame(CONTINUATION, b"\xa9", fin=False)
        await until(lambda: seen == ["h", "é"])
        await peer.send(peer.frame(CONTINUATION, b""), peer.frame(BINARY, b"next"))
        assert await soon(result) == b"next"
    assert seen == ["h", "é", ""]


async def test_recv_streaming_yields_fragments_received_earlier():
    seen = []

    async def handler(websocket):
        await until(lambda: websocket.stats.frames_received == 2)
        async for fragment in websocket.recv_streaming(decode=False):
            seen.append(fragment)
        return seen

    async with handled(handler) as (peer, result):
        await peer.send(peer.frame(TEXT, b"ab", fin=False), peer.frame(CONTINUATION, b"c", fin=False))
        await until(lambda: seen == [b"ab", b"c"])
        await peer.send_frame(CONTINUATION, b"d")
        assert await soon(result) == [b"ab", b"c", b"d"]


@pytest.mark.parametrize("woken", [0, 1, 2, 3, 4])
async def test_stream_cancelled_before_its_first_fragment_loses_nothing(woken):
    """Also if fragments have come, and the task has been woken but has not run yet."""
    peers = []

    async def handler(websocket):
        await until(lambda: peers)
        frames = [(TEXT, b"ab", False), (CONTINUATION, b"c", False), (CONTINUATION, b"d", True), (BINARY, b"e", True)]
        frames = [peers[0].frame(opcode, payload, fin=fin) for opcode, payload, fin in frames]
        task = asyncio.ensure_future(websocket.recv_streaming().__anext__())
        await asyncio.sleep(0)
        # While a task runs, what comes in wakes another one in the next turn of the event loop.
        websocket._receive(b"".join(frames[:woken]))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert websocket.queue_depth == max(0, woken - 2)
        websocket._receive(b"".join(frames[woken:]))
        return [await websocket.recv(), [fragment async for fragment in websocket.recv_streaming()]]

    async with handled(handler) as (peer, result):
        peers.append(peer)
        assert await soon(result) == ["abcd", [b"e"]]


async def test_abandoned_stream_leaves_only_close():
    async def handler(websocket):
        stream = websocket.recv_streaming()
        assert await stream.__anext__() == "a"
        await stream.aclose()
        for receive in (websocket.recv, websocket.recv_streaming().__anext__):
            with pytest.raises(ConcurrencyError, match="already running recv or recv_streaming"):
                await receive()
        await websocket.close()
        return websocket.close_code

    async with handled(handler) as (peer, result):
        await peer.send(peer.frame(TEXT, b"a", fin=False), peer.frame(CONTINUATION, b"b"))
        await peer.expect(CLOSE, close_payload(1000))
        await peer.send_close(1000)
        assert await soon(result) == 1000


async def test_stream_may_be_abandoned_at_its_last_fragment():
    async def handler(websocket):
        stream = websocket.recv_streaming()
        seen = [await stream.__anext__(), await stream.__anext__()]
        await stream.aclose()
        return [*seen, await websocket.recv()]

    async with handled(handler) as (peer, result):
        await peer.send(peer.frame(TEXT, b"a", fin=False), peer.frame(CONTINUATION, b"b"), peer.frame(TEXT, b"c"))
        assert await soon(result) == ["a", "b", "c"]


async def test_slow_stream_makes_the_peer_wait():
    """A stream longer than what fits into the queue and the buffers of TCP, held a few fragments at a time."""
    size, count = 65_536, 400
    depths = []

    async def handler(websocket):
        total = 0
        async for fragment in websocket.recv_streaming():
            total += len(fragment)
            depths.append(websocket.queue_depth)
            await asyncio.sleep(0)
        return total

    async with handled(handler, max_size=None, max_queue=4) as (peer, result):
        for number in range(count):
            await peer.send_frame(CONTINUATION if number else BINARY, b"x" * size, fin=number == count - 1)
        assert await soon(result, 30) == size * count
    assert max(depths) < 16


async def test_end_of_the_connection_within_a_message():
    async def handler(websocket):
        return [fragment async for fragment in websocket.recv_streaming()]

    async with handled(handler) as (peer, result):
        await peer.send_frame(TEXT, b"a", fin=False)
        peer.abort()
        with pytest.raises(ConnectionClosedError):
            await soon(result)


async def test_stream_of_invalid_utf8_fails_the_connection():
    async def handler(websocket):
        return [fragment async for fragment in websocket.recv_streaming(decode=True)]

    async with handled(handler) as (peer, result):
        await peer.send(peer.frame(BINARY, b"a", fin=False), peer.frame(CONTINUATION, b"b\xff", fin=False))
        await peer.expect(CLOSE, close_payload(1007, "invalid start byte at position 1"))
        peer.writer.close()
        with pytest.raises(ConnectionClosedError) as info:
            await soon(result)
        assert isinstance(info.value.__cause__, UnicodeDecodeError)


async def test_other_threads_are_refused():
    async def handler(websocket):
        errors = []

        def receive():
            try:
                websocket.recv_streaming().asend(None).send(None)
            except RuntimeError as exc:
                errors.append(str(exc))

        thread = threading.Thread(target=receive)
        thread.start()
        await asyncio.to_thread(thread.join)
        return errors

    async with handled(handler) as (_, result):
        (error,) = await soon(result)
        assert "call_soon_threadsafe" in error


async def test_fragments_dropped_while_closing_leave_no_gap():
    """Who has closed gets no more than what fits into the queue, and no message with a hole in it."""
    taken = asyncio.Event()
    received = []

    async def handler(websocket):
        stream = websocket.recv_streaming()
        received.append(await anext(stream))
        closing = asyncio.create_task(websocket.close())
        await until(lambda: websocket.stats.frames_received == 3)
        received.append(await anext(stream))
        taken.set()
        with pytest.raises(ConnectionClosed):
            async for fragment in stream:
                received.append(fragment)
        await closing

    async with handled(handler, max_queue=1) as (peer, result):
        await peer.send_frame(TEXT, b"a", fin=False)
        await peer.expect(CLOSE, close_payload(1000))
        await peer.send(peer.frame(CONTINUATION, b"b", fin=False) + peer.frame(CONTINUATION, b"c", fin=False))
        await soon(taken.wait())
        await peer.send(
            peer.frame(CONTINUATION, b"d") + peer.frame(TEXT, b"e") + peer.frame(CLOSE, close_payload(1000))
        )
        await soon(result)
    assert received == ["a", "b"]
