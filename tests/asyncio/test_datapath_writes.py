"""Direct writes: whole, in order, never after the end; many sends in one turn of the event loop leave as one write."""

from __future__ import annotations

import array
import asyncio
import contextlib
import logging
import os
import random
import socket
import threading

import pytest
from support import BINARY, PING, TEXT, SpyTransport, dial_open, echo, idle, serve_protocols, soon, until, uri_of

import wsframe
from wsframe import ConnectionClosed, InvalidState, State, WebSocketProtocol, broadcast
from wsframe.testing.clock import settle

HERE = "127.0.0.1"


class Noting(WebSocketProtocol):
    """Notes the calls that a slow peer causes."""

    def __init__(self, **options):
        super().__init__(**{"ping_interval": None, "compression": None, **options})
        self.paused = []
        self.lost = None

    def pause_writing(self):
        super().pause_writing()
        self.paused.append(True)

    def resume_writing(self):
        super().resume_writing()
        self.paused.append(False)

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.lost = (exc,)


def serving(factory=Noting, **options):
    return serve_protocols(factory, **options)


@contextlib.asynccontextmanager
async def opened(**options):
    """Give one end of ours, and its peer, which reads little ahead."""
    async with serving(**options) as (server, made), dial_open(server, limit=1000) as peer:
        await until(lambda: made and made[0].state is State.OPEN)
        yield made[0], peer


async def expect_all(peer, messages):
    for message in messages:
        received = await peer.read_frame()
        # Not in the assertion, which would write megabytes.
        same = received is not None and received.payload == message
        assert same, (received and len(received.payload), len(message))


SIZES = [0, 1, 125, 126, 4000, 4095, 4096, 4097, 65_535, 65_536, 100_000, 1_000_000, 2**23]


@pytest.mark.parametrize("buffer_size", [1, 50_000, None])
async def test_messages_of_any_size_arrive_unchanged(buffer_size):
    sizes = [size for size in SIZES if buffer_size is None or size <= 20 * buffer_size or size <= 100_000]
    async with opened(buffer_size=buffer_size) as (end, peer):
        for size in sizes:
            message = random.Random(size).randbytes(size)
            end.send(message)
            await expect_all(peer, [message])
        messages = [random.Random(size).randbytes(size) for size in sizes]
        for message in messages:
            end.send(message)
        await expect_all(peer, messages)


@pytest.mark.parametrize("seed", range(3))
async def test_partial_writes_keep_the_order(seed):
    """What goes to the socket directly never overtakes what the transport still has."""
    chooser = random.Random(seed)
    async with opened(buffer_size=chooser.choice([1, 10_000])) as (end, peer):
        messages = []

        async def send():
            for _ in range(150):
                size = chooser.choice([0, 10, 5000, chooser.randrange(200_000)])
                messages.append(chooser.randbytes(size))
                end.send(messages[-1])
                if chooser.random() < 0.4:
                    await asyncio.sleep(0)

        sending = asyncio.ensure_future(send())
        received = 0
        while received < 150:
            await until(lambda: len(messages) > received)
            await expect_all(peer, [messages[received]])
            received += 1
        await sending
        assert end.buffered_bytes == 0


async def test_many_pieces_in_one_write():
    """More pieces than leave in one write, short and long ones, within one read."""

    class Answering(Noting):
        def message_received(self, data):
            for message in messages:
                self.send(message)

    chooser = random.Random(0)
    for sizes in ([5000] * 200, [1] * 500, [1, 5000] * 100, [100_000] * 80):
        messages = [chooser.randbytes(size) for size in sizes]
        async with opened(factory=Answering) as (_, peer):
            await peer.send_frame(TEXT, b"go")
            await expect_all(peer, messages)


async def test_payload_changed_after_send_arrives_unchanged():
    async with opened(buffer_size=1) as (end, peer):
        for kind in (bytearray, lambda data: memoryview(bytearray(data)), lambda data: array.array("B", data)):
            for size in (10, 5000, 500_000):
                message = kind(bytes(size))
                end.send(message)
                message[0] = 255
                message[size - 1] = 255
                await expect_all(peer, [bytes(size)])


async def test_pause_writing_and_resume_writing_are_called():
    async with opened(buffer_size=1, write_limit=(10_000, 1000)) as (end, peer):
        assert end.transport.get_write_buffer_limits() == (1000, 10_000)
        for _ in range(3):
            assert end.paused == []
            end.send(bytes(700_000))
            assert end.paused == [True]
            assert end.buffered_bytes > 10_000
            # What is sent now follows it.
            end.send(b"after")
            assert end.paused == [True]
            await expect_all(peer, [bytes(700_000), b"after"])
            await until(lambda: len(end.paused) == 2)
            assert end.paused == [True, False]
            end.paused.clear()


