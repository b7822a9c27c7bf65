"""Rows C of the RFC matrix, and those of F and X that are about clients, against ``connect``, over a real socket."""

from __future__ import annotations

import asyncio
import base64
import os
import subprocess
import sys

import pytest
from support import BINARY, CLOSE, PING, PONG, TEXT, close_payload, environment, head, raw_server, serve_forever, soon

from wsframe import (
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidStatus,
    InvalidUpgrade,
    InvalidURI,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
    SecurityError,
    connect,
)


async def refused(headers=None, start_line=None, trailing=b"", **options):
    """Let a server answer with these headers; return the exception that connect raises."""

    async def script(peer):
        if start_line is None:
            await peer.accept(headers, trailing)
        else:
            await peer.read_head()
            await peer.send(head(start_line, headers or {}) + trailing)
        # A client that does not want the connection ends it.
        try:
            assert await soon(peer.reader.read()) == b""
        except ConnectionError:
            pass

    async with raw_server(script) as server:
        with pytest.raises(InvalidHandshake) as info:
            await soon(connect(server.uri, **options))
    return info.value


# Opening handshake


@pytest.mark.parametrize("line", ["200 OK", "301 Moved Permanently", "403 Forbidden", "426 Upgrade Required", "500 No"])
async def test_c1_status_other_than_101_is_an_error_with_the_response(line):
    """RFC 6455 §4.1."""
    headers = {"Content-Length": "5", "X": "y", "Upgrade": "websocket", "Connection": "Upgrade"}
    exc = await refused(headers, f"HTTP/1.1 {line}", b"sorry")
    assert isinstance(exc, InvalidStatus)
    assert exc.response.status_code == int(line[:3])
    assert exc.response.headers["X"] == "y"
    assert exc.response.body == b"sorry"


async def test_c1_body_without_length_ends_with_the_connection():
    """RFC 9112 §6.3."""

    async def script(peer):
        await peer.read_head()
        await peer.send(b"HTTP/1.1 403 No\r\n\r\nsor", b"ry")

    async with raw_server(script) as server:
        with pytest.raises(InvalidStatus) as info:
            await soon(connect(server.uri))
    assert info.value.response.body == b"sorry"


@pytest.mark.parametrize("headers", [{"Upgrade": None}, {"Upgrade": "h2c"}, {"Connection": None}, {"Connection": "x"}])
async def test_c2_upgrade_and_connection_are_required(headers):
    """RFC 6455 §4.1."""
    assert isinstance(await refused(headers), InvalidUpgrade)


@pytest.mark.parametrize("headers", [{"Connection": "keep-alive, UPGRADE"}, {"Upgrade": "WebSocket"}])
async def test_c2_upgrade_and_connection_are_case_insensitive(headers):
    """RFC 6455 §4.1."""

    async def script(peer):
        await peer.accept(headers)
        await peer.expect(CLOSE, close_payload(1000))
        await peer.send_close(1000)

    async with raw_server(script) as server, connect(server.uri):
        pass


