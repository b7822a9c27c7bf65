"""Our client and the server of ``websockets``, their client and our server."""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest
import websockets.asyncio.client
import websockets.asyncio.server
import websockets.exceptions
from support import echo, port_of, soon, until
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory

import wsframe

HERE = "127.0.0.1"
SIZES = [0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 300_000]


def their_connect(uri, **options):
    return websockets.asyncio.client.connect(uri, proxy=None, **options)


# Both sides agree on permessage-deflate by default.
PAIRS = {
    "our client": (wsframe.connect, websockets.asyncio.server.serve),
    "our server": (their_connect, wsframe.serve),
}

both = pytest.mark.parametrize(("connect", "serve"), PAIRS.values(), ids=PAIRS)


@contextlib.asynccontextmanager
async def talk(connect, serve, handler=echo, client=(), **options):
    secure = "ssl" in options
    async with serve(handler, HERE, 0, **options) as server:
        uri = f"wss://localhost:{port_of(server)}/" if secure else f"ws://{HERE}:{port_of(server)}/"
        async with connect(uri, **dict(client)) as websocket:
            yield websocket


def recorded(members):
    """Make an echo handler that adds its connection to ``members``."""

    async def handler(websocket):
        members.append(websocket)
        await echo(websocket)

    return handler


@both
async def test_messages_of_any_size(connect, serve):
    async with talk(connect, serve) as websocket:
        for size in SIZES:
            for message in ("\xe9" * (size // 2), bytes(range(256)) * (size // 256) + bytes(size % 256)):
                await websocket.send(message)
                assert await soon(websocket.recv()) == message


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("code", [1007, 1009])
async def test_their_end_receives_our_close_code_while_sending_refused_data(role, code):
    """websockets closes its transport at the end of the stream and cannot abort it afterwards."""
    ended = asyncio.get_running_loop().create_future()

    async def send_too_much(websocket):
        try:
            if code == 1007:
                await websocket.send(b"\xff")
            await websocket.send(bytes(2**24))
            await websocket.recv()
        except BaseException as exc:
            ended.set_result(exc)
        else:
            ended.set_result(None)

    async def wait(websocket):
        if code == 1007:
            # The application refuses the message.
            with pytest.raises(wsframe.ConnectionClosedError):
                await websocket.recv(decode=True)
        await websocket.wait_closed()

    connect, serve = PAIRS[f"our {role}"]
    handler = wait if role == "server" else send_too_much
    async with talk(connect, serve, handler, {"compression": None}) as websocket:
        await (send_too_much if role == "server" else wait)(websocket)
        exc = await soon(ended)
    assert isinstance(exc, websockets.exceptions.ConnectionClosedError)
    assert exc.rcvd.code == code


@both
async def test_fragments(connect, serve):
    """RFC 6455 §5.4: in both directions."""

    async def handler(websocket):
        async for message in websocket:
            await websocket.send([message[:1], message[1:3], message[3:]])

    async with talk(connect, serve, handler) as websocket:
        await websocket.send(["h", "\xe9", "", "llo"])
        assert await soon(websocket.recv()) == "h\xe9llo"
        await websocket.send([b"a" * 70_000, b"", b"b"])
        assert await soon(websocket.recv()) == b"a" * 70_000 + b"b"


@both
async def test_pings(connect, serve):
    """RFC 6455 §5.5.2."""

    async def handler(websocket):
        await soon(await websocket.ping(b"from the server"))
        await websocket.send("answered")
        await websocket.wait_closed()

    async with talk(connect, serve, handler) as websocket:
        await soon(await websocket.ping(b"x" * 125))
        await soon(await websocket.ping())
        await websocket.pong(b"unsolicited")
        assert await soon(websocket.recv()) == "answered"


@both
@pytest.mark.parametrize("who", ["client", "server"])
@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "bye"), (4999, "\xe9" * 61), (1011, "x" * 123)])
async def test_close(connect, serve, who, code, reason):
    """RFC 6455 §7.1."""
    ended = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        if who == "server":
            await websocket.close(code, reason)
        await websocket.wait_closed()
        ended.set_result((websocket.close_code, websocket.close_reason))

    async with talk(connect, serve, handler) as websocket:
        if who == "client":
            await soon(websocket.close(code, reason))
        await soon(websocket.wait_closed())
        assert (websocket.close_code, websocket.close_reason) == (code, reason)
        assert await soon(ended) == (code, reason)


