"""Code of others that runs within ours: signal handlers, finalizers, tracers, transports that deliver at once.

Whatever it sends, all of it leaves, in order and without an exception; and what it interrupts goes on. asyncio's
transports are Python code, so any of these may run wherever one of their methods is called.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import signal
import sys
import threading
import zlib
from types import SimpleNamespace

import pytest
from support import frame, port_of, until

import wsframe
from wsframe.asyncio.broadcast import broadcast
from wsframe.constants import Opcode, Role, State
from wsframe.extensions.deflate import PerMessageDeflateFactory
from wsframe.limits import Limits
from wsframe.messages.events import Message
from wsframe.messages.prepared import PreparedMessage
from wsframe.testing.clock import settle

LOGGER = logging.getLogger("test_reentry")
LOGGER.disabled = True


class Transport(asyncio.Transport):
    """Keeps what is written, and calls a hook within one of its methods, once."""

    def __init__(self, where=None, hook=None):
        super().__init__()
        self.written = bytearray()
        self.where = where
        self.hook = hook
        self.aborted = False
        self.reading = True

    def here(self, name):
        if name == self.where:
            self.where = None
            self.hook()

    def is_closing(self):
        self.here("is_closing")
        return self.aborted

    def get_write_buffer_size(self):
        self.here("get_write_buffer_size")
        return 0

    def write(self, data):
        self.here("write")
        self.written += data

    def abort(self):
        self.aborted = True

    close = abort

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def get_extra_info(self, name, default=None):
        return default

    def is_reading(self):
        return self.reading

    def pause_reading(self):
        self.here("pause_reading")
        self.reading = False

    def resume_reading(self):
        self.here("resume_reading")
        self.reading = True

    def can_write_eof(self):
        return False


def callbacks(stack, transport, role=Role.SERVER, **options):
    """A connection with callbacks, open."""
    return opened(
        stack.protocol("ws://localhost/" if role is Role.CLIENT else None, ping_interval=None, **options), transport
    )


def coroutines(stack, transport, role=Role.SERVER, *, max_queue=None):
    """A connection with coroutines, open."""
    core = stack.core(role, state=State.CONNECTING, limits=Limits())
    connection = stack.connection(
        core,
        open_timeout=None,
        ping_interval=None,
        ping_timeout=None,
        close_timeout=None,
        write_limit=2**16,
        max_queue=max_queue,
        logger=LOGGER,
    )
    return opened(connection, transport)


def opened(connection, transport):
    connection._attach(transport, asyncio.get_running_loop())
    connection._clock = asyncio.get_running_loop()
    connection.protocol.open()
    if hasattr(connection, "_handshake"):
        connection._handshake = None
    connection.was_open = True
    return connection


def deliver(connection, data):
    """Hand bytes over as a transport does."""
    while data:
        view = connection.get_buffer(-1)
        size = min(len(view), len(data))
        view[:size] = data[:size]
        connection.buffer_updated(size)
        data = data[size:]


def messages(stack, written, role=Role.CLIENT, **options):
    """What the peer makes of what was written, which must be whole messages."""
    peer = stack.core(role, limits=Limits(max_message_size=None), **options)
    events = peer.receive_data(written)
    assert peer.fault is None
    return [event.data for event in events if isinstance(event, (Message, stack.twin.message.Message))]


def sender(kind, connection):
    if kind == "callbacks":
        return lambda text: connection.send(text)
    return lambda text: connection.push(PreparedMessage(text))


def make(kind, stack, transport, role=Role.SERVER):
    return callbacks(stack, transport, role) if kind == "callbacks" else coroutines(stack, transport, role)


@pytest.fixture(params=["callbacks", "coroutines"])
def kind(request):
    return request.param


@pytest.mark.parametrize("count", [1, 3, 70, 300])
@pytest.mark.parametrize("where", ["is_closing", "write"])
@pytest.mark.parametrize("role", Role)
async def test_messages_sent_within_a_write_follow_it(stack, kind, where, role, count):
    transport = Transport()
    connection = make(kind, stack, transport, role)
    send = sender(kind, connection)
    sent = ["first", *map(str, range(count)), "last"]

    def hook():
        for text in sent[1:-1]:
            send(text)

    transport.hook, transport.where = hook, where
    send(sent[0])
    send(sent[-1])
    await settle()
    assert messages(stack, transport.written, Role.CLIENT if role is Role.SERVER else Role.SERVER) == sent
    assert connection.protocol.unsent_bytes == 0


@pytest.mark.parametrize("where", ["is_closing", "write"])
@pytest.mark.parametrize("size", [10, 5000, 100_000])
async def test_messages_sent_within_the_write_of_a_read_follow_it(stack, where, size):
    transport = Transport()
    connection = callbacks(stack, transport)
    connection_send = connection.send
    sent = []

    def message_received(data):
        connection_send(data)

    type_with_hook = type("Echo", (type(connection),), {"message_received": lambda self, data: message_received(data)})
    transport = Transport()
    connection = opened(type_with_hook(ping_interval=None), transport)
    connection_send = connection.send
    transport.hook, transport.where = lambda: connection.send(b"within"), where
    for number in range(5):
        sent.append(bytes([number]) * size)
    deliver(connection, b"".join(frame(Opcode.BINARY, data) for data in sent))
    received = messages(stack, transport.written)
    assert sorted(received) == sorted([*sent, b"within"])
    assert [data for data in received if data != b"within"] == sent


@pytest.mark.parametrize("where", ["is_closing", "write"])
async def test_connection_closed_within_a_write(stack, kind, where):
    transport = Transport()
    connection = make(kind, stack, transport)
    send = sender(kind, connection)
    transport.hook, transport.where = lambda: connection.protocol.send_close(1001), where
    send("first")
    assert messages(stack, transport.written) == ["first"]
    assert transport.written.count(frame(Opcode.CLOSE, b"\x03\xe9", to=Role.CLIENT)) == 1
    with pytest.raises(Exception, match="cannot send in state"):
        send("last")


# A real socket: the transport of the event loop


class Cyclic:
    """Garbage that runs something when it is collected."""

    def __init__(self, function):
        self.me = self
        self.function = function

    def __del__(self):
        self.function()


async def real_connection(stop):
    """The server's end of a connection over loopback, and the client's."""
    connections = []

    async def handler(websocket):
        connections.append(websocket)
        await websocket.wait_closed()

    server = await wsframe.serve(handler, "127.0.0.1", 0, compression=None)
    stop.append(server)
    client = await wsframe.connect(f"ws://127.0.0.1:{port_of(server)}", max_queue=None, compression=None)
    stop.append(client)
    await until(lambda: connections)
    return connections[0], client


async def end(stop):
    server, client = stop
    await client.close()
    server.close()
    await server.wait_closed()


async def received_by(client, count):
    async def receive():
        return [await client.recv() for _ in range(count)]

    return await asyncio.wait_for(receive(), 60)


@pytest.mark.parametrize("count", [1, 70, 300])
async def test_profiler_that_broadcasts_within_a_write(count):
    stop = []
    connection, client = await real_connection(stop)
    prepared = PreparedMessage("within")
    calls = []

    def profile(frame, event, arg):
        if event == "call" and frame.f_code.co_name in ("is_closing", "get_write_buffer_size", "write") and not calls:
            calls.append(frame.f_code.co_name)
            sys.setprofile(None)
            for _ in range(count):
                broadcast([connection], prepared)

    sys.setprofile(profile)
    try:
        await connection.send("first")
    finally:
        sys.setprofile(None)
    await connection.send("last")
    within = [text for text in await received_by(client, 2 + (count if calls else 0)) if text == "within"]
    # uvloop's transport is no Python code.
    assert len(within) == (count if calls else 0)
    assert calls or type(asyncio.get_running_loop()).__module__ == "uvloop"
    await end(stop)


async def test_signal_handler_that_broadcasts_at_any_time():
    stop = []
    connection, client = await real_connection(stop)
    prepared = PreparedMessage("within")
    counts = SimpleNamespace(signals=0, sent=0)

    def handler(signum, frame):
        counts.signals += 1
        for _ in range(100):
            broadcast([connection], prepared)
        # Not before, since the handler may take longer than the time until the next signal. Not the timer of real time,
        # which belongs to pytest-timeout.
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)

    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signal handlers run in the main thread only")
    before = signal.signal(signal.SIGVTALRM, handler)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0.0005)
    try:
        while counts.signals < 20:
            await connection.send(f"{counts.sent}")
            counts.sent += 1
            if counts.sent % 50 == 0:
                await asyncio.sleep(0)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    received = await received_by(client, counts.sent + 100 * counts.signals)
    assert [text for text in received if text != "within"] == [str(number) for number in range(counts.sent)]
    assert received.count("within") == 100 * counts.signals
    await end(stop)


async def test_finalizer_that_sends_or_closes_at_any_time():
    stop = []
    connection, client = await real_connection(stop)
    prepared = PreparedMessage("within")
    counts = SimpleNamespace(finalized=0, sent=0)

    def finalize():
        counts.finalized += 1
        broadcast([connection], prepared)

    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        while counts.finalized < 100:
            Cyclic(finalize)
            await connection.send(f"{counts.sent}")
            counts.sent += 1
            if counts.sent % 50 == 0:
                await asyncio.sleep(0)
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    received = await received_by(client, counts.sent + counts.finalized)
    assert [text for text in received if text != "within"] == [str(number) for number in range(counts.sent)]
    Cyclic(lambda: (connection.protocol.send_close(1001), connection._flush()))
    gc.collect()
    with pytest.raises(wsframe.ConnectionClosed):
        for _ in range(10):
            await connection.send("x" * 10)
            await asyncio.sleep(0)
    await end(stop)


# Extensions are Python code, too: while one encodes, its compressor is between two messages.


def deflating(stack, role):
    factory = PerMessageDeflateFactory(threshold=0, server_max_window_bits=15, client_max_window_bits=15)
    parameters, ours = factory.accept_offer([("client_max_window_bits", None)])
    theirs = factory.accept_response(parameters)
    ours, theirs = (ours, theirs) if role is Role.SERVER else (theirs, ours)
    peer_role = Role.CLIENT if role is Role.SERVER else Role.SERVER
    return (
        stack.core(role, extensions=[ours], limits=Limits()),
        stack.core(peer_role, extensions=[theirs], limits=Limits(max_message_size=None)),
        ours,
    )


class Compressor:
    """A compressor within which something runs."""

    def __init__(self, compressor, hook):
        self.compressor = compressor
        self.hook = hook

    def compress(self, data):
        result = self.compressor.compress(data)
        self.hook()
        return result

    def flush(self, mode):
        return self.compressor.flush(mode)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("what", ["text", "binary", "prepared", "ping"])
async def test_messages_sent_while_one_is_compressed(stack, role, what):
    connection, peer, extension = deflating(stack, role)
    text = "the same words again and again, " * 20
    connection.send_text(text)
    buffer = bytearray(b"within " * 20)
    sends = {
        "text": lambda: connection.send_text("within " * 20),
        "binary": lambda: connection.send_binary(buffer),
        "prepared": lambda: connection.send_prepared(PreparedMessage("within " * 20)),
        "ping": lambda: connection.send_ping(b"within"),
    }
    hooks = [sends[what], sends[what]]
    extension._compressor = Compressor(extension._compressor, lambda: hooks.pop()() if hooks else None)
    connection.send_text(text + "first")
    # What was sent is what it was then.
    buffer[:] = bytes(len(buffer))
    connection.send_text(text + "last")
    events = peer.receive_data(connection.data_to_send())
    assert peer.fault is None
    data = [event.data for event in events if hasattr(event, "data")]
    assert [text, text + "first", text + "last"] == [value for value in data if str(value).startswith("the same")]
    within = b"within " * 20 if what == "binary" else "within " * 20
    # A prepared message makes the next one start with another compressor.
    assert data.count(within) == {"ping": 0, "prepared": 1}.get(what, 2)
    assert what == "ping" or data.index(within) > data.index(text + "first")


@pytest.mark.parametrize("role", Role)
async def test_connection_closed_while_a_message_is_compressed(stack, role):
    connection, peer, extension = deflating(stack, role)
    connection.send_text("before " * 20)
    extension._compressor = Compressor(extension._compressor, lambda: connection.send_close(1001))
    with pytest.raises(Exception, match="cannot send in state CLOSING"):
        connection.send_text("never " * 20)
    events = peer.receive_data(connection.data_to_send())
    assert [type(event).__name__ for event in events] == ["Message", "CloseReceived"]


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("failure", [MemoryError, KeyboardInterrupt, zlib.error])
async def test_failure_while_a_message_is_compressed_loses_only_that_message(stack, role, failure):
    connection, peer, extension = deflating(stack, role)
    text = "the same words again and again, " * 20

    def fail():
        raise failure

    connection.send_text(text)
    extension._compressor = Compressor(extension._compressor, fail)
    with pytest.raises(failure):
        connection.send_text("lost " + text)
    connection.send_text(text)
    with pytest.MonkeyPatch.context() as patch:
        # What was compressed cannot be written.
        patch.setattr(stack.twin.masking.os, "urandom", lambda size: b"")
        stack.twin.masking._forget_pool()
        if role is Role.CLIENT:
            with pytest.raises(ValueError, match="os.urandom"):
                connection.send_text("lost " + text)
    connection.send_text(text, fin=False)
    connection.send_continuation(text, fin=True)
    data = [event.data for event in peer.receive_data(connection.data_to_send())]
    assert data == [text, text, text + text]


@pytest.mark.parametrize("role", Role)
async def test_fragments_are_not_interrupted_during_compression(stack, role):
    connection, peer, extension = deflating(stack, role)
    refused = []

    def hook():
        for send in (lambda: connection.send_text("x"), lambda: connection.send_prepared(PreparedMessage("x"))):
            try:
                send()
            except wsframe.ProtocolError:
                refused.append(1)

    for fin in (False, True):
        connection._sending_plain = False
        if extension._compressor is None:
            extension._compressor = extension._new_compressor()
        extension._compressor = Compressor(getattr(extension._compressor, "compressor", extension._compressor), hook)
        if not fin:
            connection.send_text("one ", fin=False)
        else:
            connection.send_continuation("two", fin=True)
    assert len(refused) == 4
    assert [event.data for event in peer.receive_data(connection.data_to_send())] == ["one two"]


# Transports that deliver at once, and event loops within callbacks


class Pipe(Transport):
    """Hands what is written to the other end's connection, there and then."""

    other = None

    def write(self, data):
        deliver(self.other, bytes(data))


