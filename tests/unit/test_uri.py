"""WebSocket URIs (RFC 6455 §3)."""

from __future__ import annotations

import pytest

from wsframe.exceptions import InvalidURI
from wsframe.opening.uri import WebSocketURI, parse_uri


@pytest.mark.parametrize(
    ("uri", "parsed"),
    [
        ("ws://localhost", WebSocketURI(False, "localhost", 80, "", "")),
        ("ws://localhost/", WebSocketURI(False, "localhost", 80, "/", "")),
        ("wss://localhost/", WebSocketURI(True, "localhost", 443, "/", "")),
        ("WSS://LOCALHOST:8080/Path?Query", WebSocketURI(True, "localhost", 8080, "/Path", "Query")),
        ("ws://[::1]:8080/a?b?c", WebSocketURI(False, "::1", 8080, "/a", "b?c")),
        ("ws://[fe80::1%25eth0]/", WebSocketURI(False, "fe80::1%eth0", 80, "/", "")),
        ("ws://[fe80::1%eth0]:81/%25eth0", WebSocketURI(False, "fe80::1%eth0", 81, "/%25eth0", "")),
        ("ws://[fe80::1%25]/", WebSocketURI(False, "fe80::1%25", 80, "/", "")),
        ("ws://u:p%40@h/", WebSocketURI(False, "h", 80, "/", "", "u", "p@")),
        ("ws://u:@h/", WebSocketURI(False, "h", 80, "/", "", "u", "")),
        ("ws://h?q", WebSocketURI(False, "h", 80, "", "q")),
        ("ws://m\xfcnchen.example/stra\xdfe?\xe4=%20", WebSocketURI(
            False, "xn--mnchen-3ya.example", 80, "/stra%C3%9Fe", "%C3%A4=%20")),
    ],
)  # fmt: skip
def test_uri_is_parsed(uri, parsed):
    assert parse_uri(uri) == parsed


@pytest.mark.parametrize(
    ("uri", "resource_name"),
    [("ws://h", "/"), ("ws://h/", "/"), ("ws://h/a?b", "/a?b"), ("ws://h?b", "/?b"), ("ws://h/a?", "/a")],
)
def test_resource_name_is_path_and_query(uri, resource_name):
    """RFC 6455 §3: "/" if the path is empty, and "?" with the query unless that is empty."""
    assert parse_uri(uri).resource_name == resource_name


def test_user_info_is_name_and_password():
    assert parse_uri("ws://u:p@h").user_info == ("u", "p")
    assert parse_uri("ws://h").user_info is None


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ws://h/#x", "fragment"),
        ("ws://h/#", "fragment"),
        ("ws://h#", "fragment"),
        ("http://h/", "scheme"),
        ("h", "scheme"),
        ("", "scheme"),
        ("ws:///path", "hostname"),
        ("ws://", "hostname"),
        ("ws://u@h/", "without password"),
        ("ws://h:65536/", "ut of range"),
        ("ws://h:x/", "cast to integer|invalid literal|ort"),
        ("ws://[::1/", "IPv6"),
        ("ws://h/a b", "spaces"),
        ("ws://h/a\r\nX: y", "control"),
        ("ws://h/\x7f", "control"),
        ("ws://" + "\xe9" * 64 + "/", "cannot be encoded"),
    ],
)
def test_invalid_websocket_uri_is_refused(uri, message):
    """RFC 6455 §3: also a fragment, even an empty one (row C12)."""
    with pytest.raises(InvalidURI, match=message) as info:
        parse_uri(uri)
    assert isinstance(info.value, ValueError)
    assert info.value.uri == uri
