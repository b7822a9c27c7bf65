"""Headers that an application adds to a request or a response (RFC 6455 §4.1)."""

from __future__ import annotations

import asyncio

import pytest

from wsframe import WebSocketProtocol
from wsframe.asyncio.client import connect
from wsframe.opening.custom_fields import add_custom_headers, check_custom_headers
from wsframe.opening.fields import Headers
from wsframe.sync.client import reconnect

RESERVED = [
    "Connection",
    "UPGRADE",
    "Content-Length",
    "Transfer-Encoding",
    "Sec-WebSocket-Key",
    "sec-websocket-version",
    "Sec-WebSocket-Accept",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Whatever",
]


def make_request(custom):
    headers = Headers([("Host", "h"), ("Authorization", "a"), ("Upgrade", "websocket")])
    add_custom_headers(headers, custom)
    return list(headers.raw_items())


@pytest.mark.parametrize("name", ["Host", "host", "HOST"])
def test_singleton_headers_replace_ours(name):
    """RFC 9110 §7.2: Host stays the first."""
    made = make_request({"X": "y", name: "other", "authorization": "b"})
    assert made == [("Host", "other"), ("Authorization", "b"), ("Upgrade", "websocket"), ("X", "y")]


def test_other_headers_are_added_in_their_order():
    custom = [("X", "1"), ("Cookie", "a"), ("X", "2"), ("Origin", "o"), ("User-Agent", "u")]
    assert make_request(custom)[3:] == custom
    assert make_request(iter(custom))[3:] == custom
    assert make_request(None) == make_request({}) == make_request(Headers())


@pytest.mark.parametrize("name", RESERVED)
def test_headers_of_the_handshake_are_refused(name):
    with pytest.raises(ValueError, match=f"must not have {name.lower()}"):
        make_request([("X", "y"), (name, "websocket")])


@pytest.mark.parametrize("name", ["Host", "Origin", "User-Agent", "Authorization"])
def test_singleton_headers_cannot_be_repeated(name):
    with pytest.raises(ValueError, match=f"more than one {name.lower()}"):
        check_custom_headers([(name, "a"), (name.lower(), "a")])


@pytest.mark.parametrize(
    ("name", "option"), [("Sec-WebSocket-Protocol", "subprotocols"), ("Sec-WebSocket-Extensions", "extensions")]
)
def test_error_names_the_option_to_use(name, option):
    with pytest.raises(ValueError, match=f"use the options? {option}"):
        check_custom_headers({name: "a"})


@pytest.mark.parametrize(
    "headers", [{"a b": "c"}, {"a": "b\r\nc: d"}, {"Upgrade": "h2c"}, [("Host", "a"), ("Host", "b")]]
)
def test_clients_check_additional_headers_at_once(headers):
    for make in (connect, reconnect):
        with pytest.raises(ValueError):
            make("ws://localhost/", additional_headers=headers)

    async def with_callbacks():
        WebSocketProtocol("ws://localhost/", additional_headers=headers)

    with pytest.raises(ValueError):
        asyncio.run(with_callbacks())
