"""TLS (RFC 6455 §3, §10.6; row C12)."""

from __future__ import annotations

import asyncio
import ssl
import sys

import pytest
from support import TEXT, dial, echo, port_of, raw_server, request, serve_forever, soon, unix_path

from wsframe import ConnectionClosedError, WebSocketProtocol, connect, serve, unix_connect, unix_serve
from wsframe.asyncio.timeouts import tls_timeouts

HERE = "127.0.0.1"


def uri_of(server):
    return f"wss://localhost:{port_of(server)}/"


async def test_messages_of_any_size_over_tls(server_tls, client_tls):
    async with serve(echo, HERE, 0, ssl=server_tls) as server:
        async with connect(uri_of(server), ssl=client_tls, host=HERE) as websocket:
            assert websocket.transport.get_extra_info("ssl_object") is not None
            for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
                await websocket.send(bytes(size))
                assert await soon(websocket.recv()) == bytes(size)
            assert await soon(await websocket.ping()) >= 0
        assert websocket.close_code == 1000


async def test_stats_are_available_after_the_end(server_tls, client_tls):
    async with serve(echo, HERE, 0, ssl=server_tls) as server:
        async with connect(uri_of(server), ssl=client_tls, host=HERE) as websocket:
            await websocket.send("a")
            assert await soon(websocket.recv()) == "a"
        assert (websocket.stats.messages_sent, websocket.buffered_bytes) == (1, 0)


async def test_c12_self_signed_certificate_is_refused(server_tls):
    """RFC 6455 §4.1."""
    async with serve(echo, HERE, 0, ssl=server_tls) as server:
        for options in ({}, {"ssl": True}):
            with pytest.raises(ssl.SSLCertVerificationError):
                await soon(connect(uri_of(server), host=HERE, **options))


async def test_c12_host_name_is_verified(server_tls, client_tls):
    """RFC 6455 §4.1."""
    async with serve(echo, HERE, 0, ssl=server_tls) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(connect(f"wss://{HERE}:{port_of(server)}/", ssl=client_tls))
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(connect(uri_of(server), host=HERE, ssl=client_tls, server_hostname="other.example"))


async def test_server_hostname_option_sets_the_verified_name(server_tls, client_tls):
    async with serve(echo, HERE, 0, ssl=server_tls) as server:
        async with connect(f"wss://{HERE}:{port_of(server)}/", ssl=client_tls, server_hostname="localhost"):
            pass


async def test_plain_client_of_a_tls_server_is_dropped(server_tls):
    async with serve(echo, HERE, 0, ssl=server_tls) as server, dial(server) as peer:
        await peer.send(request())
        try:
            await soon(peer.reader.read())
        except ConnectionError:
            pass


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs ssl_shutdown_timeout")
async def test_x6_violation_over_tls_ends_the_connection(server_tls, client_tls):
    """RFC 6455 §7.1.7: TLS cannot be half-closed."""
    async with serve(echo, HERE, 0, ssl=server_tls, close_timeout=1) as server:
        async with dial(server, ssl=client_tls, server_hostname="localhost") as peer:
            await peer.send(request())
            await peer.read_head()
            await peer.send_frame(TEXT, b"\xff")
            await peer.expect_failure(1007)


async def test_refusal_over_tls_is_received(server_tls, client_tls):
    async with serve(echo, HERE, 0, ssl=server_tls) as server:
        async with dial(server, ssl=client_tls, server_hostname="localhost") as peer:
            await peer.send(request({"Host": None}))
            start_line, _ = await peer.read_head()
            assert " 400 " in start_line
            await soon(peer.reader.read())


async def test_x5_client_drops_tls_when_the_server_does_not(server_tls, client_tls):
    """RFC 6455 §7.1.1."""

    async def script(peer):
        await peer.accept()
        frame = await peer.read_frame()
        await peer.send_frame(frame.opcode, frame.payload)
        try:
            await soon(peer.reader.read())
        except (OSError, ssl.SSLError):
            pass

    async with raw_server(script, ssl=server_tls) as server:
        async with connect(
            f"wss://localhost:{server.port}/", host=HERE, ssl=client_tls, close_timeout=0.3
        ) as websocket:
            await soon(websocket.close(), 10)
            assert websocket.close_code == 1000


