"""What ``recv()``, ``send()`` and ``async for`` wait for works wherever asyncio takes a coroutine, in both twins."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import sys
import types
import warnings

import pytest
from support import soon

from wsframe.codec import serialize_frame
from wsframe.constants import Opcode, Role, State
from wsframe.exceptions import ConcurrencyError, ConnectionClosedError, ConnectionClosedOK, InvalidState
from wsframe.limits import Limits


class Transport:
    """Notes what is written."""

    def __init__(self):
        self.written = bytearray()

    def get_write_buffer_size(self):
        return 0

    def is_closing(self):
        return False

    def write(self, data):
        self.written += data


@pytest.fixture
def make_stream(impl):
    """Make a server's stream whose messages come when the test says so."""

    class Messenger(impl.messenger.Messenger):
        failed = hold_pongs = failure_held = False

    class Stream(impl.queue.QueueStream):
        end = ConnectionClosedOK

        @property
        def close_exc(self):
            return self.end(None, None)

        def arrive(self, *messages):
            mask = b"\x01\x02\x03\x04"
            self._receive(b"".join(serialize_frame(Opcode.BINARY, message, mask=mask) for message in messages))

        def finish(self, end=ConnectionClosedOK):
            self.end = end
            self.protocol.state = State.CLOSED
            self._wake_receiver()

        def _release_failure(self):
            pass

        async def _send(self, message, text, compress):
            self._check_thread()
            if not isinstance(message, (str, bytes)):
                await asyncio.sleep(0)
            data = message.encode() if isinstance(message, str) else bytes(message)
            self.protocol.send_binary(data, compress=compress)
            self._flush_joined(len(message))

        async def _drain(self):
            self._sent_in_a_row = 0

        async def _refuse_text(self, exc):
            await asyncio.sleep(0)
            raise ConnectionClosedError(None, None) from exc

    def make():
        stream = Stream(Messenger(Role.SERVER, State.OPEN, Limits(), []), 0, None, None)
        stream._attach(Transport(), asyncio.get_running_loop())
        return stream

    return make


async def call_soon(function):
    """Call a function from the event loop, with no task running; return what it returns."""
    done = asyncio.get_running_loop().create_future()

    def run_it():
        try:
            done.set_result(function())
        except Exception as exc:
            done.set_exception(exc)

    asyncio.get_running_loop().call_soon(run_it)
    return await done


async def later(function):
    await asyncio.sleep(0)
    await call_soon(function)


# Ways to wait


async def test_recv_may_be_awaited_in_every_way(make_stream):
    stream = make_stream()

    async def in_a_task():
        return await stream.recv()

    @types.coroutine
    def by_a_generator():
        return (yield from stream.recv().__await__())

    async def in_an_async_generator():
        yield await stream.recv()

    async def first_of_an_async_generator():
        async for message in in_an_async_generator():
            return message
        return None

    ways = [
        in_a_task,
        by_a_generator,
        first_of_an_async_generator,
        stream.recv,
        lambda: asyncio.create_task(stream.recv()),
        lambda: asyncio.ensure_future(stream.recv()),
        lambda: asyncio.gather(stream.recv()),
        lambda: asyncio.shield(stream.recv()),
        lambda: asyncio.wait_for(stream.recv(), 10),
        lambda: asyncio.create_task(stream.__anext__()),
        stream.__anext__,
    ]
    for i, way in enumerate(ways):
        # The message is there already, comes within a read, or while a task runs.
        stream.arrive(bytes([i, 0]))
        assert await soon(way()) in (bytes([i, 0]), [bytes([i, 0])])
        arriving = asyncio.ensure_future(later(lambda: stream.arrive(bytes([i, 1]))))
        assert await soon(way()) in (bytes([i, 1]), [bytes([i, 1])])
        await arriving
        waiting = asyncio.ensure_future(way()) if i not in (1,) else asyncio.ensure_future(in_a_task())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        stream.arrive(bytes([i, 2]))
        assert await soon(waiting) in (bytes([i, 2]), [bytes([i, 2])])


