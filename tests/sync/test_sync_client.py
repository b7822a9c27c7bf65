"""Clients for threads: ``connect``, its options, proxies, redirects, and ``reconnect`` (RFC 6455 §4.1)."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import sys

import pytest
from proxies import HTTPProxy, SocksProxy
from support import (
    PATIENCE_S,
    PING,
    PONG,
    TEXT,
    echo,
    free_port,
    head,
    port_of,
    raw_server,
    read_to_end,
    recorded_delays,
    serve_forever,
    soon,
    unix_path,
    uri_of,
)
from threads import running

import wsframe
import wsframe.sync.client
from wsframe import (
    InvalidHandshake,
    InvalidMessage,
    InvalidProxy,
    InvalidProxyMessage,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    ProxyError,
    SecurityError,
)
from wsframe.sync.client import ClientConnection, connect, reconnect, unix_connect, unix_reconnect

HERE = "127.0.0.1"


def serve(handler=echo, **options):
    return running(lambda: wsframe.serve(handler, HERE, 0, **options))


def raw(script, **options):
    return running(lambda: raw_server(script, **options))


def talk(uri, **options):
    with connect(uri, **options) as websocket:
        websocket.send("hello")
        assert websocket.recv(PATIENCE_S) == "hello"
    assert websocket.close_code == 1000
    return websocket


# The opening handshake


def test_connection_is_a_context_manager():
    with serve() as server:
        websocket = talk(uri_of(server))
        assert websocket.response.status_code == 101
        assert websocket.protocol.uri.path == "/"
        assert not websocket.recv_events_thread.is_alive()


def test_messages_of_all_kinds():
    with serve() as server, connect(uri_of(server), max_size=None) as websocket:
        for message in ("", "wörld", b"\x00\xff", "x" * 1_000_000):
            websocket.send(message)
            assert websocket.recv(PATIENCE_S) == message
        websocket.send(["a", "b"])
        assert websocket.recv(PATIENCE_S) == "ab"
        assert websocket.ping().wait(PATIENCE_S)


def test_request_carries_the_options():
    """RFC 6455 §4.1."""
    seen = []

    async def script(peer):
        seen.append(await peer.accept({"Sec-WebSocket-Protocol": "b"}))
        await serve_forever(peer)

    with raw(script) as server:
        options = {"origin": "http://a.example", "subprotocols": ["a", "b"], "additional_headers": iter([("X", "y")])}
        with connect(server.uri.replace("//", "//u:p@"), user_agent_header="me", **options) as websocket:
            assert websocket.subprotocol == "b"
        with connect(server.uri, user_agent_header=None, subprotocols=["b"], compression=None):
            pass
        with connect(server.uri, additional_headers={"User-Agent": "mine"}, subprotocols=["b"]):
            pass
    first, second, third = seen
    assert first["Host"] == f"{HERE}:{server.port}"
    assert (first["X"], first["Origin"], first["Sec-WebSocket-Protocol"]) == ("y", "http://a.example", "a, b")
    assert (first["User-Agent"], first["Authorization"]) == ("me", "Basic dTpw")
    assert "Sec-WebSocket-Extensions" in first
    assert "User-Agent" not in second
    assert "Sec-WebSocket-Extensions" not in second
    assert third["User-Agent"] == "mine"


def test_compression_is_agreed_on():
    with serve() as server:
        assert [extension.name for extension in talk(uri_of(server)).protocol.extensions] == ["permessage-deflate"]
        assert talk(uri_of(server), compression=None).protocol.extensions == []


def test_bytes_after_the_response_belong_to_the_connection():
    async def script(peer):
        await peer.accept(trailing=peer.frame(PING, b"a") + peer.frame(TEXT, b"first"))
        await peer.expect(PONG, b"a")
        await serve_forever(peer)

    with raw(script) as server, connect(server.uri) as websocket:
        assert websocket.recv(PATIENCE_S) == "first"


@pytest.mark.parametrize("end", ["length", "eof", "reset"])
def test_refusal_has_a_body(end):
    """RFC 9112 §6.3."""

    async def script(peer):
        await peer.read_head()
        await peer.send(head("HTTP/1.1 403 No", {"Content-Length": "5" if end == "length" else None}), b"sorry")
        if end == "reset":
            peer.abort()
        elif end == "length":
            await read_to_end(peer)

    with raw(script) as server:
        with pytest.raises(InvalidStatus, match="server rejected WebSocket connection: HTTP 403") as info:
            connect(server.uri)
    assert info.value.response.body in ((b"sorry", b"") if end == "reset" else (b"sorry",))


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 101"])
def test_end_of_stream_before_the_response_is_an_error(sent):
    async def script(peer):
        await peer.read_head()
        await peer.send(sent)

    with raw(script) as server:
        with pytest.raises(InvalidMessage, match="did not receive a valid HTTP response") as info:
            connect(server.uri)
    assert isinstance(info.value.__cause__, EOFError)


def test_response_in_another_protocol_is_an_error():
    async def script(peer):
        await peer.read_head()
        await peer.send(b"220 smtp.example ESMTP\r\n")
        await read_to_end(peer)

    with raw(script) as server:
        with pytest.raises(InvalidMessage, match="did not receive a valid HTTP response"):
            connect(server.uri)


def test_response_without_accept_header_is_an_error():
    async def script(peer):
        await peer.accept({"Sec-WebSocket-Accept": None})
        await read_to_end(peer)

    with raw(script) as server:
        with pytest.raises(InvalidHandshake, match="missing Sec-WebSocket-Accept header"):
            connect(server.uri)


def test_missing_response_times_out():
    with socket.create_server((HERE, 0)) as sock:
        with pytest.raises(TimeoutError, match="timed out while waiting for handshake response"):
            connect(f"ws://{HERE}:{sock.getsockname()[1]}/", open_timeout=0.05)


def test_refused_tcp_connection_is_an_os_error():
    port = free_port()
    with pytest.raises(OSError):
        connect(f"ws://{HERE}:{port}/")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_size": -1}, ValueError),
        ({"subprotocols": ["a b"]}, ValueError),
        ({"subprotocols": "chat"}, TypeError),
        ({"compression": False}, ValueError),
        ({"ssl": ssl.create_default_context()}, ValueError),
    ],
)
def test_bad_options_are_refused_at_once(options, error):
    with pytest.raises(error):
        reconnect("ws://localhost/", **options)


def test_bad_uri():
    with pytest.raises(InvalidURI):
        connect("http://localhost/")


def test_no_open_timeout():
    with serve() as server:
        talk(uri_of(server), open_timeout=None)


def test_sock_option_supplies_the_socket():
    with serve() as server:
        websocket = talk("ws://example.com/", sock=socket.create_connection((HERE, port_of(server))))
        assert websocket.request.headers["Host"] == "example.com"


def test_address_option_replaces_the_host_of_the_uri():
    with serve() as server:
        websocket = talk("ws://example.com/", address=(HERE, port_of(server)), source_address=(HERE, 0))
        assert websocket.request.headers["Host"] == "example.com"


def test_create_connection_option_sets_the_class():
    class Mine(ClientConnection):
        pass

    def broken(*_, **__):
        raise LookupError

    with serve() as server:
        assert type(talk(uri_of(server), create_connection=Mine)) is Mine
        with pytest.raises(LookupError):
            connect(uri_of(server), create_connection=broken)


def test_logger_option_replaces_the_default(caplog):
    async def script(peer):
        await peer.accept()
        await peer.send_frame(TEXT, b"\xff")
        await peer.expect_failure(1007)

    with caplog.at_level(logging.INFO, "mine"), raw(script) as server:
        with connect(server.uri, logger=logging.getLogger("mine")) as websocket:
            assert websocket.wait_closed(PATIENCE_S)
    assert [record[0] for record in caplog.record_tuples] == ["mine"]
    assert caplog.records[0].websocket.id == websocket.id


def test_debug_log_shows_the_opening_handshake(caplog):
    async def refuse(peer):
        await peer.read_head()
        await peer.send(b"HTTP/1.1 403 No\r\nX: y\r\nContent-Length: 5\r\n\r\nsorry")

    with caplog.at_level(logging.DEBUG, "wsframe.client"), raw(refuse) as server:
        with pytest.raises(InvalidStatus):
            connect(server.uri + "a", user_agent_header="me")
    messages = [record.getMessage() for record in caplog.records if record.name == "wsframe.client"]
    assert messages[0] == "> GET /a HTTP/1.1"
    assert "> User-Agent: me" in messages
    assert messages[-4:] == ["< HTTP/1.1 403 No", "< X: y", "< Content-Length: 5", "< [body] (5 bytes)"]


def test_unix_socket(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = unix_path(tmp_path)
    with pytest.raises(OSError):
        unix_connect(path)
    with running(lambda: wsframe.unix_serve(echo, path)):
        with unix_connect(path) as websocket:
            websocket.send("hello")
            assert websocket.recv(PATIENCE_S) == "hello"
            assert websocket.request.headers["Host"] == "localhost"
        with unix_connect(path, "ws://example.com/a") as websocket:
            assert websocket.request.headers["Host"] == "example.com"
        with unix_reconnect(path) as websocket:
            pass
        with unix_connect(path, legacy=False) as websocket:
            pass
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(path)
            unix_connect(sock=sock).close()


def test_unix_socket_or_path():
    with pytest.raises(ValueError, match="missing path argument"):
        unix_connect()
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="path is incompatible with sock"):
            unix_connect("/", sock=sock)


# TLS


def test_tls(server_tls, client_tls):
    with serve(ssl=server_tls) as server:
        uri = f"wss://localhost:{port_of(server)}/"
        with connect(uri, ssl=client_tls, max_size=None) as websocket:
            for message in ("hello", "x" * 1_000_000):
                websocket.send(message)
                assert websocket.recv(PATIENCE_S) == message
            assert websocket.socket.version().startswith("TLS")
            assert websocket.socket.server_hostname == "localhost"
            assert websocket.socket.family in (socket.AF_INET, socket.AF_INET6)
        assert websocket.close_code == 1000
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(uri)
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            connect(uri, ssl=client_tls, server_hostname="other")


def test_tls_context_of_the_system(server_tls, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificate.cert)
    with serve(ssl=server_tls) as server:
        talk(f"wss://localhost:{port_of(server)}/")


def test_tls_socket_made_by_the_application(server_tls, client_tls):
    with serve(ssl=server_tls) as server:
        sock = socket.create_connection((HERE, port_of(server)))
        secured = client_tls.wrap_socket(sock, server_hostname="localhost")
        with connect("ws://localhost/", sock=secured, max_size=None) as websocket:
            for message in ("hello", "x" * 1_000_000):
                websocket.send(message)
                assert websocket.recv(PATIENCE_S) == message
        assert websocket.close_code == 1000


def test_ssl_context_is_the_old_name(server_tls, client_tls, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = unix_path(tmp_path)
    with running(lambda: wsframe.unix_serve(echo, path, ssl=server_tls)):
        with pytest.warns(DeprecationWarning, match="ssl_context was renamed to ssl"):
            unix_connect(path, ssl_context=client_tls).close()


@pytest.mark.parametrize("end", ["notified", "cut", "violation"])
def test_end_of_a_tls_stream(end, server_tls, client_tls):
    async def script(peer):
        await peer.accept()
        if end == "violation":
            await peer.send_frame(3)
            await peer.expect_failure(1002)
        elif end == "cut":
            peer.writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionError):
                await soon(peer.reader.read())

    with raw(script, ssl=server_tls) as server:
        with connect(server.uri.replace(HERE, "localhost"), ssl=client_tls) as websocket:
            assert websocket.wait_closed(PATIENCE_S)
            with pytest.raises(wsframe.ConnectionClosedError, match="sent 1002" if end == "violation" else "no close"):
                websocket.recv()


def test_plain_server_for_a_wss_uri_is_an_error(client_tls):
    async def script(peer):
        await peer.send(b"HTTP/1.1 400 No\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await soon(peer.reader.read())

    with raw(script) as server:
        with pytest.raises(ssl.SSLError):
            connect(server.uri.replace("ws:", "wss:"), ssl=client_tls)


def test_tls_handshake_times_out(client_tls):
    with socket.create_server((HERE, 0)) as sock:
        with pytest.raises(TimeoutError):
            connect(f"wss://{HERE}:{sock.getsockname()[1]}/", ssl=client_tls, open_timeout=0.05)


# Proxies


def address_of(proxy, scheme="http", user_info=""):
    return f"{scheme}://{user_info}{HERE}:{proxy.port}"


def test_http_proxy(server_tls, client_tls, monkeypatch):
    """RFC 9110 §9.3.6."""
    script = HTTPProxy("u:p")
    with serve() as server, serve(ssl=server_tls) as secure, raw(script) as proxy:
        monkeypatch.setenv("https_proxy", address_of(proxy, user_info="u:p@"))
        talk(uri_of(server), user_agent_header="me")
        talk(f"wss://localhost:{port_of(secure)}/", ssl=client_tls)
        talk("ws://example.com/", address=(HERE, port_of(server)))
        talk("ws://example.com/", sock=socket.create_connection((HERE, port_of(server))))
        talk(uri_of(server), proxy=None)
        with pytest.raises(InvalidProxyStatus, match="proxy rejected connection: HTTP 407"):
            connect(uri_of(server), proxy=address_of(proxy))
        assert [start_line for start_line, _ in script.asked] == [
            f"CONNECT {HERE}:{port_of(server)} HTTP/1.1",
            f"CONNECT localhost:{port_of(secure)} HTTP/1.1",
            f"CONNECT {HERE}:{port_of(server)} HTTP/1.1",
            f"CONNECT {HERE}:{port_of(server)} HTTP/1.1",
        ]
        assert script.asked[0][1]["User-Agent"] == "me"


def test_https_proxy(server_tls, client_tls, certificate, monkeypatch):
    script = HTTPProxy()
    with serve() as server, serve(ssl=server_tls) as secure, raw(script, ssl=server_tls) as proxy:
        options = {"proxy": f"https://localhost:{proxy.port}", "proxy_ssl": client_tls}
        talk(uri_of(server), **options)
        websocket = talk(f"wss://localhost:{port_of(secure)}/", ssl=client_tls, max_size=None, **options)
        assert websocket.socket.version().startswith("TLS")
        with pytest.raises(ssl.SSLCertVerificationError):
            connect(uri_of(server), proxy=options["proxy"])
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            connect(uri_of(server), proxy_server_hostname="other", **options)
        monkeypatch.setenv("SSL_CERT_FILE", certificate.cert)
        talk(uri_of(server), proxy=options["proxy"])


def test_long_messages_through_two_layers_of_tls(server_tls, client_tls):
    with serve(ssl=server_tls) as secure, raw(HTTPProxy(), ssl=server_tls) as proxy:
        options = {"proxy": f"https://localhost:{proxy.port}", "proxy_ssl": client_tls, "ssl": client_tls}
        with connect(f"wss://localhost:{port_of(secure)}/", max_size=None, **options) as websocket:
            websocket.send("x" * 1_000_000)
            assert len(websocket.recv(PATIENCE_S)) == 1_000_000


@pytest.mark.parametrize("answer", [b"220 smtp.example\r\n", b"HTTP/1.1 200 OK\r\n\r\nmore", b"", b"HTTP/1.1 2", None])
def test_invalid_proxy_response_is_an_error(answer):
    async def script(peer):
        await peer.read_head()
        if answer is None:
            peer.abort()
        else:
            await peer.send(answer)

    with raw(script) as proxy:
        with pytest.raises(InvalidProxyMessage, match="did not receive a valid HTTP response from proxy"):
            connect("ws://example.com/", proxy=address_of(proxy))


@pytest.mark.parametrize(
    ("scheme", "message"), [("http", "timed out while connecting to HTTP proxy"), ("socks5", None)]
)
def test_silent_proxy_times_out(scheme, message):
    with socket.create_server((HERE, 0)) as sock:
        proxy = f"{scheme}://{HERE}:{sock.getsockname()[1]}"
        with pytest.raises(TimeoutError, match=message):
            connect("ws://127.0.0.1/", proxy=proxy, open_timeout=0.1)


def test_options_for_another_kind_of_proxy_are_refused():
    with pytest.raises(ValueError, match="proxy_ssl argument is incompatible with an http:// proxy"):
        connect("ws://localhost/", proxy="http://localhost:9", proxy_ssl=ssl.create_default_context())
    with pytest.raises(InvalidProxy, match="scheme ftp isn't supported"):
        connect("ws://localhost/", proxy="ftp://p")


def test_socks_proxy(server_tls, client_tls):
    """RFC 1928, RFC 1929."""
    script = SocksProxy("u:p")
    with serve() as server, serve(ssl=server_tls) as secure, raw(script) as proxy:
        address = address_of(proxy, "socks5h", "u:p@")
        talk(uri_of(server), proxy=address, source_address=(HERE, 0))
        talk(f"wss://localhost:{port_of(secure)}/", proxy=address, ssl=client_tls)
        assert script.asked[1] == ("localhost", port_of(secure))
        with pytest.raises(ProxyError, match="failed to connect to SOCKS proxy") as info:
            connect(uri_of(server), proxy=address_of(proxy, "socks5"))
    assert type(info.value.__cause__).__module__.startswith("python_socks")


def test_socks_needs_python_socks(monkeypatch):
    for name in ("python_socks", "python_socks.sync"):
        # Importing it is an ImportError then.
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"requires python-socks: pip install 'wsframe\[proxy\]'"):
        connect("ws://localhost/", proxy="socks5://localhost")


# Redirects


def redirecting(locations, seen=None):
    """Make a ``process_request`` that redirects requests for the paths in ``locations``."""

    def process_request(connection, request):
        if seen is not None:
            seen.append(request)
        if request.path not in locations:
            return None
        response = connection.respond(302, "")
        response.headers["Location"] = locations[request.path]
        return response

    return process_request


def test_redirects_are_followed():
    seen = []
    headers = iter([("Authorization", "a"), ("X", "y")])
    with serve(process_request=redirecting({}, seen)) as other:
        locations = {"/0": "1", "/1": uri_of(other, "/end")}
        with serve(process_request=redirecting(locations, seen)) as server:
            with connect(uri_of(server, "/0"), additional_headers=headers) as websocket:
                assert websocket.protocol.uri.path == "/end"
    assert ["Authorization" in request.headers for request in seen] == [True, True, False]
    assert [request.headers["X"] for request in seen] == ["y"] * 3


def test_redirect_applies_to_one_attempt():
    """RFC 9110 §15.4: the next one asks the URI that was given, with the credentials."""
    seen = []
    headers = {"Authorization": "a"}
    locations = {}
    with serve(process_request=redirecting(locations, seen)) as balancer:
        connecting = reconnect(uri_of(balancer, "/0"), additional_headers=headers)
        for _ in range(2):
            with serve(process_request=redirecting({}, seen)) as node:
                locations["/0"] = uri_of(node, "/node").replace("ws:", "http:")
                with connecting as websocket:
                    assert websocket.request.path == "/node"
                assert connecting.uri == uri_of(node, "/node")
    assert [request.path for request in seen] == ["/0", "/node"] * 2
    assert ["Authorization" in request.headers for request in seen] == [True, False] * 2
    assert connecting.additional_headers is headers


def test_endless_redirects_are_refused(monkeypatch):
    monkeypatch.setattr(wsframe.sync.client, "MAX_REDIRECTS", 3)
    with serve(process_request=redirecting({"/0": "/0"})) as server:
        with pytest.raises(SecurityError, match="more than 3 redirects"):
            connect(uri_of(server, "/0"))


def test_unsafe_redirects_are_refused(tmp_path, monkeypatch, server_tls, client_tls):
    monkeypatch.chdir(tmp_path)
    path = unix_path(tmp_path)
    process_request = redirecting({"/0": "ws://other/"})
    with serve(process_request=process_request) as server:
        with pytest.raises(
            ValueError, match="cannot follow cross-origin redirect to ws://other/ with an explicit host"
        ):
            connect("ws://h/0", address=(HERE, port_of(server)))
        with pytest.raises(ValueError, match="cannot follow redirect to ws://other/ with a preexisting socket"):
            connect("ws://h/0", sock=socket.create_connection((HERE, port_of(server))))
    with running(lambda: wsframe.unix_serve(echo, path, process_request=process_request)):
        with pytest.raises(ValueError, match="cannot follow cross-origin redirect to ws://other/ with a Unix socket"):
            unix_connect(path, "ws://h/0")
    with serve(process_request=process_request, ssl=server_tls) as server:
        with pytest.raises(SecurityError, match="cannot follow redirect to non-secure URI ws://other/"):
            connect(f"wss://localhost:{port_of(server)}/0", ssl=client_tls)


# reconnect


def test_reconnect_is_a_context_manager():
    with serve() as server:
        connecting = reconnect(uri_of(server))
        for _ in range(2):
            with connecting as websocket:
                websocket.send("hello")
                assert websocket.recv(PATIENCE_S) == "hello"
                with pytest.raises(RuntimeError, match="reentrant"), connecting:
                    pass
            assert websocket.close_code == 1000
        assert isinstance(connect(uri_of(server), legacy=False), reconnect)


def test_failed_attempts_are_repeated_after_a_delay(caplog):
    answers = iter([503, 500, None, 502, None])
    taken = []

    def process_request(connection, request):
        answer = next(answers)
        return connection.respond(answer, "no") if answer else None

    websockets = []
    with caplog.at_level(logging.INFO, "wsframe.client"), serve(process_request=process_request) as server:
        for websocket in reconnect(uri_of(server), reconnect_delays=recorded_delays(taken)):
            if websockets:
                assert websockets[-1].close_code == 1000
            websockets.append(websocket)
            websocket.send("hello")
            assert websocket.recv(PATIENCE_S) == "hello"
            if len(websockets) == 2:
                break
    # A connection in between starts them again.
    assert taken == [0, 1, 0]
    assert [record.getMessage() for record in caplog.records if record.name == "wsframe.client"] == [
        "connect failed; reconnecting in 0.0 seconds: "
        f"wsframe.exceptions.InvalidStatus: server rejected WebSocket connection: HTTP {status}"
        for status in (503, 500, 502)
    ]


def test_permanent_failures_are_raised():
    def process_request(connection, request):
        return connection.respond(403, "no")

    def raise_it(exc):
        raise LookupError("gone")

    with serve(process_request=process_request) as server:
        with pytest.raises(InvalidStatus, match="403"):
            next(iter(reconnect(uri_of(server))))
        for process_exception in (raise_it, lambda exc: LookupError("gone")):
            with pytest.raises(LookupError, match="gone") as info:
                next(iter(reconnect(uri_of(server), process_exception=process_exception)))
            assert isinstance(info.value.__cause__, InvalidStatus)
