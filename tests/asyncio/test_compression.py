"""permessage-deflate over loopback (RFC 7692): negotiation, options, broadcasts, idle connections and attacks."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import socket
import sys
import zlib
from types import SimpleNamespace

import pytest
from support import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    dial_open,
    echo,
    raw_server,
    request,
    soon,
    two_fragments,
    until,
    uri_of,
    wire_frame,
)
from test_attacks import MASK, MIB, SLACK, Victim, expect_close, read_frame

import wsframe
from wsframe import PerMessageDeflateFactory, PreparedMessage, WebSocketProtocol, broadcast, connect, serve

HERE = "127.0.0.1"
RSV1 = 4
JSON = '{"jsonrpc": "2.0", "method": "subscribe", "params": ["ticker", "depth"], "id": 1234567890}'


class Deflater:
    """Compresses and decompresses as a peer does, with zlib alone."""

    def __init__(self, bits=15):
        self.compressor = zlib.compressobj(9, zlib.DEFLATED, -bits)
        self.decompressor = zlib.decompressobj(-bits)

    def deflate(self, data):
        return (self.compressor.compress(data) + self.compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]

    def inflate(self, data):
        return self.decompressor.decompress(data + b"\x00\x00\xff\xff")


def final_block(data):
    """RFC 7692 §7.2.3.4."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(data) + compressor.flush() + b"\x00"


@contextlib.asynccontextmanager
async def protocol_server(factory):
    server = await asyncio.get_running_loop().create_server(factory, HERE, 0)
    try:
        yield server
    finally:
        server.close()
        await soon(server.wait_closed())


class Echo(WebSocketProtocol):
    def message_received(self, data):
        self.send(data)


SERVERS = {
    "coroutines": lambda **options: serve(echo, HERE, 0, **options),
    "callbacks": lambda **options: protocol_server(lambda: Echo(**options)),
}


@pytest.fixture(params=SERVERS)
def server_of(request):
    return SERVERS[request.param]


def agreed_in(peer):
    return dict(peer.headers).get("Sec-WebSocket-Extensions")


# Negotiation

