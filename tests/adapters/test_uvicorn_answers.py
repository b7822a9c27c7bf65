"""What an application answers to the handshake under ``wsframe.adapters.uvicorn``: headers, subprotocols, denials."""

from __future__ import annotations

import asyncio
import contextlib

import h11
import pytest
from support import CLOSE, TEXT, close_payload, dial, dial_open, request, soon, until
from test_uvicorn import App, faked, running, sending

HTTP = ["h11", "httptools"]
START, BODY = "websocket.http.response.start", "websocket.http.response.body"


class Bytes(bytes):
    """As numpy's: a subclass with methods of its own."""

    def decode(self, *args):
        raise AssertionError("a method of a subclass was called")


async def answer(*events, headers=None, start_line="GET / HTTP/1.1", http=None, default_headers=(), swallow=False):
    """Send events as the application; return status, headers, body, and the exceptions that ``send`` raises."""
    errors = []

    app = sending(events, errors, swallow)

    if http is None:
        async with faked(app, default_headers, request(headers, start_line)) as (_, transport):
            await until(lambda: transport.is_closing() or b"101" in transport.written)
        head, _, body = bytes(transport.written).partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        lines = [tuple(field.split(": ", 1)) for field in fields]
    else:
        async with running(app, http=http) as server, dial(server) as peer:
            await peer.send(request(headers, start_line))
            line, lines = await peer.read_head()
            body = b"" if " 101 " in line else await soon(peer.reader.read())
    status = int(line.split(" ")[1])
    # Whatever the application sends, a parser as strict as h11 must agree to it.
    if status != 101:
        client = h11.Connection(h11.CLIENT)
        client.send(h11.Request(method="GET", target="/", headers=[("Host", "_")]))
        client.send(h11.EndOfMessage())
        client.receive_data("\r\n".join([line, *(f"{k}: {v}" for k, v in lines), "", ""]).encode("latin-1") + body)
        client.receive_data(b"")
        with contextlib.suppress(h11.RemoteProtocolError):
            received = b""
            while type(event := client.next_event()) is not h11.EndOfMessage:
                received += bytes(event.data) if isinstance(event, h11.Data) else b""
            body = received
    return status, [(name.lower(), value) for name, value in lines], body, errors


def values(lines, name):
    return [value for key, value in lines if key == name]


# Acceptance


@pytest.mark.parametrize("http", HTTP)
@pytest.mark.parametrize(
    "name",
    [
        b"Sec-WebSocket-Protocol",
        b"sec-websocket-accept",
        b"sec-websocket-extensions",
        b"sec-websocket-version",
        b"sec-websocket-key",
        b"Connection",
        b"upgrade",
        b"content-length",
        b"Transfer-Encoding",
    ],
)
async def test_header_of_the_handshake_is_refused(name, http):
    accept = {"type": "websocket.accept", "headers": [(b"x", b"1"), (name, b"0")]}
    status, lines, _, (error,) = await answer(accept, http=http)
    assert isinstance(error, ValueError)
    assert name.decode().lower() in str(error)
    assert (status, values(lines, "x")) == (500, [])


async def test_header_of_the_handshake_among_uvicorns_is_omitted():
    default = [(b"Connection", b"keep-alive"), (b"content-length", b"0"), (b"server", b"uvicorn"), (b"date", b"now")]
    status, lines, _, _ = await answer({"type": "websocket.accept"}, default_headers=default)
    assert status == 101
    assert values(lines, "connection") == ["Upgrade"]
    assert values(lines, "content-length") == []
    assert (values(lines, "server"), values(lines, "date")) == (["uvicorn"], ["now"])


async def test_headers_may_be_repeated_and_of_any_kind_of_bytes():
    cookies = [(b"set-cookie", bytearray(b"a=1")), (Bytes(b"Set-Cookie"), Bytes(b"b=2")), [b"x", memoryview(b"\xe9")]]
    _, lines, _, _ = await answer({"type": "websocket.accept", "headers": cookies})
    assert values(lines, "set-cookie") == ["a=1", "b=2"]
    assert values(lines, "x") == ["\xe9"]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ((b"x", b"1\r\ny: 2"), ValueError),
        ((b"x\r\ny", b"2"), ValueError),
        ((b"x", b"1\ny: 2"), ValueError),
        ((b"x", b"1\ry: 2"), ValueError),
        ((b"x", b"\0"), ValueError),
        ((b"x\0", b"1"), ValueError),
        ((b"x y", b"1"), ValueError),
        ((b"", b"1"), ValueError),
        ((b":status", b"1"), ValueError),
        ((b"\xe9", b"1"), ValueError),
        (("x", b"1"), TypeError),
        ((b"x", "1"), TypeError),
        ((b"x", 1), TypeError),
        ((b"x", None), TypeError),
        (b"x", TypeError),
        ((b"x", b"1", b"2"), TypeError),
        (None, TypeError),
    ],
)
@pytest.mark.parametrize("kind_of_event", ["websocket.accept", START])
async def test_invalid_header_is_refused(line, kind, kind_of_event):
    event = {"type": kind_of_event, "status": 403, "headers": [line]}
    status, lines, _, (error,) = await answer(event, {"type": BODY})
    assert isinstance(error, kind)
    assert status == 500
    assert values(lines, "y") == []


