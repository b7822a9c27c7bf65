"""Clients with coroutines: ``connect`` and its options (RFC 6455 §4.1)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import pytest
from support import CLOSE, TEXT, close_payload, echo, free_port, port_of, raw_server, serve_forever, soon, until, uri_of

import wsframe
from wsframe import ClientConnection, InvalidMessage, connect, serve
from wsframe.testing.clock import settle

HERE = "127.0.0.1"


async def test_connect_can_be_awaited():
    async with serve(echo, HERE, 0) as server:
        websocket = await connect(uri_of(server))
        await websocket.send("a")
        assert await soon(websocket.recv()) == "a"
        await websocket.close()


async def test_connect_is_a_reusable_context_manager():
    async with serve(echo, HERE, 0) as server:
        connecting = connect(uri_of(server))
        for _ in range(2):
            async with connecting as websocket:
                await websocket.send("a")
                assert await soon(websocket.recv()) == "a"
                with pytest.raises(RuntimeError, match="reentrant"):
                    async with connecting:
                        pass
            assert websocket.close_code == 1000


async def test_request_carries_the_options():
    """RFC 6455 §4.1."""
    seen = []

    async def script(peer):
        seen.append(await peer.accept({"Sec-WebSocket-Protocol": "b"}))
        await serve_forever(peer)

    async with raw_server(script) as server:
        options = {"additional_headers": {"X": "y"}, "origin": "http://a.example", "subprotocols": ["a", "b"]}
        async with connect(server.uri, user_agent_header="me", **options) as websocket:
            assert websocket.subprotocol == "b"
        async with connect(server.uri, user_agent_header=None, subprotocols=["b"]):
            pass
        async with connect(server.uri, additional_headers=[("User-Agent", "mine")], subprotocols=["b"]):
            pass
        async with connect(server.uri, subprotocols=["b"]):
            pass
    first, second, third, fourth = seen
    assert first["Host"] == f"{HERE}:{server.port}"
    assert first["X"] == "y"
    assert first["Origin"] == "http://a.example"
    assert first["Sec-WebSocket-Protocol"] == "a, b"
    assert first["User-Agent"] == "me"
    assert "User-Agent" not in second
    assert third["User-Agent"] == "mine"
    assert fourth["User-Agent"] == wsframe.http11.USER_AGENT


async def test_user_info_becomes_authorization():
    """RFC 7617."""
    seen = []

    async def script(peer):
        seen.append(await peer.accept())
        await serve_forever(peer)

    async with raw_server(script) as server, connect(server.uri.replace("//", "//a:b@")):
        pass
    assert seen[0]["Authorization"] == "Basic YTpi"


@pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X\r\n": "a"}])
async def test_h17_headers_with_line_breaks_are_refused(headers):
    """RFC 6455 §4.1: class of CVE-2020-35678."""
    async with serve(echo, HERE, 0) as server:
        with pytest.raises(ValueError, match="invalid"):
            await soon(connect(uri_of(server), additional_headers=headers))


async def test_origin_with_line_breaks_is_refused():
    async with serve(echo, HERE, 0) as server:
        with pytest.raises(ValueError, match="invalid Origin"):
            await soon(connect(uri_of(server), origin="a\r\nY: b"))


@pytest.mark.parametrize("options", [{"max_size": -1}, {"subprotocols": ["a b"]}, {"ssl": True}])
def test_bad_options_are_refused_at_once(options):
    with pytest.raises(ValueError):
        connect("ws://localhost/", **options)


def test_subprotocols_must_be_a_list():
    with pytest.raises(TypeError):
        connect("ws://localhost/", subprotocols="chat")


@pytest.mark.parametrize("ssl", [None, False])
def test_wss_always_uses_tls(ssl):
    """RFC 6455 §10.6."""
    with pytest.raises(ValueError, match="incompatible with a wss:// URI"):
        connect("wss://localhost/", ssl=ssl)


async def test_refused_tcp_is_an_os_error():
    port = free_port()
    with pytest.raises(OSError):
        await soon(connect(f"ws://{HERE}:{port}/"))


async def test_sock_option_supplies_the_socket():
    async with serve(echo, HERE, 0) as server:
        sock = socket.create_connection((HERE, port_of(server)))
        async with connect("ws://example.com/", sock=sock) as websocket:
            assert websocket.request.headers["Host"] == "example.com"
            await websocket.send("a")
            assert await soon(websocket.recv()) == "a"


async def test_host_and_port_options_override_the_address():
    async with serve(echo, HERE, 0) as server:
        async with connect("ws://example.com/", host=HERE, port=port_of(server)) as websocket:
            assert websocket.request.headers["Host"] == "example.com"


async def test_create_connection_option_sets_the_class():
    class Mine(ClientConnection):
        pass

    async with serve(echo, HERE, 0) as server:
        async with connect(uri_of(server), create_connection=Mine) as websocket:
            assert type(websocket) is Mine


async def test_cancelled_connect_leaves_no_connection():
    asked, ended = asyncio.Event(), asyncio.Event()

    async def script(peer):
        await peer.read_head()
        asked.set()
        try:
            await soon(peer.reader.read())
        except ConnectionError:
            pass
        ended.set()

    async with raw_server(script) as server:
        task = asyncio.ensure_future(connect(server.uri).__aenter__())
        await soon(asked.wait())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        await soon(ended.wait())


async def test_open_timeout_none_waits_for_the_response():
    async def script(peer):
        await settle()
        await peer.accept()
        await serve_forever(peer)

    async with raw_server(script) as server, connect(server.uri, open_timeout=None):
        pass


async def test_reset_before_the_request_is_an_error():
    async def script(peer):
        peer.abort()

    async with raw_server(script) as server:
        for _ in range(20):
            with pytest.raises((InvalidMessage, OSError)):
                await soon(connect(server.uri))


async def test_end_of_tcp_before_the_request_is_an_error():
    """Just as ``create_connection`` returns."""

    class Ended(ClientConnection):
        async def handshake(self, *arguments):
            self.transport.abort()
            await self.wait_closed()
            await super().handshake(*arguments)

    async with serve(echo, HERE, 0) as server:
        with pytest.raises(InvalidMessage, match="did not receive a valid HTTP response") as info:
            await soon(connect(uri_of(server), create_connection=Ended))
        assert isinstance(info.value.__cause__, EOFError)


async def test_answer_before_the_request_is_an_error():
    """RFC 6455 §4.1: a server that talks first cannot know the key."""

    async def script(peer):
        await peer.send(b"220 smtp.example.com ESMTP\r\n\r\n")
        try:
            await soon(peer.reader.read())
        except ConnectionError:
            pass

    class Late(ClientConnection):
        async def handshake(self, *arguments):
            await until(lambda: self.alive)
            await super().handshake(*arguments)

    async with raw_server(script) as server:
        for kind in (ClientConnection, Late):
            with pytest.raises(InvalidMessage, match="did not receive a valid HTTP response"):
                await soon(connect(server.uri, create_connection=kind))


async def test_data_after_a_refusal_is_ignored():
    async def script(peer):
        await peer.read_head()
        with contextlib.suppress(ConnectionError):
            await peer.send(b"HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", b"more", b"and more")

    async with raw_server(script) as server:
        with pytest.raises(wsframe.InvalidStatus):
            await soon(connect(server.uri))


async def test_logger_option_replaces_the_default(caplog):
    async def script(peer):
        await peer.accept()
        await peer.send_frame(TEXT, b"\xff")
        await peer.expect_failure(1007)

    with caplog.at_level(logging.INFO, "mine"):
        async with raw_server(script) as server, connect(server.uri, logger=logging.getLogger("mine")) as websocket:
            await soon(websocket.wait_closed())
    assert caplog.record_tuples == [
        ("mine", logging.INFO, "connection failed: a text message is not UTF-8 (RFC 6455 §8.1)")
    ]


async def test_debug_log_shows_the_opening_handshake(caplog):
    async def refuse(peer):
        await peer.read_head()
        await peer.send(b"HTTP/1.1 403 No\r\nX: y\r\nContent-Length: 5\r\n\r\nsorry")

    with caplog.at_level(logging.DEBUG, "wsframe.client"):
        async with serve(echo, HERE, 0) as server, connect(uri_of(server, "/a?b"), user_agent_header="me"):
            pass
        opened = caplog.messages[:]
        caplog.clear()
        async with raw_server(refuse) as server:
            with pytest.raises(wsframe.InvalidStatus):
                await soon(connect(server.uri))
    assert {"> GET /a?b HTTP/1.1", "> User-Agent: me", "< HTTP/1.1 101 Switching Protocols"} <= set(opened)
    assert caplog.messages[-4:] == ["< HTTP/1.1 403 No", "< X: y", "< Content-Length: 5", "< [body] (5 bytes)"]


async def test_close_completes_during_a_long_message_of_the_server():
    """RFC 6455 §7.1.2: the answer to a Close frame may follow a message."""

    async def script(peer):
        await peer.accept()
        await peer.expect(CLOSE, close_payload(1000))
        await peer.send_frame(TEXT, b"x" * 500_000)
        await peer.send_close(1000)

    async with raw_server(script) as server, connect(server.uri) as websocket:
        await soon(websocket.close())
        assert websocket.close_code == 1000
        assert await websocket.recv() == "x" * 500_000
