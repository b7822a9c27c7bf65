"""``wsframe.patch("websockets")``; ``tests/interop`` has more of what websockets does, without it."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import threading
import zlib

import pytest
import support
import websockets.sync.client
import websockets.sync.server
from support import BINARY, CLOSE, PING, PONG, TEXT, connection_of, dial_open, port_of, soon, steady, until, uri_of
from websockets import broadcast
from websockets.asyncio.client import connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.messages import Assembler
from websockets.asyncio.server import serve
from websockets.exceptions import (
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    NegotiationError,
)
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame
from websockets.protocol import CLIENT, SERVER, Protocol, State

import wsframe
from wsframe import serialize_frame
from wsframe.adapters.websockets import DeflateFactory
from wsframe.testing.clock import settle

HERE = "127.0.0.1"
KEY = b"\x11\x22\x33\x44"
DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate"}


@pytest.fixture(autouse=True)
def patched():
    with wsframe.patch("websockets") as patch:
        yield patch


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


# The sans-IO protocol


def frame(opcode, payload=b"", **options):
    return serialize_frame(opcode, payload, mask=KEY, **options)


def deflated(payload):
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


STREAMS = {
    "messages": frame(1, b"text") + frame(2, b"\xff") + frame(1, b"x" * 300) + frame(2, bytes(70_000)),
    "fragments": frame(1, b"a", fin=False) + frame(9, b"p") + frame(0, b"b", fin=False) + frame(0, b"c"),
    "pong, close": frame(10, b"q") + frame(8, b"\x03\xe8bye"),
    "close without a code": frame(8),
    "data after a close frame": frame(8, b"\x03\xe8") + b"\x00\x01",
    "reserved opcode": frame(1, b"a") + frame(3),
    "reserved bit": frame(1, b"a", rsv2=True),
    "unmasked": serialize_frame(1, b"a"),
    "continuation of nothing": frame(0, b"a"),
    "message inside a message": frame(1, b"a", fin=False) + frame(1, b"b"),
    "close inside a message": frame(1, b"a", fin=False) + frame(8, b"\x03\xe8"),
    "fragmented ping": frame(9, fin=False),
    "long ping": frame(9, bytes(126)),
    "wrong close code": frame(8, b"\x00\x01"),
    "message too big": frame(1, bytes(100_001))[:14],
    "fragments too big": frame(1, bytes(60_000), fin=False) + frame(0, bytes(60_000)),
    "end of the stream": frame(1, b"a"),
    "end within a frame": frame(1, b"abc")[:-1],
    "compressed": frame(1, deflated(b"abc" * 50), rsv1=True) + frame(1, b"plain") + frame(9),
    "compressed fragments": frame(1, deflated(b"abc" * 50)[:4], rsv1=True, fin=False)
    + frame(9)
    + frame(0, deflated(b"abc" * 50)[4:]),
    "compressed, too big": frame(1, deflated(bytes(100_001)), rsv1=True),
    "compressed, broken": frame(1, b"\xff\xff", rsv1=True),
}
COMPRESSED = {name for name in STREAMS if name.startswith("compressed")}


def outcome(stream, size, compressed):
    """Return what a server makes of a stream that comes in pieces."""
    protocol = Protocol(SERVER, state=State.OPEN, max_size=100_000)
    if compressed:
        protocol.extensions = [PerMessageDeflate(False, False, 15, 15)]
    events = []
    for i in range(0, len(stream), size):
        protocol.receive_data(stream[i : i + size])
        events += [(e.opcode, bytes(e.data), e.fin) for e in protocol.events_received()]
    protocol.receive_eof()
    writes = b"".join(protocol.data_to_send())
    # The reason of a failure is in other words.
    if protocol.parser_exc is not None:
        writes = writes[2:4]
    codes = [close and close.code for close in (protocol.close_sent, protocol.close_rcvd)]
    return events, writes, codes, type(protocol.parser_exc), protocol.state


@pytest.mark.parametrize("name", STREAMS)
def test_behaves_the_same_as_without_the_patch(name, patched):
    stream, compressed = STREAMS[name], name.startswith("compressed")
    sizes = (1, 7, 2**20) if len(stream) < 2000 else (997, 2**20)
    ours = [outcome(stream, size, compressed) for size in sizes]
    patched.undo()
    theirs = [outcome(stream, size, compressed) for size in sizes]
    assert len(set(map(str, ours))) == 1
    assert ours == theirs


@pytest.mark.parametrize("wrong", [frame(1, b"\xff"), frame(8, b"\x03\xe8\xff")], ids=["text", "close reason"])
def test_invalid_utf8_fails_the_connection(wrong):
    protocol = Protocol(SERVER, state=State.OPEN)
    protocol.receive_data(frame(1, b"before") + wrong)
    assert [event.data for event in protocol.events_received()] == [b"before"]
    assert protocol.close_sent.code == 1007


def test_failed_decoder_of_an_extension():
    protocol = Protocol(SERVER, state=State.OPEN)
    protocol.extensions = [PerMessageDeflate(False, False, 15, 15)]
    protocol.extensions[0].decode = lambda frame, max_size: [][0]
    protocol.logger.disabled = True
    protocol.receive_data(frame(1, b"a"))
    protocol.logger.disabled = False
    assert protocol.close_sent.code == 1011


def test_fragment_limit():
    protocol = Protocol(SERVER, state=State.OPEN, max_size=(None, 10))
    protocol.receive_data(frame(1, bytes(10), fin=False) + frame(0, bytes(11)))
    assert protocol.close_sent.code == 1009
    assert len(protocol.events_received()) == 1
    protocol = Protocol(SERVER, state=State.OPEN, max_size=(15, 10))
    protocol.receive_data(frame(1, bytes(10), fin=False) + frame(0, bytes(6)))
    assert protocol.close_sent.code == 1009


@pytest.mark.parametrize("side", [SERVER, CLIENT])
def test_sent_frames_are_the_same(side):
    protocol = Protocol(side, state=State.OPEN)
    protocol.send_text(b"text")
    protocol.send_binary(memoryview(b"binary"))
    protocol.send_text(b"a", fin=False)
    protocol.send_continuation(b"b", fin=True)
    protocol.send_ping(b"p")
    with pytest.raises(websockets.exceptions.ProtocolError):
        protocol.send_ping(bytes(126))
    parser = wsframe.FrameParser(wsframe.Role.SERVER if side is CLIENT else wsframe.Role.CLIENT)
    frames = parser.feed(b"".join(protocol.data_to_send()))
    assert [(f.opcode, f.payload) for f in frames] == [(1, b"text"), (2, b"binary"), (1, b"a"), (0, b"b"), (9, b"p")]


def test_compressed_messages_are_sent():
    protocol = Protocol(SERVER, state=State.OPEN)
    protocol.extensions = [PerMessageDeflate(False, False, 15, 15)]
    protocol.send_text(b"abc" * 50)
    (received,) = wsframe.FrameParser(wsframe.Role.CLIENT, rsv1=True).feed(b"".join(protocol.data_to_send()))
    assert received.rsv1
    assert zlib.decompressobj(-15).decompress(received.payload + b"\0\0\xff\xff") == b"abc" * 50


def test_frames_are_logged(caplog):
    caplog.set_level(logging.DEBUG, "websockets.server")
    protocol = Protocol(SERVER, state=State.OPEN)
    protocol.receive_data(frame(1, b"in"))
    protocol.send_text(b"out")
    assert "< TEXT 'in' [2 bytes]" in caplog.text
    assert "> TEXT 'out' [3 bytes]" in caplog.text


def test_third_party_extensions_receive_frames_as_before():
    class Upper(Extension):
        name = "upper"

        def decode(self, frame, *, max_size=None):
            return Frame(frame.opcode, bytes(frame.data).upper(), frame.fin)

        def encode(self, frame):
            return Frame(frame.opcode, bytes(frame.data).lower(), frame.fin)

    protocol = Protocol(SERVER, state=State.OPEN)
    protocol.extensions = [Upper()]
    protocol.receive_data(frame(1, b"in"))
    assert [event.data for event in protocol.events_received()] == [b"IN"]
    protocol.send_text(b"OUT")
    assert protocol.data_to_send() == [b"\x81\x03out"]


# asyncio


@contextlib.asynccontextmanager
async def running(handler=echo, **options):
    async with serve(handler, HERE, 0, **{"compression": None, **options}) as server:
        yield server


def spy_on_writes(connection):
    writes = []
    connection.transport = support.SpyTransport(connection.transport, writes)
    return writes


async def test_echo_with_its_own_client():
    async with running(compression="deflate") as server, connect(uri_of(server)) as websocket:
        for message in ("text", b"binary", "x" * 100_000):
            await websocket.send(message)
            assert await soon(websocket.recv()) == message
        await websocket.send(["frag", "ments"])
        assert await soon(websocket.recv()) == "fragments"
        await websocket.send("as bytes")
        assert await soon(websocket.recv(decode=False)) == b"as bytes"
        await websocket.send(b"as text", text=True)
        assert await soon(websocket.recv()) == "as text"
        await websocket.send("as binary", text=False)
        assert await soon(websocket.recv(decode=True)) == "as binary"
        await (await websocket.ping())


async def test_messages_sent_within_a_read_are_one_write():
    async with running() as server, dial_open(server) as peer:
        writes = spy_on_writes(await connection_of(server))
        await peer.send(b"".join(peer.frame(TEXT, b"%d" % number) for number in range(10)) + peer.frame(PING, b"p"))
        await peer.expect(PONG, b"p")
        for number in range(10):
            await peer.expect(TEXT, b"%d" % number)
        assert len(writes) == 1
        await peer.send_close(1000)
        await peer.expect(CLOSE, support.close_payload(1000))
        await peer.expect_end()


async def test_many_bytes_sent_within_a_read_are_written_before_its_end():
    async def handler(websocket):
        async for _ in websocket:
            for _ in range(10):
                await websocket.send(bytes(30_000))

    async with running(handler) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"go")
        for _ in range(10):
            await peer.expect(BINARY, bytes(30_000))


async def test_send_waits_while_the_peer_does_not_read():
    sent = 0

    async def handler(websocket):
        nonlocal sent
        await websocket.recv()
        while sent < 500:
            await websocket.send(bytes(100_000))
            sent += 1

    async with running(handler) as server, dial_open(server, limit=1000) as peer:
        await peer.send_frame(TEXT, b"go")
        connection = await connection_of(server)
        await until(lambda: connection.paused)
        assert await steady(lambda: sent) < 500
        for _ in range(500):
            await peer.expect(BINARY, bytes(100_000))


async def test_send_within_a_read_waits_while_the_peer_does_not_read():
    got = []

    async def handler(websocket):
        async for message in websocket:
            got.append(message)
            await websocket.send(bytes(1000))

    async with running(handler) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        connection.pause_writing()
        await peer.send(peer.frame(TEXT, b"one") + peer.frame(TEXT, b"two"))
        await until(lambda: got)
        await settle()
        assert got == ["one"]
        connection.resume_writing()
        await peer.expect(BINARY, bytes(1000))
        await peer.expect(BINARY, bytes(1000))


async def test_failing_send_raises_connection_closed():
    async def handler(websocket):
        await websocket.recv()
        await asyncio.sleep(0)
        websocket.transport = support.SpyTransport(websocket.transport, OSError("broken"))
        with pytest.raises(ConnectionClosedError) as exc_info:
            await websocket.send("one")
        assert isinstance(exc_info.value.__cause__, OSError)
        done.set()

    done = asyncio.Event()
    async with running(handler) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"go")
        await soon(done.wait())
        await peer.expect_end()


async def test_interrupted_application_leaves_pending_answers():
    async def handler(websocket):
        await websocket.recv()

    async with running(handler) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        frames = connection.recv_messages.frames
        await until(lambda: frames.get_waiter is not None)

        class Interrupted:
            def wake(self):
                raise KeyboardInterrupt

        waiter, frames.get_waiter = frames.get_waiter, Interrupted()
        with pytest.raises(KeyboardInterrupt):
            connection.data_received(peer.frame(PING, b"p") + peer.frame(TEXT, b"text"))
        await peer.expect(PONG, b"p")
        frames.get_waiter = waiter
        waiter.wake()


async def test_write_that_fails_at_the_end_of_a_read():
    async def handler(websocket):
        spied.set()
        with contextlib.suppress(ConnectionClosed):
            await websocket.recv()

    spied = asyncio.Event()
    async with running(handler) as server, dial_open(server) as peer:
        connection = await connection_of(server)
        await soon(spied.wait())
        connection.send_data = lambda: [][0]
        await peer.send_frame(PING, b"p")
        # Its name before 17.4 is the other one.
        name = "connection_exc" if hasattr(connection, "connection_exc") else "recv_exc"
        await until(lambda: getattr(connection, name) is not None)
        del connection.send_data
        peer.abort()


async def test_receiving_twice_at_once_is_an_error_and_cancelling_loses_nothing():
    async def handler(websocket):
        first = asyncio.ensure_future(websocket.recv())
        await asyncio.sleep(0)
        with pytest.raises(ConcurrencyError):
            await websocket.recv()
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        await websocket.send("ready")
        await echo(websocket)

    async with running(handler) as server, connect(uri_of(server)) as websocket:
        assert await soon(websocket.recv()) == "ready"
        await websocket.send("one")
        assert await soon(websocket.recv()) == "one"


async def test_message_in_pieces():
    async def handler(websocket):
        async for piece in websocket.recv_streaming():
            pieces.append(piece)
        cancelled = asyncio.ensure_future(websocket.recv())
        await until(lambda: len(websocket.recv_messages.frames) == 0 and started.is_set())
        await settle()
        cancelled.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await cancelled
        gone.set()
        await websocket.send(await websocket.recv())

    pieces = []
    started = asyncio.Event()
    gone = asyncio.Event()
    async with running(handler) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"one", fin=False)
        await peer.send_frame(0, b"two")
        await until(lambda: pieces == ["one", "two"])
        await peer.send_frame(TEXT, b"three", fin=False)
        started.set()
        await soon(gone.wait())
        await peer.send_frame(0, b"four")
        await peer.expect(TEXT, b"threefour")


async def test_end_while_receiving():
    ends = []

    async def handler(websocket):
        try:
            while True:
                await websocket.recv()
        except ConnectionClosed as exc:
            ends.append(type(exc))
            with pytest.raises(ConnectionClosed):
                await websocket.send("late")
            with pytest.raises(ConnectionClosed):
                await websocket.recv()

    async with running(handler) as server:
        async with connect(uri_of(server)):
            pass
        async with dial_open(server) as peer:
            peer.abort()
        await until(lambda: len(ends) == 2)
    assert ends == [ConnectionClosedOK, ConnectionClosedError]


async def test_end_in_the_turn_in_which_receiving_begins():
    frames = Assembler().frames
    frames.abort()
    with pytest.raises(EOFError):
        await frames.get()
    with pytest.raises(EOFError):
        await frames.get(False)


async def test_broadcast_from_within_a_read():
    async def handler(websocket):
        async for message in websocket:
            broadcast(server.connections, message)
            await websocket.send("sent")

    async with running(handler) as server, connect(uri_of(server)) as one, connect(uri_of(server)) as two:
        await one.send("to all")
        assert [await soon(one.recv()), await soon(one.recv())] == ["to all", "sent"]
        assert await soon(two.recv()) == "to all"


async def test_connections_outlive_the_patch(patched):
    async with running() as server, connect(uri_of(server)) as before:
        patched.undo()
        async with connect(uri_of(server)) as between:
            with wsframe.patch("websockets"):
                for websocket in (before, between):
                    await websocket.send("patched")
                    assert await soon(websocket.recv()) == "patched"
            for websocket in (before, between):
                await websocket.send("not patched")
                assert await soon(websocket.recv()) == "not patched"


async def test_tls(server_tls, client_tls):
    async with running(ssl=server_tls) as server:
        uri = f"wss://localhost:{port_of(server)}/"
        async with connect(uri, ssl=client_tls, host=HERE) as websocket:
            await websocket.send("one")
            assert await soon(websocket.recv()) == "one"


def test_signatures_are_theirs(patched):
    names = [(Protocol, "send_text"), (Protocol, "send_binary"), (Connection, "send"), (Assembler, "get")]
    ours = [list(inspect.signature(getattr(owner, name)).parameters.values()) for owner, name in names]
    patched.undo()
    theirs = [list(inspect.signature(getattr(owner, name)).parameters.values()) for owner, name in names]
    for one, other in zip(ours, theirs, strict=True):
        assert [(p.name, p.kind, p.default) for p in one] == [(p.name, p.kind, p.default) for p in other]


# Compression


@pytest.mark.parametrize("factory", ["deflate", 5, wsframe.PerMessageDeflateFactory])
def test_deflate_factory_of_a_wrong_type(factory):
    with pytest.raises(TypeError, match="factory must be a PerMessageDeflateFactory or None"):
        DeflateFactory(factory)


@pytest.mark.parametrize("is_patched", [True, False])
async def test_deflate_of_wsframe(backend, is_patched, patched):
    if not is_patched:
        patched.undo()
    factory = DeflateFactory(wsframe.PerMessageDeflateFactory(backend=backend))
    options = {"extensions": [factory], "compression": None}
    async with serve(echo, HERE, 0, max_size=100_000, **options) as server:
        async with connect(uri_of(server), **options) as websocket:
            assert repr(websocket.protocol.extensions[0]).startswith("PerMessageDeflate(")
            for message in ("compressed " * 100, b"short", bytes(99_999)):
                await websocket.send(message)
                assert await soon(websocket.recv()) == message
            await websocket.send(["frag" * 100, "ments" * 100])
            assert await soon(websocket.recv()) == "frag" * 100 + "ments" * 100
            await websocket.send(bytes(100_001))
            with pytest.raises(ConnectionClosedError) as exc_info:
                await soon(websocket.recv())
            assert exc_info.value.rcvd.code == 1009
        # Theirs at the other end, and nonsense.
        async with connect(uri_of(server)) as websocket:
            await websocket.send("compressed " * 100)
            assert await soon(websocket.recv()) == "compressed " * 100
        async with dial_open(server, DEFLATE) as peer:
            await peer.send_frame(TEXT, b"\xff\xff", rsv=4)
            await peer.expect_failure(1002)


def test_deflate_is_negotiated():
    factory = DeflateFactory()
    params, extension = factory.process_request_params([("client_max_window_bits", None)], [])
    assert params == [("server_max_window_bits", "12"), ("client_max_window_bits", "12")]
    assert factory.process_response_params(params, []).name == "permessage-deflate"
    for process in (factory.process_request_params, factory.process_response_params):
        with pytest.raises(NegotiationError, match="duplicate"):
            process([], [extension])
        with pytest.raises(NegotiationError, match="invalid parameter name"):
            process([("nonsense", None)], [])


# Threads


def test_threads():
    def handler(websocket):
        for message in websocket:
            websocket.send(message)

    with websockets.sync.server.serve(handler, HERE, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with websockets.sync.client.connect(f"ws://{HERE}:{server.socket.getsockname()[1]}") as websocket:
                for message in ("text", b"binary", "x" * 100_000):
                    websocket.send(message)
                    assert websocket.recv(timeout=30) == message
        finally:
            server.shutdown()
            thread.join()
