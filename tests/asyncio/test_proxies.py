"""Clients behind proxies: HTTP, HTTPS and SOCKS (RFC 6455 §4.1, RFC 9110 §9.3.6, RFC 1928)."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import ipaddress
import socket
import ssl
import sys

import pytest
from proxies import HTTPProxy, SocksProxy
from support import PATIENCE_S, echo, free_port, port_of, raw_server, soon, unix_path, uri_of

import wsframe
from wsframe import (
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    ProxyError,
    connect,
    serve,
    unix_connect,
    unix_serve,
)
from wsframe.asyncio.client import ClientConnection
from wsframe.asyncio.proxy import Tunnel
from wsframe.opening.proxy import ProxyHandshake, parse_proxy
from wsframe.opening.uri import parse_uri

HERE = "127.0.0.1"


async def talk(uri, **options):
    async with await soon(connect(uri, **options)) as websocket:
        await websocket.send("hello")
        assert await soon(websocket.recv()) == "hello"
        ssl_object = websocket.transport.get_extra_info("ssl_object")
        assert (ssl_object is not None) is uri.startswith("wss:")
        return websocket


def address_of(proxy, scheme="http", user_info=""):
    return f"{scheme}://{user_info}{HERE}:{proxy.port}"


# HTTP


async def test_http_proxy_makes_a_tunnel():
    script = HTTPProxy()
    async with serve(echo, HERE, 0) as server, raw_server(script) as proxy:
        target = f"{HERE}:{port_of(server)}"
        await talk(uri_of(server), proxy=address_of(proxy), user_agent_header="me")
    assert script.asked == [(f"CONNECT {target} HTTP/1.1", {"Host": target, "User-Agent": "me"})]


async def test_tls_through_an_http_proxy(server_tls, client_tls):
    script = HTTPProxy()
    async with serve(echo, HERE, 0, ssl=server_tls) as server, raw_server(script) as proxy:
        uri = f"wss://localhost:{port_of(server)}/"
        await talk(uri, proxy=address_of(proxy), ssl=client_tls)
        assert script.asked[0][0] == f"CONNECT localhost:{port_of(server)} HTTP/1.1"
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(connect(uri, proxy=address_of(proxy)))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await soon(connect(uri, proxy=address_of(proxy), ssl=client_tls, server_hostname="other"))


async def test_environment_names_the_proxy(monkeypatch):
    script = HTTPProxy()
    async with serve(echo, HERE, 0) as server, raw_server(script) as proxy:
        monkeypatch.setenv("https_proxy", address_of(proxy))
        await talk(uri_of(server))
        assert len(script.asked) == 1
        await talk(uri_of(server), proxy=None)
        with socket.create_connection((HERE, port_of(server))) as sock:
            await talk("ws://example.com/", sock=sock)
        monkeypatch.setenv("no_proxy", HERE)
        await talk(uri_of(server))
        assert len(script.asked) == 1


async def test_unix_sockets_have_no_proxy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    path = unix_path(tmp_path)
    async with unix_serve(echo, path):
        async with unix_connect(path) as websocket:
            await websocket.send("hello")
            assert await soon(websocket.recv()) == "hello"


async def test_credentials_are_sent_to_the_proxy():
    """RFC 7617."""
    async with serve(echo, HERE, 0) as server, raw_server(HTTPProxy("u:p")) as proxy:
        await talk(uri_of(server), proxy=address_of(proxy, user_info="u:p@"))
        with pytest.raises(InvalidProxyStatus, match="proxy rejected connection: HTTP 407") as info:
            await soon(connect(uri_of(server), proxy=address_of(proxy)))
        assert info.value.response.status_code == 407


async def test_host_and_port_options_set_the_target_of_the_tunnel():
    script = HTTPProxy()
    async with serve(echo, HERE, 0) as server, raw_server(script) as proxy:
        options = {"host": HERE, "port": port_of(server), "proxy": address_of(proxy)}
        websocket = await talk("ws://example.com/", **options)
        assert websocket.request.headers["Host"] == "example.com"
        assert script.asked[0][0] == f"CONNECT {HERE}:{port_of(server)} HTTP/1.1"


async def test_other_options_apply_to_the_connection_to_the_proxy():
    async with serve(echo, HERE, 0) as server, raw_server(HTTPProxy()) as proxy:
        with pytest.raises(OSError):
            await soon(connect(uri_of(server), proxy=address_of(proxy), local_addr=("192.0.2.1", 0)))
        await talk(uri_of(server), proxy=address_of(proxy), local_addr=(HERE, 0))


async def test_proxy_options_are_ignored_without_a_proxy(client_tls):
    async with serve(echo, HERE, 0) as server:
        await talk(uri_of(server), proxy_ssl=client_tls)


@pytest.mark.parametrize(
    "answer", [b"220 smtp.example\r\n", b"HTTP/1.1 999 No\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\nmore", b"", b"HTTP/1.1 2"]
)
async def test_invalid_proxy_response_is_an_error(answer):
    async def script(peer):
        await peer.read_head()
        await peer.send(answer)

    async with raw_server(script) as proxy:
        with pytest.raises(InvalidProxyMessage, match="did not receive a valid HTTP response from proxy"):
            await soon(connect("ws://example.com/", proxy=address_of(proxy)))


async def test_reset_by_the_proxy_is_an_error():
    async def script(peer):
        await peer.read_head()
        peer.abort()

    async with raw_server(script) as proxy:
        with pytest.raises((InvalidProxyMessage, OSError)):
            await soon(connect("ws://example.com/", proxy=address_of(proxy)))


async def test_unreachable_proxy_is_an_os_error():
    port = free_port()
    with pytest.raises(OSError):
        await soon(connect("ws://example.com/", proxy=f"http://{HERE}:{port}"))


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_silent_proxy_times_out(scheme):
    ended = asyncio.Event()

    async def script(peer):
        with contextlib.suppress(ConnectionError):
            await soon(peer.reader.read())
        ended.set()

    async with raw_server(script) as proxy:
        with pytest.raises(TimeoutError, match="timed out during opening handshake"):
            await soon(connect("ws://example.com/", proxy=address_of(proxy, scheme), open_timeout=0.1))
        await soon(ended.wait())


async def test_late_proxy_response_is_ignored():
    tunnel = Tunnel(ProxyHandshake(parse_proxy("http://p"), parse_uri("ws://h")))
    tunnel.established.cancel()
    tunnel.data_received(b"HTTP/1.1 200 OK\r\n\r\n")
    tunnel.connection_lost(None)
    assert tunnel.established.cancelled()


async def test_proxy_lost_before_the_tunnel_is_used_is_an_error(monkeypatch):
    async with serve(echo, HERE, 0) as server, raw_server(HTTPProxy()) as proxy:

        def factory(*arguments, **options):
            # As if the connection had ended while TLS was being set up.
            for tunnel in tunnels:
                tunnel.is_lost = True
            return ClientConnection(*arguments, **options)

        tunnels = []
        monkeypatch.setattr(
            wsframe.asyncio.proxy, "Tunnel", lambda handshake: tunnels.append(Tunnel(handshake)) or tunnels[-1]
        )
        with pytest.raises(InvalidProxyMessage, match="the connection to the proxy was lost"):
            await soon(connect(uri_of(server), proxy=address_of(proxy), create_connection=factory))
        assert tunnels[0].transport.is_closing()


# HTTPS


async def test_https_proxy(server_tls, client_tls):
    script = HTTPProxy()
    async with serve(echo, HERE, 0) as server, raw_server(script, ssl=server_tls) as proxy:
        address = f"https://localhost:{proxy.port}"
        async with await soon(connect(uri_of(server), proxy=address, proxy_ssl=client_tls)) as websocket:
            await websocket.send("hello")
            assert await soon(websocket.recv()) == "hello"
        with pytest.raises(ssl.SSLCertVerificationError):
            await soon(connect(uri_of(server), proxy=address))
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            options = {"proxy_ssl": client_tls, "proxy_server_hostname": "other"}
            await soon(connect(uri_of(server), proxy=address, **options))
    assert len(script.asked) == 1


async def test_tls_through_an_https_proxy(server_tls, client_tls, loop_kind):
    if sys.version_info < (3, 11) and loop_kind == "asyncio":
        pytest.skip("asyncio has it from Python 3.11")
    async with serve(echo, HERE, 0, ssl=server_tls) as server, raw_server(HTTPProxy(), ssl=server_tls) as proxy:
        options = {"proxy": f"https://localhost:{proxy.port}", "proxy_ssl": client_tls, "ssl": client_tls}
        await talk(f"wss://localhost:{port_of(server)}/", **options)


@pytest.mark.parametrize(
    ("proxy", "proxy_ssl", "message"),
    [
        ("http://localhost:9", True, "proxy_ssl argument is incompatible with an http:// proxy"),
        ("https://localhost:9", None, "proxy_ssl=None is incompatible with an https:// proxy"),
    ],
)
async def test_https_proxy_uses_tls(proxy, proxy_ssl, message):
    with pytest.raises(ValueError, match=message):
        await soon(connect("ws://localhost/", proxy=proxy, proxy_ssl=proxy_ssl))


async def test_unknown_proxy_schemes_are_refused():
    with pytest.raises(InvalidProxy, match="ftp://p isn't a valid proxy: scheme ftp isn't supported"):
        await soon(connect("ws://localhost/", proxy="ftp://p"))


# SOCKS


@pytest.mark.parametrize("scheme", ["socks5h", "socks5"])
async def test_socks_proxy(scheme):
    """RFC 1928: with socks5h, the proxy looks up the name."""
    script = SocksProxy()
    async with serve(echo, HERE, 0) as server, raw_server(script) as proxy:
        port = port_of(server)
        await talk(f"ws://localhost:{port}/", proxy=address_of(proxy, scheme), host="localhost")
    host, asked_port = script.asked[0]
    assert asked_port == port
    assert (host == "localhost") if scheme == "socks5h" else ipaddress.ip_address(host).is_loopback


async def test_tls_through_a_socks_proxy(server_tls, client_tls, monkeypatch):
    script = SocksProxy()
    async with serve(echo, HERE, 0, ssl=server_tls) as server, raw_server(script) as proxy:
        monkeypatch.setenv("socks_proxy", address_of(proxy))
        await talk(f"wss://localhost:{port_of(server)}/", ssl=client_tls, local_addr=(HERE, 0))
        assert script.asked == [("localhost", port_of(server))]


async def test_credentials_are_sent_to_a_socks_proxy():
    """RFC 1929."""
    async with serve(echo, HERE, 0) as server, raw_server(SocksProxy("u:p")) as proxy:
        await talk(uri_of(server), proxy=address_of(proxy, "socks5h", "u:p@"))
        for user_info in ("", "u:q@"):
            with pytest.raises(ProxyError, match="failed to connect to SOCKS proxy") as info:
                await soon(connect(uri_of(server), proxy=address_of(proxy, "socks5h", user_info)))
            assert type(info.value.__cause__).__module__.startswith("python_socks")


async def test_unreachable_socks_proxy_is_an_os_error():
    port = free_port()
    with pytest.raises(OSError):
        await soon(connect("ws://example.com/", proxy=f"socks5://{HERE}:{port}"))


async def test_socks_needs_python_socks(monkeypatch):
    original = builtins.__import__

    def without_socks(name, *arguments, **options):
        if name.startswith("python_socks"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without_socks)
    with pytest.raises(ImportError, match=r"requires python-socks: pip install 'wsframe\[proxy\]'"):
        await soon(connect("ws://localhost/", proxy="socks5://localhost"))


async def test_closing_handshake_through_a_proxy_completes():
    """The tunnel carries the Close frames too."""
    async with serve(echo, HERE, 0) as server, raw_server(HTTPProxy()) as proxy:
        websocket = await talk(uri_of(server), proxy=address_of(proxy), close_timeout=PATIENCE_S)
    assert websocket.close_code == 1000
