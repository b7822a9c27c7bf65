"""The shared read buffer never mixes, and the transport stays in charge when reads are taken over."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import contextvars
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from support import (
    BINARY,
    CLOSE,
    TEXT,
    SpyTransport,
    close_payload,
    dial,
    dial_open,
    environment,
    request,
    serve_protocols,
    soon,
    stays,
    until,
    uri_of,
)

import wsframe
from wsframe import ConnectionClosedError, State, WebSocketProtocol
from wsframe.limits import READ_SIZE
from wsframe.testing.clock import settle

HERE = "127.0.0.1"


class Recorder(WebSocketProtocol):
    """Echoes what it receives, unless the test takes that over, and notes it."""

    def __init__(self, **options):
        super().__init__(**{"ping_interval": None, "compression": None, **options})
        self.received = []
        self.lost = None

    def message_received(self, data):
        self.received.append(data)
        self.send(data)

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.lost = (exc,)


@contextlib.asynccontextmanager
async def serving(factory=Recorder, crowd=0, **options):
    """Give a server and the list of its protocols, with as many other connections on the event loop."""
    async with serve_protocols(Recorder) as (others, _), contextlib.AsyncExitStack() as stack:
        for _ in range(crowd):
            await stack.enter_async_context(dial_open(others))
        async with serve_protocols(factory, **options) as served:
            yield served


in_a_crowd = pytest.mark.parametrize("crowd", [0, 10], ids=["alone", "in a crowd"])
"""The event loop watches the first connections one by one, and the others together."""


# The read buffer that connections share


async def talk(peer, chooser, count, largest):
    """Send messages of many sizes cut anywhere, one after the other or at once; check each echo."""
    sizes = [chooser.choice([0, 1, 125, 126, 1000, chooser.randrange(largest)]) for _ in range(count)]
    payloads = [chooser.randbytes(size) for size in sizes]
    wire = b"".join(peer.frame(BINARY, payload) for payload in payloads)

    async def send():
        pos = 0
        while pos < len(wire):
            size = chooser.choice([1, 7, 1000, 50_000])
            await peer.send(wire[pos : pos + size])
            pos += size
            await asyncio.sleep(0)

    sending = asyncio.ensure_future(send())
    for payload in payloads:
        await peer.expect(BINARY, payload)
    await sending


@pytest.mark.parametrize("seed", range(2))
async def test_reads_of_many_connections_never_mix(seed):
    async with serving() as (server, made), contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(dial_open(server)) for _ in range(15)]
        await asyncio.gather(*(talk(peer, random.Random(100 * seed + i), 20, 5000) for i, peer in enumerate(peers)))
        assert len(made) == 15


async def test_reads_of_many_connections_over_tls_never_mix(server_tls, client_tls):
    async def handler(websocket):
        async for message in websocket:
            await websocket.send(message)

    async with wsframe.serve(handler, HERE, 0, ssl=server_tls, compression=None) as server:
        async with contextlib.AsyncExitStack() as stack:
            peers = []
            for _ in range(6):
                options = {"ssl": client_tls, "server_hostname": "localhost"}
                peers.append(await stack.enter_async_context(dial_open(server, **options)))
            await asyncio.gather(*(talk(peer, random.Random(i), 15, 40_000) for i, peer in enumerate(peers)))


@pytest.mark.parametrize("tls", [False, True])
async def test_get_buffer_read_and_buffer_updated_are_not_interleaved(tls, server_tls, client_tls):
    """Between them, no other connection is asked for its buffer: they all have the same."""
    calls = []

    class Noting(Recorder):
        def get_buffer(self, sizehint):
            calls.append(("get", self))
            return super().get_buffer(sizehint)

        def buffer_updated(self, nbytes):
            calls.append(("updated", self))
            super().buffer_updated(nbytes)

    def create():
        return Noting()

    loop = asyncio.get_running_loop()
    server = await loop.create_server(create, HERE, 0, ssl=server_tls if tls else None)
    async with server, contextlib.AsyncExitStack() as stack:
        options = {"ssl": client_tls, "server_hostname": "localhost"} if tls else {}
        peers = [await stack.enter_async_context(dial_open(server, **options)) for _ in range(5)]
        await asyncio.gather(*(talk(peer, random.Random(i), 10, 3000) for i, peer in enumerate(peers)))
    await until(lambda: all(one.lost for _, one in calls))
    assert len({one for _, one in calls}) == 5
    # A read that gives nothing ends without buffer_updated(); it must not come to another connection's.
    for (name, one), (_, before) in zip(calls[1:], calls, strict=False):
        assert name == "get" or one is before


# Reading by ourselves


@in_a_crowd
async def test_application_pauses_and_resumes_the_transport(crowd):
    async with serving(crowd=crowd) as (server, made), dial_open(server) as peer:
        await peer.send_frame(BINARY, b"1")
        await peer.expect(BINARY, b"1")
        (end,) = made
        for i in range(3):
            end.transport.pause_reading()
            assert not end.transport.is_reading()
            before = len(end.received)
            await peer.send_frame(BINARY, bytes([i]) * 3)
            await stays(lambda: len(end.received) == before)
            end.transport.resume_reading()
            assert end.transport.is_reading()
            # The first of them is read by the transport, the others as before.
            for size in (3, 4, 5):
                if size > 3:
                    await peer.send_frame(BINARY, bytes([i]) * size)
                await peer.expect(BINARY, bytes([i]) * size)


@in_a_crowd
async def test_stream_pauses_and_resumes_reading(crowd):
    async with serving(crowd=crowd) as (server, made), dial_open(server) as peer:
        await until(lambda: made)
        (end,) = made
        for i in range(3):
            end.pause_reading()
            assert end.reading_paused
            before = len(end.received)
            await peer.send_frame(BINARY, bytes([i]))
            await stays(lambda: len(end.received) == before)
            end.resume_reading()
            await peer.expect(BINARY, bytes([i]))


@in_a_crowd
@pytest.mark.parametrize("by", ["transport", "stream"])
async def test_reading_paused_inside_a_read(by, crowd):
    """What has been read already is handed out; nothing more is read."""

    class Pausing(Recorder):
        def message_received(self, data):
            super().message_received(data)
            if data == b"pause":
                (self.transport if by == "transport" else self).pause_reading()

    async with serving(Pausing, max_size=None, crowd=crowd) as (server, made), dial_open(server) as peer:
        await peer.send(peer.frame(BINARY, b"pause") + peer.frame(BINARY, b"rest"))
        await peer.expect(BINARY, b"pause")
        (end,) = made
        # More than one read takes, so that reading in a row would go on.
        rest = asyncio.ensure_future(peer.send_frame(BINARY, bytes(3 * READ_SIZE)))
        await peer.expect(BINARY, b"rest")
        before = end.protocol.bytes_received
        await stays(lambda: end.protocol.bytes_received == before)
        (end.transport if by == "transport" else end).resume_reading()
        await peer.expect(BINARY, bytes(3 * READ_SIZE))
        await rest


@in_a_crowd
async def test_reading_resumed_inside_a_read(crowd):
    class Toggling(Recorder):
        def message_received(self, data):
            self.pause_reading()
            self.resume_reading()
            self.transport.pause_reading()
            self.transport.resume_reading()
            super().message_received(data)

    async with serving(Toggling, crowd=crowd) as (server, _), dial_open(server) as peer:
        for size in (1, 1000, 300_000, 2):
            await peer.send_frame(BINARY, bytes(size))
            await peer.expect(BINARY, bytes(size))


@in_a_crowd
async def test_end_of_the_stream(crowd):
    async with serving(crowd=crowd) as (server, made):
        async with dial_open(server) as peer:
            await peer.send_frame(TEXT, b"a")
            await peer.expect(TEXT, b"a")
            peer.writer.write_eof()
            await peer.expect_end()
        await until(lambda: made[0].lost)
        assert made[0].lost == (None,)
        assert made[0].state is State.CLOSED
        assert made[0].close_code == 1006


@in_a_crowd
async def test_end_of_the_stream_after_messages_in_one_read(crowd):
    async with serving(crowd=crowd) as (server, made):
        async with dial_open(server) as peer:
            made[0].transport.pause_reading()
            await peer.send(peer.frame(TEXT, b"a") + peer.frame(TEXT, b"b"))
            peer.writer.write_eof()
            # Loopback delivers at once, as soon as the event loop has called shutdown().
            await settle()
            made[0].transport.resume_reading()
            await peer.expect(TEXT, b"a")
            await peer.expect(TEXT, b"b")
            await peer.expect_end()
        await until(lambda: made[0].lost)
        assert made[0].received == ["a", "b"]


@in_a_crowd
async def test_reset_by_the_peer_is_the_cause(crowd):
    """The application receives the system's error."""
    async with serving(crowd=crowd) as (server, made):
        async with dial_open(server) as peer:
            await peer.send_frame(TEXT, b"a")
            await peer.expect(TEXT, b"a")
            peer.abort()
        await until(lambda: made[0].lost)
        assert [type(exc) for exc in made[0].lost] == [ConnectionResetError]