@pytest.mark.parametrize("headers", [None, 5])
async def test_headers_that_are_no_list_are_refused(headers):
    status, _, _, (error,) = await answer({"type": "websocket.accept", "headers": headers})
    assert (status, type(error)) == (500, TypeError)


@pytest.mark.parametrize("http", HTTP)
@pytest.mark.parametrize("chosen", ["three", "One", "one,two", "one, two", "a b", "x\r\ny: 1", "\xe9"])
async def test_subprotocol_that_was_not_offered_is_refused(chosen, http):
    accept = {"type": "websocket.accept", "subprotocol": chosen}
    status, lines, _, (error,) = await answer(accept, headers={"Sec-WebSocket-Protocol": "one, two"}, http=http)
    assert isinstance(error, ValueError)
    assert status == 500
    assert values(lines, "sec-websocket-protocol") == []


async def test_invalid_subprotocol_is_refused():
    accept = {"type": "websocket.accept", "subprotocol": "one/1"}
    status, _, _, (error,) = await answer(accept, headers={"Sec-WebSocket-Protocol": "one/1"})
    assert (status, type(error)) in [(500, ValueError)]


@pytest.mark.parametrize("chosen", [b"one", 1, ["one"]])
async def test_subprotocol_of_a_wrong_type_is_refused(chosen):
    accept = {"type": "websocket.accept", "subprotocol": chosen}
    status, _, _, (error,) = await answer(accept, headers={"Sec-WebSocket-Protocol": "one"})
    assert (status, type(error)) == (500, TypeError)


@pytest.mark.parametrize("chosen", [None, "", "one"])
async def test_subprotocol(chosen):
    accept = {"type": "websocket.accept", "subprotocol": chosen}
    status, lines, _, _ = await answer(accept, headers={"Sec-WebSocket-Protocol": "two,one"})
    assert (status, values(lines, "sec-websocket-protocol")) == (101, [chosen] if chosen else [])


async def test_application_may_answer_again_after_an_error():
    wrong = {"type": "websocket.accept", "subprotocol": "no"}
    status, lines, _, errors = await answer(
        wrong, {"type": "websocket.accept", "headers": [(b"x", b"1")]}, swallow=True
    )
    assert (status, values(lines, "x"), len(errors)) == (101, ["1"], 1)


@pytest.mark.parametrize("http", HTTP)
@pytest.mark.parametrize("version", ["1.0", "0.9"])
async def test_other_versions_of_http_are_refused(version, http):
    app = App()
    async with running(app, http=http) as server, dial(server) as peer:
        await peer.send(request(start_line=f"GET / HTTP/{version}"))
        line, _ = await peer.read_head()
    # 505 is ours; parsers refuse some versions themselves.
    assert line.split(" ")[1] in ("400", "505")
    assert line.split(" ")[1] == "505" or version != "1.0"
    assert app.scopes == []


# Denials


@pytest.mark.parametrize("coding", [b"chunked", b"gzip, chunked", b"identity"])
@pytest.mark.parametrize("http", HTTP)
async def test_transfer_encoding_of_the_application_is_ignored(coding, http):
    start = {"type": START, "status": 403, "headers": [(b"Transfer-Encoding", coding)]}
    status, lines, body, _ = await answer(start, {"type": BODY, "body": b"hello"}, http=http)
    assert (status, body) == (403, b"hello")
    assert (values(lines, "transfer-encoding"), values(lines, "content-length")) == ([], ["5"])
    pieces = [{"type": BODY, "body": b"he", "more_body": True}, {"type": BODY, "body": b"llo"}]
    status, lines, body, _ = await answer(start, *pieces, http=http)
    assert (status, body) == (403, b"hello")
    assert (values(lines, "transfer-encoding"), values(lines, "content-length")) == (["chunked"], [])


async def test_transfer_encoding_with_content_length_is_ignored():
    start = {"type": START, "status": 403, "headers": [(b"content-length", b"2"), (b"transfer-encoding", b"chunked")]}
    _, lines, body, _ = await answer(start, {"type": BODY, "body": b"no"})
    assert (values(lines, "transfer-encoding"), values(lines, "content-length"), body) == ([], ["2"], b"no")


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("more", [True, False])
async def test_status_without_a_body_has_no_framing(status, more):
    start = {"type": START, "status": status, "headers": [(b"x", b"1"), (b"transfer-encoding", b"chunked")]}
    bodies = [{"type": BODY, "more_body": more}, {"type": BODY}][: 1 + more]
    received, lines, body, _ = await answer(start, *bodies)
    assert (received, body) == (status, b"")
    assert {name for name, _ in lines} == {"x", "date", "connection"}


