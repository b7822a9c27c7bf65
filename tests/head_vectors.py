"""The vectors of ``vectors/http/heads.json``: heads of requests and responses, and what becomes of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsframe.opening.handshake import accept_key

HEADS = json.loads((Path(__file__).parent / "vectors" / "http" / "heads.json").read_text(encoding="utf-8"))

REST = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
RIGHT = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"

each_request = pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector["name"]) for vector in HEADS["requests"]]
)
each_response = pytest.mark.parametrize(
    "vector", [pytest.param(vector, id=vector["name"]) for vector in HEADS["responses"]]
)


def request_of(vector):
    """Write the bytes of a request."""
    return vector["head"].replace("{rest}", REST).encode("iso-8859-1")


def response_of(vector, key):
    """Write the bytes of the response to a request with this key."""
    return vector["data"].replace("{right}", RIGHT.format(accept_key(key))).encode("iso-8859-1")


def cut(data, way):
    """Cut bytes into the pieces in which they come."""
    return [data] if way == "whole" else [data[i : i + 1] for i in range(len(data))]


ways = pytest.mark.parametrize("way", ["whole", "in pieces"])