@pytest.mark.parametrize("seed", range(3))
async def test_two_ends_that_deliver_to_each_other_at_once(stack, seed):
    """Each answer to a message is a message to be answered, until none is left, all within one call."""
    rng = random.Random(seed)
    received = {Role.SERVER: [], Role.CLIENT: []}
    sent = {Role.SERVER: [], Role.CLIENT: []}

    class Player(stack.protocol):
        def message_received(self, data):
            received[self.protocol.role].append(data)
            for _ in range(rng.choice([0, 1, 1, 2])):
                self.serve()

        def serve(self):
            if len(sent[self.protocol.role]) < 40:
                data = rng.randbytes(1) * rng.choice([1, 100, 5000, 70_000, 200_000])
                sent[self.protocol.role].append(data)
                self.send(data)

    server = opened(Player(ping_interval=None), Pipe())
    client = opened(Player("ws://localhost/", ping_interval=None), Pipe())
    server.transport.other, client.transport.other = client, server
    while len(sent[Role.SERVER]) < 40:
        server.serve()
    assert received[Role.CLIENT] == sent[Role.SERVER]
    assert received[Role.SERVER] == sent[Role.CLIENT]
    assert server.protocol.state is client.protocol.state is State.OPEN


async def test_read_of_another_connection_within_a_callback(stack):
    got = {"a": [], "b": []}

    class Reader(stack.protocol):
        name = "b"

        def message_received(self, data):
            got[self.name].append(data)
            if self.name == "a":
                deliver(other, frame(Opcode.BINARY, b"B" * 200_000))

    class First(Reader):
        name = "a"

    first, other = (opened(cls(ping_interval=None), Transport()) for cls in (First, Reader))
    data = [bytes([65 + number]) * 50_000 for number in range(5)]
    deliver(first, b"".join(frame(Opcode.BINARY, item) for item in data))
    assert got["a"] == data
    assert got["b"] == [b"B" * 200_000] * 5


