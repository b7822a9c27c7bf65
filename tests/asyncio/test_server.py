"""Servers with coroutines: ``serve`` and its options (RFC 6455 §4.2)."""

from __future__ import annotations

import asyncio
import base64
import functools
import http
import logging
import re
import socket
import sys
import weakref

import pytest
from support import TEXT, clocked, dial, dial_open, echo, port_of, request, soon, unix_path, until, uri_of

import wsframe
from wsframe import InvalidStatus, Server, ServerConnection, basic_auth, connect, serve, unix_connect, unix_serve
from wsframe.testing import Clock
from wsframe.testing.clock import settle

HERE = "127.0.0.1"


async def status_of(server, data=None):
    async with dial(server) as peer:
        await peer.send(data or request())
        start_line, headers = await peer.read_head()
        return int(start_line.split(" ")[1]), dict(headers)


# Handlers


async def hello(websocket, path):
    await websocket.send(path)


async def hello_default(websocket, greeting="hello"):
    await websocket.send(greeting)


async def hello_path_default(websocket, path=None):
    await websocket.send(path)


async def hello_keyword(websocket, *, greeting="hello"):
    await websocket.send(greeting)


async def hello_any(*arguments):
    await arguments[0].send(str(len(arguments)))


class Hello:
    async def method(self, websocket):
        await websocket.send("method")

    async def method_with_path(self, websocket, path):
        await websocket.send(path)

    async def __call__(self, websocket):
        await websocket.send("call")


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (hello, "/a?b"),
        (hello_default, "hello"),
        (hello_path_default, "/a?b"),
        (hello_keyword, "hello"),
        (hello_any, "1"),
        (functools.partial(hello_default, greeting="partial"), "partial"),
        (Hello().method, "method"),
        (Hello().method_with_path, "/a?b"),
        (Hello(), "call"),
    ],
)
async def test_handler_may_take_the_path(handler, expected):
    async with serve(handler, HERE, 0) as server, connect(uri_of(server, "/a?b")) as websocket:
        assert await soon(websocket.recv()) == expected


async def test_handler_without_a_signature_gets_one_argument():
    class Odd:
        __signature__ = 1

        async def __call__(self, websocket):
            await websocket.send("odd")

    async with serve(Odd(), HERE, 0) as server, connect(uri_of(server)) as websocket:
        assert await soon(websocket.recv()) == "odd"


async def test_failing_handler_is_logged_and_closes_with_1011(caplog):
    async def handler(websocket):
        raise ZeroDivisionError

    async with serve(handler, HERE, 0) as server, connect(uri_of(server)) as websocket:
        await soon(websocket.wait_closed())
        assert websocket.close_code == 1011
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert record.name == "wsframe.server"


async def test_handler_that_ends_with_the_connection_is_not_an_error(caplog):
    """The end of a connection is not worth a traceback."""

    async def handler(websocket):
        while True:
            await websocket.send(await websocket.recv())

    with caplog.at_level(logging.INFO):
        async with serve(handler, HERE, 0) as server:
            async with connect(uri_of(server)) as websocket:
                await websocket.send("a")
                assert await soon(websocket.recv()) == "a"
            async with connect(uri_of(server)) as websocket:
                websocket.transport.abort()
            async with dial_open(server) as peer:
                await peer.send_frame(TEXT, b"\xff")
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert not [record for record in caplog.records if record.exc_info]


async def test_cancelled_handler_closes_the_connection():
    tasks = []

    async def handler(websocket):
        tasks.append(asyncio.current_task())
        await websocket.recv()

    async with serve(handler, HERE, 0) as server, connect(uri_of(server)) as websocket:
        await until(lambda: tasks)
        tasks[0].cancel()
        await soon(websocket.wait_closed())
        assert websocket.close_code == 1011


# The server


async def test_server_can_be_awaited_and_closed():
    server = await serve(echo, HERE, 0)
    assert isinstance(server, Server)
    assert server.is_serving()
    assert server.get_loop() is asyncio.get_running_loop()
    assert await server is server
    async with connect(uri_of(server)):
        pass
    server.close()
    await soon(server.wait_closed())
    assert not server.is_serving()
    await soon(server.wait_closed())


def test_unstarted_server_raises_runtime_error():
    server = serve(echo, HERE, 0)
    assert not server.is_serving()
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = server.sockets