async def test_reset_by_the_peer_is_the_cause_of_connection_closed():
    raised = asyncio.get_running_loop().create_future()
    received = asyncio.Event()

    async def handler(websocket):
        try:
            await websocket.recv()
            received.set()
            await websocket.recv()
        except ConnectionClosedError as exc:
            raised.set_result(exc)

    async with wsframe.serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"a")
        await soon(received.wait())
        peer.abort()
        assert isinstance((await soon(raised)).__cause__, ConnectionResetError)


@in_a_crowd
@pytest.mark.parametrize("how", ["abort", "close"])
async def test_transport_ended_inside_a_read(how, crowd):
    """Nothing is handled after it except data of the same read, and nothing is written."""

    class Ending(Recorder):
        def message_received(self, data):
            self.received.append(data)
            if data == "end":
                getattr(self.transport, how)()
                self.send("not any more")

    async with serving(Ending, crowd=crowd) as (server, made):
        async with dial_open(server) as peer:
            await peer.send(peer.frame(TEXT, b"a") + peer.frame(TEXT, b"end") + peer.frame(TEXT, b"c"))
            with contextlib.suppress(ConnectionError):
                await peer.expect_end()
        await until(lambda: made[0].lost)
        assert made[0].received == ["a", "end", "c"]


@in_a_crowd
async def test_closing_handshake_inside_a_read(crowd):
    class Closing(Recorder):
        def message_received(self, data):
            super().message_received(data)
            self.close(4000, "enough")

    async with serving(Closing, crowd=crowd) as (server, _), dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"a") + peer.frame(TEXT, b"b"))
        await peer.expect(TEXT, b"a")
        await peer.expect(CLOSE, close_payload(4000, "enough"))
        await peer.send_close(4000)
        await peer.expect_end()


