"""What tests share: event loops, peers that send exact bytes, certificates, and connections without I/O.

The frame reader for sockets is independent of the package, so that its parser is not tested against itself.
"""

from __future__ import annotations

import asyncio
import base64
import collections
import contextlib
import hashlib
import inspect
import itertools
import os
import secrets
import shutil
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import wsframe
from wsframe import Connection, FrameParser, Opcode, Role, State, serialize_frame

PATIENCE_S = 30
"""Seconds after which a wait counts as hanging: far longer than any takes, as the machine may be busy."""

LOOPS = ["asyncio"]
try:
    import uvloop
except ImportError:
    uvloop = None
else:
    LOOPS.append("uvloop")


# Coroutines as tests


def pytest_generate_tests(metafunc):
    if inspect.iscoroutinefunction(metafunc.function) and "loop_kind" not in metafunc.fixturenames:
        metafunc.fixturenames.append("loop_kind")
    if "loop_kind" in metafunc.fixturenames:
        metafunc.parametrize("loop_kind", LOOPS)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in inspect.signature(pyfuncitem.obj).parameters}
    run(pyfuncitem.obj(**arguments), pyfuncitem.callspec.params["loop_kind"])
    return True


def run(coroutine, loop_kind="asyncio"):
    """Run a coroutine in debug mode; fail if the event loop logs an error or a task is left over."""
    problems = []

    async def main():
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 60
        # In debug mode, asyncio reports each client that aborts the TLS handshake.
        harmless = "Error on transport creation for incoming connection"
        loop.set_exception_handler(lambda _, context: context["message"] == harmless or problems.append(context))
        result = await coroutine
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            _, left = await asyncio.wait(left, timeout=5)
        assert not left, f"tasks left over: {left}"
        return result

    if loop_kind == "uvloop":
        loop = uvloop.new_event_loop()
    elif sys.platform == "win32":
        loop = asyncio.ProactorEventLoop()
    else:
        loop = asyncio.SelectorEventLoop()
    loop.set_debug(True)
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(main())
    finally:
        try:
            for task in asyncio.all_tasks(loop):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    loop.run_until_complete(task)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    assert not problems, problems
    return result


async def soon(awaitable, timeout=PATIENCE_S):
    """Wait for something that must not hang."""
    return await asyncio.wait_for(awaitable, timeout)


async def until(condition, timeout=PATIENCE_S):
    """Wait until a condition holds."""
    end = asyncio.get_running_loop().time() + timeout
    while not condition():
        assert asyncio.get_running_loop().time() < end, f"condition still false after {timeout} s"
        await asyncio.sleep(0.005)


async def stays(condition):
    """Check that a condition holds for 40 ms, which on a real socket is long enough for a fault to break it."""
    for _ in range(20):
        await asyncio.sleep(0.002)
        assert condition()


async def steady(value, duration=0.1):
    """Wait until a value has not changed for that many seconds, and return it."""
    loop = asyncio.get_running_loop()
    last, since = value(), loop.time()
    while loop.time() - since < duration:
        await asyncio.sleep(0.005)
        if (new := value()) != last:
            last, since = new, loop.time()
    return last


def clocked(clock, base=wsframe.ServerConnection):
    """Make a class of connections, for ``create_connection``, whose time limits run by this clock."""
    return type(base.__name__, (base,), {"clock": clock})


class SpyTransport:
    """A transport that appends the bytes of each write; given an exception instead of a list, it raises that."""

    def __init__(self, transport, writes):
        self.inner = transport
        self.writes = writes

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def write(self, data):
        if isinstance(self.writes, Exception):
            raise self.writes
        self.writes.append(bytes(data))
        self.inner.write(data)


def recorded_reads(reads, base=wsframe.ServerConnection):
    """Make a class of connections that append themselves and the number of bytes of each read."""

    class Reading(base):
        def buffer_updated(self, nbytes):
            reads.append((self, nbytes))
            super().buffer_updated(nbytes)

    return Reading


async def connection_of(server):
    """Wait for a server's only connection to open, and return it."""
    await until(lambda: server.connections)
    (connection,) = server.connections
    return connection


# Peers that send exact bytes

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
RIGHT_REQUEST = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}

