"""After a violation, the Close frame reaches a peer that is still sending, with TLS or without (RFC 6455 §7.1.7)."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
import support
from support import BINARY, CLOSE, TEXT, dial, dial_open, echo, port_of, raw_server, request, soon, until, wire_frame

from wsframe import ConnectionClosedError, State, WebSocketProtocol, connect, serve
from wsframe.limits import QUIET_S
from wsframe.testing import Clock

HERE = "127.0.0.1"
SIZE = 20_000_000
LONG = bytes(SIZE)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=["ws", "wss"])
def scheme(request):
    return request.param


@pytest.fixture
def options(scheme, server_tls, client_tls):
    """What both ends need for that scheme."""
    if scheme == "ws":
        return {"server": {}, "peer": {}, "client": {}}
    return {
        "server": {"ssl": server_tls},
        "peer": {"ssl": client_tls, "server_hostname": "localhost"},
        "client": {"ssl": client_tls},
    }


async def send_everything_first(peer):
    """Send an oversized message, and read only after all of it is sent."""
    await soon(peer.send(wire_frame(BINARY, length=SIZE, mask=bytes(4) if peer.mask else None) + LONG))
    await peer.expect_failure(1009)


async def test_server_refuses_an_oversized_message_by_its_header(options):
    """The peer is still sending the refused message. The end of its stream, not the time limit, ends the connection."""
    async with serve(echo, HERE, 0, close_timeout=60, **options["server"]) as server:
        async with dial_open(server, **options["peer"]) as peer:
            await send_everything_first(peer)
        await until(lambda: not server._attached)


async def test_server_with_callbacks_refuses_an_oversized_message_by_its_header(options):
    made = []

    def create():
        made.append(WebSocketProtocol(close_timeout=60))
        return made[0]

    server = await asyncio.get_running_loop().create_server(create, HERE, 0, **options["server"])
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(server.close)
        async with dial_open(server, **options["peer"]) as peer:
            await send_everything_first(peer)
        await until(lambda: made[0].state is State.CLOSED)


async def test_client_refuses_an_oversized_message_by_its_header(options, scheme):
    async def script(peer):
        await peer.accept()
        await send_everything_first(peer)

    async with raw_server(script, **options["server"]) as server:
        uri = f"{scheme}://localhost:{server.port}/"
        async with connect(uri, host=HERE, close_timeout=60, **options["client"]) as websocket:
            with pytest.raises(ConnectionClosedError) as info:
                await soon(websocket.recv())
            assert info.value.sent.code == 1009


async def test_client_that_only_sends_receives_the_close_code(options, scheme):
    """With wsframe at both ends."""
    async with serve(echo, HERE, 0, close_timeout=60, **options["server"]) as server:
        uri = f"{scheme}://localhost:{port_of(server)}/"
        websocket = await connect(uri, host=HERE, close_timeout=60, compression=None, **options["client"])
        with pytest.raises(ConnectionClosedError) as info:
            await soon(websocket.send(LONG))
            await soon(websocket.recv())
        assert info.value.rcvd.code == 1009


async def test_refusal_reaches_a_client_sending_a_long_body(options):
    """RFC 9112 §9.6: the response must not be lost because the client is still sending."""
    async with serve(echo, HERE, 0, close_timeout=60, **options["server"]) as server:
        async with dial(server, **options["peer"]) as peer:
            await soon(peer.send(request({"Content-Length": str(SIZE)}, "POST / HTTP/1.1") + LONG))
            start_line, _ = await peer.read_head()
            assert start_line.startswith("HTTP/1.1 4")
            await soon(peer.reader.read())
        await until(lambda: not server._attached)


def refused(kind, mask):
    """Return the beginning of data that is refused, and the close code."""
    return {
        "length": (wire_frame(BINARY, length=SIZE, mask=mask), 1009),
        "opcode": (wire_frame(3, LONG[:2000], mask=mask), 1002),
        "text": (wire_frame(TEXT, b"\xff" * 2000, mask=mask, length=900_000), 1007),
    }[kind]


@pytest.mark.parametrize("kind", ["length", "opcode", "text"])
async def test_server_ends_its_stream_once_the_peer_pauses(options, kind):
    """A peer that reads the end of the stream while sending a message may close TCP before it reads the Close frame."""
    async with serve(echo, HERE, 0, close_timeout=60, **options["server"]) as server:
        async with dial_open(server, **options["peer"]) as peer:
            beginning, code = refused(kind, bytes(4))
            await peer.send_refused_data(beginning, 20, code)
        await until(lambda: not server._attached)


@pytest.mark.parametrize("kind", ["length", "opcode", "text"])
async def test_client_ends_its_stream_once_the_peer_pauses(options, scheme, kind):
    async def script(peer):
        await peer.accept()
        beginning, code = refused(kind, None)
        await peer.send_refused_data(beginning, 20, code)

    async with raw_server(script, **options["server"]) as server:
        uri = f"{scheme}://localhost:{server.port}/"
        async with connect(uri, host=HERE, close_timeout=60, **options["client"]) as websocket:
            with pytest.raises(ConnectionClosedError):
                await soon(websocket.recv())


async def test_reset_before_a_pause_ends_the_stream(options):
    clock = Clock()
    options["server"]["create_connection"] = support.clocked(clock)
    async with serve(echo, HERE, 0, close_timeout=60, **options["server"]) as server:
        async with dial_open(server, **options["peer"]) as peer:
            await peer.send(refused("length", bytes(4))[0])
            await peer.read_frame()
            peer.abort()
        await until(lambda: not server._attached)
        # The timer that watches for a pause finds no stream to end.
        await clock.advance(2 * QUIET_S)


async def test_silent_peer_is_dropped(options):
    """RFC 6455 §7.1.7: TCP ends within ``close_timeout``, whatever the peer does."""
    async with serve(echo, HERE, 0, close_timeout=0.3, **options["server"]) as server:
        async with dial_open(server, **options["peer"]) as peer:
            # It does not even read.
            peer.writer.transport.pause_reading()
            await peer.send(b"\xff\xff")
            await until(lambda: not server._attached, 10)
            peer.writer.transport.abort()


async def test_peer_that_never_stops_sending_is_dropped(options):
    async def flood(peer):
        while True:
            await peer.send(bytes(2**16))

    async with serve(echo, HERE, 0, close_timeout=0.3, **options["server"]) as server:
        async with dial_open(server, **options["peer"]) as peer:
            peer.writer.transport.pause_reading()
            (connection,) = server.connections
            await peer.send(b"\xff\xff")
            await until(lambda: connection._ending)
            received = connection.protocol.bytes_received
            with pytest.raises(ConnectionError):
                await soon(flood(peer))
            assert connection.protocol.bytes_received == received
            await until(lambda: not server._attached)


async def test_close_timeout_none_waits_for_the_peer(options):
    async with serve(echo, HERE, 0, close_timeout=None, **options["server"]) as server:
        async with dial_open(server, **options["peer"]) as peer:
            await peer.send(b"\xff\xff")
            frame = await peer.read_frame()
            assert (frame.opcode, frame.payload[:2]) == (CLOSE, (1002).to_bytes(2, "big"))
        await until(lambda: not server._attached)
