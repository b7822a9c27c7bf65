"""``wsframe.adapters.uvicorn`` under uvicorn once a connection is open; its own tests run too (``host_suites.py``)."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace

import pytest
import support
from support import BINARY, CLOSE, PING, PONG, TEXT, close_payload, dial_open, request, soon, until, uri_of, wire_frame
from uvicorn import Config, Server

import wsframe
from wsframe import PerMessageDeflateFactory, connect
from wsframe.adapters.uvicorn import WebSocketProtocol
from wsframe.testing.clock import settle

CONNECT = {"type": "websocket.connect"}


@contextlib.asynccontextmanager
async def running(app, **options):
    """Run uvicorn with an application; gives ``sockets``, and ``protocols``, all that were made."""
    made = []

    class Protocol(options.pop("ws", WebSocketProtocol)):
        def connection_made(self, transport):
            made.append(self)
            super().connection_made(transport)

    settings = {"http": "h11", "lifespan": "off", "log_config": None, "date_header": False, "server_header": False}
    config = Config(app, host="127.0.0.1", port=0, ws=Protocol, **{**settings, **options})
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield SimpleNamespace(sockets=server.servers[0].sockets, protocols=made, server=server)
    finally:
        await soon(server.shutdown())


def sending(events, errors, go_on=True):
    """Return an application that sends events, and collects the exceptions that they raise."""

    async def app(scope, receive, send):
        await receive()
        for event in events:
            try:
                await send(event)
            except Exception as exc:
                errors.append(exc)
                if not go_on:
                    raise

    return app


class App:
    """Accepts, calls ``answer(send, event)`` for each message, and keeps all events."""

    def __init__(self, answer=None, accept=None):
        self.answer = answer
        self.accept = {"type": "websocket.accept", **(accept or {})}
        self.events = []
        self.scopes = []
        self.done = asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.scopes.append(scope)
        try:
            self.events.append(await receive())
            await send(self.accept)
            while self.events[-1]["type"] != "websocket.disconnect":
                event = await receive()
                self.events.append(event)
                if event["type"] == "websocket.receive" and self.answer is not None:
                    await self.answer(send, event)
        finally:
            self.done.set()


async def echo(send, event):
    await send({**event, "type": "websocket.send"})


def disconnect(code, reason=""):
    return {"type": "websocket.disconnect", "code": code, "reason": reason}


# Messages


async def test_echo_of_text_and_binary():
    app = App(echo)
    async with running(app) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, "Grüße".encode())
        await peer.expect(TEXT, "Grüße".encode())
        await peer.send_frame(BINARY, b"\xff\x00")
        await peer.expect(BINARY, b"\xff\x00")
        await peer.send_close(1000, "bye")
        await peer.expect(CLOSE, close_payload(1000, "bye"))
        await peer.expect_end()
    messages = [{"type": "websocket.receive", "text": "Grüße"}, {"type": "websocket.receive", "bytes": b"\xff\x00"}]
    assert app.events == [CONNECT, *messages, disconnect(1000, "bye")]


async def test_messages_sent_within_a_read_are_one_write():
    async with faked(App(echo)) as (_, transport):
        await until(lambda: b"101" in transport.written)
        await asyncio.sleep(0)
        before = len(transport.writes)
        data = b"".join(wire_frame(TEXT, b"%d" % number, mask=bytes(4)) for number in range(20))
        # Not from a task, which would have to be suspended first.
        asyncio.get_running_loop().call_soon(transport.deliver, data)
        await until(lambda: len(transport.writes) > before)
        assert transport.writes[before:] == [b"".join(wire_frame(TEXT, b"%d" % number) for number in range(20))]


async def test_many_bytes_sent_within_a_read_are_written_before_its_end():
    async def answer(send, event):
        for _ in range(10):
            await send({"type": "websocket.send", "bytes": bytes(30_000)})

    async with running(App(answer)) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"go")
        for _ in range(10):
            await peer.expect(BINARY, bytes(30_000))


async def test_application_that_only_sends_does_not_block_others():
    turns = 0

    async def answer(send, event):
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_soon(count)
        for _ in range(600):
            await send({"type": "websocket.send", "text": ""})
        assert turns >= 2

    def count():
        nonlocal turns
        turns += 1
        if turns < 10:
            asyncio.get_running_loop().call_soon(count)

    app = App(answer)
    async with running(app) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"go")
        for _ in range(600):
            await peer.expect(TEXT, b"")
        await peer.send_close(1000)
        await soon(app.done.wait())
    assert app.events[-1] == disconnect(1000)


async def test_message_outside_of_a_read_is_written_at_once():
    received = asyncio.Event()

    async def answer(send, event):
        await settle()
        await send({"type": "websocket.send", "text": "one"})
        await received.wait()

    async with running(App(answer)) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"go")
        await peer.expect(TEXT, b"one")
        received.set()


async def test_message_without_data_sends_nothing():
    async def answer(send, event):
        await send({"type": "websocket.send", "bytes": None, "text": None})
        await send({"type": "websocket.send", "bytes": None, "text": ""})

    async with running(App(answer)) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"go")
        await peer.expect(TEXT, b"")


async def test_compression_follows_uvicorns_option_and_is_tunable():
    class Tuned(WebSocketProtocol):
        compression = PerMessageDeflateFactory(server_no_context_takeover=True)

    offer = {"Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits"}
    async with running(App(echo), ws=Tuned) as server, dial_open(server, offer) as peer:
        assert "server_no_context_takeover" in dict(peer.headers)["Sec-WebSocket-Extensions"]
    async with running(App(echo)) as server, connect(uri_of(server)) as websocket:
        assert websocket.response.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        await websocket.send("compressed " * 100)
        assert await soon(websocket.recv()) == "compressed " * 100
    async with running(App(echo), ws_per_message_deflate=False) as server, dial_open(server, offer) as peer:
        assert "Sec-WebSocket-Extensions" not in dict(peer.headers)


async def test_limit_counts_bytes():
    app = App(echo)
    async with running(app, ws_max_size=100) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, "ü".encode() * 50)
        await peer.expect(TEXT, "ü".encode() * 50)
        await peer.send(peer.frame(TEXT, "ü".encode() * 51)[:8])
        await peer.expect_failure(1009)
    await soon(app.done.wait())
    assert app.events[-1]["code"] == 1009


async def test_violation_under_tls(server_tls, client_tls, certificate):
    app = App(echo)
    async with running(app, ssl_certfile=certificate.cert, ssl_keyfile=certificate.key) as server:
        async with dial_open(server, ssl=client_tls, server_hostname="localhost") as peer:
            await peer.send_frame(3, b"reserved")
            await peer.expect_failure(1002)
    assert app.scopes[0]["scheme"] == "wss"
    assert app.events[-1]["code"] == 1002


async def test_transport_that_is_closing_does_not_read_again():
    app = App(echo)
    async with running(app) as server, dial_open(server):
        (protocol,) = server.protocols
        protocol.websocket.pause_reading()
        protocol.transport.abort()
        protocol.websocket.resume_reading()
        assert not protocol.transport.is_reading()
        await soon(app.done.wait())


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_close_frame_reaches_a_client_that_sends_everything_first(secure, client_tls, certificate):
    """RFC 6455 §7.1.7: what is refused by its header is read all the same."""
    size = 20_000_000
    options = {"ssl_certfile": certificate.cert, "ssl_keyfile": certificate.key} if secure else {}
    async with running(App(echo), **options) as server:
        options = {"ssl": client_tls, "server_hostname": "localhost"} if secure else {}
        async with dial_open(server, **options) as peer:
            await soon(peer.send(wire_frame(BINARY, length=size, mask=bytes(4)) + bytes(size)))
            await peer.expect_failure(1009)


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_stream_ends_once_the_client_pauses(secure, client_tls, certificate):
    """A client that reads the end of the stream while sending may close TCP before it reads the Close frame."""
    options = {"ssl_certfile": certificate.cert, "ssl_keyfile": certificate.key} if secure else {}
    async with running(App(echo), **options) as server:
        options = {"ssl": client_tls, "server_hostname": "localhost"} if secure else {}
        async with dial_open(server, **options) as peer:
            await peer.send_refused_data(wire_frame(BINARY, length=20_000_000, mask=bytes(4)), 20, 1009)


@pytest.mark.parametrize("ws", ["auto", "websockets-sansio", "wsproto"])
def test_patch_registers_it_under_uvicorns_names(ws):
    async def app(scope, receive, send):
        pass

    with wsframe.patch("uvicorn"):
        config = Config(app, ws=ws, log_config=None)
        config.load()
        assert config.ws_protocol_class is WebSocketProtocol
        none = Config(app, ws="none", log_config=None)
        none.load()
        assert none.ws_protocol_class is None
    config = Config(app, ws=ws, log_config=None)
    config.load()
    assert config.ws_protocol_class is not WebSocketProtocol


# Backpressure and keepalive


async def test_reading_pauses_while_the_application_is_busy():
    proceed = asyncio.Event()

    async def answer(send, event):
        await proceed.wait()
        await echo(send, event)

    async with running(App(answer), ws_max_queue=0) as server, dial_open(server) as peer:
        (protocol,) = server.protocols
        await peer.send_frame(TEXT, b"one")
        await peer.send_frame(TEXT, b"two")
        await until(lambda: protocol.websocket.reading_paused)
        proceed.set()
        await peer.expect(TEXT, b"one")
        await peer.expect(TEXT, b"two")
        await until(lambda: not protocol.websocket.reading_paused)


async def test_send_waits_while_the_client_does_not_read():
    sent = 0

    async def answer(send, event):
        nonlocal sent
        with contextlib.suppress(OSError):
            while True:
                await send({"type": "websocket.send", "bytes": bytes(100_000)})
                sent += 1

    app = App(answer)
    async with running(app) as server, dial_open(server, limit=1000) as peer:
        await peer.send_frame(TEXT, b"go")
        # Pings meanwhile are answered once, with the last one's payload.
        await until(lambda: server.protocols[0].websocket.buffered_bytes > 0)
        before = await support.steady(lambda: sent)
        await peer.send(*(peer.frame(PING, b"%d" % number) for number in range(5)))
        await until(lambda: server.protocols[0].stats.frames_received == 6)
        assert sent == before
        pongs = []
        for _ in range(before + 20):
            frame = await peer.read_frame()
            if frame.opcode == PONG:
                pongs.append(frame.payload)
        assert pongs == [b"4"]
        assert sent > before
        peer.abort()
        await soon(app.done.wait())


async def test_keepalive():
    async with running(App(), ws_ping_interval=0.01, ws_ping_timeout=5.0) as server, dial_open(server) as peer:
        (protocol,) = server.protocols
        assert protocol.websocket._keepalive is not None
        await peer.send_frame(PONG, b"nobody asked")
        for _ in range(3):
            frame = await peer.read_frame()
            assert frame.opcode == PING
            await peer.send_frame(PONG, frame.payload)
        await until(lambda: protocol.stats.pongs_received == 4)


async def test_no_keepalive():
    async with running(App(echo), ws_ping_interval=None) as server, dial_open(server) as peer:
        (protocol,) = server.protocols
        assert protocol.websocket._keepalive is None
        await peer.send_frame(PONG, b"nobody asked")
        await peer.send_frame(TEXT, b"one")
        await peer.expect(TEXT, b"one")


async def test_keepalive_timeout():
    app = App()
    async with running(app, ws_ping_interval=0.01, ws_ping_timeout=0.01) as server, dial_open(server) as peer:
        (ping, _), close = await peer.read_pairs()
        assert (ping, close) == (PING, (CLOSE, close_payload(1011, "keepalive ping timeout")))
    assert app.events[-1] == disconnect(1011, "keepalive ping timeout")


# The end


async def test_application_closes():
    async def answer(send, event):
        if event["text"] == "one":
            await send({"type": "websocket.close", "code": 3000, "reason": "enough"})

    app = App(answer)
    async with running(app) as server, dial_open(server) as peer:
        # What comes in later reads is of no interest any more.
        await peer.send(peer.frame(TEXT, b"one") + peer.frame(TEXT, b"two"))
        await peer.expect(CLOSE, close_payload(3000, "enough"))
        await peer.send_frame(TEXT, b"three")
        await peer.send_close(3000)
        await peer.expect_end()
    messages = [{"type": "websocket.receive", "text": text} for text in ("one", "two")]
    assert app.events == [CONNECT, *messages, disconnect(3000, "enough")]


async def test_client_that_does_not_answer_close_is_dropped():
    class Impatient(WebSocketProtocol):
        close_timeout = 0.01

    async def answer(send, event):
        await send({"type": "websocket.close"})

    async with running(App(answer), ws=Impatient) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"one")
        await peer.expect(CLOSE, close_payload(1000))
        await peer.expect_end()


async def test_send_and_close_after_the_clients_close():
    errors = []

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        event = await receive()
        while event["type"] != "websocket.disconnect":
            event = await receive()
        # And again, however often.
        assert await receive() is event
        for event in ({"type": "websocket.send", "text": ""}, {"type": "websocket.close"}):
            try:
                await send(event)
            except OSError as exc:
                errors.append(exc)

    async with running(app) as server, dial_open(server) as peer:
        await peer.send_close(1000)
        await peer.expect(CLOSE, close_payload(1000))
    assert len(errors) == 2


async def test_send_after_an_unreceived_disconnect():
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await until(lambda: server.protocols[0].transport.is_closing())
        # asyncio does not let the loss of a connection through to a protocol in the same turn.
        with pytest.raises(OSError):
            while True:
                await send({"type": "websocket.send", "text": "x"})
        done.set()

    done = asyncio.Event()
    async with running(app) as server, dial_open(server):
        server.protocols[0].transport.abort()
        await soon(done.wait())


async def test_unhandled_disconnection_is_not_an_application_error(caplog):
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await receive()
        await receive()
        await send({"type": "websocket.send", "text": "x"})

    async with running(app) as server, dial_open(server) as peer:
        await peer.send_close()
        await peer.expect(CLOSE, b"")
        await until(lambda: not server.server.server_state.tasks)
    assert "Exception" not in caplog.text


async def test_lost_connection_is_a_disconnect_event():
    app = App()
    async with running(app) as server:
        async with dial_open(server) as peer:
            peer.abort()
        await soon(app.done.wait())
    assert app.events == [CONNECT, {"type": "websocket.disconnect", "code": 1005}]


async def test_shutdown_closes_with_1012():
    app = App()
    async with running(app) as server, dial_open(server) as peer:
        stopping = asyncio.ensure_future(server.server.shutdown())
        await peer.expect(CLOSE, close_payload(1012))
        await peer.send_close(1012)
        await peer.expect_end()
        await soon(stopping)
    assert app.events == [CONNECT, {"type": "websocket.disconnect", "code": 1012}]


async def test_shutdown_before_the_answer_is_500():
    never = asyncio.Event()

    async def app(scope, receive, send):
        await never.wait()

    async with running(app) as server, support.dial(server) as peer:
        await peer.send(request())
        await until(lambda: server.protocols)
        server.protocols[0].shutdown()
        assert (await peer.read_head())[0].split(" ")[1] == "500"
        never.set()


async def test_logs_at_trace_level(caplog):
    caplog.set_level(5, "uvicorn.error")
    async with running(App(), log_level=5) as server, dial_open(server):
        pass
    assert "WebSocket connection made" in caplog.text
    assert "WebSocket connection lost" in caplog.text
    assert '"WebSocket /" [accepted]' in caplog.text


# What real transports rarely do


class FakeTransport:
    """A transport without a socket."""

    def __init__(self):
        self.written = b""
        self.writes = []
        self.calls = []
        self.protocol = None

    def set_protocol(self, protocol):
        self.protocol = protocol

    def deliver(self, data):
        """Pass data to the protocol, as a transport that has read it."""
        if isinstance(self.protocol, asyncio.BufferedProtocol):
            self.protocol.get_buffer(len(data))[: len(data)] = data
            self.protocol.buffer_updated(len(data))
        else:
            self.protocol.data_received(data)

    def get_write_buffer_size(self):
        return 0

    def get_extra_info(self, name, default=None):
        return default

    def write(self, data):
        self.written += data
        self.writes.append(bytes(data))

    def is_closing(self):
        return "close" in self.calls

    def can_write_eof(self):
        return True

    def write_eof(self):
        raise OSError("reset")

    def __getattr__(self, name):
        return lambda *args: self.calls.append(name)


@contextlib.asynccontextmanager
async def faked(app, default_headers=(), head=None, ws=WebSocketProtocol, **options):
    config = Config(app, lifespan="off", log_config=None, **options)
    config.load()
    state = Server(config).server_state
    state.default_headers = list(default_headers)
    protocol = ws(config, state, {})
    transport = FakeTransport()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    transport.calls.clear()
    head = head or request()
    transport.deliver(head[:10])
    transport.deliver(head[10:])
    yield protocol, transport
    transport.protocol.connection_lost(None)
    for task in list(state.tasks):
        await soon(task)
    assert not state.connections


async def test_reset_while_the_end_is_being_written():
    async with faked(App()) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        transport.deliver(bytes.fromhex("8300"))
        assert transport.calls[-1] == "abort"
        # A second violation, and pauses, change nothing.
        transport.deliver(bytes.fromhex("8300"))


async def test_send_and_close_before_the_clients_close_is_noticed():
    errors = []
    closed = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await closed.wait()
        for event in ({"type": "websocket.send", "text": ""}, {"type": "websocket.close"}):
            try:
                await send(event)
            except OSError as exc:
                errors.append(exc)

    async with faked(app) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        transport.deliver(bytes.fromhex("888000000000"))
        assert transport.written.endswith(bytes.fromhex("8800"))
        closed.set()
        await until(lambda: len(errors) == 2)


async def test_reads_delivered_after_pausing_are_kept():
    app = App(echo)
    async with faked(app, ws_max_queue=0) as (protocol, transport):
        transport.deliver(bytes.fromhex("818537fa213d"))
        transport.deliver(bytes.fromhex("7f9f4d5158"))
        assert transport.calls == ["pause_reading"]
        await until(lambda: transport.written.endswith(b"\x81\x05Hello"))
        assert [name for name in transport.calls if name.endswith("_reading")] == ["pause_reading", "resume_reading"]


async def test_reading_is_not_resumed_on_a_transport_that_closes():
    proceed = asyncio.Event()

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await proceed.wait()
        await receive()

    async with faked(app, ws_max_queue=0) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        transport.deliver(bytes.fromhex("818000000000"))
        assert protocol.websocket.reading_paused
        transport.close()
        proceed.set()
        await until(lambda: not protocol.websocket.reading_paused)
        assert "resume_reading" not in transport.calls


async def test_nothing_is_written_to_a_transport_that_closes():
    async with faked(App()) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        written = transport.written
        transport.close()
        for _ in range(2):
            protocol.websocket.send_keepalive_ping()
        assert transport.written == written
        assert protocol.stats.pings_sent == 2


async def test_data_after_a_refusal_is_ignored():
    async def app(scope, receive, send):
        await send({"type": "websocket.close"})

    async with faked(app) as (protocol, transport):
        await until(transport.is_closing)
        transport.deliver(b"more")
        protocol.shutdown()


async def test_connection_with_a_full_write_buffer_is_dropped():
    class Impatient(WebSocketProtocol):
        close_timeout = 0.01

    async with faked(App(), ws=Impatient) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        transport.deliver(bytes.fromhex("888000000000"))
        await until(lambda: "abort" in transport.calls)


async def test_reading_is_not_paused_on_a_transport_that_closes():
    async with faked(App(accept={})) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        protocol.websocket.pause_writing()
        transport.deliver(bytes.fromhex("818000000000"))
        transport.close()
        protocol.websocket.resume_writing()
        protocol.websocket.keepalive_timed_out()
        protocol.websocket.keepalive_timed_out()
        assert protocol.websocket.send_keepalive_ping() == 0