@pytest.mark.parametrize("accept", [None, "", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", ["a", "a"]])
async def test_c3_accept_must_be_valid_and_unique(accept):
    """RFC 6455 §4.1, §11.3.3."""
    assert isinstance(await refused({"Sec-WebSocket-Accept": accept}), InvalidHeader)


@pytest.mark.parametrize("extension", ["x-foo", "permessage-deflate, permessage-deflate", ["permessage-deflate"] * 2])
async def test_c4_extension_that_was_not_offered_fails_the_connection(extension):
    """RFC 6455 §4.1."""
    assert isinstance(await refused({"Sec-WebSocket-Extensions": extension}), NegotiationError)


@pytest.mark.parametrize("offered", [None, ["a", "b"]])
async def test_c5_subprotocol_that_was_not_offered_fails_the_connection(offered):
    """RFC 6455 §4.1."""
    assert isinstance(await refused({"Sec-WebSocket-Protocol": "chat"}, subprotocols=offered), NegotiationError)


async def test_c6_key_is_fresh_for_each_connection():
    """RFC 6455 §4.1."""
    keys = set()

    async def script(peer):
        keys.add((await peer.accept())["Sec-WebSocket-Key"])
        await serve_forever(peer)

    async with raw_server(script) as server:
        for _ in range(3):
            async with connect(server.uri):
                pass
    assert len(keys) == 3
    assert {len(base64.b64decode(key)) for key in keys} == {16}


def masks_of(implementation, fork):
    """Read the masking keys that a fresh process uses."""
    program = """
import sys, os, wsframe
if sys.argv[1] == "fork":
    wsframe.new_masking_key()
    read, write = os.pipe()
    for child in range(2):
        pid = os.fork()
        if pid == 0:
            os.write(write, b"".join(wsframe.new_masking_key() for _ in range(100)))
            os._exit(0)
        os.waitpid(pid, 0)
    sys.stdout.write(os.read(read, 10_000).hex())
else:
    connection = wsframe.Connection(wsframe.Role.CLIENT)
    for _ in range(700):
        connection.send_text(b"")
    data = connection.data_to_send()
    sys.stdout.write("".join(data[i + 2 : i + 6].hex() for i in range(0, len(data), 6)))
"""
    result = subprocess.run(
        [sys.executable, "-c", program, "fork" if fork else ""],
        # Not the work tree, which is not what is installed.
        cwd=os.path.dirname(__file__),
        env=environment(implementation),
        capture_output=True,
        check=True,
        timeout=60,
    )
    data = bytes.fromhex(result.stdout.decode())
    return [data[i : i + 4] for i in range(0, len(data), 4)]


def test_c7_masks_differ_between_processes(impl):
    """RFC 6455 §5.3, §10.3."""
    first, second = masks_of(impl.name, False), masks_of(impl.name, False)
    assert len(first) == len(second) == 700
    assert len(set(first + second)) >= 1398


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_c7_masks_differ_after_a_fork(impl):
    """RFC 6455 §10.3."""
    keys = masks_of(impl.name, True)
    assert len(keys) == 200
    assert len(set(keys)) >= 199


async def test_c8_every_frame_is_masked():
    """RFC 6455 §5.1."""

    async def script(peer):
        await peer.accept()
        await peer.send_frame(PING, b"p")
        await peer.send_frame(TEXT, b"go")
        frames = []
        while not frames or frames[-1].opcode != CLOSE:
            frames.append(await peer.read_frame())
        assert {frame.opcode for frame in frames} == {0, TEXT, BINARY, PING, PONG, CLOSE}
        assert all(frame.masked for frame in frames)
        await peer.send_close(1000)

    async with raw_server(script) as server, connect(server.uri) as websocket:
        assert await soon(websocket.recv()) == "go"
        await websocket.send("a")
        await websocket.send(b"b")
        await websocket.send(["a", "b"])
        await websocket.ping(b"mine")
        await websocket.pong()


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 101 Switching Protocols\r\n"])
async def test_c10_endless_response_is_refused(start):
    """RFC 6455 §10.4."""
    sent = 0

    async def script(peer):
        nonlocal sent
        await peer.read_head()
        await peer.send(start)
        try:
            while sent < 2**24:
                await peer.send(b"x" * 1024)
                sent += 1024
        except ConnectionError:
            pass

    async with raw_server(script) as server:
        with pytest.raises(SecurityError):
            await soon(connect(server.uri))
    # What went into the kernel's buffers counts too.
    assert sent < 2**24


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Switching Protocols\r\n"])
async def test_c10_silent_server_times_out(answer):
    """RFC 6455 §10.4."""

    async def script(peer):
        await peer.send(answer)
        try:
            await soon(peer.reader.read())
        except ConnectionError:
            pass

    async with raw_server(script) as server:
        began = asyncio.get_running_loop().time()
        with pytest.raises(TimeoutError, match="timed out during opening handshake"):
            await connect(server.uri, open_timeout=0.3)
        assert asyncio.get_running_loop().time() - began < 8


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Switching Protocols\r\n", b"SSH-2.0-x\r\n\r\n", b"\0\r\n\r\n"])
async def test_c10_invalid_response_is_an_error(answer):
    """RFC 6455 §4.1."""

    async def script(peer):
        await peer.read_head()
        await peer.send(answer)

    async with raw_server(script) as server:
        with pytest.raises(InvalidMessage):
            await soon(connect(server.uri))


async def test_c10_reset_in_the_handshake_is_an_error():
    async def script(peer):
        await peer.read_head()
        peer.abort()

    async with raw_server(script) as server:
        with pytest.raises(InvalidMessage):
            await soon(connect(server.uri))


async def test_c11_frames_after_the_response_are_delivered():
    """RFC 6455 §4.1: in the same segment."""

    async def script(peer):
        await peer.accept(trailing=peer.frame(TEXT, b"glued") + peer.frame(PING, b"p") + peer.frame(CLOSE, b"\x03\xe8"))
        await peer.expect(PONG, b"p")
        await peer.expect(CLOSE, b"\x03\xe8")

    async with raw_server(script) as server, connect(server.uri) as websocket:
        assert await soon(websocket.recv()) == "glued"
        with pytest.raises(ConnectionClosedOK):
            await soon(websocket.recv())


async def test_c11_response_may_arrive_one_byte_at_a_time():
    async def script(peer):
        await peer.accept(trailing=peer.frame(TEXT, b"a"), piece_size=1)
        await serve_forever(peer)

    async with raw_server(script) as server, connect(server.uri) as websocket:
        assert await soon(websocket.recv()) == "a"


@pytest.mark.parametrize("uri", ["ws://h/#x", "ws://h/#", "http://h/", "ws:///x", "h:80"])
def test_c12_bad_uris_are_refused(uri):
    """RFC 6455 §3."""
    with pytest.raises(InvalidURI):
        connect(uri)
    with pytest.raises(ValueError):
        connect(uri)


# Framing and closing


async def fails(code, *pieces, **options):
    """Let a server send pieces; expect a Close frame with this code, and return what recv raises."""

    async def script(peer):
        await peer.accept()
        await peer.send(b"".join(p if isinstance(p, bytes) else peer.frame(*p[:2], **dict(p[2:])) for p in pieces))
        await peer.expect_failure(code)

    async with raw_server(script) as server, connect(server.uri, **options) as websocket:
        with pytest.raises(ConnectionClosedError) as info:
            while True:
                await soon(websocket.recv())
        assert websocket.close_code == 1006
    assert info.value.sent.code == code
    assert info.value.rcvd is None
    return info.value


async def test_f4_masked_frame_fails_the_connection():
    """RFC 6455 §5.1."""
    exc = await fails(1002, (TEXT, b"a", ("mask", b"abcd")))
    assert isinstance(exc.__cause__, ProtocolError)


FAULTS = [
    ("F1 RSV1", 1002, [(TEXT, b"", ("rsv", 4))]),
    ("F1 RSV2", 1002, [(PING, b"", ("rsv", 2))]),
    ("F1 RSV3", 1002, [(TEXT, b"", ("fin", False)), (0, b"", ("rsv", 1))]),
    *[(f"F2 opcode {opcode}", 1002, [(opcode, b"", ("length", 2**62))]) for opcode in (3, 4, 5, 6, 7, *range(11, 16))],
    ("F5 16 bits", 1002, [(TEXT, b"a", ("length_size", 2))]),
    ("F5 64 bits", 1002, [(TEXT, b"a", ("length_size", 8))]),
    ("F6 top bit", 1002, [(TEXT, b"", ("length", 2**63))]),
    ("F7 long ping", 1002, [(PING, bytes(126))]),
    ("F7 fragmented ping", 1002, [(PING, b"", ("fin", False))]),
    ("F8 continuation", 1002, [(0, b"a")]),
    ("F8 new message", 1002, [(TEXT, b"a", ("fin", False)), (TEXT, b"b")]),
    ("X1 close of 1 byte", 1002, [(CLOSE, b"a")]),
    ("X1 bad reason", 1007, [(CLOSE, b"\x03\xe8\xff")]),
    *[(f"X2 code {c}", 1002, [(CLOSE, close_payload(c))]) for c in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)],
    ("X9 bad UTF-8", 1007, [(TEXT, b"\xff")]),
    ("X9 unfinished UTF-8", 1007, [(TEXT, b"\xc3")]),
    ("X9 over fragments", 1007, [(TEXT, b"\xc3", ("fin", False)), (0, b"\x28", ("length", 1000), ("length_size", 2))]),
    ("X10 frame", 1009, [(BINARY, b"", ("length", 2**62))]),
    ("X10 message", 1009, [(BINARY, b"a", ("fin", False)), (0, b"", ("length", 2**20))]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "pieces"), [pytest.param(*row[1:], id=row[0]) for row in FAULTS])
async def test_violation_by_the_server_fails_the_connection(code, pieces):
    """RFC 6455 §7.1.7."""
    exc = await fails(code, *pieces)
    assert type(exc.__cause__) is {1002: ProtocolError, 1007: UnicodeDecodeError, 1009: PayloadTooBig}[code]
    if code != 1007:
        assert exc.__cause__.fault.close_code == code


async def test_x3_close_is_echoed():
    """RFC 6455 §5.5.1."""

    async def script(peer):
        await peer.accept()
        await peer.send_close(3000, "why")
        await peer.expect(CLOSE, close_payload(3000, "why"))
        # RFC 6455 §7.1.1: the client leaves it to the server to end TCP.
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(peer.reader.read(1), 0.2)

    async with raw_server(script) as server, connect(server.uri) as websocket:
        with pytest.raises(ConnectionClosedError) as info:
            await soon(websocket.recv())
    assert (info.value.rcvd.code, info.value.rcvd.reason, info.value.rcvd_then_sent) == (3000, "why", True)


@pytest.mark.parametrize("who", ["client", "server"])
async def test_x5_client_drops_tcp_when_the_server_does_not(who):
    """RFC 6455 §7.1.1: a server that leaves TCP open after the closing handshake."""

    async def script(peer):
        await peer.accept()
        if who == "server":
            await peer.send_close(1000)
        await peer.expect(CLOSE, close_payload(1000))
        if who == "client":
            await peer.send_close(1000)
        try:
            assert await soon(peer.reader.read()) == b""
        except ConnectionError:
            pass

    async with raw_server(script) as server, connect(server.uri, close_timeout=0.3) as websocket:
        if who == "client":
            await soon(websocket.close(), 10)
        else:
            await soon(websocket.wait_closed(), 10)
        assert websocket.close_code == 1000


async def test_x5_client_times_out_without_an_answer_to_close():
    """RFC 6455 §7.1.1."""

    async def script(peer):
        await peer.accept()
        await peer.expect(CLOSE, close_payload(1000))
        try:
            assert await soon(peer.reader.read()) == b""
        except ConnectionError:
            pass

    async with raw_server(script) as server, connect(server.uri, close_timeout=0.3) as websocket:
        await soon(websocket.close(), 10)
        assert websocket.close_code == 1006
        with pytest.raises(ConnectionClosedError) as info:
            await websocket.recv()
        assert isinstance(info.value.__cause__, TimeoutError)


async def test_x6_nothing_is_processed_after_a_violation():
    """RFC 6455 §7.1.7: what came before it can still be received."""

    async def script(peer):
        await peer.accept()
        await peer.send(peer.frame(TEXT, b"before") + peer.frame(TEXT, b"", rsv=4) + peer.frame(TEXT, b"after") * 3)
        await peer.expect_failure(1002)

    async with raw_server(script) as server, connect(server.uri) as websocket:
        assert await soon(websocket.recv()) == "before"
        with pytest.raises(ConnectionClosedError):
            await soon(websocket.recv())


@pytest.mark.parametrize(
    ("end", "code"), [("reset", 1006), ("eof", 1006), ("empty close", 1005), ("close", 1001), ("error close", 1011)]
)
async def test_x8_close_code_reports_how_the_connection_ended(end, code):
    """RFC 6455 §7.1.5."""

    async def script(peer):
        await peer.accept()
        if end == "reset":
            peer.abort()
        elif end != "eof":
            await peer.send_close({"empty close": None, "close": 1001, "error close": 1011}[end])
            await peer.read_frame()

    async with raw_server(script) as server, connect(server.uri) as websocket:
        with pytest.raises(ConnectionClosedOK if code in (1001, 1005) else ConnectionClosedError):
            await soon(websocket.recv())
        assert (websocket.close_code, websocket.close_reason) == (code, "")