@in_a_crowd
async def test_replaced_transport_is_used(crowd):
    """A wrapper in between sees each write, and what it refuses to read is not read."""
    written = []
    async with serving(crowd=crowd) as (server, made), dial_open(server) as peer:
        await peer.send_frame(TEXT, b"a")
        await peer.expect(TEXT, b"a")
        assert written == []
        made[0].transport = SpyTransport(made[0].transport, written)
        for _ in range(3):
            await peer.send_frame(TEXT, b"b")
            await peer.expect(TEXT, b"b")
        assert b"".join(written) == b"\x81\x01b" * 3
        made[0].transport.pause_reading()
        await peer.send_frame(TEXT, b"c")
        await stays(lambda: len(made[0].received) == 4)
        made[0].transport.resume_reading()
        await peer.expect(TEXT, b"c")


@in_a_crowd
async def test_callbacks_run_in_the_context_of_their_server(loop_kind, crowd):
    if loop_kind == "uvloop":
        pytest.skip("uvloop runs the callbacks of all connections in one context")
    variable = contextvars.ContextVar("variable", default="none")

    class Telling(Recorder):
        def message_received(self, data):
            self.send(f"{variable.get()} {data}")
            variable.set("of the connection")

    async def ask(server, name):
        async with dial_open(server) as one, dial_open(server) as two:
            for peer in (one, two):
                await peer.send_frame(TEXT, b"first")
                await peer.expect(TEXT, f"{name} first".encode())
            await one.send_frame(TEXT, b"second")
            await one.expect(TEXT, b"of the connection second")

    variable.set("A")
    async with serving(Telling, crowd=crowd) as (server_a, _):
        variable.set("B")
        async with serving(Telling) as (server_b, _):
            variable.set("C")
            await ask(server_a, "A")
            await ask(server_b, "B")