async def test_read_of_the_same_connection_within_a_callback(stack):
    got = []

    class Reader(stack.protocol):
        def message_received(self, data):
            got.append(data)
            if data == b"1":
                deliver(self, frame(Opcode.BINARY, b"3") + frame(Opcode.BINARY, b"4"))

    deliver(opened(Reader(ping_interval=None), Transport()), frame(Opcode.BINARY, b"1") + frame(Opcode.BINARY, b"2"))
    assert got == [b"1", b"2", b"3", b"4"]


async def test_transport_with_a_wrong_read_size(stack):
    connection = callbacks(stack, Transport())
    for size in (-1, -(10**6), 0, 10**9):
        view = connection.get_buffer(-1)
        assert len(view) >= 1000
        connection.buffer_updated(size)


async def test_read_buffer_keeps_its_address(stack):
    """A transport may release the view it was given, and take the memory under it for its own."""
    connection = callbacks(stack, Transport())
    view = connection.get_buffer(-1)
    memory = view.obj
    with pytest.raises(BufferError):
        memory.clear()
    deliver(connection, frame(Opcode.PING, b"x"))
    assert connection.transport.written


# What ends an iteration


async def test_stop_iteration_refers_only_to_the_result(stack):
    """It may serve again; what somebody has left on it must not."""
    connection = coroutines(stack, Transport())

    def result():
        deliver(connection, frame(Opcode.TEXT, b"x"))
        awaitable = connection.recv()
        try:
            next(awaitable.__await__())
        except StopIteration as exc:
            return exc
        raise AssertionError

    for leave in (
        lambda exc: setattr(exc, "mark", 1),
        lambda exc: setattr(exc, "args", (1, 2)),
        lambda exc: exc.__setstate__({"mark": 1}),
        lambda exc: exc.add_note("mark") if sys.version_info >= (3, 11) else None,
        lambda exc: setattr(exc, "__cause__", ValueError()),
        lambda exc: setattr(exc, "__context__", ValueError()),
        lambda exc: setattr(exc, "__suppress_context__", True),
    ):
        exc = result()
        leave(exc)
        del exc
        exc = result()
        assert exc.value == "x"
        assert not hasattr(exc, "mark")
        assert exc.args in ((), ("x",))
        assert not getattr(exc, "__notes__", None)
        assert exc.__cause__ is None
        assert exc.__context__ is None
        assert not exc.__suppress_context__
        exc.__traceback__ = None
