"""Tasks that wait in ``recv()`` are woken within the read that brings their message."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import sys

import pytest
from support import BINARY, CLOSE, PING, PONG, TEXT, dial_open, echo, soon, until, uri_of

import wsframe
from wsframe.codec import serialize_frame
from wsframe.constants import Opcode, Role, State
from wsframe.limits import Limits
from wsframe.testing.clock import settle

HERE = "127.0.0.1"


class Recording(wsframe.ServerConnection):
    """Tells when a read is being handled, and what is written."""

    reading = False

    def connection_made(self, transport):
        super().connection_made(transport)
        self.writes = []
        real = transport.write

        class Transport:
            def __getattr__(self, name):
                return getattr(transport, name)

            def write(self, data):
                this.writes.append(bytes(data))
                real(data)

            def writelines(self, lines):
                self.write(b"".join(lines))

        this = self
        self.transport = Transport()

    def buffer_updated(self, nbytes):
        self.reading = True
        try:
            super().buffer_updated(nbytes)
        finally:
            self.reading = False


async def test_task_runs_within_the_read_and_its_answers_are_one_write():
    connections, reading = [], []

    async def handler(websocket):
        connections.append(websocket)
        async for message in websocket:
            reading.append(websocket.reading)
            await websocket.send(message)

    async with wsframe.serve(handler, HERE, 0, create_connection=Recording) as server, dial_open(server) as peer:
        await until(lambda: connections)
        writes = connections[0].writes
        await settle()
        del writes[:]
        frames = [peer.frame(BINARY, bytes([i])) for i in range(50)]
        await peer.send(b"".join(frames))
        for i in range(50):
            await peer.expect(BINARY, bytes([i]))
        assert len(writes) <= 2
        assert all(reading)


async def test_sends_in_one_turn_are_joined_after_the_first():
    connections = []

    async def handler(websocket):
        connections.append(websocket)
        await websocket.wait_closed()

    async with wsframe.serve(handler, HERE, 0, create_connection=Recording) as server, dial_open(server) as peer:
        await until(lambda: connections)
        (websocket,) = connections
        await settle()
        del websocket.writes[:]
        for i in range(20):
            await websocket.send(bytes([i]))
        assert len(websocket.writes) == 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(websocket.writes) == 2
        for i in range(20):
            await peer.expect(BINARY, bytes([i]))
        # What is large does not wait to be joined.
        await websocket.send(b"a")
        await websocket.send(bytes(100_000))
        assert sum(map(len, websocket.writes)) > 100_000
        await peer.expect(BINARY, b"a")
        await peer.expect(BINARY, bytes(100_000))
        websocket.transport.abort()
        await soon(websocket.wait_closed())


async def test_joined_sends_keep_their_order_with_control_frames_and_the_end():
    async def handler(websocket):
        await websocket.send("1")
        await websocket.send("2")
        await websocket.ping("p")
        await websocket.send("3")
        await websocket.pong("q")
        await websocket.send("4")

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        for opcode, payload in [
            (TEXT, b"1"),
            (TEXT, b"2"),
            (PING, b"p"),
            (TEXT, b"3"),
            (PONG, b"q"),
            (TEXT, b"4"),
            (CLOSE, b"\x03\xe8"),
        ]:
            await peer.expect(opcode, payload)


async def test_empty_messages_are_joined_too():
    async def handler(websocket):
        await websocket.send("")
        await websocket.send("")
        await websocket.wait_closed()

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.expect(TEXT)
        await peer.expect(TEXT)
        await peer.send_close(1000)
        await peer.expect(CLOSE, b"\x03\xe8")


async def test_connection_may_end_before_sends_are_joined():
    async def handler(websocket):
        await websocket.send("1")
        await websocket.send("2")
        websocket.transport.abort()
        await websocket.wait_closed()

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        with pytest.raises((ConnectionError, AssertionError)):
            while True:
                await peer.expect(TEXT, b"1")


async def test_woken_task_is_current_and_has_its_own_context():
    variable = contextvars.ContextVar("variable")
    seen = []

    async def handler(websocket):
        variable.set("handler")
        me = asyncio.current_task()
        async for _ in websocket:
            seen.append((asyncio.current_task() is me, variable.get()))
            await websocket.send("")

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        for _ in range(3):
            await peer.send_frame(TEXT)
            await peer.expect(TEXT)
    assert seen == [(True, "handler")] * 3


async def test_a_handler_may_close_within_the_read():
    async def handler(websocket):
        await websocket.send(await websocket.recv())
        await websocket.close(4000, "enough")

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") + peer.frame(TEXT, b"b"))
        await peer.expect(TEXT, b"a")
        await peer.expect(CLOSE, b"\x0f\xa0enough")


async def test_a_handler_that_fails_within_the_read_closes_with_1011():
    async def handler(websocket):
        await websocket.recv()
        raise ValueError("on purpose")

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"a")
        await peer.expect(CLOSE, b"\x03\xf3")


async def test_two_connections_of_one_process_talk_to_each_other():
    async with wsframe.serve(echo, HERE, 0) as server, wsframe.connect(uri_of(server)) as one:
        async with wsframe.connect(uri_of(server)) as other:
            for i in range(100):
                await one.send(str(i))
                await other.send(await one.recv())
                assert await other.recv() == str(i)


async def test_a_cancelled_receiver_loses_nothing():
    async with wsframe.serve(echo, HERE, 0) as server, wsframe.connect(uri_of(server)) as websocket:
        for i in range(50):
            task = asyncio.ensure_future(websocket.recv())
            await asyncio.sleep(0)
            await websocket.send(str(i))
            if i % 2:
                await asyncio.sleep(0)
            task.cancel("enough")
            try:
                received = await task
            except asyncio.CancelledError:
                received = await soon(websocket.recv())
            assert received == str(i)


async def test_cancellation_within_the_wake_up():
    tasks, received = [], []

    async def handler(websocket):
        tasks.append(asyncio.current_task())
        try:
            while True:
                received.append(await websocket.recv())
                # As when another task cancels the handler while it runs.
                tasks[0].cancel()
        except asyncio.CancelledError:
            received.append("cancelled")
            raise

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"a")
        await peer.expect(CLOSE, b"\x03\xf3")
    assert received == ["a", "cancelled"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout and TaskGroup came with Python 3.11")
async def test_timeout_and_task_group_around_recv():
    async with wsframe.serve(echo, HERE, 0) as server, wsframe.connect(uri_of(server)) as websocket:
        for i in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.002):
                    await websocket.recv()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(websocket.recv())
                group.create_task(websocket.send(str(i)))
            assert task.result() == str(i)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks(loop_kind):
    if loop_kind == "uvloop":
        pytest.skip("uvloop hands the eager task factory an argument that it does not take")
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    async with wsframe.serve(echo, HERE, 0) as server, wsframe.connect(uri_of(server)) as websocket:
        for i in range(20):
            task = asyncio.ensure_future(websocket.recv())
            await websocket.send(str(i))
            assert await soon(task) == str(i)


# A stream by itself


class Transport:
    """A transport that does nothing."""

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return False

    def write(self, data):
        raise AssertionError("nothing is sent")


@pytest.fixture
def make_stream(impl):
    """Make a stream whose messages come when the test says so."""

    class Messenger(impl.messenger.Messenger):
        failed = hold_pongs = failure_held = False

    class Stream(impl.queue.QueueStream):
        def arrive(self):
            self._receive(serialize_frame(Opcode.TEXT, b"x"))

        def _release_failure(self):
            pass

    def make():
        stream = Stream(Messenger(Role.CLIENT, State.OPEN, Limits(), []), 0, None, None)
        stream._attach(Transport(), asyncio.get_running_loop())
        return stream

    return make


async def start(stream, context=None):
    """Start a task that receives, and let it get there."""
    order = []

    async def wait():
        try:
            assert await stream.recv() == "x"
        finally:
            order.append(asyncio.current_task())

    loop = asyncio.get_running_loop()
    task = loop.create_task(wait(), **({} if context is None else {"context": context}))
    await asyncio.sleep(0)
    return task, order


async def call_soon(function):
    """Call a function from the event loop, with no task running; return what it returns."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(lambda: done.set_result(function()))
    return await done


