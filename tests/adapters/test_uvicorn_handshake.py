"""The opening handshake of ``wsframe.adapters.uvicorn``, and what an application may do wrong."""

from __future__ import annotations

import asyncio

import pytest
from support import TEXT, dial, dial_open, request, soon, until, uri_of
from test_uvicorn import App, echo, running, sending

from wsframe import connect

# The opening handshake


async def test_scope():
    app = App()
    headers = {"Sec-WebSocket-Protocol": "one, two", "X-Name": b"\xe9".decode("utf-8", "surrogateescape")}
    async with running(app, root_path="/root") as server:
        server.server.server_state.default_headers = [(b"server", b"uvicorn")]
        async with dial(server) as peer:
            await peer.send(request(headers, "GET /a%20b?c=d HTTP/1.1"))
            _, lines = await peer.read_head()
            assert dict(lines)["server"] == "uvicorn"
    (scope,) = app.scopes
    assert scope["type"] == "websocket"
    assert scope["asgi"]["spec_version"] == "2.4"
    assert (scope["path"], scope["raw_path"]) == ("/root/a b", b"/root/a%20b")
    assert (scope["query_string"], scope["root_path"]) == (b"c=d", "/root")
    assert (scope["scheme"], scope["client"][0]) == ("ws", "127.0.0.1")
    assert scope["subprotocols"] == ["one", "two"]
    assert (b"x-name", b"\xe9") in scope["headers"]
    assert scope["extensions"] == {"websocket.http.response": {}}


async def test_application_chooses_subprotocol_and_headers():
    accept = {"subprotocol": "two", "headers": [(b"X-One", b"1"), (b"x-two", b"\xe9")]}
    async with running(App(accept=accept)) as server:
        async with connect(uri_of(server), subprotocols=["one", "two"]) as websocket:
            assert websocket.subprotocol == "two"
            assert websocket.response.headers["x-one"] == "1"
            assert websocket.response.headers["x-two"].encode("iso-8859-1") == b"\xe9"
            assert "Date" not in websocket.response.headers


async def test_request_that_is_no_handshake_is_refused():
    async with running(App()) as server:
        async with dial(server) as peer:
            await peer.send(request({"Sec-WebSocket-Key": None}))
            start_line, _ = await peer.read_head()
            assert start_line.split(" ")[1] == "400"
        async with dial(server) as peer:
            # uvicorn lets 64 KiB pass.
            await peer.send(request({"X-Large": "x" * 40_000}))
            start_line, _ = await peer.read_head()
            assert start_line.split(" ")[1] == "431"


async def deny(send, *bodies, status=401, headers=()):
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    for body in bodies:
        await send({"type": "websocket.http.response.body", **body})


async def denied(*bodies, **options):
    """Return the start line, the headers and the body of a response that denies the handshake."""

    async def app(scope, receive, send):
        await receive()
        await deny(send, *bodies, **options)

    async with running(app) as server, dial(server) as peer:
        await peer.send(request())
        start_line, lines = await peer.read_head()
        return start_line, {name.lower(): value for name, value in lines}, await soon(peer.reader.read())


async def test_denial_in_one_piece():
    start_line, headers, body = await denied({"body": b"no"}, headers=[(b"x-why", b"because")])
    assert start_line == "HTTP/1.1 401 Unauthorized"
    assert (headers["content-length"], headers["connection"], headers["x-why"]) == ("2", "close", "because")
    assert body == b"no"


async def test_denial_in_several_pieces_is_chunked():
    more = {"more_body": True}
    _, headers, body = await denied({"body": b"one", **more}, {"body": b"", **more}, {"body": b"two"}, {"body": b""})
    assert headers["transfer-encoding"] == "chunked"
    assert body == b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n"


async def test_denial_with_a_length_of_its_own_is_not_chunked():
    headers = [(b"content-length", b"6"), (b"content-type", b"text/html")]
    start_line, headers, body = await denied(
        {"body": b"one", "more_body": True}, {"body": b"two"}, status=599, headers=headers
    )
    assert start_line == "HTTP/1.1 599 "
    assert headers["content-type"] == "text/html"
    assert body == b"onetwo"


async def test_denial_without_a_body():
    start_line, headers, body = await denied(status=404)
    assert start_line == "HTTP/1.1 404 Not Found"
    assert (headers["content-length"], body) == ("0", b"")


async def test_incomplete_denial_ends_the_connection():
    _, headers, body = await denied({"body": b"one", "more_body": True})
    assert (headers["transfer-encoding"], body) == ("chunked", b"3\r\none\r\n")


