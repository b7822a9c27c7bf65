"""Inspecting a connection: counters and the log of frames."""

from __future__ import annotations

import asyncio
import dataclasses
import logging

import pytest
from support import PING, PONG, TEXT, dial_open, port_of, soon, until, uri_of

from wsframe import WebSocketProtocol, broadcast, connect, serve

HERE = "127.0.0.1"


async def answer_twice(websocket):
    async for message in websocket:
        await websocket.send([message, message])


async def test_stats_count_both_ways():
    async with serve(answer_twice, HERE, 0, compression=None) as server:
        async with connect(uri_of(server), compression=None) as websocket:
            (connection,) = server.connections
            before = websocket.stats
            assert set(dataclasses.astuple(before)) == {0}
            for size in (1, 200):
                await websocket.send("x" * size)
                assert await soon(websocket.recv()) == 2 * size * "x"
            latency = await soon(await websocket.ping(b"abc"))
            stats = websocket.stats
            # RFC 6455 §5.2: headers of 2 or 4 bytes, and the masking key of a client; two fragments and the last one.
            assert dataclasses.asdict(stats) == {
                "messages_sent": 2,
                "frames_sent": 3,
                "bytes_sent": 6 + 1 + 8 + 200 + 6 + 3,
                "payload_bytes_sent": 201,
                "messages_received": 2,
                "frames_received": 7,
                "bytes_received": 2 * (2 + 1) + 2 + 2 * (4 + 200) + 2 + 2 + 3,
                "payload_bytes_received": 402,
                "pings_sent": 1,
                "pongs_received": 1,
                "latency": latency,
                "queue_depth": 0,
                "buffered_bytes": 0,
            }
            theirs = connection.stats
            assert (theirs.bytes_received, theirs.bytes_sent) == (stats.bytes_sent, stats.bytes_received)
            assert (theirs.frames_received, theirs.frames_sent) == (stats.frames_sent, stats.frames_received)
            assert (theirs.pings_sent, theirs.pongs_received) == (0, 0)
            assert before.messages_sent == 0
            with pytest.raises(dataclasses.FrozenInstanceError):
                before.messages_sent = 1
        assert websocket.stats.frames_sent == 4


async def test_stats_distinguish_compressed_from_raw():
    async with serve(answer_twice, HERE, 0) as server, connect(uri_of(server)) as websocket:
        await websocket.send("x" * 10_000)
        assert await soon(websocket.recv()) == "x" * 20_000
        stats = websocket.stats
        assert (stats.payload_bytes_sent, stats.payload_bytes_received) == (10_000, 20_000)
        assert 0 < stats.bytes_sent < 1000
        assert 0 < stats.bytes_received < 1000


async def test_stats_report_waiting_bytes_and_messages():
    async with serve(lambda websocket: websocket.wait_closed(), HERE, 0) as server, dial_open(server) as peer:
        await until(lambda: server.connections)
        (connection,) = server.connections
        await peer.send_frame(TEXT, b"a")
        await peer.send_frame(TEXT, b"b")
        await until(lambda: connection.stats.queue_depth == 2)
        assert await connection.recv() == "a"
        assert connection.stats.queue_depth == 1


class Echo(WebSocketProtocol):
    def connection_open(self):
        self.ping(b"abc")

    def message_received(self, data):
        self.send(data)


async def test_callbacks_have_stats():
    protocol = Echo(compression=None)
    server = await asyncio.get_running_loop().create_server(lambda: protocol, HERE, 0)
    try:
        async with connect(f"ws://{HERE}:{port_of(server)}", compression=None) as websocket:
            await websocket.send("abc")
            assert await soon(websocket.recv()) == "abc"
            stats = protocol.stats
            assert (stats.messages_received, stats.messages_sent, stats.queue_depth) == (1, 1, 0)
            assert (stats.pings_sent, stats.pongs_received, stats.bytes_sent) == (1, 1, 10)
            assert stats.latency == protocol.latency
    finally:
        server.close()
        await soon(server.wait_closed())


FRAMES = ("TEXT", "BINARY", "CONT", "CLOSE", "PING", "PONG")


def frames(caplog, name):
    messages = [record.getMessage() for record in caplog.records if record.name == name]
    return [message for message in messages if message[:2] in ("> ", "< ") and message[2:].startswith(FRAMES)]


async def test_frames_are_logged_at_debug_level(caplog):
    async def handler(websocket):
        message = await websocket.recv()
        await websocket.send(message)
        await websocket.send([b"\xff" * 100, b"\xff"])
        broadcast([websocket], "to all")

    with caplog.at_level(logging.DEBUG, "wsframe"):
        async with serve(handler, HERE, 0, compression=None) as server:
            async with dial_open(server) as peer:
                await peer.send_frame(PING, b"p")
                assert (await peer.read_frame()).opcode == PONG
                await peer.send_frame(TEXT, b"abc")
                for _ in range(6):
                    frame = await peer.read_frame()
                await peer.send_frame(frame.opcode, frame.payload)
                await soon(peer.reader.read())
    assert frames(caplog, "wsframe.server") == [
        "< PING 'p' [text, 1 byte]",
        "> PONG 'p' [text, 1 byte]",
        "< TEXT 'abc' [3 bytes]",
        "> TEXT 'abc' [3 bytes]",
        f"> BINARY {'ff ' * 16}... {'ff ' * 8}[100 bytes, continued]",
        "> CONT ff [binary, 1 byte, continued]",
        "> CONT '' [0 bytes]",
        "> TEXT 'to all' [6 bytes]",
        "> CLOSE 1000 (OK) [2 bytes]",
        "< CLOSE 1000 (OK) [2 bytes]",
    ]


async def test_frames_are_not_logged_otherwise(caplog):
    async with serve(answer_twice, HERE, 0) as server, connect(uri_of(server)) as websocket:
        (connection,) = server.connections
        assert connection.protocol.frame_log is None
        assert websocket.protocol.frame_log is None
        await websocket.send("abc")
        assert await soon(websocket.recv()) == "abcabc"
    assert frames(caplog, "wsframe.server") == []


async def test_log_of_frames_ends_with_the_connection(caplog):
    with caplog.at_level(logging.DEBUG, "wsframe.client"):
        async with serve(answer_twice, HERE, 0) as server, connect(uri_of(server)) as websocket:
            assert websocket.protocol.frame_log is not None
    assert websocket.protocol.frame_log is None
    assert frames(caplog, "wsframe.client")[-1] == "< CLOSE 1000 (OK) [2 bytes]"