RawFrame = collections.namedtuple("RawFrame", "fin rsv opcode masked payload length_size")


def head(start_line, *header_sets):
    """Write the head of a message; a later set replaces, None removes, a list repeats a line."""
    merged = {}
    for headers in header_sets:
        merged.update(headers)
    lines = [start_line]
    for name, value in merged.items():
        lines += [f"{name}: {one}" for one in (value if isinstance(value, list) else [value]) if one is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def request(headers=None, start_line="GET / HTTP/1.1"):
    return head(start_line, RIGHT_REQUEST, headers or {})


def wire_frame(opcode, payload=b"", *, fin=True, rsv=0, mask=None, length=None, length_size=None):
    """Write a frame, valid or not; ``mask`` is the key, ``length`` the announced length."""
    payload = bytes(payload)
    length = len(payload) if length is None else length
    if length_size is None:
        length_size = 0 if length < 126 else 2 if length < 65536 else 8
    short = {0: length, 2: 126, 8: 127}[length_size]
    data = bytes([fin << 7 | rsv << 4 | opcode, (mask is not None) << 7 | short])
    data += length.to_bytes(length_size, "big") if length_size else b""
    if mask is None:
        return data + payload
    return data + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))


def close_payload(code, reason=""):
    return code.to_bytes(2, "big") + reason.encode()


