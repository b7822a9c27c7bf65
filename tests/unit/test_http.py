"""Requests and responses of the opening handshake as objects (RFC 6455 §4)."""

from __future__ import annotations

import pytest

from wsframe.opening.fields import Headers
from wsframe.opening.http import SERVER, USER_AGENT, Request, Response


def test_request_is_serialized():
    request = Request("/chat?a=b", Headers(Host="example.com"))
    assert request.serialize() == b"GET /chat?a=b HTTP/1.1\r\nHost: example.com\r\n\r\n"


def test_response_is_serialized():
    response = Response(404, "Not Found", Headers({"Content-Length": "2"}), b"no")
    assert response.serialize() == b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno"


def test_response_without_body_is_serialized():
    assert Response(101, "", Headers()).serialize() == b"HTTP/1.1 101 \r\n\r\n"


@pytest.mark.parametrize("status", [0, 99, 1000, -101])
def test_status_code_without_three_digits_is_refused(status):
    with pytest.raises(ValueError, match="invalid status code"):
        Response(status, "", Headers()).serialize()


@pytest.mark.parametrize("reason", ["a\r\nB: c", "a\nb", "\0"])
def test_reason_phrase_with_control_characters_is_refused(reason):
    with pytest.raises(ValueError, match="invalid reason phrase"):
        Response(200, reason, Headers()).serialize()


def test_user_agent_names_the_project():
    assert "wsframe/" in USER_AGENT
    assert USER_AGENT == SERVER