@pytest.mark.parametrize("how", ["abort", "close"])
async def test_nothing_is_written_after_the_end_of_the_transport(how):
    async with opened() as (end, peer):
        end.send(b"1")
        getattr(end.transport, how)()
        # It is still open as far as the protocol knows.
        for _ in range(3):
            end.send(b"2")
        with contextlib.suppress(ConnectionError):
            assert [frame.payload for frame in await peer.read_frames()] == [b"1"]
        await until(lambda: end.lost)
        with pytest.raises(InvalidState):
            end.send(b"3")


def is_open(number):
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


async def test_file_descriptor_is_not_used_once_the_connection_is_lost():
    """Another socket may have got the same number meanwhile."""
    async with opened() as (end, peer):
        number = end.transport.get_extra_info("socket").fileno()
        peer.abort()
        await until(lambda: end.lost)
        await until(lambda: not is_open(number))
        pairs = [socket.socketpair() for _ in range(20)]
        sockets = [sock for pair in pairs for sock in pair]
        try:
            assert number in [sock.fileno() for sock in sockets]
            end.protocol.state = State.OPEN
            with contextlib.suppress(AttributeError):
                # Nor is this what keeps it from being used. uvloop's transport cannot be made to lie.
                end.transport.is_closing = lambda: False
            end.send(b"astray")
            for sock in sockets:
                sock.setblocking(False)
                with pytest.raises(BlockingIOError):
                    sock.recv(1)
        finally:
            with contextlib.suppress(AttributeError):
                del end.transport.is_closing
            end.protocol.state = State.CLOSED
            for sock in sockets:
                sock.close()


async def test_sending_to_a_lost_peer_raises_connection_closed(caplog):
    """EPIPE or ECONNRESET appears only in the exception, not in the log."""
    caplog.set_level(logging.INFO)
    ended = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        try:
            await websocket.recv()
            peer.abort()
            while True:
                for size in (1, 5000, 100_000):
                    await websocket.send(bytes(size))
        except ConnectionClosed as exc:
            ended.set_result(exc)

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"go")
        assert isinstance(await soon(ended), wsframe.ConnectionClosedError)
    assert not [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING]


# One turn of the event loop


async def connections_of(server, count):
    await until(lambda: len(server.connections) == count)
    return list(server.connections)


async def test_broadcasts_in_one_turn_are_joined_after_the_first():
    async with wsframe.serve(idle, HERE, 0, compression=None) as server, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(dial_open(server)) for _ in range(5)]
        connections = await connections_of(server, 5)
        await settle()
        notes = []
        for connection in connections:
            notes.append([])
            connection.transport = SpyTransport(connection.transport, notes[-1])
        for i in range(10):
            broadcast(connections, f"message {i}")
        assert [len(writes) for writes in notes] == [1] * 5
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [len(writes) for writes in notes] == [2] * 5
        for peer in peers:
            for i in range(10):
                await peer.expect(TEXT, f"message {i}".encode())
        # The next turn begins anew.
        broadcast(connections, "again")
        assert [len(writes) for writes in notes] == [3] * 5
        for peer in peers:
            await peer.expect(TEXT, b"again")
            peer.abort()


async def test_error_of_one_connection_does_not_keep_others_from_writing():
    """At the end of the turn as well; the exception goes to the event loop's handler."""
    loop = asyncio.get_running_loop()
    told, handler = [], loop.get_exception_handler()
    async with wsframe.serve(idle, HERE, 0, compression=None) as server, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(dial_open(server)) for _ in range(3)]
        connections = await connections_of(server, 3)
        await settle()
        broadcast(connections, "1")
        broadcast(connections, "2")
        transports = [connection.transport for connection in connections]
        connections[0].transport = SpyTransport(transports[0], ZeroDivisionError("on purpose"))
        loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        loop.set_exception_handler(handler)
        connections[0].transport = transports[0]
        assert [type(exc) for exc in told] == [ZeroDivisionError]
        complete = 0
        for peer in peers:
            await peer.expect(TEXT, b"1")
            with contextlib.suppress(asyncio.TimeoutError):
                received = await asyncio.wait_for(peer.read_frame(), 0.2)
                # The connection whose write failed has been aborted: part of the frame may have been written.
                complete += received is not None and (received.opcode, received.payload) == (TEXT, b"2")
            peer.abort()
        assert complete == 2


async def test_connections_lost_before_the_end_of_the_turn_are_left_out():
    async with wsframe.serve(idle, HERE, 0, compression=None) as server, contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(dial_open(server)) for _ in range(3)]
        connections = await connections_of(server, 3)
        broadcast(connections, "1")
        broadcast(connections, "2")
        connections[1].transport.abort()
        await until(lambda: connections[1].state is State.CLOSED)
        received = []
        for peer in peers:
            with contextlib.suppress(ConnectionError):
                received.append((await peer.read_frame()).payload)
                frame = await asyncio.wait_for(peer.read_frame(), 0.2)
                received.append(frame and frame.payload)
            peer.abort()
        assert received.count(b"1") == 3
        assert received.count(b"2") == 2


