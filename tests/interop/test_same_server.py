"""One program on ``websockets`` and on wsframe: their servers must do the same, down to what they log."""

from __future__ import annotations

import asyncio
import base64
import importlib
import logging
import re
from types import SimpleNamespace

import pytest
from support import PATIENCE_S, TEXT, dial, echo, request, soon, until

import wsframe
from wsframe.testing.clock import settle

websockets = pytest.importorskip("websockets", "17")

HERE = "127.0.0.1"
PLAIN = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
# RFC 6455 §4.4: wsframe's response lists the version it supports.
UNRELATED = ("Date", "Server", "Content-Length", "Sec-WebSocket-Version")
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


class Observer(logging.Handler):
    """Keeps what a server logs from INFO up."""

    def __init__(self, library):
        super().__init__(logging.INFO)
        self.lines = []
        self.logger = logging.getLogger(f"{library}.server")

    def emit(self, record):
        exc = type(record.exc_info[1]).__name__ if record.exc_info else None
        if (exc or "").startswith("ConnectionClosed") or record.msg.startswith("connection handler ended"):
            # To wsframe, the end of a connection is not an error of the handler.
            return
        self.lines.append((record.levelname, re.sub(r":\d+$", ":PORT", record.getMessage()), exc))

    def __enter__(self):
        self.logger.addHandler(self)
        self.logger.setLevel(logging.INFO)
        self.logger.propagate = False
        return self

    def __exit__(self, *args):
        self.logger.removeHandler(self)
        self.logger.setLevel(logging.NOTSET)
        self.logger.propagate = True


async def observe(function, library):
    """Run a case on one library; return what it has seen and what was logged."""
    names = ("asyncio.server", "asyncio.router", "exceptions", "frames", "extensions.permessage_deflate")
    modules = {name.rpartition(".")[2]: importlib.import_module(f"{library}.{name}") for name in names}
    with Observer(library) as observer:
        seen = await soon(function(SimpleNamespace(**modules)), 2 * PATIENCE_S)
    # The iteration of the event loop in which the end of TCP is noticed is unspecified.
    return seen, sorted(observer.lines, key=repr)


async def ask(server, data=None):
    """Send a request; return status, relevant headers, and what the client receives after that."""
    async with dial(server) as peer:
        await peer.send(data or request())
        try:
            start_line, headers = await peer.read_head()
        except asyncio.IncompleteReadError as exc:
            return exc.partial
        status = int(start_line.split(" ")[1])
        headers = [(name, value) for name, value in headers if name not in UNRELATED]
        if status == 101:
            await peer.send_close(1000)
            return status, headers, await peer.read_pairs()
        body = await soon(peer.reader.read())
        # The text after the error is up to the library.
        return status, sorted(headers), body.decode().splitlines()[:1]


def serving(lib, handler=echo, **options):
    return lib.server.serve(handler, HERE, 0, **options)


# Handlers


@case
async def handler_returns(lib):
    async def handler(websocket):
        await websocket.send("hello")

    async with serving(lib, handler) as server:
        return await ask(server)


@case
async def handler_raises(lib):
    async def handler(websocket):
        raise RuntimeError("BOOM")

    async with serving(lib, handler) as server:
        return await ask(server)


@case
async def handler_is_cancelled(lib):
    async def handler(websocket):
        raise asyncio.CancelledError

    async with serving(lib, handler) as server:
        return await ask(server)


@case
async def handler_inspects_the_connection(lib):
    seen = []

    async def handler(websocket):
        seen.extend([websocket.request.path, websocket.request.method, websocket.request.headers["Host"]])
        seen.extend([websocket.response.status_code, websocket.response.headers["Upgrade"], websocket.state.name])
        seen.extend([websocket.subprotocol, websocket.latency, websocket.close_code, websocket.close_reason])
        seen.extend([websocket.remote_address[0], len(websocket.id.bytes), websocket in server.connections])
        await websocket.wait_closed()
        seen.extend([websocket.state.name, websocket.close_code, websocket.close_reason])
        seen.extend([websocket.remote_address[0], websocket in server.connections])
        done.set()

    done = asyncio.Event()
    async with serving(lib, handler) as server:
        await ask(server, request({}, "GET /path?query=%C3%A9 HTTP/1.1"))
        await done.wait()
    return seen


@case
async def log_records_have_the_connection(lib):
    seen = []

    class Filter(logging.Filter):
        def filter(self, record):
            websocket = getattr(record, "websocket", None)
            seen.append((record.getMessage().split(" on ")[0], websocket and websocket.request.path))
            return True

    logger = logging.getLogger(f"{lib.server.__name__}.test")
    logger.setLevel(logging.INFO)
    logger.addFilter(Filter())
    try:
        async with serving(lib, logger=logger) as server:
            await ask(server)
    finally:
        logger.filters.clear()
    return seen