async def test_send_may_be_awaited_in_every_way(make_stream):
    stream = make_stream()
    for data in (b"a", "b", bytearray(b"c"), bytes(100_000)):
        stream.transport.written.clear()
        await stream.send(data) if not isinstance(data, str) else await stream.send(data, False)
        await asyncio.gather(stream.send(b"x"), stream.send(b"y"))
        await asyncio.create_task(stream.send(b"z"))
        await asyncio.wait_for(stream.send(b"!"), 10)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raw = data.encode() if isinstance(data, str) else bytes(data)
        wire = b"".join(serialize_frame(Opcode.BINARY, one) for one in (raw, b"x", b"y", b"z", b"!"))
        assert stream.transport.written == wire


async def test_send_returns_none_and_recv_the_message(make_stream):
    stream = make_stream()
    assert await stream.send(b"a") is None
    stream.arrive(b"", b"\xff", b"ab", b"\xff")
    assert await stream.recv() == b""
    assert await stream.recv(False) == b"\xff"
    assert await stream.recv(True) == "ab"
    with pytest.raises(ConnectionClosedError) as info:
        await stream.recv(True)
    assert isinstance(info.value.__cause__, UnicodeDecodeError)


async def test_iteration_ends_or_raises(make_stream):
    for end, waiting in [(ConnectionClosedOK, False), (ConnectionClosedOK, True), (ConnectionClosedError, True)]:
        stream = make_stream()
        stream.arrive(b"1", b"2")
        if not waiting:
            stream.finish(end)
        else:
            asyncio.get_running_loop().call_later(0.01, stream.finish, end)
        received = []
        expected = contextlib.nullcontext() if end is ConnectionClosedOK else pytest.raises(ConnectionClosedError)
        with expected:
            while True:
                try:
                    received.append(await stream.__anext__())
                except StopAsyncIteration as exc:
                    assert exc.__cause__ is None
                    break
        assert received == [b"1", b"2"]
        with pytest.raises(end):
            await stream.recv()


# Misuse


