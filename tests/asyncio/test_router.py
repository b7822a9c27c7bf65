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
    ("target", "status"),
    [
        ("/channel/7", 101),
        ("/channel/7?a=b", 101),
        ("/ch%61nnel/%37", 101),
        ("/channel%2f7", 101),
        ("/channel/%ff", 404),
        ("/channel/%00", 404),
        ("/channel/7%3Fa", 404),
        ("//x/channel/7", 404),
        ("//x:y@z/channel/7", 404),
        ("//[x/channel/7", 404),
        ("//[::1]x/channel/7", 404),
        ("/channel/../channel/7", 404),
        ("http://example.com/channel/7", 101),
        ("wss://example.com//x/channel/7", 404),
        ("http:/channel/7", 400),
        ("x:/channel/7", 400),
        ("http://[/channel/7", 400),
        ("http://u@h/channel/7", 400),
        ("/channel/7#a", 400),
        ("channel/7", 400),
        ("?/channel/7", 400),
        ("*", 400),
        ("example.com:80", 400),
    ],
)
async def test_target_that_is_no_url_is_refused(target, status, caplog):
    """RFC 9112 §3.2."""
    async with route(url_map(), HERE, 0) as server:
        assert (await response_to(server, target))[0] == status
    assert not caplog.records


async def test_host_of_an_absolute_target_is_used():
    """RFC 9112 §3.2.2."""
    async with route(url_map(), HERE, 0) as server:
        answer = await response_to(server, "http://example.org:82/old/7", {"Host": "example.com:81"})
        assert answer == (302, "ws://example.org:82/channel/7")


async def test_http_1_0_needs_no_host(caplog):
    """RFC 9112 §3.3."""
    async with route(url_map(), HERE, 0) as server, dial(server) as peer:
        await peer.send(request({"Host": None}, "GET /channel/7 HTTP/1.0"))
        start_line, _ = await peer.read_head()
        assert start_line.startswith("HTTP/1.1 505 ")
    assert not caplog.records


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


@pytest.mark.parametrize("host", ["a" * 64 + "\xe9", "a" * 64, "a..b"])
async def test_invalid_host_is_refused(host, caplog):
    """By the handshake, or, if only IDNA has something against it, by werkzeug."""
    async with route(url_map(), HERE, 0) as server:
        assert await response_to(server, "/", {"Host": host}) == (400, None)
    assert not caplog.records


def deny_some(connection, received):
    return connection.respond(403, "no") if received.path == "/channel/1" else None


async def deny_some_later(connection, received):
    return deny_some(connection, received)


@pytest.mark.parametrize("process_request", [deny_some, deny_some_later])
async def test_process_request_runs_before_routing(process_request):
    async with route(url_map(), HERE, 0, process_request=process_request) as server:
        assert (await response_to(server, "/channel/1"))[0] == 403
        assert (await response_to(server, "/channel/2"))[0] == 101
        assert (await response_to(server, "/channel/x"))[0] == 404


async def test_create_router_option_sets_the_class():
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


def test_only_the_router_needs_werkzeug(monkeypatch):
    monkeypatch.setitem(sys.modules, "werkzeug.routing", None)
    with pytest.raises(ImportError, match="requires werkzeug"):
        wsframe.route(url_map())