# Fairness


async def test_task_that_only_sends_lets_others_run():
    """Within a bounded number of messages, though the peer reads everything at once."""
    sent = longest = 0
    done = False

    async def count():
        nonlocal longest
        while not done:
            before = sent
            await asyncio.sleep(0)
            longest = max(longest, sent - before)

    async def drain(peer):
        for _ in range(2000):
            await peer.expect(BINARY, b"x")

    async def handler(websocket):
        nonlocal sent, done
        counting = asyncio.ensure_future(count())
        for _ in range(2000):
            await websocket.send(b"x")
            sent += 1
        done = True
        await counting

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await drain(peer)
        await peer.send_close(1000)
        peer.abort()
    assert sent == 2000
    assert 0 < longest <= 2 * 256


async def test_task_that_only_receives_from_a_flood_lets_others_run():
    received = turns = 0
    ended = asyncio.get_running_loop().create_future()

    async def count():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def handler(websocket):
        nonlocal received
        counting = asyncio.ensure_future(count())
        longest = last = at = 0
        async for _ in websocket:
            received += 1
            if turns != at:
                at, longest, last = turns, max(longest, received - last), received
            if received == 200_000:
                break
        counting.cancel()
        ended.set_result(max(longest, received - last))

    async with wsframe.serve(handler, HERE, 0, max_queue=None) as server, dial_open(server) as peer:
        flood = peer.frame(BINARY, b"x") * 100_000
        await peer.send(flood, flood)
        longest = await soon(ended)
        peer.abort()
    # 16 reads of 256 KiB in a row, of 7 bytes each: all of these, were they not bounded.
    assert longest < 200_000


# Threads


def in_thread(function):
    """Run a function in another thread; return the exception that it raises."""
    caught = []

    def work():
        try:
            function()
        except BaseException as exc:
            caught.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    (exc,) = caught
    return exc


def drive(coroutine):
    """Run a coroutine as far as it goes without an event loop."""
    try:
        coroutine.send(None)
    finally:
        coroutine.close()


async def test_connection_refuses_other_threads():
    async with wsframe.serve(idle, HERE, 0) as server, dial_open(server) as peer:
        (end,) = await connections_of(server, 1)
        for call in (
            lambda: end.send("a"),
            lambda: end.send(["a", "b"]),
            end.recv,
            end.__anext__,
            end.ping,
            end.pong,
            end.close,
        ):
            exc = in_thread(lambda: drive(call()))
            assert isinstance(exc, RuntimeError)
            assert "call_soon_threadsafe" in str(exc)
        # Nothing was sent, and nothing is the worse for it.
        end.loop.call_soon_threadsafe(asyncio.ensure_future, end.send("b"))
        await peer.expect(TEXT, b"b")
        peer.abort()


async def test_protocol_refuses_other_threads():
    async with opened() as (end, peer):
        for call in (lambda: end.send("a"), end.ping, end.close):
            exc = in_thread(call)
            assert isinstance(exc, RuntimeError)
            assert "call_soon_threadsafe" in str(exc)
        end.ping(b"p")
        await peer.expect(PING, b"p")


async def test_run_coroutine_threadsafe_sends_and_receives():
    async with wsframe.serve(echo, HERE, 0) as server:
        async with wsframe.connect(uri_of(server)) as websocket:
            loop = asyncio.get_running_loop()

            def work():
                asyncio.run_coroutine_threadsafe(websocket.send("a"), loop).result(20)
                return asyncio.run_coroutine_threadsafe(websocket.recv(), loop).result(20)

            assert await soon(loop.run_in_executor(None, work)) == "a"


async def test_large_messages_of_clients_arrive_unchanged():
    """Their frames are written in the same memory, one after the other, unless the last one still waits to leave."""
    chooser = random.Random(5)
    sizes = [100_000, 100_000, 1 << 20, 1 << 20, 600_000, 599_999, 70_000, 3 << 20, 1 << 20, 5, 1 << 20]
    messages = [chooser.randbytes(size) for size in sizes]
    async with wsframe.serve(echo, HERE, 0, max_size=None, compression=None) as server:
        async with wsframe.connect(uri_of(server), max_size=None, compression=None) as one:
            async with wsframe.connect(uri_of(server), max_size=None, compression=None) as two:
                for message in messages:
                    for websocket in (one, two, one):
                        await websocket.send(message)
                    for websocket in (one, two, one):
                        received = await soon(websocket.recv())
                        # Not in the assertion, which would write megabytes.
                        same = received == message
                        assert same, len(message)
