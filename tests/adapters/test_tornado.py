"""``wsframe.patch("tornado")``; tornado's own tests run too, with the patch (``host_suites.py``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from types import SimpleNamespace

import pytest
from support import BINARY, CLOSE, PING, PONG, TEXT, close_payload, dial_open, soon, steady, until, uri_of
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler, websocket_connect

import wsframe

DEFLATE = {"Sec-WebSocket-Extensions": "permessage-deflate; client_no_context_takeover; server_no_context_takeover"}


@pytest.fixture(autouse=True)
def patched():
    with wsframe.patch("tornado"):
        yield


class Echo(WebSocketHandler):
    """Keeps what happens."""

    def open(self):
        self.application.handlers.append(self)
        self.events = []

    async def on_message(self, message):
        self.events.append(message)
        await self.write_message(message, binary=isinstance(message, bytes))

    def on_ping(self, data):
        self.events.append(("ping", data))

    def on_close(self):
        self.events.append(("close", self.close_code, self.close_reason))


@contextlib.asynccontextmanager
async def running(handler=Echo, ssl_options=None, **settings):
    """Run a server; gives ``sockets`` and ``handlers``, those that were opened."""
    application = Application([("/", handler)], **settings)
    application.handlers = []
    server = HTTPServer(application, ssl_options=ssl_options)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield SimpleNamespace(sockets=sockets, handlers=application.handlers)
    finally:
        server.stop()
        for handler in application.handlers:
            if handler.ws_connection is not None:
                handler.ws_connection._abort()
            await until(lambda handler=handler: ("close", handler.close_code, handler.close_reason) in handler.events)
        await soon(server.close_all_connections())


async def handler_of(server):
    await until(lambda: server.handlers)
    (handler,) = server.handlers
    return handler


def spy_on_writes(handler):
    stream = handler.ws_connection.stream
    write, sizes = stream.write_to_fd, []
    stream.write_to_fd = lambda data: (sizes.append(len(data)), write(data))[1]
    return sizes


async def test_patch_replaces_the_protocol():
    async with running() as server, dial_open(server):
        assert type((await handler_of(server)).ws_connection).__module__ == "wsframe.adapters.tornado"


async def test_echo():
    async with running() as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, "Grüße".encode())
        await peer.expect(TEXT, "Grüße".encode())
        await peer.send_frame(BINARY, b"\xff")
        await peer.expect(BINARY, b"\xff")
        await peer.send_close(1000, "bye")
        await peer.expect(CLOSE, close_payload(1000))
        await peer.expect_end()
    assert server.handlers[0].events == ["Grüße", b"\xff", ("close", 1000, "bye")]


async def test_fragments_with_a_ping_between_them():
    async with running() as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"one, ", fin=False)
        await peer.send_frame(PING, b"p")
        await peer.send_frame(0, b"two, ", fin=False)
        await peer.send_frame(0, b"three")
        await peer.expect(PONG, b"p")
        await peer.expect(TEXT, b"one, two, three")
    assert server.handlers[0].events[:2] == [("ping", b"p"), "one, two, three"]


def deflated(payload):
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


async def test_compressed_fragments_with_a_ping_between_them():
    class Compressing(Echo):
        def get_compression_options(self):
            return {}

    async with running(Compressing) as server, dial_open(server, DEFLATE) as peer:
        data = deflated(b"compressed " * 20)
        await peer.send_frame(TEXT, data[:5], fin=False, rsv=4)
        await peer.send_frame(PING, b"p")
        await peer.send_frame(0, data[5:])
        await peer.send_frame(TEXT, b"plain")
        await peer.expect(PONG, b"p")
        for text in (b"compressed " * 20, b"plain"):
            frame = await peer.read_frame()
            assert (frame.opcode, frame.rsv) == (TEXT, 4)
            assert zlib.decompressobj(-15).decompress(frame.payload + b"\0\0\xff\xff") == text


async def test_messages_sent_within_a_read_are_one_write():
    class Sync(Echo):
        def on_message(self, message):
            self.write_message({"got": message})

    async with running(Sync) as server, dial_open(server) as peer:
        sizes = spy_on_writes(await handler_of(server))
        await peer.send(b"".join(peer.frame(TEXT, b"%d" % number) for number in range(20)))
        for number in range(20):
            await peer.expect(TEXT, b'{"got": "%d"}' % number)
        assert len(sizes) == 1


async def test_many_bytes_sent_within_a_read_are_written_before_its_end():
    class Much(Echo):
        def on_message(self, message):
            for _ in range(5):
                self.write_message(bytes(30_000), binary=True)

    async with running(Much) as server, dial_open(server) as peer:
        sizes = spy_on_writes(await handler_of(server))
        await peer.send_frame(TEXT, b"go")
        for _ in range(5):
            await peer.expect(BINARY, bytes(30_000))
        assert max(sizes) < 100_000


async def test_messages_are_written_before_a_handler_suspends():
    proceed = asyncio.Event()

    class Slow(Echo):
        async def on_message(self, message):
            await self.write_message(f"begin {message}")
            await proceed.wait()
            await self.write_message(f"end {message}")

    async with running(Slow) as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"one") + peer.frame(TEXT, b"two"))
        await peer.expect(TEXT, b"begin one")
        proceed.set()
        for text in (b"end one", b"begin two", b"end two"):
            await peer.expect(TEXT, text)


async def test_write_waits_while_the_peer_does_not_read():
    class Flood(Echo):
        written = 0

        async def on_message(self, message):
            # Neither the first write, nor the following ones, within the read or not.
            for _ in range(500):
                await self.write_message(bytes(50_000), binary=True)
                self.written += 1

    async with running(Flood) as server, dial_open(server, limit=1000) as peer:
        handler = await handler_of(server)
        await peer.send_frame(TEXT, b"go")
        await until(lambda: handler.ws_connection.stream.writing())
        assert await steady(lambda: handler.written) < 500
        for _ in range(500):
            await peer.expect(BINARY, bytes(50_000))


async def test_incomplete_write_fails():
    failed = asyncio.Event()

    class Flood(Echo):
        async def on_message(self, message):
            with pytest.raises(WebSocketClosedError):
                while True:
                    await self.write_message(bytes(500_000), binary=True)
            with pytest.raises(WebSocketClosedError):
                await self.write_message("more")
            failed.set()

    async with running(Flood) as server, dial_open(server, limit=1000) as peer:
        handler = await handler_of(server)
        await peer.send_frame(TEXT, b"go")
        await until(lambda: handler.ws_connection.stream.writing())
        peer.abort()
        await soon(failed.wait())


async def test_write_after_the_end_is_an_error():
    async with running() as server, dial_open(server) as peer:
        handler = await handler_of(server)
        protocol = handler.ws_connection
        protocol._abort()
        with pytest.raises(WebSocketClosedError):
            protocol.write_message("late")
        await peer.expect_end()


async def test_held_messages_are_dropped_when_the_stream_closes_within_a_read():
    class Closing(Echo):
        def on_message(self, message):
            self.write_message(message)
            self.ws_connection.stream.close()

    async with running(Closing) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, b"one")
        await peer.expect_end()


async def test_system_errors_when_writing_are_handled_by_tornado():
    async with running() as server, dial_open(server) as peer:
        handler = await handler_of(server)

        def fail(data):
            raise ConnectionResetError("reset")

        handler.ws_connection.stream.write_to_fd = fail
        await peer.send_frame(TEXT, b"one")
        await peer.expect_end()


async def test_wrong_control_frames_are_refused():
    async with running() as server, dial_open(server):
        handler = await handler_of(server)
        with pytest.raises(ValueError, match="125 bytes"):
            handler.ping(bytes(126))
        with pytest.raises(ValueError, match="fragmented"):
            handler.ws_connection._write_frame(False, PING, b"")


@pytest.mark.parametrize(("opcode", "payload"), [(3, b""), (TEXT, b"\xff"), (0, b"")])
async def test_violation_aborts_the_connection(opcode, payload):
    async with running() as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"before") + peer.frame(opcode, payload) + peer.frame(TEXT, b"after"))
        assert await peer.read_pairs() == [(TEXT, b"before")]
    assert server.handlers[0].events == ["before", ("close", None, None)]


async def test_message_over_the_limit_is_1009():
    async with running(websocket_max_message_size=100) as server, dial_open(server) as peer:
        await peer.send_frame(TEXT, bytes(100))
        await peer.expect(TEXT, bytes(100))
        await peer.send(peer.frame(TEXT, bytes(101))[:2])
        await peer.expect_failure(1009)


async def test_frames_after_a_close_frame_are_ignored():
    async with running() as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"one") + peer.frame(CLOSE, b"") + peer.frame(TEXT, b"two"))
        assert await peer.read_pairs() == [(TEXT, b"one"), (CLOSE, b"")]
    assert server.handlers[0].events == ["one", ("close", None, None)]


async def test_handler_that_closes_ignores_the_rest_of_the_read():
    class Closing(Echo):
        def on_message(self, message):
            self.events.append(message)
            self.ws_connection._abort()

    async with running(Closing) as server, dial_open(server) as peer:
        await peer.send(peer.frame(TEXT, b"one") + peer.frame(TEXT, b"two"))
        await peer.expect_end()
    assert server.handlers[0].events == ["one", ("close", None, None)]


@pytest.mark.parametrize("suspends", [False, True])
async def test_failing_handler_aborts_after_its_messages_are_sent(suspends, caplog):
    class Failing(Echo):
        async def on_message(self, message):
            await self.write_message("sent")
            if suspends:
                await asyncio.sleep(0)
            raise ValueError("broken")

    with caplog.at_level(logging.ERROR):
        async with running(Failing) as server, dial_open(server) as peer:
            await peer.send_frame(TEXT, b"one")
            assert await peer.read_pairs() == [(TEXT, b"sent")]
    assert "broken" in caplog.text


async def test_many_frames_in_a_read_do_not_block_others():
    turns = 0

    def count():
        nonlocal turns
        turns += 1
        if not messages:
            asyncio.get_running_loop().call_soon(count)

    messages = []

    class Counting(Echo):
        def on_message(self, message):
            if message == "last":
                messages.append(message)

    async with running(Counting) as server, dial_open(server) as peer:
        count()
        await peer.send(peer.frame(BINARY, b"") * 5000 + peer.frame(TEXT, b"last"))
        await until(lambda: messages)
    assert turns > 10


async def test_large_messages():
    async with running() as server, dial_open(server) as peer:
        message = bytes(range(256)) * 4096
        await peer.send_frame(BINARY, message)
        await peer.expect(BINARY, message)


async def test_abort_while_reading():
    async with running() as server, dial_open(server) as peer:
        handler = await handler_of(server)
        await peer.send_frame(TEXT, b"one")
        await peer.expect(TEXT, b"one")
        handler.ws_connection._abort()
        await until(lambda: handler.events[-1] == ("close", None, None))
        await peer.expect_end()


async def test_bytes_after_the_request_are_kept():
    async with running() as server, dial_open(server, trailing=bytes.fromhex("818537fa213d7f9f4d5158")) as peer:
        await peer.expect(TEXT, b"Hello")


async def test_client():
    async with running() as server:
        client = await soon(websocket_connect(uri_of(server)))
        assert client.protocol.mask_outgoing
        for message in ("text", b"binary", "x" * 100_000):
            await client.write_message(message, binary=isinstance(message, bytes))
            assert await soon(client.read_message()) == message
        client.close(1000)
        assert await soon(client.read_message()) is None


async def test_client_against_wsframe():
    async def handler(websocket):
        async for message in websocket:
            await websocket.send(message)

    async with wsframe.serve(handler, "127.0.0.1", 0) as server:
        client = await soon(websocket_connect(uri_of(server), compression_options={}))
        await client.write_message("text " * 100)
        assert await soon(client.read_message()) == "text " * 100
        client.close()
        assert await soon(client.read_message()) is None


async def test_tls(server_tls, client_tls):
    async with running(ssl_options=server_tls) as server:
        async with dial_open(server, ssl=client_tls, server_hostname="localhost") as peer:
            await peer.send_frame(TEXT, b"one")
            await peer.expect(TEXT, b"one")