@both
async def test_closing_server_sends_1001(connect, serve):
    """RFC 6455 §7.4.1."""
    server = await serve(echo, HERE, 0)
    async with connect(f"ws://{HERE}:{port_of(server)}/") as websocket:
        await websocket.send("a")
        await soon(websocket.recv())
        server.close()
        await soon(server.wait_closed())
        await soon(websocket.wait_closed())
        assert websocket.close_code == 1001


@both
async def test_message_too_big(connect, serve):
    """RFC 6455 §7.4.1."""
    async with talk(connect, serve, max_size=1000) as websocket:
        await websocket.send(bytes(1001))
        with pytest.raises((wsframe.ConnectionClosedError, websockets.exceptions.ConnectionClosedError)) as info:
            await soon(websocket.recv())
        assert info.value.rcvd.code == 1009


@pytest.mark.skipif(sys.version_info < (3, 11), reason="websockets leaves TLS transports of Python 3.10 unclosed")
@both
async def test_tls(connect, serve, server_tls, client_tls):
    async with talk(connect, serve, client={"ssl": client_tls, "host": HERE}, ssl=server_tls) as websocket:
        for size in SIZES:
            await websocket.send(bytes(size))
            assert await soon(websocket.recv()) == bytes(size)


@both
async def test_handshake(connect, serve):
    """RFC 6455 §4: subprotocol, origin, extra headers."""

    async def handler(websocket):
        headers = websocket.request.headers
        await websocket.send(f"{websocket.request.path} {websocket.subprotocol} {headers['Origin']} {headers['X']}")

    client = {"subprotocols": ["a", "b"], "origin": "http://a.example", "additional_headers": {"X": "y"}}
    async with serve(handler, HERE, 0, subprotocols=["b"], origins=["http://a.example"]) as server:
        async with connect(f"ws://{HERE}:{port_of(server)}/path?query", **client) as websocket:
            assert websocket.subprotocol == "b"
            assert await soon(websocket.recv()) == "/path?query b http://a.example y"


@both
async def test_refused_handshake(connect, serve):
    """RFC 6455 §4.1."""

    def process_request(connection, request):
        return connection.respond(418, "short and stout\n")

    async with serve(echo, HERE, 0, process_request=process_request) as server:
        with pytest.raises((wsframe.InvalidStatus, websockets.exceptions.InvalidStatus)) as info:
            await soon(connect(f"ws://{HERE}:{port_of(server)}/"))
    assert info.value.response.status_code == 418
    assert bytes(info.value.response.body) == b"short and stout\n"


@both
async def test_basic_authentication(connect, serve):
    """RFC 7617."""
    module = wsframe if serve is wsframe.serve else websockets.asyncio.server
    process_request = module.basic_auth("realm", credentials=("alice", "secret"))
    async with serve(echo, HERE, 0, process_request=process_request) as server:
        async with connect(f"ws://alice:secret@{HERE}:{port_of(server)}/") as websocket:
            await websocket.send("a")
            assert await soon(websocket.recv()) == "a"
        with pytest.raises((wsframe.InvalidStatus, websockets.exceptions.InvalidStatus)):
            await soon(connect(f"ws://alice:wrong@{HERE}:{port_of(server)}/"))


@both
async def test_keepalive(connect, serve):
    """RFC 6455 §5.5.2: at both ends."""
    members = []

    options = {"ping_interval": 0.02, "ping_timeout": 5}
    async with talk(connect, serve, recorded(members), client=options, **options) as websocket:
        # A pong sets the latency.
        await until(lambda: members and members[0].latency and websocket.latency)
        await websocket.send("a")
        assert await soon(websocket.recv()) == "a"


