"""Our client and a server of node's ``ws``, its client and our server.

Skipped where node or npm is absent or ``ws`` cannot be installed, unless ``WSFRAME_REQUIRE_TOOLS=1``: then it fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess

import pytest
from support import echo, port_of, skip_without_tool, soon, until

from wsframe import ConnectionClosedError, ConnectionClosedOK, PerMessageDeflateFactory, connect, serve

HERE = "127.0.0.1"


@pytest.fixture(scope="session")
def node(tmp_path_factory):
    """A folder where node finds ``ws``."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        skip_without_tool("node is not there")
    folder = tmp_path_factory.mktemp("node")
    command = [npm, "install", "--no-audit", "--no-fund", "--silent", "ws@8"]
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        skip_without_tool("npm install ws takes too long")
    if result.returncode or not (folder / "node_modules" / "ws").is_dir():
        skip_without_tool(f"npm cannot install ws: {result.stderr[-200:]}")
    return folder


@contextlib.asynccontextmanager
async def running(node, program, *arguments):
    """Run a program in node; give its standard output."""
    process = await asyncio.create_subprocess_exec(
        "node", "-e", program, *arguments, cwd=node, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


SERVER = """
const { WebSocketServer } = require('ws');
const server = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: DEFLATE, maxPayload: 1e6,
  handleProtocols: (offered) => [...offered].at(-1) });
server.on('listening', () => console.log(server.address().port));
server.on('connection', (socket, request) => {
  socket.on('error', () => {});
  socket.on('message', (data, isBinary) => {
    const text = isBinary ? '' : data.toString();
    if (text === 'close') socket.close(4001, 'asked to');
    else if (text === 'terminate') socket.terminate();
    else if (text === 'ping') socket.ping('from node');
    else if (text === 'path') socket.send(request.url);
    else if (text === 'fragments') { socket.send('a', { fin: false }); socket.ping('between'); socket.send('b'); }
    else socket.send(data, { binary: isBinary });
  });
  socket.on('pong', (data) => socket.send('pong ' + data));
});
"""


@contextlib.asynccontextmanager
async def their_server(node, deflate="false", **options):
    async with running(node, SERVER.replace("DEFLATE", deflate)) as process:
        port = int(await soon(process.stdout.readline()))
        async with connect(f"ws://{HERE}:{port}/path?query", **options) as websocket:
            yield websocket


async def test_our_client_exchanges_messages_with_their_server(node):
    async with their_server(node, subprotocols=["a", "b"]) as websocket:
        assert websocket.subprotocol == "b"
        for size in (0, 1, 125, 126, 65_535, 65_536, 300_000):
            for message in ("\xe9" * size, bytes(size)):
                await websocket.send(message)
                assert await soon(websocket.recv()) == message
        await websocket.send("path")
        assert await soon(websocket.recv()) == "/path?query"
        await websocket.send(["h", "\xe9", "llo"])
        assert await soon(websocket.recv()) == "h\xe9llo"
        await websocket.send("fragments")
        assert await soon(websocket.recv()) == "ab"
        assert await soon(websocket.recv()) == "pong between"
        await soon(await websocket.ping())
        await websocket.send("ping")
        assert await soon(websocket.recv()) == "pong from node"
        await soon(websocket.close(4000, "bye"))
        assert (websocket.close_code, websocket.close_reason) == (4000, "bye")


async def test_their_server_closes(node):
    """RFC 6455 §7.1."""
    async with their_server(node) as websocket:
        await websocket.send("close")
        with pytest.raises(ConnectionClosedError) as info:
            await soon(websocket.recv())
        assert (info.value.rcvd.code, info.value.rcvd.reason) == (4001, "asked to")


async def test_their_server_drops_the_connection(node):
    """RFC 6455 §7.1.5."""
    async with their_server(node) as websocket:
        await websocket.send("terminate")
        with pytest.raises(ConnectionClosedError):
            await soon(websocket.recv())
        assert websocket.close_code == 1006


async def test_their_server_refuses_an_oversized_message(node):
    """RFC 6455 §7.4.1."""
    async with their_server(node) as websocket:
        await websocket.send(bytes(1_000_001))
        with pytest.raises(ConnectionClosedError) as info:
            await soon(websocket.recv())
        assert info.value.rcvd.code == 1009


CLIENT = """
const WebSocket = require('ws');
const socket = new WebSocket(process.argv[1], ['a', 'b'], { origin: 'http://a.example' });
const log = [];
const messages = ['h\\u00e9llo', Buffer.from([0, 255]), '', 'x'.repeat(70000)];
socket.on('open', () => {
  log.push('open ' + socket.protocol);
  for (const message of messages) socket.send(message);
  socket.send('frag', { fin: false }); socket.send('ments', { fin: true });
  socket.ping('from node');
});
let received = 0;
socket.on('message', (data, isBinary) => {
  log.push((isBinary ? 'binary ' : 'text ') + data.length);
  if (++received === messages.length + 1) socket.close(4000, 'bye');
});
socket.on('ping', (data) => log.push('ping ' + data));
socket.on('pong', (data) => log.push('pong ' + data));
socket.on('error', (error) => log.push('error ' + error.message));
socket.on('close', (code, reason) => { log.push('close ' + code + ' ' + reason); console.log(JSON.stringify(log)); });
"""


async def test_their_client_exchanges_messages_with_our_server(node):
    ended = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        await soon(await websocket.ping(b"ours"))
        try:
            while True:
                await websocket.send(await websocket.recv())
        except ConnectionClosedError as exc:
            ended.set_result((exc.rcvd.code, exc.rcvd.reason))

    async with serve(handler, HERE, 0, subprotocols=["b"], origins=["http://a.example"]) as server:
        async with running(node, CLIENT, f"ws://{HERE}:{port_of(server)}/") as process:
            log = json.loads(await soon(process.stdout.readline()))
        assert await soon(ended) == (4000, "bye")
    assert log[0] == "open b"
    assert log[-1] == "close 4000 bye"
    assert sorted(log[1:-1]) == sorted(
        ["ping ours", "pong from node", "text 6", "binary 2", "text 0", "text 70000", "text 9"]
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"max_size": 100, "subprotocols": ["a"]}, "close 1009 frame exceeds limit of 100 bytes"),
        ({"origins": ["http://b.example"]}, "error Unexpected server response: 403"),
        ({"subprotocols": ["c"]}, "error Unexpected server response: 400"),
    ],
)
async def test_their_client_is_refused_by_our_server(node, options, expected):
    """RFC 6455 §4.2.2, §7.4.1."""
    async with serve(echo, HERE, 0, **options) as server:
        async with running(node, CLIENT, f"ws://{HERE}:{port_of(server)}/") as process:
            log = json.loads(await soon(process.stdout.readline()))
    assert expected in log