async def test_length_that_the_application_declares_for_no_body():
    _, lines, _, _ = await answer(
        {"type": START, "status": 204, "headers": [(b"content-length", b"0")]}, {"type": BODY, "body": b""}
    )
    assert values(lines, "content-length") == []
    # RFC 9110 §8.6: what the response to a GET without condition would have.
    _, lines, _, _ = await answer(
        {"type": START, "status": 304, "headers": [(b"content-length", b"9")]}, {"type": BODY, "body": b""}
    )
    assert values(lines, "content-length") == ["9"]


@pytest.mark.parametrize("declared", [[], [(b"content-length", b"7")]])
async def test_status_205_has_an_empty_body(declared):
    status, lines, body, _ = await answer({"type": START, "status": 205, "headers": declared}, {"type": BODY})
    assert (status, values(lines, "content-length"), body) == (205, ["0"], b"")


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_body_for_a_status_without_one_is_an_error(status):
    received, _, body, (error,) = await answer({"type": START, "status": status}, {"type": BODY, "body": b"no"})
    assert (received, body) == (500, b"Internal Server Error")
    assert str(error) == f"A response with status {status} has no body"


@pytest.mark.parametrize("status", [-1, 0, 99, 100, 101, 103, 199, 600, 999, 10**9])
async def test_status_that_is_not_final_is_an_error(status):
    received, _, body, (error,) = await answer({"type": START, "status": status}, {"type": BODY})
    assert (received, body) == (500, b"Internal Server Error")
    assert str(error) == f"Invalid HTTP status code '{status}' in response."


@pytest.mark.parametrize("event", [{}, {"status": "403"}, {"status": None}, {"status": 403.0}])
async def test_status_of_a_wrong_type_is_an_error(event):
    received, _, _, (error,) = await answer({"type": START, **event})
    assert (received, type(error)) == (500, TypeError)


@pytest.mark.parametrize("lengths", [[b"-1"], [b"+5"], [b"5, 5"], [b"5", b"5"], [b"5", b"6"], [b"x"], [b""], [b"\xb2"]])
async def test_invalid_content_length_is_an_error(lengths):
    start = {"type": START, "status": 403, "headers": [(b"content-length", length) for length in lengths]}
    received, lines, _, (error,) = await answer(start, {"type": BODY, "body": b"hello"})
    assert (received, values(lines, "content-length")) == (500, ["21"])
    assert "Content-Length must be one number" in str(error)


@pytest.mark.parametrize(("body", "text"), [(b"hello!", "longer"), (b"hell", "shorter"), (b"", "shorter")])
async def test_body_of_another_length_than_declared_is_a_500(body, text):
    start = {"type": START, "status": 403, "headers": [(b"content-length", b"5")]}
    received, _, content, (error,) = await answer(start, {"type": BODY, "body": body})
    assert (received, content) == (500, b"Internal Server Error")
    assert str(error) == f"Response content {text} than Content-Length"


@pytest.mark.parametrize(("body", "text"), [(b"lo!", "longer"), (b"l", "shorter")])
async def test_body_of_another_length_than_declared_in_the_end(body, text):
    start = {"type": START, "status": 403, "headers": [(b"content-length", b"5")]}
    pieces = [{"type": BODY, "body": b"hel", "more_body": True}, {"type": BODY, "body": body}]
    received, lines, content, (error,) = await answer(start, *pieces)
    # The client sees that it breaks off, and nothing beyond its length.
    assert (received, values(lines, "content-length"), content) == (403, ["5"], b"hel")
    assert str(error) == f"Response content {text} than Content-Length"


async def test_missing_body_is_a_500(caplog):
    start = {"type": START, "status": 403, "headers": [(b"content-length", b"5")]}
    received, _, _, _ = await answer(start)
    assert received == 500
    assert "returned without completing response" in caplog.text
    assert "shorter than Content-Length" in caplog.text


@pytest.mark.parametrize("body", ["no", None, 2, ["n"]])
async def test_body_of_a_wrong_type_is_an_error(body):
    received, _, content, (error,) = await answer({"type": START, "status": 403}, {"type": BODY, "body": body})
    assert (received, content, type(error)) == (500, b"Internal Server Error", TypeError)