async def test_x8_end_of_tls_without_close_is_1006(server_tls, client_tls):
    """RFC 6455 §7.1.5."""

    async def script(peer):
        await peer.accept()

    async with raw_server(script, ssl=server_tls) as server:
        async with connect(f"wss://localhost:{server.port}/", host=HERE, ssl=client_tls) as websocket:
            with pytest.raises(ConnectionClosedError):
                await soon(websocket.recv())
            assert websocket.close_code == 1006


async def test_frames_after_the_response_over_tls_are_delivered(server_tls, client_tls):
    """RFC 6455 §4.1: row C11."""

    async def script(peer):
        await peer.accept(trailing=peer.frame(TEXT, b"glued"))
        await serve_forever(peer)

    async with raw_server(script, ssl=server_tls) as server:
        async with connect(f"wss://localhost:{server.port}/", host=HERE, ssl=client_tls) as websocket:
            assert await soon(websocket.recv()) == "glued"


async def test_tls_over_unix_sockets(server_tls, client_tls, tmp_path):
    path = unix_path(tmp_path)
    async with unix_serve(echo, path, ssl=server_tls), unix_connect(path, ssl=client_tls) as websocket:
        await websocket.send("a")
        assert await soon(websocket.recv()) == "a"


async def test_callbacks_over_tls(server_tls, client_tls):
    class Echo(WebSocketProtocol):
        def message_received(self, data):
            self.send(data)

    server = await asyncio.get_running_loop().create_server(Echo, HERE, 0, ssl=server_tls)
    try:
        async with connect(uri_of(server), ssl=client_tls, host=HERE) as websocket:
            await websocket.send(b"x" * 300_000)
            assert await soon(websocket.recv()) == b"x" * 300_000
    finally:
        server.close()
        await soon(server.wait_closed())


def test_time_limits_apply_to_tls():
    assert tls_timeouts({}, None, None) == {}
    assert tls_timeouts({}, 1, None) == {"ssl_handshake_timeout": 1}
    assert tls_timeouts({"ssl_handshake_timeout": 5}, 1, None) == {}
    expected = {"ssl_shutdown_timeout": 2} if sys.version_info >= (3, 11) else {}
    assert tls_timeouts({}, None, 2) == expected


async def test_addresses_are_available_until_the_end(server_tls, client_tls):
    """Whom a log line about the end of a connection is about."""
    seen = []

    async def handler(websocket):
        seen.append((websocket.local_address, websocket.remote_address))
        await websocket.wait_closed()
        seen.append((websocket.local_address, websocket.remote_address))

    async with serve(handler, HERE, 0, ssl=server_tls) as server:
        async with connect(uri_of(server), ssl=client_tls, host=HERE) as websocket:
            addresses = (websocket.local_address, websocket.remote_address)
        assert (websocket.local_address, websocket.remote_address) == addresses
    assert seen == [addresses[::-1]] * 2


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="aiofastnet needs CPython")
@pytest.mark.parametrize("secure", [True, False], ids=["wss", "ws"])
async def test_event_loop_patched_by_aiofastnet(server_tls, client_tls, secure):
    """Its transports are of another kind: neither their reads nor their writes are taken over."""
    import aiofastnet

    aiofastnet.patch_loop()
    options = ({"ssl": server_tls}, {"ssl": client_tls}) if secure else ({}, {})
    async with serve(echo, HERE, 0, max_size=None, **options[0]) as server:
        uri = f"{'wss' if secure else 'ws'}://localhost:{port_of(server)}/"
        async with connect(uri, max_size=None, host=HERE, **options[1]) as websocket:
            for message in ("a", b"", "é" * 5000, bytes(3_000_000)):
                await websocket.send(message)
                received = await soon(websocket.recv())
                # Not in the assertion, which would write megabytes.
                same = received == message
                assert same, len(message)
            for i in range(100):
                await websocket.send(str(i))
            assert [await soon(websocket.recv()) for _ in range(100)] == [str(i) for i in range(100)]
        assert websocket.close_code == 1000