@case
async def logger_adapter_sees_the_connection(lib):
    seen = []

    class Adapter(logging.LoggerAdapter):
        def process(self, msg, kwargs):
            websocket = kwargs.get("extra", {}).get("websocket")
            seen.append((msg, websocket and websocket.id is not None))
            return msg, kwargs

    async with serving(lib, logger=Adapter(logging.getLogger("null"), {})) as server:
        await ask(server)
    return seen


# The opening handshake

REQUESTS = {
    "plain": PLAIN,
    "POST": request({}, "POST / HTTP/1.1"),
    "HTTP/1.0": request({}, "GET / HTTP/1.0"),
    "no upgrade": request({"Upgrade": None}),
    "another upgrade": request({"Upgrade": "h2c"}),
    "no connection": request({"Connection": None}),
    "another connection": request({"Connection": "close"}),
    "no key": request({"Sec-WebSocket-Key": None}),
    "a key that is not base64": request({"Sec-WebSocket-Key": "@" * 24}),
    "a short key": request({"Sec-WebSocket-Key": "AAAA"}),
    "two keys": request({"Sec-WebSocket-Key": ["AAAA", "BBBB"]}),
    "an origin": request({"Origin": "https://example.com"}),
    "two origins": request({"Origin": ["https://example.com", "https://example.org"]}),
    "junk": b"HELO relay.invalid\r\n",
    "no version in the request line": b"GET /\r\n\r\n",
    "empty": b"\r\n\r\n",
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_requests(name):
    async def ask_about(lib):
        async with serving(lib) as server:
            return await ask(server, REQUESTS[name])

    assert await observe(ask_about, "wsframe") == await observe(ask_about, "websockets")


@case
async def origins(lib):
    seen = []
    allowed = ["https://example.com", re.compile(r"https://.*\.example\.org")]
    for origins in (None, allowed, [*allowed, None], []):
        async with serving(lib, origins=origins) as server:
            for origin in (None, "https://example.com", "https://a.example.org", "https://a.example.org.evil"):
                seen.append((await ask(server, request({"Origin": origin})))[::2])
    return seen


@case
async def subprotocols(lib):
    def pick(connection, offered):
        assert isinstance(connection, lib.server.ServerConnection)
        seen.append(list(offered))
        if "none" in offered:
            return None
        if "refuse" in offered:
            raise lib.exceptions.NegotiationError("not that")
        return "b"

    seen = []
    for options in ({}, {"subprotocols": ["a", "b"]}, {"select_subprotocol": pick, "subprotocols": ["a", "b"]}):
        async with serving(lib, **options) as server:
            for offered in (None, "b", "x", "b, a", ["x", "b"], "none", "refuse"):
                if pick in options.values() and offered in (None, "x", "b, a"):
                    continue
                seen.append(await ask(server, request({"Sec-WebSocket-Protocol": offered})))
    return seen


@case
async def select_subprotocol_raises(lib):
    def pick(connection, offered):
        raise RuntimeError("BOOM")

    async with serving(lib, select_subprotocol=pick) as server:
        return await ask(server)


def answer_403(connection, *args):
    response = connection.respond(403, "no")
    response.headers["X-Why"] = "because"
    return response


def raise_error(connection, *args):
    raise RuntimeError("BOOM")


def do_nothing(connection, *args):
    pass


def set_header(connection, received, response=None):
    if response is not None:
        response.headers["X-Path"] = received.path
        assert "Server" in response.headers


async def answer_403_later(connection, *args):
    await asyncio.sleep(0)
    return answer_403(connection, *args)


async def raise_error_later(connection, *args):
    await asyncio.sleep(0)
    raise RuntimeError("BOOM")


HOOKS = [answer_403, raise_error, do_nothing, set_header, answer_403_later, raise_error_later]


@pytest.mark.parametrize("which", ["process_request", "process_response"])
@pytest.mark.parametrize("hook", HOOKS)
async def test_hooks(which, hook):
    async def ask_about(lib):
        async with serving(lib, **{which: hook}) as server:
            return [await ask(server), await ask(server, PLAIN)]

    assert await observe(ask_about, "wsframe") == await observe(ask_about, "websockets")


@case
async def hooks_share_the_task_of_the_handler(lib):
    tasks = []

    async def hook(connection, *args):
        tasks.append(asyncio.current_task())

    async def handler(websocket):
        tasks.append(asyncio.current_task())

    async with serving(lib, handler, process_request=hook, process_response=hook) as server:
        await ask(server)
    return len(tasks), len(set(tasks))


@case
async def process_response_sees_the_response_of_process_request(lib):
    seen = []

    def look(connection, received, response):
        seen.append((response.status_code, connection.response is response, connection.request is received))

    async with serving(lib, process_request=answer_403, process_response=look) as server:
        seen.append(await ask(server))
    return seen


@case
async def basic_auth(lib):
    def authorization(credentials, scheme="Basic"):
        return request({"Authorization": f"{scheme} {base64.b64encode(credentials.encode()).decode()}"})

    async def handler(websocket):
        await websocket.send(websocket.username)

    async def check(username, password):
        return (username, password) == ("hello", "iloveyou")

    seen = []
    for options in (
        {"credentials": ("hello", "iloveyou")},
        {"credentials": [("hello", "iloveyou"), ("a", "b")]},
        {"check_credentials": check},
        {"check_credentials": lambda username, password: username == "hello"},
    ):
        auth = lib.server.basic_auth(realm="here", **options)
        async with serving(lib, handler, process_request=auth) as server:
            seen.append(await ask(server))
            for credentials in ("hello:iloveyou", "hello:ihateyou", "goodbye:iloveyou", "a:b", "no colon"):
                seen.append(await ask(server, authorization(credentials)))
            seen.append(await ask(server, authorization("hello:iloveyou", "Digest")))
            seen.append(await ask(server, request({"Authorization": "Basic ?"})))
    return seen


@case
async def server_header(lib):
    seen = []
    for options in ({"server_header": "mine"}, {"server_header": None}):
        for hook in (None, answer_403):
            async with serving(lib, process_request=hook, **options) as server, dial(server) as peer:
                await peer.send(request())
                seen.append(dict((await peer.read_head())[1]).get("Server"))
    return seen


@case
async def open_timeout_without_a_request(lib):
    async with serving(lib, open_timeout=0.1) as server:
        return await ask(server, b"GET")


@case
async def open_timeout_while_a_request_is_processed(lib):
    seen = []

    async def process_request(connection, received):
        try:
            await asyncio.sleep(PATIENCE_S)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    async with serving(lib, open_timeout=0.1, process_request=process_request) as server:
        seen.append(await ask(server))
    return seen


@case
async def client_leaves_before_its_request(lib):
    async with serving(lib) as server, dial(server):
        pass


# Extensions


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"server_max_window_bits": 10},
        {"client_max_window_bits": 10},
        {"server_no_context_takeover": True, "client_no_context_takeover": True},
        {"client_max_window_bits": 10, "require_client_max_window_bits": True},
        {"compress_settings": {"level": 1, "memLevel": 4}},
    ],
)
async def test_compression(options):
    offers = [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; unknown",
        "x-other, permessage-deflate; client_max_window_bits",
    ]

    async def negotiate(lib):
        seen = []

        async def handler(websocket):
            names.append([type(extension).__name__ for extension in websocket.protocol.extensions])

        factory = lib.permessage_deflate.ServerPerMessageDeflateFactory(**options)
        for offer in offers:
            names = []
            async with serving(lib, handler, extensions=[factory]) as server:
                status, headers, _ = await ask(server, request({"Sec-WebSocket-Extensions": offer}))
                seen.append((status, sorted(dict(headers).get("Sec-WebSocket-Extensions", "").split("; ")), names))
        return seen

    assert await observe(negotiate, "wsframe") == await observe(negotiate, "websockets")