@both
async def test_many_messages_both_ways(connect, serve):
    """With reading paused and writing paused at times."""

    async def handler(websocket):
        async for message in websocket:
            await websocket.send(message)

    async with talk(connect, serve, handler) as websocket:

        async def send():
            for i in range(500):
                await websocket.send(str(i) * (i % 7) * 100)

        sending = asyncio.ensure_future(send())
        for i in range(500):
            assert await soon(websocket.recv()) == str(i) * (i % 7) * 100
        await sending


# Compression (RFC 7692)

JSON = '{"jsonrpc": "2.0", "method": "subscribe", "params": ["ticker", "depth"], "id": 1234567890}'

DEFLATE = {
    # Our options, and theirs.
    "defaults": ({}, {}),
    "largest windows": ({"server_max_window_bits": 15, "client_max_window_bits": 15}, {}),
    "no takeover, ours": ({"server_no_context_takeover": True, "client_no_context_takeover": True}, {}),
    "no takeover, theirs": ({}, {"server_no_context_takeover": True, "client_no_context_takeover": True}),
    "small windows, ours": ({"server_max_window_bits": 9, "client_max_window_bits": 9}, {}),
    "small windows, theirs": ({}, {"server_max_window_bits": 9, "client_max_window_bits": 9}),
    "one small window": ({"client_max_window_bits": 10}, {"server_max_window_bits": 11}),
}


@both
@pytest.mark.parametrize(("ours", "theirs"), DEFLATE.values(), ids=DEFLATE)
async def test_compressed_messages(connect, serve, backend, ours, theirs):
    """RFC 7692: any parameters, sizes around those of the windows, and references to earlier messages."""
    ours = {"compression": wsframe.PerMessageDeflateFactory(backend=backend, threshold=0, idle_timeout=0.05, **ours)}
    if serve is wsframe.serve:
        theirs = {"client_max_window_bits": True, **theirs}
        client, server = {"extensions": [ClientPerMessageDeflateFactory(**theirs)], "compression": None}, ours
    else:
        client, server = ours, {"extensions": [ServerPerMessageDeflateFactory(**theirs)], "compression": None}
    members = []

    def our_extension():
        return (members[0] if serve is wsframe.serve else websocket).protocol.extensions[0]

    async with talk(connect, serve, recorded(members), client=client, **server) as websocket:
        assert [extension.name for extension in websocket.protocol.extensions] == ["permessage-deflate"]
        for _ in range(2):
            for message in (JSON, JSON, "", "a", JSON * 10, bytes(range(256)) * 300, bytes(200_000), JSON):
                await websocket.send(message)
                assert await soon(websocket.recv()) == message
            await websocket.send([JSON, "", JSON])
            assert await soon(websocket.recv()) == JSON * 2
            await until(lambda: not our_extension().holds_contexts)


@both
async def test_compressed_broadcast(connect, serve):
    """Before and after messages that refer back to others."""
    members = []
    send_to_all = wsframe.broadcast if serve is wsframe.serve else websockets.asyncio.server.broadcast
    async with talk(connect, serve, recorded(members)) as websocket:
        await until(lambda: members)
        for _ in range(3):
            send_to_all(members, JSON)
            await members[0].send(JSON)
            assert [await soon(websocket.recv()) for _ in range(2)] == [JSON] * 2


@both
async def test_compressed_message_that_is_too_big(connect, serve):
    """RFC 6455 §10.4: the decompressed size counts."""
    async with talk(connect, serve, max_size=10_000, client={"max_size": None}) as websocket:
        await websocket.send(bytes(10_000))
        assert await soon(websocket.recv()) == bytes(10_000)
        await websocket.send(bytes(10_001))
        with pytest.raises((wsframe.ConnectionClosedError, websockets.exceptions.ConnectionClosedError)) as info:
            await soon(websocket.recv())
        assert info.value.rcvd.code == 1009
