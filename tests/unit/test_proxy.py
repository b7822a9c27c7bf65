"""Addresses of proxies, and asking them for a tunnel (RFC 6455 §4.1, RFC 9110 §9.3.6)."""

from __future__ import annotations

import os

import pytest

from wsframe.exceptions import InvalidProxy, InvalidProxyMessage, InvalidProxyStatus, SecurityError
from wsframe.opening.http import USER_AGENT
from wsframe.opening.proxy import (
    Proxy,
    ProxyHandshake,
    get_proxy,
    parse_proxy,
    prepare_connect_request,
    socks_arguments,
)
from wsframe.opening.uri import parse_uri


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("http://p", Proxy("http", "p", 80)),
        ("https://p", Proxy("https", "p", 443)),
        ("socks5h://p", Proxy("socks5h", "p", 1080)),
        ("socks5://p:81", Proxy("socks5", "p", 81)),
        ("socks4a://[::1]:81/", Proxy("socks4a", "::1", 81)),
        ("SOCKS4://P", Proxy("socks4", "p", 1080)),
        ("http://u:p%40@h", Proxy("http", "h", 80, "u", "p@")),
        ("http://\xfc:\xdf@m\xfcnchen.example:81", Proxy("http", "xn--mnchen-3ya.example", 81, "\xfc", "\xdf")),
    ],
)
def test_address_is_parsed(address, proxy):
    assert parse_proxy(address) == proxy


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ws://p", "scheme ws isn't supported"),
        ("p:80", "scheme p isn't supported"),
        ("", "scheme  isn't supported"),
        ("http://", "hostname isn't provided"),
        ("http:///", "hostname isn't provided"),
        ("http://p/path", "path is meaningless"),
        ("http://p/?query", "query is meaningless"),
        ("http://p/#fragment", "fragment is meaningless"),
        ("http://u@p", "username provided without password"),
        ("http://p:65536", "ut of range"),
        ("http://u:%ff@p", "cannot be decoded"),
        ("http://" + "\xe9" * 64, "cannot be decoded"),
        ("http://[::1", "IPv6"),
    ],
)
def test_invalid_address_is_refused(address, message):
    with pytest.raises(InvalidProxy, match=message) as info:
        parse_proxy(address)
    assert info.value.proxy == address


def test_user_info_is_name_and_password():
    assert parse_proxy("http://u:p@h").user_info == ("u", "p")
    assert parse_proxy("http://h").user_info is None


@pytest.mark.parametrize(
    ("scheme", "version", "remote_dns"),
    [
        ("socks5h", "SOCKS5", True),
        ("socks5", "SOCKS5", False),
        ("socks4a", "SOCKS4", True),
        ("socks4", "SOCKS4", False),
    ],
)
def test_socks_has_two_versions_and_two_ways_to_look_up_names(scheme, version, remote_dns):
    proxy = parse_proxy(f"{scheme}://u:p@h:81")
    assert proxy.is_socks
    assert socks_arguments(proxy) == (version, "h", 81, "u", "p", remote_dns)
    assert not parse_proxy("http://h").is_socks


HTTP, HTTPS, SOCKS, WS, WSS = "http://a:1", "http://b:2", "http://c:3", "http://d:4", "http://e:5"