async def test_connections_end_each_other_inside_a_read():
    """All of them have something to read at the same time; the first that is read from ends the others."""

    class Ending(Recorder):
        def message_received(self, data):
            super().message_received(data)
            for other in made:
                if other is not self:
                    other.transport.abort()

    async with serving(Ending) as (server, made), contextlib.AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(dial_open(server)) for _ in range(20)]
        await until(lambda: all(protocol.state is State.OPEN for protocol in made))
        for peer in peers:
            peer.writer.write(peer.frame(TEXT, b"a"))
        await until(lambda: sum(protocol.lost is not None for protocol in made) == 19)
        (left,) = [protocol for protocol in made if protocol.lost is None]
        assert left.received == ["a"]
        async with dial_open(server) as peer:
            await peer.send_frame(TEXT, b"b")
            await peer.expect(TEXT, b"b")


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
async def test_no_file_descriptor_is_left():
    async with wsframe.serve(wsframe.ServerConnection.wait_closed, HERE, 0) as server:
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(10):
                    await stack.enter_async_context(wsframe.connect(uri_of(server)))
            await until(lambda: not server.connections)
            await until(lambda: len(os.listdir("/proc/self/fd")) == len(before))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux")
def test_event_loop_that_is_closed_before_its_connections(tmp_path):
    program = f"""
import asyncio, gc, os, socket, wsframe

async def connect(loop, server, client):
    _, protocol = await loop.create_connection(wsframe.WebSocketProtocol, sock=server)
    client.sendall({request()!r})
    while protocol.state is not wsframe.State.OPEN:
        await asyncio.sleep(0)
    return protocol

def main():
    loop = asyncio.SelectorEventLoop()
    pairs = [socket.socketpair() for _ in range(10)]
    protocols = [loop.run_until_complete(connect(loop, *pair)) for pair in pairs]
    loop.close()
    for _, client in pairs:
        client.close()

before = len(os.listdir("/proc/self/fd"))
main()
gc.collect()
print(len(os.listdir("/proc/self/fd")) - before)
"""
    # Elsewhere, since what is in the current directory would be imported.
    command, env = [sys.executable, "-c", program], environment("c" if wsframe.IMPLEMENTATION == "c" else "py")
    result = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert (result.stdout, result.returncode) == ("0\n", 0), result.stderr


@in_a_crowd
async def test_subclass_may_override_get_buffer(crowd):
    class Own(Recorder):
        def __init__(self):
            super().__init__()
            self.own = 0

        def buffer_updated(self, nbytes):
            self.own += nbytes
            super().buffer_updated(nbytes)

    async with serving(Own, crowd=crowd) as (server, made), dial_open(server) as peer:
        before = made[0].own
        await peer.send_frame(TEXT, b"abc")
        await peer.expect(TEXT, b"abc")
        assert made[0].own - before == len(peer.frame(TEXT, b"abc"))