async def test_serving_may_start_later():
    async with serve(echo, HERE, 0, start_serving=False) as server:
        assert not server.is_serving()
        await server.start_serving()
        async with connect(uri_of(server)):
            pass


async def test_serve_forever_serves_until_it_is_cancelled():
    server = await serve(echo, HERE, 0, start_serving=False)
    task = asyncio.ensure_future(server.serve_forever())
    await until(server.is_serving)
    async with connect(uri_of(server)) as websocket:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        await soon(websocket.wait_closed())
        assert websocket.close_code == 1001


async def test_serve_forever_ends_with_the_server():
    server = await serve(echo, HERE, 0)
    task = asyncio.ensure_future(server.serve_forever())
    await settle()
    server.close()
    await soon(task)
    await soon(server.serve_forever())


async def test_wait_closed_waits_for_a_later_close():
    server = await serve(echo, HERE, 0)
    task = asyncio.ensure_future(server.wait_closed())
    async with connect(uri_of(server)):
        server.close(code=1012, reason="restart")
        await soon(task)


async def test_wait_closed_is_done_when_only_the_listener_was_closed():
    server = await serve(echo, HERE, 0)
    server.server.close()
    await soon(server.wait_closed())
    assert not server.is_serving()


async def test_server_close_sends_the_given_code_and_reason():
    server = await serve(echo, HERE, 0)
    async with connect(uri_of(server)) as websocket:
        await until(lambda: server.connections)
        server.close(code=1012, reason="restart")
        await soon(server.wait_closed())
        await soon(websocket.wait_closed())
        assert (websocket.close_code, websocket.close_reason) == (1012, "restart")


async def test_close_drops_connections_without_a_request():
    server = await serve(echo, HERE, 0)
    async with dial(server) as peer:
        await peer.send(b"GET /")
        await until(lambda: server._attached)
        server.close()
        await soon(server.wait_closed())
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await soon(peer.reader.readexactly(1))


async def test_close_refuses_pending_requests():
    asked, decide = asyncio.Event(), asyncio.Event()

    async def process_request(connection, received):
        asked.set()
        await decide.wait()

    server = await serve(echo, HERE, 0, process_request=process_request)
    async with dial(server) as peer:
        await peer.send(request())
        await soon(asked.wait())
        server.close()
        decide.set()
        start_line, _ = await peer.read_head()
        assert start_line.startswith("HTTP/1.1 503 ")
        await peer.aclose()
        await soon(server.wait_closed())


async def test_connections_are_those_that_are_open():
    async with serve(echo, HERE, 0) as server:
        assert server.connections == set()
        async with connect(uri_of(server)), dial(server):
            await until(lambda: server.connections)
            (connection,) = server.connections
            assert isinstance(connection, ServerConnection)
            assert connection.server is server
        await until(lambda: not server.connections)


async def test_server_logs_where_it_listens(caplog):
    with caplog.at_level(logging.INFO, "wsframe.server"):
        async with serve(echo, HERE, 0) as server:
            port = port_of(server)
    assert f"server listening on {HERE}:{port}" in caplog.messages
    assert caplog.messages[-1] == "server closed"


async def test_server_logs_ipv6_addresses(caplog):
    try:
        with caplog.at_level(logging.INFO, "wsframe.server"):
            async with serve(echo, "::1", 0) as server, connect(f"ws://[::1]:{port_of(server)}/") as websocket:
                await websocket.send("a")
                assert await soon(websocket.recv()) == "a"
    except OSError:
        pytest.skip("there is no IPv6 here")
    assert caplog.messages[0].startswith("server listening on [::1]:")


async def test_sock_option_supplies_the_socket():
    with socket.create_server((HERE, 0)) as sock:
        async with serve(echo, sock=sock) as server, connect(uri_of(server)) as websocket:
            await websocket.send("a")
            assert await soon(websocket.recv()) == "a"


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
async def test_unix_sockets(tmp_path, caplog):
    path = unix_path(tmp_path)
    with caplog.at_level(logging.INFO, "wsframe.server"):
        async with unix_serve(echo, path):
            async with unix_connect(path) as websocket:
                assert websocket.request.headers["Host"] == "localhost"
                await websocket.send("a")
                assert await soon(websocket.recv()) == "a"
            async with unix_connect(path, uri="ws://example.com/path") as websocket:
                assert websocket.request.headers["Host"] == "example.com"
                assert websocket.request.path == "/path"
    assert caplog.messages[0].endswith(path)


