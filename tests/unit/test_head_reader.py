"""Heads of requests and responses without I/O, vector by vector (RFC 9112, RFC 9110 §15.2)."""

from __future__ import annotations

import pytest
from head_vectors import cut, each_request, each_response, request_of, response_of, ways

import wsframe
from wsframe.exceptions import HeaderLineTooLong, InvalidHandshake, InvalidMessage
from wsframe.limits import Limits
from wsframe.opening import handshake
from wsframe.opening.handshake import ClientHandshake, NotHTTPError, ServerHandshake
from wsframe.opening.head_reader import HeadBuffer, ResponseReader
from wsframe.opening.proxy import Proxy, ProxyHandshake
from wsframe.opening.uri import parse_uri


@each_request
@ways
def test_request_is_answered(vector, way):
    """RFC 9112 §2.2, §3, §3.2: with the same status however the head comes in."""
    server = ServerHandshake()
    response = None
    try:
        for piece in cut(request_of(vector), way):
            request = server.receive_data(piece)
    except NotHTTPError:
        pytest.fail("it is HTTP, and wants an answer")
    except InvalidHandshake as exc:
        response = server.refuse(exc)
    else:
        assert request is not None, "the server waits for more"
        response = server.accept(request)
        assert request.path == vector.get("path", request.path)
        assert request.path.startswith("/")
        assert request.headers.get("Host") == vector.get("host", request.headers.get("Host"))
        assert len(request.headers.get_all("Host")) <= 1
    assert response.status_code == vector["status"]


@pytest.mark.parametrize(
    "data",
    [b"HELO relay.example\r\n", b"SSH-2.0-x\r\n", b"\x16\x03\x01", b"\n", b" ", b"\r\n", b"FOO HTTP/\x00", b"GE\x00"]
    # HTTP/0.9, which is obsolete.
    + [b"GET /\r\n", b"FOO HTTP/\rX\n"],
)
@ways
def test_another_protocol_is_not_http(data, way):
    """The peer would not understand an answer in HTTP."""
    server = ServerHandshake()
    with pytest.raises(NotHTTPError):
        for piece in cut(data, way):
            server.receive_data(piece)


@pytest.mark.parametrize("start", [b"GET /" + b"a" * 2000, b"BREW HTTP/" + b"HTTP/" * 20_000])
def test_long_request_lines_take_linear_time(start):
    """RFC 6455 §10.4: quadratic time would exceed the timeout."""
    for data in (start, start + b"\n", start + b"\0\n"):
        with pytest.raises(InvalidHandshake):
            ServerHandshake(limits=Limits(max_head_size=2**20)).receive_data(data + b"\r\n\r\n")


@each_response
@ways
def test_response_is_read(vector, way):
    """RFC 9112 §4, §6.3, RFC 9110 §15.2."""
    client = ClientHandshake(parse_uri("ws://h/"))
    made = client.build_request()
    response = None

    def outcome():
        nonlocal response
        for piece in cut(response_of(vector, made.headers["Sec-WebSocket-Key"]), way):
            response = client.receive_data(piece)
        if vector.get("waits"):
            assert response is None
            assert client.refusal is not None
        if vector.get("end") or vector.get("waits"):
            response = client.receive_eof()
        assert response is not None, "the client waits for more"
        client.check(response)

    if vector["outcome"] == "open":
        outcome()
        return
    with pytest.raises(getattr(wsframe, vector["outcome"])) as info:
        outcome()
    assert type(info.value) is getattr(wsframe, vector["outcome"])
    if "status" in vector:
        assert info.value.response.status_code == vector["status"]
        assert info.value.response.body == vector["body"].encode()


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 1000])
@pytest.mark.parametrize("wrong", [b"\n", b"\r", b"\0", b"\r\n ", b"\r\n\t", b"\x7f", b"\r\r\n"])
def test_forbidden_bytes_are_found_wherever_the_head_is_cut(size, wrong):
    """RFC 9112 §2.2, §5.2."""
    for before in range(1, 12):
        data = b"GET / HTTP/1.1\r\n" + b"a" * before + wrong + b"b" * 12
        buffer = HeadBuffer(Limits(), HeaderLineTooLong)
        with pytest.raises(InvalidMessage):
            for i in range(0, len(data), size):
                buffer.feed(data[i : i + size])


def test_bytes_after_a_head_are_not_checked():
    buffer = HeadBuffer(Limits(), HeaderLineTooLong)
    assert buffer.feed(b"a\r\n\r\n\n\r\0 ") == (b"a\r\n\r\n", b"\n\r\0 ")


def test_size_limit_takes_precedence_over_bytes_beyond_it():
    buffer = HeadBuffer(Limits(max_head_size=10), HeaderLineTooLong)
    with pytest.raises(HeaderLineTooLong):
        buffer.feed(b"a" * 10 + b"\n")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_proxy_may_use_http_1_0(version):
    handshake = ProxyHandshake(Proxy("http", "p", 80), parse_uri("ws://h/"))
    assert handshake.receive_data(f"HTTP/{version} 200 OK\r\n\r\n".encode())


def test_end_of_stream_before_a_head_is_an_error():
    """Its cause says where."""
    reader = ResponseReader(handshake._UPGRADE_REQUEST, Limits())
    with pytest.raises(InvalidMessage) as info:
        reader.receive_eof()
    assert isinstance(info.value.__cause__, EOFError)