# The server


@case
async def server_is_an_asyncio_server(lib):
    server = await serving(lib, start_serving=False)
    seen = [server.is_serving(), len(server.sockets), server.get_loop() is asyncio.get_running_loop()]
    await server.start_serving()
    seen.append(server.is_serving())
    seen.append(await ask(server))
    server.close()
    await server.wait_closed()
    server.close()
    await server.wait_closed()
    return [*seen, server.is_serving(), list(server.sockets), server.connections]


@case
async def close_takes_a_code_and_a_reason(lib):
    seen = []
    for arguments in ({}, {"code": lib.frames.CloseCode.SERVICE_RESTART, "reason": "restart"}):
        server = await serving(lib)
        async with dial(server) as peer:
            await peer.send(request())
            await peer.read_head()
            await until(lambda: server.connections)
            server.close(**arguments)
            frame = await peer.read_frame()
            await peer.send_frame(frame.opcode, frame.payload)
            seen.append((frame.payload, await peer.read_frame()))
        await server.wait_closed()
    return seen


@case
async def close_can_keep_connections_open(lib):
    server = await serving(lib)
    async with dial(server) as peer:
        await peer.send(request())
        await peer.read_head()
        server.close(close_connections=False)
        task = asyncio.ensure_future(server.wait_closed())
        await settle()
        await peer.send_frame(TEXT, b"still here")
        frame = await peer.read_frame()
        seen = [frame.payload, task.done(), len(server.connections), server.is_serving()]
        await peer.send_close(1000)
        seen.append(await peer.read_pairs())
    await task
    return seen