async def test_logger_option_replaces_the_default():
    records = []
    logger = logging.getLogger("mine")
    logger.setLevel(logging.INFO)
    handler = logging.Handler()
    handler.emit = records.append
    logger.addHandler(handler)
    try:
        async with serve(echo, HERE, 0, logger=logger) as server, connect(uri_of(server), logger=logger):
            pass
    finally:
        logger.removeHandler(handler)
    assert "connection open" in [record.getMessage() for record in records]


async def test_create_connection_option_sets_the_class():
    class Mine(ServerConnection):
        pass

    made = []

    def create(protocol, server, **options):
        made.append(Mine(protocol, server, **options))
        return made[-1]

    for factory in (Mine, create):
        async with serve(hello, HERE, 0, create_connection=factory) as server, connect(uri_of(server)) as websocket:
            await soon(websocket.recv())
    assert len(made) == 1


@pytest.mark.parametrize("option", [{"max_size": -1}, {"max_size": (1, -1)}, {"subprotocols": ["a b"]}])
def test_bad_options_are_refused_at_once(option):
    with pytest.raises(ValueError):
        serve(echo, HERE, 0, **option)
    with pytest.raises(TypeError):
        serve(echo, HERE, 0, subprotocols="chat")


# The opening handshake


async def test_server_header():
    for option, expected in (
        ({}, wsframe.http11.SERVER),
        ({"server_header": "x"}, "x"),
        ({"server_header": None}, None),
    ):
        async with serve(echo, HERE, 0, **option) as server:
            assert (await status_of(server))[1].get("Server") == expected
            assert (await status_of(server, request({"Host": None})))[1].get("Server") == expected


async def test_handshakes_are_logged_in_detail_when_debugging(caplog):
    with caplog.at_level(logging.DEBUG, "wsframe.server"):
        async with serve(echo, HERE, 0, server_header="me") as server:
            async with dial_open(server, {"X-Mine": "a"}) as peer:
                await peer.send_close(1000)
                await peer.read_frames()
            await status_of(server, request({"Upgrade": "h2c"}))
            async with dial(server) as peer:
                await peer.send(b"HELO\r\n")
                await peer.expect_end()
    for line in (
        "< GET / HTTP/1.1",
        "< X-Mine: a",
        "> HTTP/1.1 101 Switching Protocols",
        "> Server: me",
        "! invalid Upgrade header: h2c",
        "> HTTP/1.1 426 Upgrade Required",
        "connection rejected (426 Upgrade Required)",
        "! did not receive a valid HTTP request",
    ):
        assert line in caplog.messages


async def test_log_records_have_the_connection():
    paths = []
    logger = logging.getLogger("mine")
    logger.setLevel(logging.INFO)
    logger.addFilter(lambda record: paths.append(hasattr(record, "websocket") and record.websocket.request.path))
    try:
        async with serve(echo, HERE, 0, logger=logger) as server, connect(uri_of(server, "/a")):
            pass
    finally:
        logger.filters.clear()
    assert paths.count("/a") == 2
    assert set(paths) == {"/a", False}


async def test_response_to_head_has_no_body():
    """RFC 9110 §9.3.2."""

    def process_request(connection, received):
        return connection.respond(200, "OK\n")

    async with serve(echo, HERE, 0, process_request=process_request) as server, dial(server) as peer:
        await peer.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
        start_line, headers = await peer.read_head()
        assert (start_line, dict(headers)["Content-Length"]) == ("HTTP/1.1 200 OK", "3")
        await peer.expect_end()


def deny(connection, received):
    return connection.respond(http.HTTPStatus.FORBIDDEN, "no\n")


async def deny_later(connection, received):
    await asyncio.sleep(0)
    return deny(connection, received)


@pytest.mark.parametrize("process_request", [deny, deny_later])
async def test_process_request_may_answer(process_request):
    async with serve(echo, HERE, 0, process_request=process_request) as server:
        with pytest.raises(InvalidStatus) as info:
            await soon(connect(uri_of(server)))
    assert info.value.response.status_code == 403
    assert info.value.response.body == b"no\n"