@pytest.mark.parametrize(
    ("environment", "insecure", "secure"),
    [
        ({}, None, None),
        ({"http_proxy": HTTP}, HTTP, None),
        ({"https_proxy": HTTPS}, HTTPS, HTTPS),
        ({"http_proxy": HTTP, "https_proxy": HTTPS}, HTTPS, HTTPS),
        ({"https_proxy": HTTPS, "socks_proxy": SOCKS}, "socks5h://c:3", "socks5h://c:3"),
        ({"socks_proxy": "socks4://c:3"}, "socks4://c:3", "socks4://c:3"),
        ({"socks_proxy": SOCKS, "ws_proxy": WS}, WS, "socks5h://c:3"),
        ({"ws_proxy": WS, "wss_proxy": WSS}, WS, WSS),
        ({"https_proxy": HTTPS, "no_proxy": "x.example"}, HTTPS, HTTPS),
        ({"https_proxy": HTTPS, "no_proxy": ".example"}, None, None),
        ({"https_proxy": HTTPS, "no_proxy": "h.example:80"}, None, HTTPS),
    ],
)
def test_environment_names_the_proxy(environment, insecure, secure, monkeypatch):
    """RFC 6455 §4.1: SOCKS5 before HTTPS before HTTP."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert get_proxy(parse_uri("ws://h.example/")) == insecure
    assert get_proxy(parse_uri("wss://h.example/")) == secure


@pytest.mark.parametrize(
    ("proxy", "uri", "target", "headers"),
    [
        ("http://p", "ws://h/a?b", "h:80", [("Host", "h")]),
        ("http://p", "wss://h/", "h:443", [("Host", "h")]),
        ("http://p", "ws://[::1]:81/", "[::1]:81", [("Host", "[::1]:81")]),
        ("http://u:p@p", "ws://v:w@h/", "h:80", [("Host", "h"), ("Proxy-Authorization", "Basic dTpw")]),
    ],
)
def test_request_for_a_tunnel(proxy, uri, target, headers):
    """RFC 9110 §9.3.6, §7.2: neither path nor credentials of the URI are for the proxy."""
    request = ProxyHandshake(parse_proxy(proxy), parse_uri(uri), None).build_request()
    assert (request.method, request.path) == ("CONNECT", target)
    assert list(request.headers.raw_items()) == headers


def test_request_includes_the_user_agent():
    arguments = parse_proxy("http://p"), parse_uri("ws://h/")
    data = prepare_connect_request(*arguments)
    assert data == f"CONNECT h:80 HTTP/1.1\r\nHost: h\r\nUser-Agent: {USER_AGENT}\r\n\r\n".encode()
    assert prepare_connect_request(*arguments, "me") == data.replace(USER_AGENT.encode(), b"me")
    assert prepare_connect_request(*arguments, None) == b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"


def start():
    return ProxyHandshake(parse_proxy("http://p"), parse_uri("ws://h/"))


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 Connection established\r\n\r\n",
        b"HTTP/1.1 204 No\r\nX: y\r\n\r\n",
        # RFC 9110 §9.3.6: neither of them means anything here.
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 103 Wait\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
)
def test_tunnel_opens_at_the_end_of_the_head(head):
    handshake = start()
    answers = [handshake.receive_data(head[i : i + 1]) for i in range(len(head))]
    assert answers == [False] * (len(head) - 1) + [True]


@pytest.mark.parametrize("status", [302, 403, 407, 502])
def test_refusal_of_a_tunnel(status):
    with pytest.raises(InvalidProxyStatus, match=f"proxy rejected connection: HTTP {status}") as info:
        start().receive_data(f"HTTP/1.1 {status} No\r\nX: y\r\nContent-Length: 5\r\n\r\n".encode())
    assert info.value.response.status_code == status
    assert info.value.response.headers["X"] == "y"


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"220 smtp.example\r\n", "unsupported protocol"),
        (b"HTTP/1.1 999 No\r\n\r\n", "invalid status code; expected 100-599; got 999"),
        (b"HTTP/1.1 200 OK\r\n\r\nmore", "bytes behind the response"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "more than"),
    ],
)
def test_invalid_proxy_response_is_an_error(data, cause):
    with pytest.raises(InvalidProxyMessage, match="did not receive a valid HTTP response from proxy") as info:
        start().receive_data(data)
    assert cause in str(info.value.__cause__)


def test_oversized_head_is_a_security_error():
    with pytest.raises(InvalidProxyMessage) as info:
        start().receive_data(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000)
    assert isinstance(info.value.__cause__, SecurityError)


def test_end_of_stream_before_the_response_is_an_error():
    handshake = start()
    handshake.receive_data(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(InvalidProxyMessage, match="did not receive a valid HTTP response from proxy") as info:
        handshake.receive_eof()
    assert isinstance(info.value.__cause__, EOFError)
