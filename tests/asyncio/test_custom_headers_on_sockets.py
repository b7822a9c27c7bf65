"""Headers that applications add, as they come out on the wire, for all clients."""

from __future__ import annotations

import asyncio

import pytest
from head_vectors import response_of
from support import dial, echo, port_of, raw_server, request, serve_forever, serve_protocols, soon, until

from wsframe import WebSocketProtocol, connect, serve
from wsframe.sync.client import connect as sync_connect

HERE = "127.0.0.1"
CUSTOM = {"Host": "example.org", "Origin": "http://o.example", "User-Agent": "mine", "Authorization": "b", "X": "y"}


async def connect_with_coroutines(server, **options):
    async with connect(server.uri.replace("//", "//u:p@"), origin="http://other.example", **options):
        pass


async def connect_in_a_thread(server, **options):
    def run():
        with sync_connect(server.uri.replace("//", "//u:p@"), origin="http://other.example", **options):
            pass

    await asyncio.get_running_loop().run_in_executor(None, run)


async def connect_with_callbacks(server, **options):
    opened = []

    class Client(WebSocketProtocol):
        def connection_open(self):
            opened.append(self)

    uri = server.uri.replace("//", "//u:p@")
    factory = Client(uri, origin="http://other.example", **options)
    await asyncio.get_running_loop().create_connection(lambda: factory, HERE, server.port)
    await until(lambda: opened)
    factory.close()
    await until(lambda: factory.state.name == "CLOSED")


@pytest.mark.parametrize("make", [connect_with_coroutines, connect_in_a_thread, connect_with_callbacks])
async def test_each_header_of_the_handshake_is_sent_once(make):
    seen = []

    async def script(peer):
        _, lines = await peer.read_head()
        seen.append(lines)
        await peer.send(response_of({"data": "HTTP/1.1 101 A\r\n{right}"}, dict(lines)["Sec-WebSocket-Key"]))
        await serve_forever(peer)

    async with raw_server(script) as server:
        await soon(make(server, additional_headers=CUSTOM))
    (lines,) = seen
    names = [name.lower() for name, _ in lines]
    assert sorted(names) == sorted(set(names))
    assert lines[0] == ("Host", "example.org")
    assert dict(lines).items() >= CUSTOM.items()


async def test_server_with_callbacks_adds_headers_and_keeps_those_of_the_handshake():
    options = {"additional_headers": {"Date": "today", "Server": "mine", "X": "y"}}
    async with serve_protocols(WebSocketProtocol, **options) as (server, _), dial(server) as peer:
        await peer.send(request())
        _, lines = await peer.read_head()
    names = [name for name, _ in lines]
    assert len(set(names)) == len(names)
    assert dict(lines).items() >= options["additional_headers"].items()


async def test_server_with_callbacks_refuses_headers_of_the_handshake(caplog):
    async with serve_protocols(WebSocketProtocol, additional_headers={"Upgrade": "h2c"}) as (server, _):
        async with dial(server) as peer:
            await peer.send(request())
            start_line, _ = await peer.read_head()
            assert start_line.startswith("HTTP/1.1 500 ")
    assert "must not have upgrade" in caplog.text


async def test_zone_of_an_address_is_not_sent():
    """RFC 4007 §11.2: it names an interface of this machine."""
    hosts = []

    def process_request(connection, received):
        hosts.append(received.headers["Host"])

    async with serve(echo, HERE, 0, process_request=process_request) as server:
        for uri in ("ws://[fe80::1%25lo]:81/", "ws://[fe80::1%lo]/"):
            async with connect(uri, host=HERE, port=port_of(server)):
                pass
    assert hosts == ["[fe80::1]:81", "[fe80::1]"]