@case
async def close_refuses_requests_being_processed(lib):
    async def process_request(connection, received):
        connection.server.close()
        await settle()

    server = await serving(lib, process_request=process_request)
    seen = await ask(server)
    await server.wait_closed()
    return seen


@case
async def close_waits_for_handlers(lib):
    seen = []
    go_on = asyncio.Event()

    async def handler(websocket):
        await websocket.wait_closed()
        await go_on.wait()
        seen.append("handler")

    server = await serving(lib, handler)
    async with dial(server) as peer:
        await peer.send(request())
        await peer.read_head()
        await until(lambda: server.connections)
        server.close()
        frame = await peer.read_frame()
        await peer.send_frame(frame.opcode, frame.payload)
        await peer.aclose()
        task = asyncio.ensure_future(server.wait_closed())
        await settle()
        seen.append(task.done())
        go_on.set()
        await task
    seen.append("closed")
    return seen


@case
async def serve_forever(lib):
    server = await serving(lib)
    task = asyncio.ensure_future(server.serve_forever())
    await settle()
    server.close()
    await task
    server = await serving(lib)
    task = asyncio.ensure_future(server.serve_forever())
    await settle()
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled(), server.is_serving()


@case
async def connection_classes_get_the_same_arguments(lib):
    seen = []

    class Mine(lib.server.ServerConnection):
        def __init__(self, protocol, server, *, ping_interval, ping_timeout, close_timeout, max_queue, write_limit):
            options = {"ping_interval": ping_interval, "ping_timeout": ping_timeout, "close_timeout": close_timeout}
            super().__init__(protocol, server, max_queue=max_queue, write_limit=write_limit, **options)
            seen.extend([isinstance(server, lib.server.Server), options, max_queue, write_limit])

        def respond(self, status, text):
            return super().respond(status, text + " by Mine")

    async def handler(websocket):
        seen.append(isinstance(websocket, Mine))

    async with serving(lib, handler, create_connection=Mine, process_request=do_nothing) as server:
        seen.append(await ask(server))
    async with serving(lib, create_connection=Mine, process_request=answer_403, ping_interval=None) as server:
        seen.append(await ask(server))
    return seen


@case
async def wrong_arguments(lib):
    seen = []
    auth = lib.server.basic_auth
    for function in (
        lambda: serving(lib, subprotocols="chat"),
        lambda: serving(lib, compression="gzip"),
        lambda: auth(),
        lambda: auth(credentials=("a", "b"), check_credentials=lambda *args: True),
        lambda: auth(credentials=42),
        lambda: auth(credentials=[42]),
        lambda: auth(credentials=("a", 42)),
    ):
        try:
            function()
        except Exception as exc:
            seen.append(type(exc))
        else:
            seen.append(None)
    return seen


# Routes


@case
async def routes(lib):
    routing = pytest.importorskip("werkzeug.routing")

    async def handler(websocket, **kwargs):
        await websocket.send(repr(sorted(kwargs.items())))

    def url_map():
        return routing.Map(
            [
                routing.Rule("/", endpoint=handler),
                routing.Rule("/a/<int:number>", endpoint=handler),
                routing.Rule("/b/", endpoint=handler),
                routing.Rule("/old/<int:number>", redirect_to="/a/<number>"),
            ]
        )

    seen = []
    paths = ["/", "/a/1", "/a/x", "/b", "/b/?c=d", "/old/2", "/none", "/a/1?number=2"]
    for options in ({}, {"server_name": "example.com"}, {"ssl": True}, {"server_name": "example.com", "ssl": True}):
        async with lib.router.route(url_map(), HERE, 0, **options) as server:
            for path in paths:
                seen.append(await ask(server, request({"Host": "localhost"}, f"GET {path} HTTP/1.1")))
    for hook in (answer_403, do_nothing, answer_403_later):
        async with lib.router.route(url_map(), HERE, 0, process_request=hook) as server:
            seen.append(await ask(server))
    return seen


@case
async def routers_may_be_subclassed(lib):
    routing = pytest.importorskip("werkzeug.routing")

    async def handler(websocket):
        await websocket.send("endpoint")

    class Mine(lib.router.Router):
        def not_found(self, connection):
            return connection.respond(404, "nothing by Mine")

        async def handler(self, connection):
            await connection.send("Mine")
            return await super().handler(connection)

    url_map = routing.Map([routing.Rule("/", endpoint=handler)])
    async with lib.router.route(url_map, HERE, 0, create_router=Mine) as server:
        return [await ask(server), await ask(server, request({}, "GET /none HTTP/1.1"))]


@pytest.mark.parametrize("name", CASES)
async def test_same(name):
    assert await observe(CASES[name], wsframe.__name__) == await observe(CASES[name], websockets.__name__)
