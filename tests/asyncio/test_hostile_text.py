"""Text that comes from a peer forges no log line and commands no terminal, wherever it is shown (asyncio)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import traceback

import hostile
import pytest
from hostile import FRAMES, REASON, REQUESTS, RESPONSES, VALUE, assert_harmless, assert_harmless_exception
from support import dial, dial_open, head, raw_server, read_to_end, request, serve_protocols, soon, until, uri_of

import wsframe
from wsframe import ConnectionClosed, WebSocketProtocol, connect, serve
from wsframe.asyncio.router import route

HERE = "127.0.0.1"
MASK = b"\x01\x02\x03\x04"

routing = pytest.importorskip("werkzeug.routing")


@pytest.fixture(autouse=True)
def everything_is_logged(caplog):
    caplog.set_level(logging.DEBUG)


async def receive(websocket):
    async for message in websocket:
        await websocket.send(message)


def accept_quietly(connection, request):
    return None


SERVERS = {
    "plain": lambda: serve(receive, HERE, 0),
    "strict": lambda: serve(
        receive,
        HERE,
        0,
        origins=["https://ok"],
        subprotocols=["chat"],
        process_request=wsframe.basic_auth("x", ("a", "b")),
    ),
    "own": lambda: serve(receive, HERE, 0, process_request=accept_quietly, server_header=None),
    "router": lambda: route(routing.Map([routing.Rule("/a", endpoint=receive)]), HERE, 0),
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("field", REQUESTS)
async def test_a_request_forges_no_log(field, server, caplog):
    headers, line = REQUESTS[field]
    async with SERVERS[server]() as running:
        async with dial(running) as peer:
            if field == "no HTTP":
                await peer.send(REASON.encode())
            else:
                await peer.send(head(line or "GET /a HTTP/1.1", {**hostile_request(), **headers}))
            peer.writer.write_eof()
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                await asyncio.wait_for(peer.reader.read(), 1)
    hostile.assert_harmless_log(caplog)


def hostile_request():
    lines = request().decode().split("\r\n")[1:-2]
    return dict(line.split(": ", 1) for line in lines)


@pytest.mark.parametrize("field", FRAMES)
async def test_a_clients_frame_forges_no_log(field, caplog):
    ends = []

    async def handler(websocket):
        try:
            async for message in websocket:
                await websocket.send(message)
            await websocket.recv()
        except ConnectionClosed as exc:
            ends.append(exc)
            raise

    async with serve(handler, HERE, 0) as server, dial_open(server) as peer:
        await peer.send(hostile.frame(field, MASK))
        peer.writer.write_eof()
        await read_to_end(peer)
        await until(lambda: ends)
    assert_harmless_exception(ends[0])
    hostile.assert_harmless_log(caplog)
    if field == "close reason":
        assert ends[0].rcvd.reason == REASON
        assert "\\n2026-01-01 WARNING" in caplog.text
        assert "bye é日" in caplog.text


@pytest.mark.parametrize("field", FRAMES)
async def test_a_servers_frame_forges_no_text(field, caplog):
    async def script(peer):
        await peer.accept(trailing=hostile.frame(field))
        peer.writer.write_eof()
        await read_to_end(peer)

    async with raw_server(script) as server:
        async with connect(server.uri) as websocket:
            with pytest.raises(ConnectionClosed) as info:
                while True:
                    await soon(websocket.recv())
            if field == "close reason":
                assert websocket.close_reason == info.value.rcvd.reason == REASON
    assert_harmless_exception(info.value)
    hostile.assert_harmless_log(caplog)


@pytest.mark.parametrize("field", RESPONSES)
async def test_a_response_forges_no_text(field, caplog):
    async def script(peer):
        await hostile.answer(peer, field)

    async with raw_server(script) as server:
        with pytest.raises((wsframe.WebSocketException, OSError, ValueError)) as info:
            await soon(connect(server.uri, subprotocols=["chat"], open_timeout=5))
    assert_harmless_exception(info.value)
    hostile.assert_harmless_log(caplog)
    if isinstance(info.value, wsframe.InvalidStatus) and field == "reason phrase":
        assert info.value.response.reason_phrase == VALUE


@pytest.mark.parametrize("field", [name for name in RESPONSES if not name.startswith("location")])
async def test_a_proxys_answer_forges_no_text(field):
    async def script(peer):
        await hostile.answer(peer, field, proxied=True)

    async with raw_server(script) as server:
        with pytest.raises((wsframe.WebSocketException, OSError)) as info:
            await soon(connect("ws://localhost:1/", proxy=f"http://127.0.0.1:{server.port}", open_timeout=5))
    assert_harmless_exception(info.value)


@pytest.mark.parametrize("location", [f"ws://other/{VALUE}", f"ws://oth\u202eer/{VALUE}"])
@pytest.mark.parametrize("options", [{"host": HERE}, {"sock": True}])
async def test_a_redirect_that_is_not_followed_forges_no_text(location, options):
    response = wsframe.Response(302, "", wsframe.Headers(), b"")
    response.headers._append("Location", location)
    connecting = connect("ws://localhost/", **options)
    exc = connecting.process_redirect(wsframe.InvalidStatus(response))
    assert isinstance(exc, ValueError)
    assert_harmless(str(exc))


async def test_reconnecting_forges_no_log(caplog):
    class Stop(Exception):
        pass

    async def script(peer):
        await hostile.answer(peer, "accept")

    def delays():
        yield 0.0
        raise Stop

    async with raw_server(script) as server:
        with pytest.raises(Stop):
            async for _ in connect(server.uri, process_exception=lambda exc: None, reconnect_delays=delays):
                pass
    assert "reconnecting in" in caplog.text
    hostile.assert_harmless_log(caplog)


@pytest.mark.parametrize("field", ["origin", "key", "header", "Upgrade"])
async def test_callbacks_forge_no_log(field, caplog):
    headers, _ = REQUESTS[field]
    failed = []

    class Server(WebSocketProtocol):
        def handshake_failed(self, exc):
            failed.append(exc)

    async with serve_protocols(Server, origins=["https://ok"]) as (server, _), dial(server) as peer:
        await peer.send(request(headers))
        await soon(peer.reader.readuntil(b"\r\n\r\n"))
        await until(lambda: failed)
    assert_harmless_exception(failed[0])
    hostile.assert_harmless_log(caplog)


async def test_application_exceptions_escape_text_of_the_peer(caplog):
    async def process_request(connection, request):
        raise wsframe.InvalidHeader("X", request.headers["X"])

    def select(connection, subprotocols):
        raise ValueError(connection.request.headers["X"])

    for options in ({"process_request": process_request}, {"select_subprotocol": select}):
        async with serve(receive, HERE, 0, **options) as server, dial(server) as peer:
            await peer.send(request({"X": VALUE, "Sec-WebSocket-Protocol": "a"}))
            await soon(peer.reader.readuntil(b"\r\n\r\n"))
    for record in caplog.records:
        assert_harmless(record.getMessage())


async def test_server_log_and_close_exception_are_escaped(caplog):
    async with serve(receive, HERE, 0) as server:
        async with connect(uri_of(server)) as websocket:
            await websocket.close(4000, REASON)
    assert "".join(traceback.format_exception_only(websocket.close_exc)).count("\n") == 1
    hostile.assert_harmless_log(caplog)
