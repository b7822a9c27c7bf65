"""Counters of connections and servers, and their text for Prometheus: ``ws.stats`` and ``wsframe.metrics``."""

from __future__ import annotations

import asyncio
import re

import pytest
from support import PING, dial, dial_open, echo, port_of, soon, until, uri_of

import wsframe
from wsframe import connect, serve
from wsframe.messages.stats import Stats
from wsframe.testing.metrics import CONTENT_TYPE, metrics_endpoint, openmetrics

HERE = "127.0.0.1"


async def test_stats_of_a_connection():
    async with serve(echo, HERE, 0, compression=None) as server, connect(uri_of(server), compression=None) as websocket:
        assert websocket.stats == Stats()
        for message in ("abc", bytes(200)):
            await websocket.send(message)
            assert await soon(websocket.recv()) == message
        await (await websocket.ping())
        stats = websocket.stats
        assert (stats.messages_sent, stats.messages_received, stats.frames_sent, stats.frames_received) == (2, 2, 3, 3)
        assert (stats.payload_bytes_sent, stats.payload_bytes_received) == (203, 203)
        # Headers of 2 and 4 bytes, keys of 4, and a ping of 4 bytes.
        assert (stats.bytes_sent, stats.bytes_received) == (203 + 6 + 8 + 10, 203 + 2 + 4 + 6)
        assert (stats.pings_sent, stats.pongs_received) == (1, 1)
        assert stats.latency == websocket.latency
        with pytest.raises(AttributeError):
            stats.pings_sent = 2


async def test_stats_count_waiting_bytes_and_messages():
    async def handler(websocket):
        for i in range(3):
            await websocket.send(str(i))
        await websocket.wait_closed()

    async with serve(handler, HERE, 0) as server, connect(uri_of(server)) as websocket:
        await until(lambda: websocket.stats.queue_depth == 3)
        assert websocket.stats.buffered_bytes == 0


async def test_stats_count_compressed_bytes():
    async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:
        await websocket.send("a" * 10_000)
        await soon(websocket.recv())
        assert websocket.stats.bytes_sent < 1000 < websocket.stats.payload_bytes_sent == 10_000


async def test_callbacks_have_stats():
    made = []

    class Echo(wsframe.WebSocketProtocol):
        def message_received(self, data):
            made.append(self)
            self.send(data)

    server = await asyncio.get_running_loop().create_server(Echo, HERE, 0)
    async with connect(uri_of(server)) as websocket:
        await websocket.send("a")
        assert await soon(websocket.recv()) == "a"
        assert (made[0].stats.messages_received, made[0].stats.queue_depth) == (1, 0)
    server.close()
    await server.wait_closed()


def test_stats_add_up():
    one = Stats(frames_sent=1, latency=0.5, queue_depth=3)
    other = Stats(frames_sent=2, bytes_sent=7, latency=0.25, queue_depth=1)
    assert one + other == Stats(frames_sent=3, bytes_sent=7, latency=0.5, queue_depth=4)
    assert one.ended() == Stats(frames_sent=1)


def parse(text):
    assert text.endswith("# EOF\n")
    names = re.findall(r"^# TYPE (\w+) \w+$", text, re.MULTILINE)
    assert len(names) == len(set(names))
    return {name: float(value) for name, value in re.findall(r"^(\w+) ([\d.]+)$", text, re.MULTILINE)}


async def test_server_counts_closed_connections():
    async with serve(echo, HERE, 0, compression=None) as server:
        for _ in range(2):
            async with connect(uri_of(server), compression=None) as websocket:
                await websocket.send("abc")
                await soon(websocket.recv())
        await until(lambda: not server.connections)
        async with dial(server), dial_open(server) as peer:
            await peer.send_frame(PING)
            await peer.read_frame()
            seen = parse(openmetrics(server))
            assert seen["wsframe_connections"] == 1
            assert seen["wsframe_connections_opened_total"] == server.connections_opened == 3
            assert seen["wsframe_messages_received_total"] == seen["wsframe_messages_sent_total"] == 2
            assert seen["wsframe_payload_bytes_sent_total"] == 6
            # Close frames, and the last one's ping.
            assert seen["wsframe_frames_received_total"] == 2 + 2 + 1
            assert seen["wsframe_queue_depth"] == 0


async def ask(server, path):
    reader, writer = await asyncio.open_connection(HERE, port_of(server))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, body = (await soon(reader.read())).split(b"\r\n\r\n", 1)
    writer.close()
    return head.decode(), body.decode()


def health(connection, request):
    return connection.respond(200, "OK") if request.path == "/healthz" else None


async def health_later(connection, request):
    return health(connection, request)


@pytest.mark.parametrize("other", [None, health, health_later])
async def test_endpoint_beside_websocket(other):
    async with serve(echo, HERE, 0, process_request=metrics_endpoint(process_request=other, prefix="x")) as server:
        for path in ("/metrics", "/metrics?a=b"):
            head, body = await ask(server, path)
            assert f"Content-Type: {CONTENT_TYPE}" in head
            assert parse(body)["x_connections"] == 0
        head, body = await ask(server, "/healthz")
        assert head.startswith("HTTP/1.1 426 " if other is None else "HTTP/1.1 200 ")
        async with connect(uri_of(server)):
            pass
