"""Exceptions that come from anywhere: KeyboardInterrupt, MemoryError, event loops and transports that refuse.

None of them silences a connection, loses what was accepted without a word, or leaves half a frame on the wire.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys

import pytest
from support import frame, until
from test_reentry import Transport, callbacks, coroutines, end, messages, opened, real_connection

import wsframe
from wsframe.asyncio.broadcast import broadcast
from wsframe.constants import Opcode, State
from wsframe.messages.prepared import PreparedMessage
from wsframe.testing.clock import settle


class Interrupt(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


class Step:
    """Raises once, at the n-th event of a profiler within asyncio's, the transport's or our own Python code."""

    def __init__(self, number, error):
        self.left = number
        self.error = error

    def __call__(self, frame, event, arg):
        name = frame.f_code.co_name
        # Not in the test's own code, nor before the callback of an event loop has begun, which then is not run at all.
        if event in ("call", "return") and name not in ("__enter__", "__exit__") and (event, name) != ("call", "_join"):
            self.left -= 1
            if self.left == -1:
                sys.setprofile(None)
                raise self.error

    def __enter__(self):
        # What raises in a collection, in the callback of a weak reference, say, raises nowhere else.
        gc.disable()
        sys.setprofile(self)

    def __exit__(self, *exc):
        sys.setprofile(None)
        gc.enable()

    @property
    def raised(self):
        return self.left < 0


def each_step(most=400):
    return range(most)


@pytest.mark.parametrize("error", [Interrupt, MemoryError])
@pytest.mark.parametrize("kind", ["callbacks", "coroutines"])
async def test_interrupted_anywhere_in_a_send(stack, kind, error):
    """What leaves are whole messages in order, those whose call returned among them; and later ones leave as well."""
    for number in each_step():
        transport = Transport()
        connection = callbacks(stack, transport) if kind == "callbacks" else coroutines(stack, transport)
        send = connection.send if kind == "callbacks" else lambda text: connection.push(PreparedMessage(text))
        accepted, attempted = ["first"], ["first"]
        send("first")
        step = Step(number, error)
        for text in ("second", "third"):
            attempted.append(text)
            try:
                with step:
                    send(text)
                accepted.append(text)
            except (Interrupt, MemoryError):
                pass
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        if not transport.aborted:
            send("later")
            accepted.append("later")
            attempted.append("later")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        received = messages(stack, transport.written)
        assert [text for text in attempted if text in received] == received, number
        if not transport.aborted:
            assert set(accepted) <= set(received), number
        if not step.raised:
            break
    else:
        pytest.fail("there are more steps than were tried")
    assert number > 3


class Recording:
    """An event loop that leaves it to the test to run what is to be run soon."""

    def __init__(self, loop):
        self.loop = loop
        self.soon = []
        self.told = []

    def __getattr__(self, name):
        return getattr(self.loop, name)

    def call_soon(self, callback, *args, context=None):
        self.soon.append((callback, args))

    def call_exception_handler(self, context):
        self.told.append(context["exception"])

    def run(self, step):
        """Run one turn; return whether it was interrupted."""
        soon, self.soon = self.soon, []
        interrupted = False
        for callback, args in soon:
            try:
                with step:
                    callback(*args)
            except Interrupt:
                interrupted = True
            except Exception as exc:
                # As an event loop does.
                self.told.append(exc)
        return interrupted


@pytest.mark.parametrize("error", [Interrupt, MemoryError])
async def test_interrupted_anywhere_at_the_end_of_a_turn(stack, error):
    """All connections of the turn write, then or in the next one; but for one whose write itself was interrupted."""
    for number in each_step():
        loop = Recording(asyncio.get_running_loop())
        transports = [Transport() for _ in range(3)]
        connections = [coroutines(stack, transport) for transport in transports]
        for connection in connections:
            connection._attach(connection.transport, loop)
        for text in ("1", "2", "3"):
            broadcast(connections, text)
        step = Step(number, error)
        interrupted = loop.run(step)
        assert step.raised == (interrupted or bool(loop.told))
        nothing = Step(10**9, error)
        while loop.soon:
            loop.run(nothing)
        complete = [messages(stack, transport.written) == ["1", "2", "3"] for transport in transports]
        aborted = [transport.aborted for transport in transports]
        assert sum(aborted) <= 1
        assert all(a or b for a, b in zip(complete, aborted, strict=True)), (number, complete, aborted)
        if not step.raised:
            break
    else:
        pytest.fail("there are more steps than were tried")
    assert number > 3


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, Interrupt])
@pytest.mark.parametrize("kind", ["callbacks", "coroutines"])
async def test_event_loop_that_fails_once(stack, monkeypatch, kind, error):
    """A call_soon that fails costs nothing but the joining of writes."""
    loop = asyncio.get_running_loop()
    transport = Transport()
    connection = callbacks(stack, transport) if kind == "callbacks" else coroutines(stack, transport)
    send = connection.send if kind == "callbacks" else lambda text: connection.push(PreparedMessage(text))
    failures = []

    class Loop:
        def __getattr__(self, name):
            return getattr(loop, name)

        def call_soon(self, *args, **kwargs):
            if not failures:
                failures.append(args)
                raise error("on purpose")
            return loop.call_soon(*args, **kwargs)

    connection._attach(transport, Loop())
    for text in ("1", "2", "3"):
        try:
            send(text)
        except Interrupt:
            assert error is Interrupt
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    send("4")
    await asyncio.sleep(0)
    assert messages(stack, transport.written) == ["1", "2", "3", "4"]
    assert failures or kind == "callbacks"


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, Interrupt])
async def test_failed_wake_up_is_retried(stack, error):
    """A task that waits is not forgotten when the event loop refuses to resume it."""
    waiter = stack.twin.queue.Waiter(Refusing(asyncio.get_running_loop(), error))
    calls = []
    waiter.add_done_callback(calls.append, context=contextvars.copy_context())
    for wake in (waiter.wake_soon, waiter.wake_soon, waiter.wake, waiter.cancel):
        try:
            wake()
        except error:
            assert wake == waiter.wake_soon
    await asyncio.sleep(0)
    assert calls == [waiter]
    assert waiter.result() is None


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, Interrupt])
async def test_failed_cancellation_is_retried(stack, error):
    waiter = stack.twin.queue.Waiter(Refusing(asyncio.get_running_loop(), error))
    calls = []
    waiter.add_done_callback(calls.append, context=contextvars.copy_context())
    with pytest.raises(error):
        waiter.cancel("words")
    assert waiter.cancel("other words") is True
    assert waiter.cancel() is False
    await asyncio.sleep(0)
    assert calls == [waiter]
    with pytest.raises(asyncio.CancelledError, match="other words"):
        waiter.result()


class Refusing:
    """An event loop whose call_soon fails once, before or after it has done what it was asked for."""

    def __init__(self, loop, error, afterwards=False):
        self.loop = loop
        self.error = error
        self.afterwards = afterwards

    def __getattr__(self, name):
        return getattr(self.loop, name)

    def call_soon(self, *args, **kwargs):
        error, self.error = self.error, None
        if error is not None and not self.afterwards:
            raise error
        handle = self.loop.call_soon(*args, **kwargs)
        if error is not None:
            raise error
        return handle


async def test_wake_up_that_fails_after_its_effect_resumes_once(stack):
    """KeyboardInterrupt may come when the callback is scheduled already."""
    loop = asyncio.get_running_loop()
    waiter = stack.twin.queue.Waiter(Refusing(loop, Interrupt, afterwards=True))
    calls = []
    waiter.add_done_callback(calls.append, context=contextvars.copy_context())
    with pytest.raises(Interrupt):
        waiter.wake_soon()
    waiter.wake_soon()
    waiter.wake()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert calls == [waiter]


async def test_thread_of_push_and_broadcast_is_checked(stack):
    connection = coroutines(stack, Transport())
    for call in (
        lambda: connection.push(PreparedMessage("x")),
        lambda: broadcast([connection], "x"),
        lambda: broadcast(iter([connection, connection]), "x", raise_exceptions=sys.version_info >= (3, 11)),
    ):
        with pytest.raises(RuntimeError, match="another thread"):
            await asyncio.to_thread(call)
    assert not connection.transport.written
    broadcast([connection], "y")
    assert messages(stack, connection.transport.written) == ["y"]


@pytest.mark.parametrize("method", ["pause_reading", "resume_reading"])
async def test_reading_continues_after_an_interrupted_pause_or_resumption(stack, method):
    def interrupt():
        raise Interrupt

    connection = coroutines(stack, Transport(), max_queue=(2, 1))
    connection.transport.hook = interrupt
    if method == "pause_reading":
        connection.transport.where = method
        with pytest.raises(Interrupt):
            connection.pause_reading()
        assert not connection.reading_paused
        connection.pause_reading()
        assert connection.reading_paused
        assert not connection.transport.reading
        return
    for number in range(4):
        deliver_text(connection, str(number))
    assert connection.reading_paused
    await connection.recv()
    await connection.recv()
    connection.transport.where = method
    with pytest.raises(Interrupt):
        await connection.recv()
    assert connection.reading_paused
    # The message is there for the next call, which resumes reading.
    assert [await connection.recv(), await connection.recv()] == ["2", "3"]
    assert not connection.reading_paused
    assert connection.transport.reading


def deliver_text(connection, text):
    data = frame(Opcode.TEXT, text.encode())
    view = connection.get_buffer(-1)
    view[: len(data)] = data
    connection.buffer_updated(len(data))


async def test_interrupted_callback_ends_the_connection(stack):
    """What follows is lost, so it must not be taken for something else."""

    class Interrupted(stack.protocol):
        def message_received(self, data):
            raise Interrupt

    transport = Transport()
    connection = opened(Interrupted(ping_interval=None), transport)
    with pytest.raises(Interrupt):
        deliver_text(connection, "x")
    await asyncio.sleep(0)
    assert transport.written == frame(Opcode.CLOSE, (1011).to_bytes(2, "big"), to=wsframe.Role.CLIENT)
    deliver_text(connection, "y")
    connection._timer and connection._timer.cancel()


async def test_interrupted_while_the_end_is_sent_sends_it_once(stack):
    for number in each_step():
        transport = Transport()
        connection = callbacks(stack, transport)
        step = Step(number, Interrupt)
        try:
            with step:
                connection.protocol.send_close(1000, "bye")
        except Interrupt:
            pass
        if connection.protocol.state is State.OPEN:
            connection.protocol.send_close(1000, "bye")
        written = connection.protocol.data_to_send()
        # Interrupted in between, it may be left out; a second one, or data after it, must never be.
        assert written in (frame(Opcode.CLOSE, b"\x03\xe8bye", to=wsframe.Role.CLIENT), b""), number
        assert connection.protocol.state is State.CLOSING
        if not step.raised:
            assert written
            break


# A real socket


@pytest.mark.parametrize("name", ["is_closing", "get_write_buffer_size"])
async def test_interrupted_write_of_a_real_connection(name):
    stop = []
    connection, client = await real_connection(stop)
    done = []

    def profile(frame, event, arg):
        if event == "call" and frame.f_code.co_name == name and not done:
            done.append(name)
            sys.setprofile(None)
            raise Interrupt

    sys.setprofile(profile)
    try:
        await connection.send("first")
    except Interrupt:
        assert done
    finally:
        sys.setprofile(None)
    await asyncio.sleep(0)
    await connection.send("later")
    assert [await asyncio.wait_for(client.recv(), 10) for _ in range(2)] == ["first", "later"]
    await end(stop)


async def test_refused_broadcast_from_another_thread_blocks_no_sends():
    stop = []
    connection, client = await real_connection(stop)
    with pytest.raises(RuntimeError, match="another thread"):
        await asyncio.to_thread(broadcast, [connection], "refused")
    for text in ("1", "2"):
        await connection.send(text)
        await settle()
    assert [await asyncio.wait_for(client.recv(), 10) for _ in range(2)] == ["1", "2"]
    await until(lambda: connection.protocol.unsent_bytes == 0)
    await end(stop)
