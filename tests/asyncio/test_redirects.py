"""Clients that are sent elsewhere: redirects (RFC 6455 §4.1, RFC 9110 §15.4)."""

from __future__ import annotations

import socket

import pytest
from support import echo, port_of, soon, unix_path, uri_of

import wsframe.asyncio.client
from wsframe import InvalidStatus, InvalidURI, SecurityError, connect, serve, unix_connect, unix_serve

HERE = "127.0.0.1"


def redirect_to(*targets, seen=None):
    """Make a ``process_request`` that redirects each request for /N to the Nth target."""

    def process_request(connection, request):
        if seen is not None:
            seen.append(request)
        number = request.path.removeprefix("/")
        if not number.isdecimal():
            return None
        response = connection.respond(302, "")
        response.headers["Location"] = targets[int(number)]
        return response

    return process_request


async def test_redirects_are_followed():
    async with serve(echo, HERE, 0, process_request=redirect_to("1", "/2", "/end?a")) as server:
        connecting = connect(uri_of(server, "/0"))
        async with connecting as websocket:
            assert websocket.request.path == "/end?a"
            assert websocket.protocol.uri.path == "/end"
            await websocket.send("hello")
            assert await soon(websocket.recv()) == "hello"
        assert connecting.uri == uri_of(server, "/end?a")


async def test_endless_redirects_are_refused(monkeypatch):
    seen = []
    monkeypatch.setattr(wsframe.asyncio.client, "MAX_REDIRECTS", 3)
    async with serve(echo, HERE, 0, process_request=redirect_to("/0", seen=seen)) as server:
        with pytest.raises(SecurityError, match="more than 3 redirects"):
            await soon(connect(uri_of(server, "/0")))
    assert len(seen) == 3


async def test_credentials_are_not_sent_to_another_origin():
    seen = []
    headers = {"Authorization": "a", "Cookie": "b", "X": "c"}
    async with serve(echo, HERE, 0, process_request=redirect_to(seen=seen)) as other:
        targets = ["/1", uri_of(other, "/end")]
        async with serve(echo, HERE, 0, process_request=redirect_to(*targets, seen=seen)) as server:
            async with connect(uri_of(server, "/0").replace("//", "//u:p@"), additional_headers=headers):
                assert len(other.connections) == 1
                assert not server.connections
    first, second, third = (request.headers for request in seen)
    # In place of that of the URI.
    assert first.get_all("Authorization") == second.get_all("Authorization") == ["a"]
    assert second["Cookie"] == "b"
    assert {"Authorization", "Cookie"}.isdisjoint(third)
    assert third["X"] == "c"


async def test_redirect_applies_to_one_attempt():
    """RFC 9110 §15.4: the next one asks the URI that was given, with the credentials."""
    seen = []
    nodes = []

    def balance(connection, received):
        seen.append(received)
        response = connection.respond(statuses.pop(0), "")
        response.headers["Location"] = nodes[-1]
        return response

    statuses = [302, 307, 308, 301]
    headers = {"Authorization": "a", "Cookie": "b"}
    async with serve(echo, HERE, 0, process_request=balance) as balancer:
        connecting = connect(uri_of(balancer, "/0"), additional_headers=headers, reconnect_delays=lambda: iter([0] * 9))
        turns = 0
        for _ in range(4):
            async with serve(echo, HERE, 0, process_request=redirect_to(seen=seen)) as node:
                nodes.append(uri_of(node, "/node"))
                async with connecting as websocket:
                    turns += len(node.connections)
                    assert websocket.request.path == "/node"
                assert connecting.uri == nodes[-1]
    assert turns == 4
    assert [request.path for request in seen] == ["/0", "/node"] * 4
    for request in seen:
        assert ("Authorization" in request.headers) is ("Cookie" in request.headers) is (request.path == "/0")
    assert connecting.additional_headers is headers


async def test_credentials_stay_removed_within_an_attempt():
    """Where another origin sends the client is not where the application wanted them."""
    seen = []
    back = []
    async with serve(echo, HERE, 0, process_request=lambda *args: redirect_to(*back, seen=seen)(*args)) as other:
        targets = [uri_of(other, "/0")]
        async with serve(echo, HERE, 0, process_request=redirect_to(*targets, seen=seen)) as server:
            back.append(uri_of(server, "/end"))
            async with connect(uri_of(server, "/0"), additional_headers={"Authorization": "a", "Host": "h"}):
                pass
    assert ["Authorization" in request.headers for request in seen] == [True, False, False]
    assert [request.headers["Host"] == "h" for request in seen] == [True, False, False]