async def test_unawaited_awaitable_warns(make_stream):
    stream = make_stream()
    for make in (stream.recv, stream.__anext__, lambda: stream.send(b"x")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            make()
            gc.collect()
        assert [warning.category for warning in caught] == [RuntimeWarning]
        assert "was never awaited" in str(caught[0].message)
    assert stream.transport.written == b""


async def test_awaitable_may_be_awaited_once(make_stream):
    stream = make_stream()
    stream.arrive(b"1", b"2")
    for awaitable in (stream.recv(), stream.__anext__(), stream.send(b"x"), stream.send(bytearray(b"y"))):
        await awaitable
        for _ in range(2):
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await awaitable
    assert stream.queue_depth == 0


async def test_two_tasks_cannot_receive_at_once(make_stream):
    stream = make_stream()
    first = asyncio.ensure_future(stream.recv())
    await asyncio.sleep(0)
    for other in (stream.recv(), stream.__anext__()):
        with pytest.raises(ConcurrencyError):
            await other
    await call_soon(lambda: stream.arrive(b"1"))
    assert await soon(first) == b"1"


async def test_throw_and_close(make_stream):
    stream = make_stream()
    for make in (stream.recv, stream.__anext__, lambda: stream.send(bytearray(b"x"))):
        new, waiting, closed = make(), make(), make()
        with pytest.raises(ZeroDivisionError):
            new.throw(ZeroDivisionError("on purpose"))
        waiting.send(None)
        with pytest.raises(ZeroDivisionError, match="on purpose"):
            waiting.throw(ZeroDivisionError("on purpose"))
        closed.send(None)
        closed.close()
        closed.close()
        for awaitable in (new, waiting, closed):
            with pytest.raises(RuntimeError, match="cannot reuse"):
                awaitable.send(None)
    # Nobody waits any more.
    stream.arrive(b"1")
    assert await soon(stream.recv()) == b"1"
    assert stream.transport.written == b""


async def test_results_kept_by_a_tracer_do_not_change(make_stream):
    """Results travel in StopIteration, which may be reused only without other references."""
    stream = make_stream()
    kept = []

    def trace(frame, kind, argument):
        if kind == "exception" and isinstance(argument[1], StopIteration):
            kept.append(argument[1])
        return trace

    async def receive():
        return [await stream.recv() for _ in range(20)]

    messages = [bytes([i]) * (i + 1) for i in range(20)]
    stream.arrive(*messages)
    old = sys.gettrace()
    sys.settrace(trace)
    try:
        received = await receive()
    finally:
        sys.settrace(old)
    assert received == messages
    values = [exc.value for exc in kept if exc.value in messages]
    stream.arrive(b"later")
    assert await stream.recv() == b"later"
    assert [exc.value for exc in kept if exc.value in messages] == values
    assert sorted(set(values)) == sorted(values)


async def test_exceptions_kept_by_the_caller_do_not_change(make_stream):
    stream = make_stream()
    stream.arrive(*[bytes([i]) for i in range(10)])
    kept = []
    for i in range(10):
        with pytest.raises(StopIteration) as info:
            next(stream.recv().__await__())
        kept.append(info.value)
        assert kept[-1].value == bytes([i])
    assert [exc.value for exc in kept] == [bytes([i]) for i in range(10)]


# Within the wake-up


async def test_cancellation_within_the_wake_up(make_stream):
    """The task is cancelled by what it calls; the message it has got is its own, the next one is kept."""
    stream = make_stream()
    received = []

    async def handler():
        received.append(await stream.recv())
        asyncio.current_task().cancel()
        received.append(await stream.recv())
        await asyncio.sleep(0)

    task = asyncio.ensure_future(handler())
    await asyncio.sleep(0)
    await call_soon(lambda: stream.arrive(b"1", b"2", b"3"))
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert received == [b"1", b"2"]
    assert await soon(stream.recv()) == b"3"


async def test_handler_that_sends_and_receives_within_the_wake_up(make_stream):
    stream = make_stream()

    async def handler():
        while (message := await stream.recv()) != b"end":
            await stream.send(message)
            await stream.send(message)
        return asyncio.current_task()

    task = asyncio.ensure_future(handler())
    await asyncio.sleep(0)
    assert await call_soon(lambda: (stream.arrive(b"1", b"2", b"end"), task.done())[1])
    wire = [serialize_frame(Opcode.BINARY, one) for one in (b"1", b"1", b"2", b"2")]
    assert stream.transport.written == b"".join(wire)
    assert task.result() is task


async def test_read_within_the_wake_up(make_stream):
    """The handler of one connection makes messages come on another one, whose task goes on in the next turn."""
    one, other = make_stream(), make_stream()
    order = []

    async def first():
        order.append(("first", await one.recv()))
        other.arrive(b"2")
        order.append("first goes on")

    async def second():
        order.append(("second", await other.recv()))

    tasks = [asyncio.ensure_future(first()), asyncio.ensure_future(second())]
    await asyncio.sleep(0)
    await call_soon(lambda: one.arrive(b"1"))
    await soon(asyncio.gather(*tasks))
    assert order == [("first", b"1"), "first goes on", ("second", b"2")]


async def test_task_and_context_within_the_wake_up(make_stream):
    stream = make_stream()
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []

    async def handler():
        variable.set("handler")
        for _ in range(3):
            await stream.recv()
            seen.append((asyncio.current_task(), variable.get()))

    task = asyncio.ensure_future(handler())
    await asyncio.sleep(0)
    for _ in range(3):
        await call_soon(lambda: (stream.arrive(b"x"), seen.append((asyncio.current_task(), variable.get()))))
    await task
    assert seen == [(task, "handler"), (None, "outside")] * 3


@pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.timeout and TaskGroup came with Python 3.11")
async def test_timeouts_and_task_groups(make_stream):
    stream = make_stream()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await stream.recv()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(stream.recv(), 0.005)
    with pytest.raises(Exception, match="unhandled errors in a TaskGroup"):
        async with asyncio.TaskGroup() as group:
            group.create_task(stream.recv())
            group.create_task(later(lambda: None))
            await asyncio.sleep(0)
            raise ZeroDivisionError
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stream.recv())
        group.create_task(stream.send(b"x"))
        group.create_task(later(lambda: stream.arrive(b"1")))
    assert task.result() == b"1"