async def test_protocol_works_on_a_loop_with_hidden_reads(loop_kind):
    """Event loops of other kinds have no way to take the reads over; the transport keeps reading."""
    if loop_kind == "uvloop":
        pytest.skip("uvloop's own class cannot be taken apart")
    loop = asyncio.get_running_loop()

    class Hiding:
        def __getattr__(self, name):
            if name == "_remove_reader":
                raise AttributeError(name)
            return getattr(loop, name)

    class Elsewhere(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            self._attach(transport, Hiding())

    async with serving(Elsewhere) as (server, _), dial_open(server) as peer:
        for size in (1, 100_000):
            await peer.send_frame(BINARY, bytes(size))
            await peer.expect(BINARY, bytes(size))


@in_a_crowd
async def test_flooding_peer_does_not_starve_others(crowd):
    """Reads in a row are bounded: who sends without end takes turns with the others."""
    received = []

    class Counting(Recorder):
        def message_received(self, data):
            received.append(len(data))
            if len(data) == 1:
                self.send(data)

    async with serving(Counting, crowd=crowd) as (server, _), dial_open(server) as flooder, dial_open(server) as peer:
        flood = flooder.frame(BINARY, bytes(1000)) * 2000

        async def pour():
            while True:
                await flooder.send(flood)

        pouring = asyncio.ensure_future(pour())
        await until(lambda: len(received) > 1000)
        for i in range(20):
            await peer.send_frame(BINARY, bytes([i]))
            await peer.expect(BINARY, bytes([i]))
        pouring.cancel()
        flooder.abort()
        with contextlib.suppress(asyncio.CancelledError):
            await pouring
    assert received.count(1) == 20


async def test_reads_in_a_row_are_bounded(loop_kind):
    """While there is always more to read, the event loop gets its turn after a bounded number of bytes."""
    if loop_kind == "uvloop":
        pytest.skip("uvloop reads by itself")
    loop = asyncio.get_running_loop()
    turn, bytes_in_turn, total = 0, collections.Counter(), 50 * READ_SIZE

    class Refilled(Recorder):
        """Has its peer send more within each read."""

        def message_received(self, data):
            bytes_in_turn[turn] += len(data)
            if bytes_in_turn.total() < total:
                self.fill()

    async with serving(Refilled) as (server, made), dial_open(server) as peer:
        (end,) = made
        message = peer.frame(BINARY, bytes(60_000))
        wire = memoryview(message * 300)
        sent = 0
        feeder = peer.writer.get_extra_info("socket").dup()
        feeder.setblocking(False)

        def fill():
            nonlocal sent
            with contextlib.suppress(BlockingIOError):
                while sent < len(wire):
                    sent += feeder.send(wire[sent:])

        def next_turn():
            nonlocal turn
            turn += 1
            if bytes_in_turn.total() < total:
                loop.call_soon(next_turn)

        end.fill = fill
        fill()
        next_turn()
        await until(lambda: bytes_in_turn.total() >= total)
        feeder.close()
        peer.abort()
    assert max(bytes_in_turn.values()) <= 17 * READ_SIZE


async def test_eager_handlers_of_two_connections_in_one_read(loop_kind):
    """A handler that runs within the read of its connection makes another one's run, in the next turn."""
    order = []

    async def relay(websocket):
        others.append(websocket)
        async for message in websocket:
            order.append((others.index(websocket), message))
            for other in others:
                if other is not websocket:
                    await other.send(message)

    others = []
    async with wsframe.serve(relay, HERE, 0) as server:
        async with wsframe.connect(uri_of(server)) as one, wsframe.connect(uri_of(server)) as two:
            for i in range(50):
                await one.send(str(i))
                assert await soon(two.recv()) == str(i)
                await two.send(str(-i))
                assert await soon(one.recv()) == str(-i)
    assert len(order) == 100


async def test_connection_over_an_existing_stream():
    """A dialled peer that never opens leaves nothing behind in the shared buffer."""
    async with serving() as (server, made):
        async with dial(server) as silent, dial_open(server) as peer:
            await silent.send(request()[:20])
            await peer.send_frame(TEXT, b"a")
            await peer.expect(TEXT, b"a")
            await silent.send(request()[20:])
            start_line, _ = await silent.read_head()
            assert start_line.split(" ")[1] == "101"
            await silent.send_frame(TEXT, b"b")
            await silent.expect(TEXT, b"b")
        assert sorted(message for one in made for message in one.received) == ["a", "b"]