async def test_redirects_to_http_are_followed():
    async with serve(echo, HERE, 0) as other:
        target = uri_of(other, "/caf\xc3\xa9").replace("ws:", "http:")
        async with serve(echo, HERE, 0, process_request=redirect_to(target)) as server:
            async with connect(uri_of(server, "/0")) as websocket:
                assert websocket.request.path == "/caf%C3%A9"


async def test_redirect_may_be_overridden():
    class Stubborn(connect):
        def process_redirect(self, exc):
            return exc

    async with serve(echo, HERE, 0, process_request=redirect_to("/end")) as server:
        with pytest.raises(InvalidStatus, match="302"):
            await soon(Stubborn(uri_of(server, "/0")))


async def test_headers_are_sent_after_a_redirect():
    """Though an iterator gives them only once."""
    seen = []
    async with serve(echo, HERE, 0, process_request=redirect_to("/end", seen=seen)) as server:
        async with connect(uri_of(server, "/0"), additional_headers=iter([("X", "y")])):
            pass
    assert [request.headers["X"] for request in seen] == ["y", "y"]


async def test_redirect_never_downgrades_tls(server_tls, client_tls):
    """RFC 6455 §10.6."""
    async with serve(echo, HERE, 0, ssl=server_tls, process_request=redirect_to("ws://localhost/")) as server:
        with pytest.raises(SecurityError, match="cannot follow redirect to non-secure URI ws://localhost/"):
            await soon(connect(f"wss://localhost:{port_of(server)}/0", ssl=client_tls))


async def test_redirect_may_lead_to_tls(server_tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificate.cert)
    async with serve(echo, HERE, 0, ssl=server_tls) as secure:
        target = f"wss://localhost:{port_of(secure)}/"
        async with serve(echo, HERE, 0, process_request=redirect_to(target)) as server:
            async with connect(uri_of(server, "/0")) as websocket:
                assert websocket.transport.get_extra_info("ssl_object") is not None
            with pytest.raises(ValueError, match="ssl=None is incompatible with a wss:// URI"):
                await soon(connect(uri_of(server, "/0"), ssl=None))


async def test_redirect_with_the_sock_option_is_refused():
    async with serve(echo, HERE, 0, process_request=redirect_to("/end")) as server:
        with socket.create_connection((HERE, port_of(server))) as sock:
            with pytest.raises(
                ValueError, match="cannot follow redirect to ws://h/end with a preexisting socket"
            ) as info:
                await soon(connect("ws://h/0", sock=sock))
    assert isinstance(info.value.__cause__, InvalidStatus)


@pytest.mark.parametrize("given", [{"host": HERE}, {"port": 1}, {"host": HERE, "port": 1}])
async def test_redirect_with_host_or_port_option_stays_at_the_origin(given):
    async with serve(echo, HERE, 0, process_request=redirect_to("/end", "ws://other/")) as server:
        port = port_of(server)
        options = {name: port if name == "port" else value for name, value in given.items()}
        uri = f"ws://{HERE}:{port}/"
        async with connect(uri + "0", **options) as websocket:
            assert websocket.request.path == "/end"
        message = "cannot follow cross-origin redirect to ws://other/ with an explicit host or port"
        with pytest.raises(ValueError, match=message):
            await soon(connect(uri + "1", **options))


async def test_redirect_stays_on_the_unix_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = unix_path(tmp_path)
    async with unix_serve(echo, path, process_request=redirect_to("/end", "ws://other/")):
        async with unix_connect(path, "ws://h/0") as websocket:
            assert websocket.request.path == "/end"
        message = "cannot follow cross-origin redirect to ws://other/ with a Unix socket"
        with pytest.raises(ValueError, match=message):
            await soon(unix_connect(path, "ws://h/1"))


async def test_redirect_to_an_invalid_uri_is_an_error():
    async with serve(echo, HERE, 0, process_request=redirect_to("ftp://localhost/")) as server:
        with pytest.raises(InvalidURI, match="ftp://localhost/"):
            await soon(connect(uri_of(server, "/0")))


async def test_redirect_without_a_target_is_a_refusal():
    def process_request(connection, request):
        return connection.respond(302, "")

    async with serve(echo, HERE, 0, process_request=process_request) as server:
        with pytest.raises(InvalidStatus, match="302"):
            await soon(connect(uri_of(server)))