async def test_waiter_woken_before_it_is_awaited(impl):
    waiter = impl.queue.Waiter(asyncio.get_running_loop())
    waiter.wake()
    assert not waiter.cancel()
    assert await waiter is None


async def test_message_resumes_the_task_at_once(make_stream):
    stream = make_stream()
    task, order = await start(stream)
    assert await call_soon(lambda: (stream.arrive(), list(order))[1]) == [task]
    await task


async def test_message_waits_for_its_turn_while_a_task_runs(make_stream):
    stream = make_stream()
    task, order = await start(stream)
    stream.arrive()
    assert order == []
    await soon(task)
    assert order == [task]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks take a context from Python 3.11 on")
async def test_message_within_the_context_of_the_task_waits_for_its_turn(make_stream):
    stream = make_stream()
    context = contextvars.copy_context()
    task, order = await start(stream, context)
    assert await call_soon(lambda: context.run(lambda: (stream.arrive(), list(order))[1])) == []
    await soon(task)
    assert order == [task]


async def test_message_before_recv_is_queued(make_stream):
    stream = make_stream()
    stream.arrive()
    stream.arrive()
    assert await stream.recv() == "x"
    assert stream.queue_depth == 1
    assert await stream.recv() == "x"


async def test_message_after_cancel_is_kept(make_stream):
    stream = make_stream()
    task, order = await start(stream)
    task.cancel("why")
    await call_soon(stream.arrive)
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert order == [task]
    assert await soon(stream.recv()) == "x"


async def test_cancel_after_the_message_keeps_it(make_stream):
    stream = make_stream()
    task, order = await start(stream)
    stream.arrive()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert order == [task]
    assert await soon(stream.recv()) == "x"


async def test_runtime_error_of_the_task_is_not_taken_for_a_reentered_context(make_stream):
    stream = make_stream()
    failures = []

    def callback(_):
        raise RuntimeError("of the callback")

    stream._application_failed = lambda: failures.append(sys.exc_info()[1])
    receiving = stream.recv()
    waiting = receiving.send(None)
    assert waiting.get_loop() is asyncio.get_running_loop()
    waiting.add_done_callback(callback, context=contextvars.copy_context())
    await call_soon(stream.arrive)
    assert [str(failure) for failure in failures] == ["of the callback"]
    receiving.close()


# What recv() and send() return


async def test_awaitables_are_coroutines_to_asyncio(make_stream):
    stream = make_stream()
    for awaitable in (stream.recv(), stream.__anext__(), stream.send("x")):
        assert asyncio.iscoroutine(awaitable)
        assert inspect.isawaitable(awaitable)
        assert awaitable.__name__ in (
            "recv",
            "__anext__",
            "_send",
            "Connection.recv",
            "Connection.__anext__",
            "Connection.send",
        )
        awaitable.close()
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await awaitable
