"""Heads of requests and responses over a real socket, vector by vector, and peers that half-close."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import pytest
from head_vectors import each_request, each_response, request_of, response_of
from support import TEXT, dial, echo, port_of, raw_server, request, run, soon, until, wire_frame

import wsframe
import wsframe.asyncio.client
from wsframe import InvalidMessage, InvalidStatus, SecurityError, WebSocketProtocol, connect, serve
from wsframe.opening.head_reader import MAX_INTERIM_RESPONSES

HERE = "127.0.0.1"


@each_request
def test_request_is_answered_without_waiting_for_a_timeout(vector):
    """RFC 9112 §2.2, §3, §3.2: and not when the time for the handshake is over."""

    async def talk():
        async with serve(echo, HERE, 0, open_timeout=None) as server:
            for way in ("whole", "in two"):
                data = request_of(vector)
                pieces = [data] if way == "whole" else [data[: len(data) // 2], data[len(data) // 2 :]]
                async with dial(server) as peer:
                    with contextlib.suppress(ConnectionError):
                        await peer.send(*pieces)
                    start_line, _ = await peer.read_head()
                    assert start_line.startswith(f"HTTP/1.1 {vector['status']} ")

    run(talk())


def answering(vector):
    """Make a script that answers with a vector."""

    async def script(peer):
        _, headers = await peer.read_head()
        await peer.send(response_of(vector, dict(headers)["Sec-WebSocket-Key"]))
        if not vector.get("end"):
            with contextlib.suppress(ConnectionError):
                await soon(peer.reader.read())

    return script


@each_response
def test_response_is_parsed(vector, monkeypatch):
    """RFC 9112 §4, §6.3, RFC 9110 §15.2."""
    monkeypatch.setattr(wsframe.asyncio.client, "REFUSAL_BODY_S", 0.2)

    async def talk():
        async with raw_server(answering(vector)) as server:
            connecting = connect(server.uri, open_timeout=None, close_timeout=0.05)
            if vector["outcome"] == "open":
                await (await soon(connecting)).close()
                return
            with pytest.raises(getattr(wsframe, vector["outcome"])) as info:
                await soon(connecting)
        if "status" in vector:
            assert info.value.response.status_code == vector["status"]
            assert info.value.response.body == vector["body"].encode()

    run(talk())


async def test_interim_responses_may_arrive_separately():
    """RFC 9110 §15.2."""

    async def script(peer):
        _, headers = await peer.read_head()
        key = dict(headers)["Sec-WebSocket-Key"]
        interim = b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"
        await peer.send(*[interim] * MAX_INTERIM_RESPONSES, response_of({"data": "HTTP/1.1 101 A\r\n{right}"}, key))
        await soon(peer.reader.read())

    async with raw_server(script) as server:
        async with connect(server.uri, close_timeout=0.05) as websocket:
            assert websocket.response.status_code == 101


async def test_endless_interim_responses_are_refused():
    """RFC 6455 §10.4."""

    async def script(peer):
        await peer.read_head()
        with contextlib.suppress(ConnectionError):
            while True:
                await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    async with raw_server(script) as server:
        with pytest.raises(SecurityError, match="interim responses"):
            await soon(connect(server.uri, open_timeout=None))


REFUSAL = {"data": "HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nsorry"}


async def test_refusal_with_an_incomplete_body_is_reported():
    """Also where all of the time limit is less than what a body gets."""
    async with raw_server(answering(REFUSAL)) as server:
        with pytest.raises(InvalidStatus) as info:
            await soon(connect(server.uri, open_timeout=0.5))
    assert info.value.response.body == b"sorry"
    assert isinstance(info.value.__cause__, (TimeoutError, asyncio.TimeoutError))


async def test_refusal_does_not_affect_the_next_attempt():
    async with raw_server(answering(REFUSAL)) as server:
        connecting = connect(server.uri, open_timeout=0.5)
        with pytest.raises(InvalidStatus):
            await soon(connecting)
        connecting.open_timeout = 0.05
        connecting.open_tcp_connection = hang
        with pytest.raises(TimeoutError, match="timed out during opening handshake"):
            await soon(connecting)


async def hang(*args, **options):
    await asyncio.Event().wait()


async def test_open_timeout_covers_the_tcp_connection():
    with pytest.raises(TimeoutError, match="timed out during opening handshake"):
        connecting = connect("ws://localhost/", open_timeout=0.05, proxy=None)
        connecting.open_tcp_connection = hang
        await connecting


async def protocol_refused_by(script, *, read=None, **options):
    """Connect with callbacks, setting ``read`` with each read; return the exception that the handshake fails with."""
    failures, lost = [], asyncio.Event()

    class Client(WebSocketProtocol):
        def buffer_updated(self, nbytes):
            super().buffer_updated(nbytes)
            if read is not None:
                read.set()

        def handshake_failed(self, exc):
            failures.append(exc)

        def connection_lost(self, exc):
            super().connection_lost(exc)
            lost.set()

    async with raw_server(script) as server:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: Client(server.uri, **options), HERE, server.port)
        await until(lambda: failures)
        transport.abort()
        await soon(lost.wait())
    (failure,) = failures
    return failure


@pytest.mark.parametrize("how", ["end", "reset", "silence"])
async def test_callbacks_receive_a_refusal_with_an_incomplete_body(how):
    read = asyncio.Event()

    async def script(peer):
        await peer.read_head()
        await peer.send(REFUSAL["data"].encode())
        if how == "reset":
            await soon(read.wait())
            peer.abort()
        elif how == "silence":
            with contextlib.suppress(ConnectionError):
                await soon(peer.reader.read())

    failure = await protocol_refused_by(script, read=read, open_timeout=0.5 if how == "silence" else None)
    assert isinstance(failure, InvalidStatus)
    assert failure.response.body == b"sorry"


async def test_callbacks_receive_an_error_without_a_response():
    async def script(peer):
        await peer.read_head()

    assert isinstance(await protocol_refused_by(script), InvalidMessage)


# A client that half-closes


async def end_of(connection):
    """Wait until the client has ended its stream, or reading is paused before that."""
    await until(lambda: connection._peer_ended or not connection.transport.is_reading())


async def answer_later(connection, received):
    await end_of(connection)
    return connection.respond(200, "OK\n") if received.path == "/healthz" else None


async def change_later(connection, received, response):
    await end_of(connection)


async def answer_to_half_closed(data, **options):
    """Send a request, then the end of the stream; return all that comes."""
    async with serve(echo, HERE, 0, **options) as server, dial(server) as peer:
        peer.writer.write(data)
        peer.writer.write_eof()
        answer = await soon(peer.reader.read())
        await until(lambda: not server._attached)
    return answer


@pytest.mark.parametrize("options", [{}, {"process_request": answer_later}, {"process_response": change_later}])
async def test_half_closed_client_receives_the_response(options):
    """RFC 9112 §9.6: as printf | nc -N sends it."""
    answer = await answer_to_half_closed(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n", **options)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n" if "process_request" in options else b"HTTP/1.1 426 ")
    if "process_request" in options:
        assert answer.endswith(b"\r\n\r\nOK\n")


@pytest.mark.parametrize("options", [{}, {"process_request": answer_later}, {"process_response": change_later}])
@pytest.mark.parametrize("trailing", [b"", wire_frame(TEXT, b"a", mask=b"abcd")])
async def test_half_closed_client_receives_the_whole_handshake(options, trailing):
    answer = await answer_to_half_closed(request() + trailing, **options)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"\r\n\r\n" in answer


async def test_half_closed_client_is_dropped_after_the_time_limit():
    async def forever(connection, received):
        await asyncio.Event().wait()

    with contextlib.suppress(ConnectionError):
        assert await answer_to_half_closed(request(), process_request=forever, open_timeout=0.3) == b""


async def test_half_closed_tls_ends_the_connection(server_tls, client_tls, caplog):
    """TLS of asyncio has no half-closed state, and warns of who wants one."""
    caplog.set_level(logging.WARNING)
    asked = asyncio.Event()

    async def process_request(connection, received):
        asked.set()
        await until(connection.transport.is_closing)

    async with serve(echo, HERE, 0, ssl=server_tls, process_request=process_request) as server:
        _, writer = await asyncio.open_connection(HERE, port_of(server), ssl=client_tls, server_hostname="localhost")
        writer.write(request())
        await soon(asked.wait())
        writer.close()
        with contextlib.suppress(ConnectionError):
            await soon(writer.wait_closed())
        await until(lambda: not server._attached)
    assert not caplog.records


# Responses that the application has a hand in


async def wire_of(
    process_response=None, process_request=None, headers=None, caplog=None, start="GET / HTTP/1.1", **options
):
    """Return the lines of the response, by name, with its status and body."""
    async with serve(
        echo, HERE, 0, process_request=process_request, process_response=process_response, **options
    ) as server:
        async with dial(server) as peer:
            await peer.send(request(headers, start))
            start_line, lines = await peer.read_head()
            status = int(start_line.split(" ")[1])
            body = b"" if status == 101 else await soon(peer.reader.read())
            await peer.aclose()
        await until(lambda: not server._attached)
    values = {}
    for name, value in lines:
        values.setdefault(name.lower(), []).append(value)
    return status, values, body


def adding(*lines):
    def process_response(connection, received, response):
        for name, value in lines:
            response.headers[name] = value

    return process_response


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Connection", "close"),
        ("Connection", "Upgrade"),
        ("Upgrade", "h2c"),
        ("Sec-WebSocket-Accept", "x"),
        ("Sec-WebSocket-Protocol", "b"),
        ("Sec-WebSocket-Extensions", "x-foo"),
    ],
)
async def test_added_headers_do_not_duplicate_those_of_the_handshake(name, value, caplog):
    offer = {"Sec-WebSocket-Protocol": "a, b", "Sec-WebSocket-Extensions": "permessage-deflate"}
    options = {"subprotocols": ["a"], "headers": offer}
    _, plain, _ = await wire_of(**options)
    status, lines, _ = await wire_of(adding((name, value), ("X", "y"), ("X", "z")), **options)
    assert status == 101
    assert lines[name.lower()] == plain[name.lower()]
    assert lines["x"] == ["y", "z"]
    assert f"contradict the handshake: {name}" in caplog.text


async def test_application_may_replace_headers():
    """As in websockets."""

    def process_response(connection, received, response):
        del response.headers["Connection"]
        response.headers["Connection"] = "keep-alive, Upgrade"

    status, lines, _ = await wire_of(process_response)
    assert (status, lines["connection"]) == (101, ["keep-alive, Upgrade"])


async def test_application_may_choose_the_subprotocol_in_a_header(caplog):
    chosen = []

    def process_response(connection, received, response):
        chosen.append(connection)
        response.headers["Sec-WebSocket-Protocol"] = received.headers["X"]

    for name, expected in (("b", ["b"]), ("c", None)):
        headers = {"Sec-WebSocket-Protocol": "a, b", "X": name}
        status, lines, _ = await wire_of(process_response, headers=headers)
        assert (status, lines.get("sec-websocket-protocol")) == (101, expected)
        assert chosen.pop().subprotocol == (expected and expected[0])
    assert "contradict the handshake: Sec-WebSocket-Protocol" in caplog.text


async def test_application_may_remove_compression():
    def process_response(connection, received, response):
        del response.headers["Sec-WebSocket-Extensions"]

    async with serve(echo, HERE, 0, process_response=process_response) as server:
        async with connect(f"ws://{HERE}:{port_of(server)}/") as websocket:
            assert not websocket.protocol.extensions
            await websocket.send("a" * 5000)
            assert await soon(websocket.recv()) == "a" * 5000


async def test_101_has_no_body(caplog):
    def process_response(connection, received, response):
        response.headers["Content-Length"] = "3"
        response.headers["Transfer-Encoding"] = "chunked"
        response.body = b"\x81\x01a"

    async with serve(echo, HERE, 0, process_response=process_response) as server:
        async with connect(f"ws://{HERE}:{port_of(server)}/") as websocket:
            assert {"Content-Length", "Transfer-Encoding"}.isdisjoint(websocket.response.headers)
            await websocket.send("b")
            assert await soon(websocket.recv()) == "b"
    assert "contradict the handshake: Content-Length, Transfer-Encoding" in caplog.text


def responding(status, text, *lines, body=None):
    def process_request(connection, received):
        response = connection.respond(status, text)
        for name, value in lines:
            response.headers[name] = value
        if body is not None:
            response.body = body
        return response

    return process_request


@pytest.mark.parametrize(
    ("process_request", "expected"),
    [
        (responding(200, "abc", ("Content-Length", "5")), {"content-length": ["3"], "connection": ["close"]}),
        (responding(200, "abc", body=b"abcde"), {"content-length": ["5"]}),
        (
            responding(200, "abc", ("Transfer-Encoding", "chunked")),
            {"content-length": ["3"], "transfer-encoding": None},
        ),
        (responding(200, "abc", ("Connection", "keep-alive")), {"connection": ["close"]}),
        (responding(200, "abc", ("Connection", "Close")), {"connection": ["close", "Close"]}),
        (responding(204, ""), {"content-length": None}),
        (responding(204, "abc"), {"content-length": None}),
        (responding(304, ""), {"content-length": ["0"]}),
    ],
)
async def test_response_declares_its_length_once(process_request, expected):
    """RFC 9110 §6.4.1, §8.6; RFC 9112 §6.2."""
    status, lines, body = await wire_of(process_request=process_request)
    assert {name: lines.get(name) for name in expected} == expected
    if status == 200:
        assert lines["content-length"] == [str(len(body))]
    else:
        assert body == b""


async def test_response_to_head_declares_the_length_of_the_body():
    """RFC 9110 §9.3.2."""
    process_request = responding(200, "", body=b"")

    def with_length(connection, received):
        response = process_request(connection, received)
        del response.headers["Content-Length"]
        response.headers["Content-Length"] = "1000"
        return response

    status, lines, body = await wire_of(process_request=with_length, start="HEAD / HTTP/1.1")
    assert (status, lines["content-length"], body) == (200, ["1000"], b"")


async def test_response_without_a_length_ends_with_the_connection():
    """RFC 9112 §6.3."""

    def process_request(connection, received):
        return wsframe.http11.Response(200, "OK", wsframe.Headers(), b"abc")

    status, _, body = await wire_of(process_request=process_request)
    assert (status, body) == (200, b"abc")


@pytest.mark.parametrize(
    ("status", "phrase"), [(100, "Continue"), (103, "Early Hints"), (1000, "x"), (200, "a\r\nX: y"), (200, "\u20ac")]
)
async def test_unsendable_response_is_an_application_error(status, phrase, caplog):
    def process_request(connection, received):
        return wsframe.http11.Response(status, phrase, wsframe.Headers())

    got, lines, _ = await wire_of(process_request=process_request)
    assert got == 500
    assert "x" not in lines
    assert "cannot be sent" in caplog.text