async def test_process_request_sees_any_request():
    """As in websockets: a health check is a plain GET."""

    def process_request(connection, received):
        assert connection.request is received
        if received.path == "/healthz":
            return connection.respond(200, "OK\n")
        return None

    async with serve(echo, HERE, 0, process_request=process_request) as server:
        status, headers = await status_of(server, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (status, headers["Content-Length"]) == (200, "3")
        assert (await status_of(server, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 426
        assert (await status_of(server))[0] == 101


async def test_process_response_may_change_or_replace_the_response():
    async def change(connection, received, response):
        response.headers["X"] = received.path

    def replace(connection, received, response):
        return connection.respond(503, "later\n")

    async with serve(echo, HERE, 0, process_response=change) as server, connect(uri_of(server, "/a")) as websocket:
        assert websocket.response.headers["X"] == "/a"
    async with serve(echo, HERE, 0, process_response=replace) as server:
        assert (await status_of(server))[0] == 503


@pytest.mark.parametrize("hook", ["process_request", "process_response"])
@pytest.mark.parametrize("wrong", ["raise", "return"])
async def test_failing_hook_is_a_500(hook, wrong, caplog):
    def process(*arguments):
        if wrong == "raise":
            raise ZeroDivisionError
        return "nonsense"

    async with serve(echo, HERE, 0, **{hook: process}) as server:
        assert (await status_of(server))[0] == 500
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


@pytest.mark.parametrize("way", ["directly", "after process_request"])
async def test_failing_select_subprotocol_is_a_500(way, caplog):
    def select(connection, offered):
        assert isinstance(connection, ServerConnection)
        return "not offered"

    options = {} if way == "directly" else {"process_request": lambda connection, received: None}
    async with serve(echo, HERE, 0, select_subprotocol=select, **options) as server:
        assert (await status_of(server))[0] == 500
    assert len([record for record in caplog.records if record.levelno >= logging.ERROR]) == 1


async def test_select_subprotocol_chooses_the_subprotocol():
    def select(connection, offered):
        return offered[0]

    async with serve(echo, HERE, 0, select_subprotocol=select) as server:
        async with connect(uri_of(server), subprotocols=["a", "b"]) as websocket:
            assert websocket.subprotocol == "a"


async def test_client_lost_during_process_request_is_dropped():
    started, decided = asyncio.Event(), asyncio.Event()

    async def process_request(connection, received):
        started.set()
        await connection.wait_closed()
        decided.set()

    # It might only have ended its side, so it is waited for a little.
    options = {"open_timeout": None, "close_timeout": 0.1}
    async with serve(echo, HERE, 0, process_request=process_request, **options) as server:
        async with dial(server) as peer:
            await peer.send(request())
            await soon(started.wait())
        await soon(decided.wait())
        assert server.connections == set()


async def test_bytes_delivered_after_pausing_are_kept():
    """RFC 6455 §4.2.2: row H15."""
    decide = asyncio.Event()
    connections = []

    async def process_request(connection, received):
        connections.append(connection)
        await decide.wait()

    async with serve(echo, HERE, 0, process_request=process_request) as server, dial(server) as peer:
        await peer.send(request() + peer.frame(TEXT, b"a", fin=False))
        await until(lambda: connections)
        connections[0]._on_handshake_data(memoryview(peer.frame(0, b"b")))
        decide.set()
        await peer.read_head()
        await peer.expect(TEXT, b"ab")


async def test_open_timeout_covers_process_request():
    """RFC 6455 §10.4."""

    cancelled = asyncio.Event()

    async def process_request(connection, received):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with serve(echo, HERE, 0, process_request=process_request, open_timeout=0.2) as server, dial(server) as peer:
        await peer.send(request())
        assert await soon(peer.reader.read(), 10) == b""
        await soon(cancelled.wait())


async def test_open_timeout_none_waits_for_the_request():
    clock = Clock()
    options = {"open_timeout": None, "create_connection": clocked(clock)}
    async with serve(echo, HERE, 0, **options) as server, dial(server) as peer:
        await until(lambda: server._attached)
        await clock.advance(1000)
        await peer.send(request())
        start_line, _ = await peer.read_head()
        assert " 101 " in start_line


async def test_context_of_process_request_reaches_the_handler():
    import contextvars

    user = contextvars.ContextVar("user")

    async def process_request(connection, received):
        user.set("alice")

    async def handler(websocket):
        await websocket.send(user.get())

    async with serve(handler, HERE, 0, process_request=process_request) as server:
        async with connect(uri_of(server)) as websocket:
            assert await soon(websocket.recv()) == "alice"


async def test_origins_may_be_patterns():
    """RFC 6455 §10.2."""
    async with serve(echo, HERE, 0, origins=[re.compile(r"https://[a-z]+\.example")]) as server:
        async with connect(uri_of(server), origin="https://a.example"):
            pass
        with pytest.raises(InvalidStatus):
            await soon(connect(uri_of(server)))


# Basic authentication


def authorization(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


async def name_of_user(websocket):
    await websocket.send(websocket.username)


@pytest.mark.parametrize(
    "options",
    [
        {"credentials": ("alice", "p\xe4ss")},
        {"credentials": [("bob", "x"), ("alice", "p\xe4ss")]},
        {"check_credentials": lambda name, password: (name, password) == ("alice", "p\xe4ss")},
    ],
)
async def test_basic_auth_accepts_valid_credentials(options):
    """RFC 7617."""
    async with serve(name_of_user, HERE, 0, process_request=basic_auth("my realm", **options)) as server:
        uri = uri_of(server).replace("//", "//alice:p%C3%A4ss@")
        async with connect(uri) as websocket:
            assert await soon(websocket.recv()) == "alice"
        for headers in ({}, {"Authorization": "Digest x"}, {"Authorization": "Basic !"}, authorization("alice:wrong")):
            status, received = await status_of(server, request(headers))
            assert status == 401
            assert received["WWW-Authenticate"] == 'Basic realm="my realm", charset="UTF-8"'
        assert (await status_of(server, request(authorization("nobody:"))))[0] == 401


async def test_basic_auth_may_check_in_a_coroutine():
    async def check(name, password):
        await asyncio.sleep(0)
        return name == password

    async with serve(name_of_user, HERE, 0, process_request=basic_auth('a"b\\', check_credentials=check)) as server:
        assert (await status_of(server, request(authorization("a:a"))))[0] == 101
        status, headers = await status_of(server, request(authorization("a:b")))
        assert status == 401
        assert headers["WWW-Authenticate"] == 'Basic realm="a\\"b\\\\", charset="UTF-8"'


@pytest.mark.parametrize("credentials", [1, "ab", [1], [("a", "b", "c")], [("a", 1)]])
def test_basic_auth_refuses_other_credentials(credentials):
    with pytest.raises(TypeError, match="invalid credentials"):
        basic_auth(credentials=credentials)


def test_basic_auth_requires_exactly_one_of_two_options():
    with pytest.raises(ValueError, match="either credentials or check_credentials"):
        basic_auth()
    with pytest.raises(ValueError, match="either credentials or check_credentials"):
        basic_auth(credentials=("a", "b"), check_credentials=lambda *arguments: True)


if sys.version_info >= (3, 11):

    async def test_server_in_a_task_group():
        async with asyncio.TaskGroup() as group, serve(echo, HERE, 0) as server:

            async def talk(i):
                async with connect(uri_of(server)) as websocket:
                    await websocket.send(str(i))
                    assert await soon(websocket.recv()) == str(i)

            tasks = [group.create_task(talk(i)) for i in range(20)]
            await asyncio.gather(*tasks)


async def test_connections_accept_new_attributes():
    """And until somebody does, none of them has a dictionary to look things up in."""

    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as client:
        await client.send("a")
        assert await soon(client.recv()) == "a"
        (connection,) = server.connections
        for end in (client, connection, wsframe.WebSocketProtocol()):
            assert vars(end) == {}
            end.user = "me"
            assert end.user == "me"
            assert weakref.ref(end)() is end
            assert vars(end) == {"user": "me"}


async def test_handler_that_is_no_coroutine_is_logged(caplog):
    async with serve(lambda websocket: [websocket], HERE, 0) as server:
        async with connect(uri_of(server)) as websocket:
            await websocket.wait_closed()
        assert websocket.close_code == 1011
    assert "handler must be a coroutine function: it returned list" in caplog.text