async def test_denial_with_a_wrong_status_is_an_error():
    start_line, _, body = await denied(status=700)
    assert (start_line, body) == ("HTTP/1.1 500 Internal Server Error", b"Internal Server Error")


@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_bytes_after_the_request_are_kept(http):
    # RFC 6455 §4.1 has clients wait; some proxies put what they have into one segment.
    async with running(App(echo), http=http) as server:
        trailing = bytes.fromhex("818537fa213d7f9f4d5158")
        async with dial_open(server, trailing=trailing) as peer:
            await peer.expect(TEXT, b"Hello")


async def test_bytes_before_the_answer_wait_for_it():
    accept = asyncio.Event()

    async def app(scope, receive, send):
        await receive()
        await accept.wait()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": (await receive())["text"]})
        await receive()

    async with running(app) as server, dial(server) as peer:
        await peer.send(request(), bytes.fromhex("818537fa213d"))
        await until(lambda: server.protocols and not server.protocols[0].transport.is_reading())
        await peer.send(bytes.fromhex("7f9f4d5158"))
        accept.set()
        await peer.read_head()
        await peer.expect(TEXT, b"Hello")


async def test_client_lost_before_the_answer():
    app = App()
    proceed = asyncio.Event()
    errors = []

    async def slow(scope, receive, send):
        await proceed.wait()
        try:
            await app(scope, receive, send)
        except OSError as exc:
            errors.append(exc)

    async with running(slow) as server:
        async with dial(server) as peer:
            await peer.send(request())
            await until(lambda: server.protocols)
            (protocol,) = server.protocols
        await until(protocol.transport.is_closing)
        proceed.set()
        await soon(app.done.wait())
    assert len(errors) == 1


async def test_accept_while_the_transport_is_closing():
    raised = asyncio.Event()

    async def app(scope, receive, send):
        server.protocols[0].transport.close()
        with pytest.raises(OSError):
            await send({"type": "websocket.accept"})
        raised.set()

    async with running(app) as server, dial(server) as peer:
        await peer.send(request())
        await soon(raised.wait())


# What an application may do wrong


async def misbehave(*events):
    """Send events in order; return the exceptions that they raise, and what the client gets."""
    errors = []

    async with running(sending(events, errors)) as server, dial(server) as peer:
        await peer.send(request())
        start_line, _ = await peer.read_head()
    assert {type(exc) for exc in errors} <= {RuntimeError}
    return [str(exc) for exc in errors], int(start_line.split(" ")[1])


async def test_events_out_of_order_are_errors():
    accept, close = {"type": "websocket.accept"}, {"type": "websocket.close"}
    send = {"type": "websocket.send", "text": ""}
    start = {"type": "websocket.http.response.start", "status": 404}
    (error,), status = await misbehave(send)
    assert (error.endswith("but got 'websocket.send'."), status) == (True, 500)
    (error,), status = await misbehave(accept, accept)
    assert (error.endswith("but got 'websocket.accept'."), status) == (True, 101)
    (error,), status = await misbehave(close, send)
    assert (error, status) == ("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.", 403)
    (error,), status = await misbehave(accept, close, send)
    assert (error, status) == ("Unexpected ASGI message 'websocket.send', after sending 'websocket.close'.", 101)
    (error,), status = await misbehave(start, start)
    assert (error.endswith("but got 'websocket.http.response.start'."), status) == (True, 404)


async def test_header_with_a_line_break_is_an_error():
    async def app(scope, receive, send):
        await receive()
        with pytest.raises(ValueError):
            await send({"type": "websocket.accept", "headers": [(b"x", b"1\r\ny: 2")]})
        await send({"type": "websocket.accept", "headers": [(b"x", b"1")]})

    async with running(app) as server, dial_open(server) as peer:
        assert dict(peer.headers)["x"] == "1"


@pytest.mark.parametrize(("result", "text"), [(None, "without completing handshake"), (1, "should return None")])
async def test_application_that_returns_early_or_returns_a_value(caplog, result, text):
    async def app(scope, receive, send):
        if result is not None:
            await send({"type": "websocket.accept"})
        return result

    async with running(app) as server, dial(server) as peer:
        await peer.send(request())
        start_line, _ = await peer.read_head()
        assert start_line.split(" ")[1] == ("500" if result is None else "101")
        await soon(peer.reader.read())
    assert text in caplog.text


async def test_exception_before_the_answer_is_500_and_logged(caplog):
    async def app(scope, receive, send):
        raise ValueError("broken")

    async with running(app) as server, dial(server) as peer:
        await peer.send(request())
        assert (await peer.read_head())[0].split(" ")[1] == "500"
    assert "broken" in caplog.text