class Peer:
    """One end of a TCP connection, in the role of a client or of a server."""

    def __init__(self, reader, writer, role):
        self.reader = reader
        self.writer = writer
        self.mask = b"\x11\x22\x33\x44" if role == "client" else None

    def frame(self, opcode, payload=b"", **options):
        """Write a frame as this role masks it."""
        return wire_frame(opcode, payload, **{"mask": self.mask, **options})

    async def send(self, *pieces):
        """Send bytes; with several pieces, let the other end read each by itself."""
        for i, piece in enumerate(pieces):
            if i:
                await asyncio.sleep(0.001)
            if self.writer.is_closing():
                # asyncio would raise in drain(), uvloop a RuntimeError in write().
                raise ConnectionResetError("the other end has reset the connection")
            self.writer.write(piece)
            await self.writer.drain()

    async def send_frame(self, opcode, payload=b"", **options):
        await self.send(self.frame(opcode, payload, **options))

    async def send_close(self, code=None, reason=""):
        await self.send_frame(CLOSE, b"" if code is None else close_payload(code, reason))

    async def read_head(self):
        """Read a head: the start line, and a list of pairs."""
        data = await soon(self.reader.readuntil(b"\r\n\r\n"))
        start_line, *lines = data.decode("latin-1").split("\r\n")[:-2]
        return start_line, [tuple(line.split(": ", 1)) for line in lines]

    async def read_frame(self):
        """Read a frame, or return None at the end of the stream."""
        try:
            first, second = await soon(self.reader.readexactly(2))
        except asyncio.IncompleteReadError as exc:
            assert exc.partial == b"", "the stream ends inside a frame"
            return None
        length = second & 0x7F
        length_size = {126: 2, 127: 8}.get(length, 0)
        if length_size:
            length = int.from_bytes(await soon(self.reader.readexactly(length_size)), "big")
        masked = second >= 128
        mask = await soon(self.reader.readexactly(4)) if masked else bytes(4)
        payload = await soon(self.reader.readexactly(length))
        payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)) if masked else payload
        return RawFrame(first >= 128, first >> 4 & 7, first & 15, masked, payload, length_size)

    async def read_frames(self):
        """Read frames up to the end of the stream."""
        frames = []
        while (frame := await self.read_frame()) is not None:
            frames.append(frame)
        return frames

    async def read_pairs(self):
        """Read frames up to the end of the stream, as pairs of opcode and payload."""
        return [(frame.opcode, frame.payload) for frame in await self.read_frames()]

    async def expect(self, opcode, payload=b""):
        frame = await self.read_frame()
        assert frame is not None, "the stream has ended"
        assert (frame.opcode, frame.payload) == (opcode, payload)

    async def expect_end(self):
        """Read the end of the stream."""
        assert await soon(self.reader.read()) == b""

    async def expect_failure(self, code, *before):
        """Read the frames ``before``, then a Close frame with this code, then the end."""
        frames = await self.read_pairs()
        assert frames[:-1] == list(before)
        assert frames, "the stream ended without a Close frame"
        opcode, payload = frames[-1]
        assert (opcode, payload[:2]) == (CLOSE, code.to_bytes(2, "big"))

    async def send_refused_data(self, beginning, pieces, code):
        """Keep sending data that is refused by its beginning, while reading: the stream must end only afterwards."""
        reading = asyncio.ensure_future(self.expect_failure(code))
        await self.send(beginning)
        for _ in range(pieces):
            # Shorter than the pause after which the other end stops waiting for more.
            await asyncio.sleep(0.02)
            assert not reading.done(), "the stream ended before the peer paused"
            await self.send(bytes(10_000))
        await soon(reading)

    async def accept(self, headers=None, trailing=b"", piece_size=2**16):
        """As a server, read a request, answer it with 101 and the bytes ``trailing``; return its headers."""
        _, lines = await self.read_head()
        sent = dict(lines)
        digest = hashlib.sha1((sent["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        right = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": base64.b64encode(digest).decode(),
        }
        data = head("HTTP/1.1 101 Switching Protocols", right, headers or {}) + trailing
        await self.send(*(data[i : i + piece_size] for i in range(0, len(data), piece_size)))
        return sent

    def abort(self):
        """End the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def aclose(self):
        self.writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await soon(self.writer.wait_closed())


def port_of(server):
    return next(iter(server.sockets)).getsockname()[1]


def uri_of(server, path="/"):
    return f"ws://127.0.0.1:{port_of(server)}{path}"


@contextlib.asynccontextmanager
async def dial(server, **options):
    """Connect to a server by TCP."""
    reader, writer = await soon(asyncio.open_connection("127.0.0.1", port_of(server), **options))
    peer = Peer(reader, writer, "client")
    try:
        yield peer
    finally:
        await peer.aclose()


@contextlib.asynccontextmanager
async def dial_open(server, headers=None, trailing=b"", **options):
    """Connect to a server and perform the opening handshake; the bytes ``trailing`` follow the request."""
    async with dial(server, **options) as peer:
        await peer.send(request(headers) + trailing)
        start_line, peer.headers = await peer.read_head()
        assert start_line.split(" ")[1] == "101", start_line
        yield peer


def free_port():
    """Return a port on which nothing listens, outside the range from which the system assigns ports to others."""
    while True:
        port = secrets.choice(range(10_000, 32_768))
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.asynccontextmanager
async def serve_protocols(factory, buffer_size=None, **options):
    """Give a server of protocols, with send buffers of this size, and the list of protocols made."""
    made = []

    def create():
        made.append(factory(**options))
        return made[-1]

    sock = socket.create_server(("127.0.0.1", 0))
    if buffer_size is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_size)
    server = await asyncio.get_running_loop().create_server(create, sock=sock)
    try:
        yield server, made
    finally:
        server.close()
        for protocol in made:
            protocol.transport.abort()
        await until(lambda: all(protocol.state is State.CLOSED for protocol in made))
        await soon(server.wait_closed())


@contextlib.asynccontextmanager
async def raw_server(script, **options):
    """Run ``await script(peer)`` for each TCP connection; its exceptions are raised at the end. Gives ``uri``."""
    problems = []
    tasks = set()
    writers = []

    def connected(reader, writer):
        # Our own task: asyncio 3.12 logs an error when one of its own is cancelled.
        writers.append(writer)
        task = asyncio.ensure_future(talk(Peer(reader, writer, "server")))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def talk(peer):
        try:
            await script(peer)
        except asyncio.CancelledError:
            pass
        except Exception as exc:
            problems.append(exc)
        finally:
            await peer.aclose()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, **options)
    scheme = "wss" if options.get("ssl") else "ws"
    try:
        yield SimpleNamespace(
            uri=f"{scheme}://127.0.0.1:{port_of(server)}/", port=port_of(server), sockets=server.sockets
        )
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=PATIENCE_S)
        # A task that is cancelled before it starts closes nothing.
        for writer in writers:
            writer.close()
        await soon(server.wait_closed())
    if problems:
        raise problems[0]


def unix_path(folder):
    """Make a path for a Unix socket, short enough for the platform."""
    return os.path.relpath(folder / "s")


async def idle(websocket):
    await websocket.wait_closed()


async def two_fragments(proceed):
    """Give the fragments of a message, the second one once the event is set."""
    yield "a"
    await proceed.wait()
    yield "b"


async def echo(websocket):
    async for message in websocket:
        await websocket.send(message)


# Certificates


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Paths of a self-signed certificate for localhost, made by openssl, and of its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    folder = tmp_path_factory.mktemp("certificate")
    command = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return SimpleNamespace(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))


@pytest.fixture
def server_tls(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    return context


@pytest.fixture
def client_tls(certificate):
    return ssl.create_default_context(cafile=certificate.cert)


def skip_without_tool(reason):
    """Skip the test because a tool is missing; fail with ``WSFRAME_REQUIRE_TOOLS=1``."""
    if os.environ.get("WSFRAME_REQUIRE_TOOLS") == "1":
        pytest.fail(f"WSFRAME_REQUIRE_TOOLS=1 is set, but {reason}")
    pytest.skip(reason)


def environment(implementation):
    """Environment for a subprocess that runs one implementation, ``"c"`` or ``"py"``."""
    env = dict(os.environ)
    env.pop("WSFRAME_NO_EXTENSIONS", None)
    env.pop("WSFRAME_REQUIRE_EXTENSIONS", None)
    env["WSFRAME_NO_EXTENSIONS" if implementation == "py" else "WSFRAME_REQUIRE_EXTENSIONS"] = "1"
    # The subprocess imports the package under test, installed or not.
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(wsframe.__file__).parents[1]), env.get("PYTHONPATH")]))
    return env


async def serve_forever(peer):
    """As a server, echo messages and answer pings and the Close frame."""
    while (frame := await peer.read_frame()) is not None:
        if frame.opcode == PING:
            await peer.send_frame(PONG, frame.payload)
        elif frame.opcode == CLOSE:
            await peer.send_frame(CLOSE, frame.payload)
            return
        elif frame.opcode != PONG:
            await peer.send_frame(frame.opcode, frame.payload, fin=frame.fin)


# Connections without I/O


def frame(opcode, payload=b"", *, to=Role.SERVER, **bits):
    """Write a frame for the end with this role."""
    return serialize_frame(opcode, payload, mask=b"\x01\x02\x03\x04" if to is Role.SERVER else None, **bits)


def close_frame(code=None, reason="", *, to=Role.SERVER):
    return frame(Opcode.CLOSE, b"" if code is None else close_payload(code, reason), to=to)


def other(role):
    return Role.CLIENT if role is Role.SERVER else Role.SERVER


def sent(connection):
    """Parse what a connection has to send, as its peer would."""
    parser = FrameParser(other(connection.role), max_message_size=None)
    frames = parser.feed(connection.data_to_send())
    assert parser.fault is None
    assert parser.pending_bytes == 0
    return frames


def sent_close(connection):
    (answer,) = sent(connection)
    assert answer.opcode is Opcode.CLOSE
    return answer.payload


both_roles = pytest.mark.parametrize("role", list(Role))


def in_state(state, role=Role.SERVER):
    """Make a connection in this state, with nothing to send."""
    connection = Connection(role, state=State.CONNECTING if state is State.CONNECTING else State.OPEN)
    if state is State.CLOSING:
        connection.send_close(1000)
        connection.data_to_send()
    elif state is State.CLOSED:
        connection.receive_eof()
    assert connection.state is state
    return connection


# Servers in processes of their own


async def connect_in_time(uri, *, retried=OSError, **options):
    """Connect to a server that may still be starting; ``retried`` is the exception until it has started."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await wsframe.connect(uri, **options)
        except retried:
            assert time.monotonic() < end, "the server does not start"
            await asyncio.sleep(0.02)


# Scripts and hooks


async def read_to_end(peer):
    """Read until the peer ends the stream or resets the connection."""
    with contextlib.suppress(ConnectionError):
        await soon(peer.reader.read())


def recorded_delays(taken):
    """Make ``reconnect_delays`` that append the number of each delay, which is short, within its series."""

    def delays():
        for number in itertools.count():
            taken.append(number)
            yield 0.001

    return delays
