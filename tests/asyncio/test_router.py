"""Servers with a handler for each URL: ``route``."""

from __future__ import annotations

import sys

import pytest
from support import dial, echo, port_of, request, soon, unix_path, uri_of

import wsframe
from wsframe import InvalidStatus, Router, connect, route, unix_connect, unix_route

routing = pytest.importorskip("werkzeug.routing")

HERE = "127.0.0.1"


async def channel(websocket, number):
    await websocket.send(f"channel {number} of {websocket.handler_kwargs}")


def url_map():
    return routing.Map(
        [
            routing.Rule("/", endpoint=echo),
            routing.Rule("/channel/<int:number>", endpoint=channel),
            routing.Rule("/old/<int:number>", redirect_to="/channel/<number>"),
        ]
    )


async def response_to(server, path, headers=None):
    async with dial(server) as peer:
        await peer.send(request(headers, f"GET {path} HTTP/1.1"))
        start_line, headers = await peer.read_head()
        return int(start_line.split(" ")[1]), dict(headers).get("Location")


async def test_each_url_has_its_handler():
    async with route(url_map(), HERE, 0) as server:
        async with connect(uri_of(server, "/channel/7?a=b")) as websocket:
            assert await soon(websocket.recv()) == "channel 7 of {'number': 7}"
        async with connect(uri_of(server)) as websocket:
            await websocket.send("a")
            assert await soon(websocket.recv()) == "a"


async def test_other_urls_are_not_found():
    async with route(url_map(), HERE, 0) as server:
        with pytest.raises(InvalidStatus) as info:
            await soon(connect(uri_of(server, "/channel/x")))
        assert info.value.response.status_code == 404
        assert info.value.response.body == b"Not Found"


@pytest.mark.parametrize(
    ("options", "location"),
    [
        ({}, "ws://example.com:81/channel/7"),
        ({"server_name": "example.org"}, "ws://example.org/channel/7"),
        ({"server_name": "example.org", "ssl": True}, "wss://example.org/channel/7"),
    ],
)
async def test_redirects(options, location):
    async with route(url_map(), HERE, 0, **options) as server:
        assert await response_to(server, "/old/7", {"Host": "example.com:81"}) == (302, location)


async def test_routes_over_tls(server_tls, client_tls):
    async with route(url_map(), HERE, 0, ssl=server_tls) as server:
        uri = f"wss://localhost:{port_of(server)}/channel/7"
        async with connect(uri, ssl=client_tls, host=HERE) as websocket:
            assert (await soon(websocket.recv())).startswith("channel 7")
        async with connect(uri.replace("channel", "old"), ssl=client_tls, host=HERE) as websocket:
            assert (await soon(websocket.recv())).startswith("channel 7")


async def test_host_that_is_no_name_is_refused(caplog):
    async with route(url_map(), HERE, 0) as server:
        assert await response_to(server, "/", {"Host": "a" * 64 + "\xe9"}) == (400, None)
    assert not caplog.records


def deny_some(connection, received):
    return connection.respond(403, "no") if received.path == "/channel/1" else None


async def deny_some_later(connection, received):
    return deny_some(connection, received)


@pytest.mark.parametrize("process_request", [deny_some, deny_some_later])
async def test_process_request_comes_first(process_request):
    async with route(url_map(), HERE, 0, process_request=process_request) as server:
        assert (await response_to(server, "/channel/1"))[0] == 403
        assert (await response_to(server, "/channel/2"))[0] == 101
        assert (await response_to(server, "/channel/x"))[0] == 404


async def test_router_may_be_given():
    class Mine(Router):
        def not_found(self, connection):
            return connection.respond(410, "Gone")

    def create(*args):
        made.append(Mine(*args))
        return made[-1]

    made = []
    for factory in (Mine, create):
        async with route(url_map(), HERE, 0, create_router=factory) as server:
            assert (await response_to(server, "/none"))[0] == 410
    assert len(made) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix sockets")
async def test_routes_on_unix_sockets(tmp_path):
    path = unix_path(tmp_path)
    async with unix_route(url_map(), path), unix_connect(path, "ws://localhost/channel/7") as websocket:
        assert (await soon(websocket.recv())).startswith("channel 7")


def test_werkzeug_is_needed_and_asked_for_only_here(monkeypatch):
    monkeypatch.setitem(sys.modules, "werkzeug.routing", None)
    with pytest.raises(ImportError, match="requires werkzeug"):
        wsframe.route(url_map())