async def test_their_client_receives_1001_when_our_server_closes(node):
    """RFC 6455 §7.4.1."""

    async def handler(websocket):
        with contextlib.suppress(ConnectionClosedOK):
            await websocket.recv()
            websocket.server.close()
            await websocket.wait_closed()

    server = await serve(handler, HERE, 0, subprotocols=["a"])
    async with running(node, CLIENT, f"ws://{HERE}:{port_of(server)}/") as process:
        log = json.loads(await soon(process.stdout.readline()))
        await soon(server.wait_closed())
    assert log[-1] == "close 1001 "


# Compression (RFC 7692)

JSON = '{"jsonrpc": "2.0", "method": "subscribe", "params": ["ticker", "depth"], "id": 1234567890}'


@pytest.mark.parametrize(
    ("deflate", "agreed"),
    [
        ("{ threshold: 0 }", "permessage-deflate"),
        ("{ threshold: 0, serverMaxWindowBits: 9, clientMaxWindowBits: 9 }", "client_max_window_bits=9"),
        (
            "{ threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true }",
            "server_no_context_takeover; client_no_context_takeover",
        ),
    ],
)
async def test_their_server_compresses(node, deflate, agreed):
    """RFC 7692 §7.1."""
    factory = PerMessageDeflateFactory(threshold=0, idle_timeout=0.02)
    async with their_server(node, deflate, compression=factory) as websocket:
        assert agreed in websocket.response.headers["Sec-WebSocket-Extensions"]
        for _ in range(2):
            for message in (JSON, JSON, "", "a", bytes(range(256)) * 100, bytes(200_000), JSON):
                await websocket.send(message)
                assert await soon(websocket.recv()) == message
            await websocket.send([JSON, "", JSON])
            assert await soon(websocket.recv()) == JSON * 2
            await until(lambda: not websocket.protocol.extensions[0].holds_contexts)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
        {"server_no_context_takeover": True, "client_no_context_takeover": True},
    ],
)
async def test_their_client_compresses(node, options):
    """RFC 7692 §7.1: it offers permessage-deflate by default."""
    agreed = []

    async def handler(websocket):
        agreed.extend(websocket.protocol.extensions)
        with contextlib.suppress(ConnectionClosedError):
            await echo(websocket)

    program = CLIENT.replace("origin:", "perMessageDeflate: { threshold: 0 }, origin:")
    factory = PerMessageDeflateFactory(threshold=0, **options)
    async with serve(handler, HERE, 0, subprotocols=["b"], compression=factory) as server:
        async with running(node, program, f"ws://{HERE}:{port_of(server)}/") as process:
            log = json.loads(await soon(process.stdout.readline()))
    assert [extension.name for extension in agreed] == ["permessage-deflate"]
    assert sorted(log[1:-1]) == ["binary 2", "pong from node", "text 0", "text 6", "text 70000", "text 9"]