FORGETFUL = "permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
OFFERS = [
    (None, None),
    ("x-webkit-deflate-frame", None),
    ("permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
    ("permessage-deflate; foo", None),
    ("permessage-deflate; foo=1, permessage-deflate", "permessage-deflate; server_max_window_bits=12"),
    ("permessage-deflate; server_max_window_bits=8", None),
    ("permessage-deflate; server_max_window_bits=16", None),
    ("permessage-deflate; server_max_window_bits", None),
    ("permessage-deflate; client_max_window_bits=010", None),
    ("permessage-deflate; client_no_context_takeover; client_no_context_takeover", None),
    ('permessage-deflate; server_max_window_bits="10"', "permessage-deflate; server_max_window_bits=10"),
    (
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
    ),
    (
        FORGETFUL + "client_max_window_bits=9",
        FORGETFUL + "server_max_window_bits=12; client_max_window_bits=9",
    ),
    # In two lines, which count as one list (RFC 6455 §9.1).
    (
        ["permessage-deflate; foo", "permessage-deflate; server_max_window_bits=9"],
        "permessage-deflate; server_max_window_bits=9",
    ),
]


@pytest.mark.parametrize(("offer", "response"), OFFERS)
async def test_d1_to_d7_server_answers_an_offer(server_of, offer, response):
    """RFC 7692 §5.1, §7.1: what cannot be accepted is declined, and the connection opens without it."""
    async with server_of() as server, dial_open(server, {"Sec-WebSocket-Extensions": offer}) as peer:
        assert agreed_in(peer) == response
        bits = 15 if response is None or "client_max_window_bits=9" not in response else 9
        deflater = Deflater(bits)
        text = JSON.encode()
        for _ in range(2):
            if response is None:
                await peer.send_frame(TEXT, text)
                await peer.expect(TEXT, text)
            else:
                if "client_no_context_takeover" in response:
                    deflater = Deflater(bits)
                await peer.send_frame(TEXT, deflater.deflate(text), rsv=RSV1)
                frame = await peer.read_frame()
                assert (frame.opcode, frame.rsv) == (TEXT, RSV1)
                assert deflater.inflate(frame.payload) == text
        # Row D9: without compression is always right.
        await peer.send_frame(TEXT, b"short")
        await peer.expect(TEXT, b"short")
        await peer.send_close(1000)
        await peer.expect_failure(1000)


@pytest.mark.parametrize(
    ("response", "options"),
    [
        ("x-foo", {}),
        ("permessage-deflate, permessage-deflate", {}),
        ("permessage-deflate; foo", {}),
        ("permessage-deflate; server_max_window_bits=7", {}),
        ("permessage-deflate; server_max_window_bits=99", {}),
        ("permessage-deflate; client_max_window_bits", {}),
        ("permessage-deflate; client_no_context_takeover=1", {}),
        ("permessage-deflate; server_no_context_takeover; server_no_context_takeover", {}),
        ("permessage-deflate", {"compression": None}),
        ("permessage-deflate", {"compression": PerMessageDeflateFactory(server_max_window_bits=9)}),
    ],
)
async def test_d2_client_refuses_a_bad_response(response, options):
    """RFC 7692 §7.1; RFC 6455 §4.1."""

    async def script(peer):
        await peer.accept({"Sec-WebSocket-Extensions": response})
        await soon(peer.reader.read())

    async with raw_server(script) as server:
        with pytest.raises(wsframe.InvalidHandshake):
            await soon(connect(server.uri, **options))


@pytest.mark.parametrize("bits", [8, 9, 15])
async def test_d6_client_accepts_any_server_window(bits):
    """RFC 7692 §7.1.2.1."""

    async def script(peer):
        deflater = Deflater(max(9, bits))
        await peer.accept({"Sec-WebSocket-Extensions": f"permessage-deflate; server_max_window_bits={bits}"})
        for _ in range(3):
            frame = await peer.read_frame()
            assert frame.rsv == RSV1
            # RFC 7692 §7.1.2.2: ours is 4 KiB unless we are asked for less.
            assert deflater_of_client.inflate(frame.payload) == JSON.encode()
            await peer.send_frame(TEXT, deflater.deflate(JSON.encode()), rsv=RSV1)
        await peer.read_frame()
        await peer.send_close(1000)

    deflater_of_client = Deflater(12)
    async with raw_server(script) as server, connect(server.uri) as websocket:
        for _ in range(3):
            await websocket.send(JSON)
            assert await soon(websocket.recv()) == JSON


# Options


async def test_default_is_deflate_at_both_ends(server_of):
    async with server_of() as server, connect(uri_of(server)) as websocket:
        offered = websocket.request.headers["Sec-WebSocket-Extensions"]
        assert offered == "permessage-deflate; client_max_window_bits"
        assert websocket.response.headers["Sec-WebSocket-Extensions"] == (
            "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
        )
        for message in (JSON, JSON, "", b"\x00" * 100_000, "\xe9" * 1000, "short"):
            await websocket.send(message)
            assert await soon(websocket.recv()) == message


@pytest.mark.parametrize("client", [None, "deflate"])
@pytest.mark.parametrize("server", [None, "deflate"])
async def test_compression_none_disables_it_at_either_end(server_of, client, server):
    async with server_of(compression=server) as listening:
        async with connect(uri_of(listening), compression=client) as websocket:
            assert ("Sec-WebSocket-Extensions" in websocket.request.headers) is (client is not None)
            both = client is not None and server is not None
            assert ("Sec-WebSocket-Extensions" in websocket.response.headers) is both
            await websocket.send(JSON)
            assert await soon(websocket.recv()) == JSON


async def test_factory_sets_what_is_agreed(server_of):
    factory = PerMessageDeflateFactory(
        server_max_window_bits=9,
        client_max_window_bits=10,
        server_no_context_takeover=True,
        client_no_context_takeover=True,
        threshold=0,
    )
    expected = FORGETFUL + "server_max_window_bits=9; client_max_window_bits=10"
    for options in (({}, {"compression": factory}), ({"compression": factory}, {})):
        async with server_of(**options[0]) as server, connect(uri_of(server), **options[1]) as websocket:
            assert websocket.response.headers["Sec-WebSocket-Extensions"] == expected
            for message in ("a", "", JSON, JSON):
                await websocket.send(message)
                assert await soon(websocket.recv()) == message


@pytest.mark.parametrize("wrong", ["gzip", "", True])
async def test_other_compression_is_a_value_error(wrong):
    for call in (
        lambda: serve(echo, HERE, 0, compression=wrong),
        lambda: connect("ws://localhost", compression=wrong),
        lambda: WebSocketProtocol(compression=wrong),
    ):
        with pytest.raises(ValueError, match=f"unsupported compression: {wrong}"):
            call()


async def test_each_backend_works_at_both_ends(backend):
    factory = PerMessageDeflateFactory(backend=backend, threshold=0)
    async with serve(echo, HERE, 0, compression=factory) as server:
        async with connect(uri_of(server), compression=factory) as websocket:
            for message in ("", "a", JSON, JSON, bytes(300_000), [JSON, "", JSON]):
                await websocket.send(message)
                assert await soon(websocket.recv()) == ("".join(message) if isinstance(message, list) else message)


class Sink(WebSocketProtocol):
    def __init__(self, script, **options):
        super().__init__(**options)
        self.script = script

    def connection_open(self):
        self.script(self)


async def frames_of(server, count):
    async with dial_open(server, {"Sec-WebSocket-Extensions": "permessage-deflate"}) as peer:
        frames = [await peer.read_frame() for _ in range(count)]
        await peer.send_close(1000)
        return [(frame.opcode, frame.rsv, frame.fin) for frame in frames]


async def test_compress_option_applies_to_one_message():
    async def handler(websocket):
        await websocket.send(JSON)
        await websocket.send(JSON, compress=False)
        await websocket.send("short")
        await websocket.send(b"short", compress=True)
        await websocket.send(["a", "b"], compress=False)
        await websocket.send(["a", "b"])
        await websocket.send(PreparedMessage(JSON))
        await websocket.wait_closed()

    async with serve(handler, HERE, 0) as server:
        assert await frames_of(server, 11) == [
            (TEXT, RSV1, True),
            (TEXT, 0, True),
            (TEXT, 0, True),
            (BINARY, RSV1, True),
            (TEXT, 0, False),
            (0, 0, False),
            (0, 0, True),
            (TEXT, RSV1, False),
            (0, 0, False),
            (0, 0, True),
            (TEXT, RSV1, True),
        ]


async def test_compress_option_applies_to_one_message_of_callbacks():
    def script(protocol):
        protocol.send(JSON)
        protocol.send(JSON, compress=False)
        protocol.send("short")
        protocol.send(b"short", compress=True)
        protocol.send(PreparedMessage(JSON))
        protocol.send(PreparedMessage(b"short"))

    async with protocol_server(lambda: Sink(script)) as server:
        assert await frames_of(server, 6) == [
            (TEXT, RSV1, True),
            (TEXT, 0, True),
            (TEXT, 0, True),
            (BINARY, RSV1, True),
            (TEXT, RSV1, True),
            (BINARY, 0, True),
        ]


async def test_d13_control_frames_between_compressed_fragments(server_of):
    """RFC 6455 §5.4, RFC 7692 §6.1."""
    async with server_of() as server:
        async with dial_open(server, {"Sec-WebSocket-Extensions": "permessage-deflate"}) as peer:
            deflater = Deflater()
            for _ in range(2):
                payload = deflater.deflate(JSON.encode())
                await peer.send_frame(TEXT, payload[:5], fin=False, rsv=RSV1)
                await peer.send_frame(PING, b"between")
                await peer.expect(PONG, b"between")
                await peer.send_frame(0, payload[5:6], fin=False)
                await peer.send_frame(PONG, b"unasked")
                await peer.send_frame(0, payload[6:])
                assert deflater.inflate((await peer.read_frame()).payload) == JSON.encode()
            await peer.send_close(1000)


@pytest.mark.parametrize(
    "frames",
    [
        [(TEXT, b"\x00", False, RSV1), (0, b"\x00", True, RSV1)],
        [(TEXT, b"\x00", False, 0), (0, b"\x00", True, RSV1)],
        [(PING, b"", True, RSV1)],
        [(CLOSE, b"\x03\xe8", True, RSV1)],
        [(TEXT, b"\x00", True, RSV1 | 2)],
        [(TEXT, b"\x00", True, RSV1 | 1)],
    ],
)
async def test_d8_rsv1_belongs_on_the_first_frame_of_a_message(server_of, frames):
    """RFC 7692 §6.1."""
    async with server_of() as server:
        async with dial_open(server, {"Sec-WebSocket-Extensions": "permessage-deflate"}) as peer:
            for opcode, payload, fin, rsv in frames:
                await peer.send_frame(opcode, payload, fin=fin, rsv=rsv)
            await peer.expect_failure(1002)


async def test_compressed_fragments_within_a_limit_on_fragments(server_of):
    """The limit is on what they are when they are inflated: a few bytes more on the wire do no harm."""
    async with server_of(max_size=(100, 5)) as server, connect(uri_of(server)) as websocket:
        await websocket.send(["12345", "67890"])
        assert await soon(websocket.recv()) == "1234567890"
        await websocket.send(["123456", "7890"])
        with pytest.raises(wsframe.ConnectionClosedError) as info:
            await soon(websocket.recv())
        assert info.value.rcvd.code == 1009


# Broadcasts


KINDS = {
    "default": {},
    "another default": {},
    "off": {"compression": None},
    "small window": {"compression": PerMessageDeflateFactory(server_max_window_bits=9)},
    "forgetful": {"compression": PerMessageDeflateFactory(server_no_context_takeover=True)},
}


class Room:
    """A server that keeps its connections, and clients of several kinds."""

    async def __aenter__(self):
        self.members = []
        self.stack = contextlib.AsyncExitStack()
        self.server = await self.stack.enter_async_context(serve(self.join, HERE, 0))
        self.clients = {}
        for kind, options in KINDS.items():
            self.clients[kind] = await self.stack.enter_async_context(connect(uri_of(self.server), **options))
            await until(lambda: len(self.members) == len(self.clients))
        return self

    async def __aexit__(self, *exc):
        await self.stack.aclose()

    async def join(self, websocket):
        self.members.append(websocket)
        await websocket.wait_closed()

    async def expect(self, *messages, absent=()):
        for kind, client in self.clients.items():
            for message in () if kind in absent else messages:
                assert await soon(client.recv()) == message, kind


async def test_broadcast_reaches_connections_of_all_kinds():
    async with Room() as room:
        for message in (JSON, JSON, JSON.encode(), "short", b"", JSON * 1000):
            broadcast(room.members, message)
            await room.expect(message)
            # What they send on their own goes on, before and after.
            for member in room.members:
                await member.send(JSON)
            await room.expect(JSON)
        broadcast(room.members, b"h\xc3\xa9", text=True)
        broadcast(room.members, "h\xe9", text=False)
        await room.expect("h\xe9", b"h\xc3\xa9")
        prepared = PreparedMessage(JSON)
        for _ in range(3):
            broadcast(room.members, prepared)
            broadcast(iter(room.members), JSON[:70])
        await room.expect(*[JSON, JSON[:70]] * 3)


async def test_broadcast_from_clients():
    """RFC 6455 §5.3: each frame has its own mask."""
    received = []

    async def handler(websocket):
        async for message in websocket:
            received.append(message)

    async with serve(handler, HERE, 0) as server:
        async with connect(uri_of(server)) as one, connect(uri_of(server), compression=None) as two:
            for _ in range(3):
                broadcast([one, two], JSON)
                await one.send(JSON)
            await until(lambda: len(received) == 9)
    assert set(received) == {JSON}


async def test_broadcast_skips_connections_that_are_not_open():
    async with Room() as room:
        await room.clients["off"].close()
        await until(lambda: any(member.state is wsframe.State.CLOSED for member in room.members))
        closing = room.members[0]
        closing.protocol.send_close(1000)
        broadcast(room.members, JSON, raise_exceptions=sys.version_info >= (3, 11))
        await room.expect(JSON, absent=("off", "default"))
        closing._flush()
    broadcast([], JSON)
    broadcast(room.members, JSON)


async def interrupted(room, kind):
    """Let the member of one kind begin a message in fragments, and give it and the task."""
    member = room.members[list(KINDS).index(kind)]
    proceed = asyncio.Event()
    task = asyncio.ensure_future(member.send(two_fragments(proceed)))
    await until(lambda: member._fragments_sent is not None)
    return member, task, proceed


async def test_broadcast_does_not_interrupt_a_fragmented_message(caplog):
    """RFC 6455 §5.4: that connection misses it."""
    async with Room() as room:
        _, task, proceed = await interrupted(room, "small window")
        with caplog.at_level(logging.WARNING, "wsframe.server"):
            broadcast(room.members, JSON)
        assert caplog.messages == ["skipped broadcast: sending a fragmented message"]
        proceed.set()
        await soon(task)
        await room.expect(JSON, absent=("small window",))
        assert await soon(room.clients["small window"].recv()) == "ab"
        broadcast(room.members, JSON)
        await room.expect(JSON)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs ExceptionGroup")
async def test_broadcast_raises_exceptions_at_its_end(caplog):
    async with Room() as room:
        _, task, proceed = await interrupted(room, "default")
        with pytest.raises(ExceptionGroup, match="skipped broadcast") as info:  # noqa: F821 - unknown to 3.10
            broadcast(room.members, JSON, raise_exceptions=True)
        assert [type(exc) for exc in info.value.exceptions] == [wsframe.ConcurrencyError]
        proceed.set()
        await soon(task)
        assert await soon(room.clients["default"].recv()) == "ab"
        await room.expect(JSON, absent=("default",))
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


class Unwritable(PreparedMessage):
    def serialize(self, role, extensions):
        raise OSError("BOOM")


async def test_broadcast_reports_failed_writes(caplog):
    async with Room() as room:
        with caplog.at_level(logging.WARNING, "wsframe.server"):
            broadcast(room.members, Unwritable("a"))
        assert caplog.messages == ["skipped broadcast: failed to write message: OSError: BOOM"] * len(room.members)
        if sys.version_info >= (3, 11):
            with pytest.raises(ExceptionGroup) as info:  # noqa: F821 - unknown to 3.10
                broadcast(room.members, Unwritable("a"), raise_exceptions=True)
            assert [repr(exc) for exc in info.value.exceptions] == ["RuntimeError('failed to write message')"] * len(
                room.members
            )
            assert [repr(exc.__cause__) for exc in info.value.exceptions] == ["OSError('BOOM')"] * len(room.members)


def test_broadcast_that_raises_needs_python_3_11(monkeypatch):
    module = importlib.import_module("wsframe.asyncio.broadcast")
    monkeypatch.setattr(module, "sys", SimpleNamespace(version_info=(3, 10)))
    with pytest.raises(ValueError, match="raise_exceptions needs Python 3.11"):
        broadcast([], JSON, raise_exceptions=True)
    broadcast([], JSON)


def test_broadcast_of_other_data_is_a_type_error():
    for data in (1, None, ["a"], {"a": 1}):
        with pytest.raises(TypeError, match="data must be str or bytes-like, not "):
            broadcast([], data)


# Idle connections


@contextlib.asynccontextmanager
async def idle_pair(idle_timeout, **options):
    """Give a server's and a client's extension, and the client."""
    members = []

    async def handler(websocket):
        members.append(websocket)
        await echo(websocket)

    factory = PerMessageDeflateFactory(idle_timeout=idle_timeout)
    async with serve(handler, HERE, 0, compression=factory, **options) as server:
        async with connect(uri_of(server), compression=factory, **options) as client:
            await until(lambda: members)
            yield members[0].protocol.extensions[0], client.protocol.extensions[0], client


async def exchange(client, message=JSON):
    await client.send(message)
    assert await soon(client.recv()) == message


@pytest.mark.parametrize("ping_interval", [None, 0.01])
async def test_idle_connection_releases_its_contexts(ping_interval):
    """RFC 7692 §7.1.1: and the stream goes on, with references to what was before."""
    async with idle_pair(0.05, ping_interval=ping_interval) as (server, client, websocket):
        for _ in range(3):
            await exchange(websocket)
            await exchange(websocket)
            # Pings do not keep it busy.
            await until(lambda: not server.holds_contexts and not client.holds_contexts)
    assert websocket._idle_timer is None


async def test_busy_connection_keeps_its_contexts():
    async with idle_pair(30) as (server, client, websocket):
        await exchange(websocket)
        timer = websocket._idle_timer
        assert timer is not None
        await exchange(websocket)
        assert websocket._idle_timer is timer
        # Once the time is over, there is a message to have been; the next time, there is none.
        websocket._watch_idleness()
        assert client.holds_contexts
        timer.cancel()
        websocket._idle_timer.cancel()
        websocket._watch_idleness()
        assert not client.holds_contexts
        assert websocket._idle_timer is None
        assert server.holds_contexts
        await exchange(websocket)
    assert websocket._idle_timer is None


async def test_connection_without_messages_needs_no_timer():
    async with idle_pair(0.01) as (_, client, websocket):
        await soon(await websocket.ping())
        await exchange(websocket, "short")
        assert websocket._idle_timer is None
        assert not client.holds_contexts


async def test_idle_timeout_of_none_keeps_the_contexts():
    async with idle_pair(None) as (server, client, websocket):
        await exchange(websocket)
        assert websocket._idle_timer is None
        assert server.holds_contexts
        assert client.holds_contexts


async def test_contexts_are_released_while_a_fragmented_message_is_sent():
    async with idle_pair(0.02) as (_, client, websocket):

        async def fragments():
            for _ in range(4):
                yield JSON
                await until(lambda: not client.holds_contexts)

        for _ in range(2):
            await soon(websocket.send(fragments()))
            assert await soon(websocket.recv()) == JSON * 4


# Attacks, each on a server in a process of its own

attacks = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@contextlib.contextmanager
def compressed(victim):
    """Open a connection with permessage-deflate."""
    with victim.dial() as sock:
        sock.sendall(request({"Sec-WebSocket-Extensions": "permessage-deflate; server_no_context_takeover"}))
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += sock.recv(1)
        assert b"\r\nSec-WebSocket-Extensions: permessage-deflate" in head
        yield sock


def deflated_frame(payload, opcode=BINARY, **options):
    return wire_frame(opcode, payload, rsv=RSV1, mask=MASK, **options)


def read_inflated(sock):
    opcode, payload = read_frame(sock)
    return opcode, Deflater().inflate(payload)


@pytest.fixture(scope="module")
def victim(impl):
    with Victim(impl.name, close_timeout=1) as victim:
        with compressed(victim) as sock:
            sock.sendall(deflated_frame(Deflater().deflate(bytes(500_000))))
            assert read_inflated(sock) == (BINARY, bytes(500_000))
        yield victim


@pytest.fixture(scope="module")
def bomb():
    """100 MiB of zeros."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    pieces = [compressor.compress(bytes(MIB)) for _ in range(100)]
    payload = b"".join(pieces) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    assert 99_000 < len(payload) < 103_000
    return payload


@attacks
def test_d12_100_mib_of_zeros_in_99_kib(victim, bomb):
    """RFC 6455 §10.4, RFC 7692 §8: refused while it is inflated."""
    with compressed(victim) as sock, victim.bounds(memory=4 * MIB, cpu=0.5 * SLACK):
        sock.sendall(deflated_frame(bomb))
        expect_close(sock, 1009)


@attacks
def test_d12_100_mib_of_zeros_in_fragments_of_1000_bytes(victim, bomb):
    """RFC 6455 §10.4, RFC 7692 §8."""
    pieces = [bomb[i : i + 1000] for i in range(0, len(bomb), 1000)]
    data = deflated_frame(pieces[0], fin=False) + b"".join(
        wire_frame(0, piece, fin=piece is pieces[-1], mask=MASK) for piece in pieces[1:]
    )
    with compressed(victim) as sock, victim.bounds(memory=4 * MIB, cpu=0.5 * SLACK):
        sock.sendall(data)
        expect_close(sock, 1009)


@attacks
def test_d12_100_mib_of_zeros_after_a_final_block(victim, bomb):
    """RFC 6455 §10.4, RFC 7692 §8."""
    with compressed(victim) as sock, victim.bounds(memory=4 * MIB, cpu=0.5 * SLACK):
        sock.sendall(deflated_frame(b"\x03\x00" + bomb))
        expect_close(sock, 1009)


@attacks
@pytest.mark.parametrize("fragment", [2**19, 1000])
def test_d12_512_kib_of_empty_final_blocks(victim, fragment):
    """Class of aiohttp's CVE-2026-128131."""
    chain = b"\x03\x00" * 2**18
    data = deflated_frame(chain[:fragment], fin=False)
    data += b"".join(
        wire_frame(0, chain[i : i + fragment], fin=False, mask=MASK) for i in range(fragment, len(chain), fragment)
    )
    with compressed(victim) as sock, victim.bounds(memory=4 * MIB, cpu=0.1 * SLACK):
        with contextlib.suppress(ConnectionError):
            sock.sendall(data)
        expect_close(sock, 1008)


@attacks
def test_d10_two_messages_of_final_blocks(victim):
    """RFC 7692 §7.2.3.4: both are there; most libraries lose the second."""
    with compressed(victim) as sock:
        for _ in range(2):
            for message in (b"Hello" * 100, b"Hello" * 100):
                sock.sendall(deflated_frame(final_block(message)))
                assert read_inflated(sock) == (BINARY, message)


@attacks
@pytest.mark.parametrize("payload", [b"\x06", b"\xff" * 1000, bytes.fromhex("f200110000")])
def test_d11_invalid_deflate_data_fails_the_connection(victim, payload):
    """RFC 7692 §7.2.2: a Close frame, and nothing in the log."""
    with compressed(victim) as sock:
        sock.sendall(deflated_frame(payload))
        expect_close(sock, 1007)
    assert victim.state()[0] == []
    assert victim.is_alive()


@attacks
def test_compressed_invalid_utf8_fails_the_connection(victim):
    """RFC 6455 §8.1, RFC 7692 §6.2."""
    for text in (b"\xff", b"abc\xed\xa0\x80", b"abc\xc3"):
        with compressed(victim) as sock:
            sock.sendall(deflated_frame(Deflater().deflate(text), TEXT))
            expect_close(sock, 1007)


@attacks
def test_compressed_invalid_utf8_fails_in_its_fragment(victim):
    """RFC 6455 §8.1: without waiting for the end of the message."""
    deflater = Deflater()
    with compressed(victim) as sock:
        sock.sendall(deflated_frame(deflater.deflate(b"abc\xc3") + b"\x00\x00\xff\xff", TEXT, fin=False))
        sock.settimeout(0.2)
        with pytest.raises(socket.timeout):
            read_frame(sock)
        sock.settimeout(30)
        sock.sendall(wire_frame(0, deflater.deflate(b"\x28") + b"\x00\x00\xff\xff", fin=False, mask=MASK))
        expect_close(sock, 1007)


@attacks
def test_d12_limit_is_exact(victim):
    """RFC 6455 §10.4: 1 MiB passes and one byte more does not, whatever their size on the wire."""
    with compressed(victim) as sock:
        sock.sendall(deflated_frame(Deflater().deflate(bytes(MIB))))
        assert read_inflated(sock) == (BINARY, bytes(MIB))
        sock.sendall(deflated_frame(Deflater().deflate(bytes(MIB + 1))))
        expect_close(sock, 1009)
    noise = b"".join(zlib.crc32(i.to_bytes(4, "big")).to_bytes(4, "big") for i in range(MIB // 4))
    with compressed(victim) as sock:
        compressor = zlib.compressobj(0, zlib.DEFLATED, -15)
        payload = (compressor.compress(noise) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        assert len(payload) > MIB
        sock.sendall(deflated_frame(payload))
        assert read_inflated(sock) == (BINARY, noise)