@pytest.mark.parametrize("body", [bytearray(b"no"), memoryview(b"no"), memoryview(b"n-o")[::2], Bytes(b"no")], ids=repr)
async def test_body_of_any_kind_of_bytes(body):
    received, _, content, _ = await answer({"type": START, "status": 403}, {"type": BODY, "body": body})
    assert (received, content) == (403, b"no")


async def test_denial_may_follow_one_that_could_not_be_sent():
    wrong = [{"type": START, "status": 204}, {"type": BODY, "body": b"no"}]
    right = [{"type": START, "status": 401}, {"type": BODY, "body": b"no"}]
    received, _, body, errors = await answer(*wrong, *right, swallow=True)
    assert (received, body, len(errors)) == (401, b"no", 1)


async def test_denial_ends_the_connection_despite_keep_alive():
    headers = [(b"Connection", b"keep-alive"), (b"keep-alive", b"timeout=5")]
    _, lines, _, _ = await answer({"type": START, "status": 403, "headers": headers}, {"type": BODY})
    assert values(lines, "connection") == ["close"]
    # RFC 9110 §15.5.22, §7.8.
    upgrade = [(b"upgrade", b"websocket"), (b"sec-websocket-version", b"13")]
    _, lines, _, _ = await answer({"type": START, "status": 426, "headers": upgrade}, {"type": BODY})
    assert (values(lines, "upgrade"), values(lines, "connection")) == (["websocket"], ["close, Upgrade"])


async def test_headers_of_a_denial_that_the_application_sets():
    headers = [(b"date", b"now"), (b"content-type", b"text/html"), (b"set-cookie", b"a"), (b"set-cookie", b"b")]
    _, lines, _, _ = await answer({"type": START, "status": 403, "headers": headers}, {"type": BODY})
    assert values(lines, "date") == ["now"]
    assert values(lines, "content-type") == ["text/html"]
    assert values(lines, "set-cookie") == ["a", "b"]


async def test_events_of_a_denial_out_of_order():
    received, _, _, (error,) = await answer({"type": BODY, "body": b"no"})
    assert received == 500
    assert "but got 'websocket.http.response.body'" in str(error)
    start = {"type": START, "status": 404}
    received, _, _, (error,) = await answer(start, start)
    # As uvicorn's own classes do: what was begun is sent.
    assert received == 404
    assert "but got 'websocket.http.response.start'" in str(error)
    last = {"type": BODY, "body": b"no"}
    received, _, body, (error,) = await answer(start, last, last)
    assert (received, body) == (404, b"no")


# An open connection


async def run_open(act):
    """Accept, call ``act(receive, send)``, and return the exception that it raises."""
    raised = []
    done = asyncio.Event()

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        try:
            await act(receive, send)
        except Exception as exc:
            raised.append(exc)
        await send({"type": "websocket.send", "text": "after"})
        await send({"type": "websocket.close"})
        done.set()

    async with running(app) as server, dial_open(server) as peer:
        await peer.expect(TEXT, b"after")
        await peer.expect(CLOSE, close_payload(1000))
        await soon(done.wait())
    return raised


@pytest.mark.parametrize(
    "event",
    [
        {"type": "websocket.send", "text": b"\xff"},
        {"type": "websocket.send", "text": 5},
        {"type": "websocket.send", "text": "\ud800"},
        {"type": "websocket.send", "bytes": "x"},
        {"type": "websocket.send", "bytes": 5},
        {"type": "websocket.send", "bytes": [1]},
        {"type": "websocket.close", "code": 1005},
        {"type": "websocket.close", "code": 70_000},
        {"type": "websocket.close", "code": "1000"},
        {"type": "websocket.close", "code": 3000.5},
        {"type": "websocket.close", "reason": b"bye"},
        {"type": "websocket.close", "reason": "x" * 124},
        {"type": "websocket.close", "reason": 5},
    ],
)
async def test_refused_event_changes_nothing(event):
    async def act(receive, send):
        await send(event)

    assert len(await run_open(act)) == 1


async def test_close_without_a_code_is_a_normal_closure():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": None, "reason": None})

    async with running(app) as server, dial_open(server) as peer:
        await peer.expect(CLOSE, close_payload(1000))


async def test_several_tasks_may_receive():
    got = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        abandoned = asyncio.ensure_future(receive())
        waiting = [asyncio.ensure_future(receive()) for _ in range(3)]
        await asyncio.sleep(0)
        # Not yet gone when the message comes.
        abandoned.cancel()
        await send({"type": "websocket.send", "text": "go"})
        for task in waiting:
            got.append((await task).get("text"))

    async with running(app) as server, dial_open(server) as peer:
        await peer.expect(TEXT, b"go")
        await peer.send_frame(TEXT, b"one")
        await peer.send_frame(TEXT, b"two")
        await peer.send_close(1000)
        await peer.expect(CLOSE, close_payload(1000))
    assert sorted(got, key=str) == [None, "one", "two"]
