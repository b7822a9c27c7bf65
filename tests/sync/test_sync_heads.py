"""Heads of responses to clients for threads, vector by vector."""

from __future__ import annotations

import pytest
from head_vectors import each_response, response_of
from support import raw_server, read_to_end
from threads import running

import wsframe
import wsframe.sync.client
from wsframe import InvalidStatus
from wsframe.sync.client import connect


def answering(vector):
    async def script(peer):
        _, headers = await peer.read_head()
        await peer.send(response_of(vector, dict(headers)["Sec-WebSocket-Key"]))
        if not vector.get("end"):
            await read_to_end(peer)

    return running(lambda: raw_server(script))


@each_response
def test_response_is_read(vector, monkeypatch):
    """RFC 9112 §4, §6.3, RFC 9110 §15.2."""
    monkeypatch.setattr(wsframe.sync.client, "REFUSAL_BODY_S", 0.2)
    with answering(vector) as server:
        if vector["outcome"] == "open":
            connect(server.uri, open_timeout=None, close_timeout=0.05).close()
            return
        with pytest.raises(getattr(wsframe, vector["outcome"])) as info:
            connect(server.uri, open_timeout=None)
    if "status" in vector:
        assert info.value.response.status_code == vector["status"]
        assert info.value.response.body == vector["body"].encode()


def test_refusal_with_an_incomplete_body_is_reported():
    """Also if open_timeout is shorter than the time limit for a body."""
    with answering({"data": "HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nsorry"}) as server:
        with pytest.raises(InvalidStatus) as info:
            connect(server.uri, open_timeout=0.5)
    assert info.value.response.body == b"sorry"