async def test_shielded_recv_outlives_its_caller(make_stream):
    stream = make_stream()
    inner = asyncio.ensure_future(stream.recv())
    outer = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(inner), 0.005))
    with pytest.raises(asyncio.TimeoutError):
        await outer
    await call_soon(lambda: stream.arrive(b"1"))
    assert await soon(inner) == b"1"


async def test_cancel_message_arrives(make_stream):
    stream = make_stream()
    caught = []

    async def handler():
        try:
            await stream.recv()
        except asyncio.CancelledError as exc:
            caught.append(exc.args)
            raise

    for message in (None, "why"):
        task = asyncio.ensure_future(handler())
        await asyncio.sleep(0)
        task.cancel(message)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert caught == [(), ("why",)]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks(make_stream, loop_kind):
    if loop_kind == "uvloop":
        pytest.skip("uvloop hands the eager task factory an argument that it does not take")
    stream = make_stream()
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
    stream.arrive(b"1")
    task = asyncio.create_task(stream.recv())
    assert task.done()
    assert task.result() == b"1"
    task = asyncio.create_task(stream.recv())
    assert await call_soon(lambda: (stream.arrive(b"2"), task.done())[1])
    assert asyncio.create_task(stream.send(b"x")).done()


# Streams that are not ready


async def test_uninitialized_stream_breaks_nothing_else(impl):
    """As when a subclass forgets to call ``super().__init__()``: an exception perhaps, but no crash."""
    for kind in (impl.queue.QueueStream, impl.stream.CallbackStream):
        for name, *arguments in [
            ("recv",),
            ("send", b"x"),
            ("push", b"x"),
            ("get_buffer", -1),
            ("buffer_updated", 3),
            ("_receive", b"x"),
            ("_flush",),
            ("_flush_joined", 3),
            ("_take_reads",),
            ("pause_reading",),
            ("resume_reading",),
        ]:
            stream = kind.__new__(kind)
            with contextlib.suppress(AttributeError, NotImplementedError, TypeError, InvalidState):
                result = getattr(stream, name)(*arguments)
                if asyncio.iscoroutine(result):
                    result.send(None)
            with contextlib.suppress(AttributeError):
                assert stream.state is State.CLOSED


async def test_transport_cannot_make_us_read_past_the_buffer(make_stream):
    stream = make_stream()
    buffer = stream.get_buffer(-1)
    frame = serialize_frame(Opcode.BINARY, b"1", mask=bytes(4))
    buffer[:] = (frame * len(buffer))[: len(buffer)]
    stream.buffer_updated(10 * len(buffer))
    assert stream.protocol.bytes_received == len(buffer)
    assert stream.queue_depth == len(buffer) // len(frame)


async def test_subclasses_may_override_iteration(make_stream):
    """A class in Python says what ``async for`` calls, as it says everything else."""

    class Upper(type(make_stream())):
        def __aiter__(self):
            return self

        async def __anext__(self):
            return (await super().__anext__()).upper()

    stream = make_stream()
    upper = Upper(stream.protocol, 0, None, None)
    upper._attach(stream.transport, stream.loop)
    upper.arrive(b"a", b"b")
    assert await soon(upper.__anext__()) == b"A"
    async for message in upper:
        assert message == b"B"
        break
    upper.finish()
    async for _ in upper:
        raise AssertionError
