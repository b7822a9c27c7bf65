"""Options of ``wsframe.adapters.uvicorn``: what subclasses set, uvicorn's ``--ws-max-queue``, and what is counted."""

from __future__ import annotations

import asyncio
import logging
import re

import pytest
from support import CLOSE, PING, PONG, TEXT, close_payload, dial, dial_open, request, soon, until
from test_uvicorn import App, echo, faked, running

import wsframe
from wsframe import Limits
from wsframe.adapters.uvicorn import WebSocketProtocol
from wsframe.testing.clock import settle

HELLO = bytes.fromhex("818537fa213d7f9f4d5158")
"""A masked text message."""


def subclass(*bases, **attributes):
    return type("Protocol", (*bases, WebSocketProtocol), attributes)


# What a class may have


@pytest.mark.parametrize(
    "attributes",
    [
        {"orgins": ["https://example.com"]},
        {"max_size": 5},
        {"config": None},
        {"ping_interval": 5},
        {"transport": None},
        {"data_received": None},
        {"Nested": type("Nested", (), {})},
    ],
)
def test_attribute_that_is_no_option_is_an_error(attributes):
    (name,) = attributes
    with pytest.raises(TypeError, match=f"{name} is not an option of WebSocketProtocol; there are .*origins, limits"):
        subclass(**attributes)
    # Neither is one of another base.
    with pytest.raises(TypeError, match=name):
        subclass(type("Mixin", (), attributes))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("origins", "https://example.com"),
        ("origins", b"https://example.com"),
        ("origins", [b"https://example.com"]),
        ("origins", 5),
        ("origins", lambda self: None),
        ("limits", 5),
        ("limits", Limits),
        ("compression", "deflate"),
        ("compression", True),
        ("compression", wsframe.PerMessageDeflateFactory),
        ("close_timeout", None),
        ("close_timeout", "5"),
        ("close_timeout", True),
        ("close_timeout", -1),
        ("close_timeout", float("nan")),
    ],
)
def test_option_of_a_wrong_type_is_an_error(name, value):
    with pytest.raises(TypeError, match=f"{name} must be "):
        subclass(**{name: value})


def test_options_methods_and_private_names_are_no_errors():
    first = subclass(
        origins=(re.compile(r"https://.*"), "http://localhost", None),
        limits=Limits(),
        compression=None,
        close_timeout=0,
        _own=5,
        own_method=lambda self: None,
        own_property=property(lambda self: 5),
        own_function=staticmethod(len),
    )
    second = type("Second", (first,), {"limits": property(lambda self: None), "origins": None})
    assert second.close_timeout == 0


# What they do


@pytest.mark.parametrize(
    ("origin", "status"), [("https://example.com", 101), ("https://other.example", 403), (None, 403)]
)
@pytest.mark.parametrize("http", ["h11", "httptools"])
async def test_origins(origin, status, http):
    ws = subclass(origins=["https://example.com"])
    async with running(App(), ws=ws, http=http) as server, dial(server) as peer:
        await peer.send(request({"Origin": origin}))
        line, _ = await peer.read_head()
        assert int(line.split(" ")[1]) == status


async def close_code_of(ws, *frames, **options):
    """Return the code of the Close frame that answers some frames."""
    async with running(App(), ws=ws, **options) as server, dial_open(server) as peer:
        await peer.send(*(peer.frame(*arguments, fin=fin) for *arguments, fin in frames))
        while (frame := await peer.read_frame()).opcode != CLOSE:
            assert frame.opcode == PONG
        return int.from_bytes(frame.payload[:2], "big")


async def test_limits():
    small = subclass(limits=Limits(max_message_size=4))
    assert await close_code_of(small, (TEXT, b"12345", True)) == 1009
    assert await close_code_of(subclass(limits=Limits(max_fragment_size=4)), (TEXT, b"12345", False)) == 1009
    many = [(TEXT, b"", False), *[(0, b"", False)] * 5]
    assert await close_code_of(subclass(limits=Limits(max_fragments=5)), *many) == 1009
    pings = [(PING, b"", True)] * 5
    assert await close_code_of(subclass(limits=Limits(max_control_rate=4)), *pings) == 1008


async def test_limit_on_control_frames_is_per_second(monkeypatch):
    app = App(echo)
    limited = subclass(limits=Limits(max_control_rate=4))
    async with faked(app, ws=limited) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        for _ in range(10):
            protocol.websocket._control_frames_since -= 2
            transport.deliver(bytes.fromhex("8a8000000000"))
        transport.deliver(HELLO)
        await until(lambda: transport.written.endswith(b"\x81\x05Hello"))
        assert protocol.stats.pongs_received == 10
    async with faked(app, ws=subclass(limits=Limits(max_control_rate=None))) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        transport.deliver(bytes.fromhex("8a8000000000") * 20_000 + HELLO)
        await until(lambda: transport.written.endswith(b"\x81\x05Hello"))


@pytest.mark.parametrize(
    ("limits", "max_size", "expected"),
    [
        (None, 10, 10),
        (None, None, None),
        (Limits(max_message_size=4), 10, 4),
        (Limits(max_message_size=40), 10, 10),
        (Limits(max_message_size=None), 10, 10),
        (Limits(max_message_size=4), None, 4),
        (Limits(max_message_size=None), None, None),
    ],
)
async def test_smaller_message_limit_applies(limits, max_size, expected):
    async with faked(App(), ws=subclass(limits=limits), ws_max_size=max_size) as (protocol, _):
        assert protocol.websocket.protocol.limits.max_message_size == expected


async def test_limits_of_the_head():
    ws = subclass(limits=Limits(max_headers=8))
    async with running(App(), ws=ws) as server, dial(server) as peer:
        await peer.send(request({f"X-{number}": "1" for number in range(8)}))
        assert (await peer.read_head())[0].split(" ")[1] == "431"


async def test_no_compression():
    async with running(App(), ws=subclass(compression=None)) as server:
        async with dial_open(server, {"Sec-WebSocket-Extensions": "permessage-deflate"}) as peer:
            assert "sec-websocket-extensions" not in dict(peer.headers)


@pytest.mark.parametrize("policy", ["wait", "drop", "close"])
async def test_policy_for_a_client_that_does_not_read(policy, caplog):
    caplog.set_level(logging.INFO)
    outcome = []
    proceed = asyncio.Event()

    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await proceed.wait()
        try:
            await send({"type": "websocket.send", "text": "x"})
            outcome.append("sent")
        except OSError:
            outcome.append("gone")

    ws = subclass(limits=Limits(max_send_buffer=100, send_buffer_policy=policy))
    async with faked(app, ws=ws) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        before = len(transport.written)
        transport.get_write_buffer_size = lambda: 101
        protocol.websocket.pause_writing()
        proceed.set()
        if policy == "wait":
            await settle()
            assert outcome == []
            protocol.websocket.resume_writing()
        await until(lambda: outcome)
        written = transport.written[before:]
    expected = {
        "wait": ("sent", b"\x81\x01x"),
        "drop": ("sent", b""),
        "close": ("gone", b"\x88\x18" + close_payload(1008, "the peer does not read")),
    }
    assert (outcome[0], written) == expected[policy]
    assert ("more than 100 bytes are waiting" in caplog.text) == (policy == "close")


async def test_policy_applies_above_the_limit():
    async def app(scope, receive, send):
        await send({"type": "websocket.accept"})
        await receive()
        await receive()
        await send({"type": "websocket.send", "text": "x"})

    ws = subclass(limits=Limits(max_send_buffer=100, send_buffer_policy="drop"))
    async with faked(app, ws=ws) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        transport.get_write_buffer_size = lambda: 100
        protocol.websocket.pause_writing()
        transport.deliver(HELLO)
        await settle()
        protocol.websocket.resume_writing()
        await until(lambda: transport.written.endswith(b"\x81\x01x"))


# Of uvicorn


@pytest.mark.parametrize(("max_queue", "paused_at", "resumed_at"), [(0, 1, 0), (1, 2, 0), (8, 9, 2), (-1, 1, 0)])
async def test_ws_max_queue(max_queue, paused_at, resumed_at):
    proceed = asyncio.Semaphore(0)
    left = []

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await proceed.acquire()
            if (await receive())["type"] == "websocket.disconnect":
                return
            left.append(protocol.stats.queue_depth)

    async with faked(app, ws_max_queue=max_queue) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        for number in range(1, paused_at + 1):
            assert not protocol.websocket.reading_paused
            transport.deliver(HELLO)
            assert protocol.stats.queue_depth == number
        assert protocol.websocket.reading_paused
        while protocol.stats.queue_depth > resumed_at:
            assert protocol.websocket.reading_paused
            count = len(left)
            proceed.release()
            await until(lambda: len(left) > count)
        assert not protocol.websocket.reading_paused
        assert transport.calls.count("pause_reading") == transport.calls.count("resume_reading") == 1
        for _ in range(20):
            proceed.release()


async def test_ws_max_queue_none_never_pauses():
    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.Event().wait()

    async with faked(app, ws_max_queue=None) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        for _ in range(1000):
            transport.deliver(HELLO)
        assert not protocol.websocket.reading_paused
        for task in protocol._server_state.tasks:
            task.cancel()


@pytest.mark.parametrize("interval", [0, -1, None])
async def test_no_keepalive(interval):
    async with faked(App(), ws_ping_interval=interval) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        assert protocol.websocket._keepalive is None


# Inspection


async def test_stats():
    async with running(App(echo)) as server, dial_open(server) as peer:
        (protocol,) = server.server.server_state.connections
        await peer.send_frame(TEXT, b"Hello")
        await peer.expect(TEXT, b"Hello")
        protocol.websocket.send_keepalive_ping()
        ping = await peer.read_frame()
        assert ping.opcode == PING
        # The clock of an event loop may stand still within a millisecond.
        loop = asyncio.get_running_loop()
        now = loop.time()
        await until(lambda: loop.time() > now)
        await peer.send_frame(PONG, ping.payload)
        await until(lambda: protocol.stats.pongs_received)
        # An unsolicited one.
        await peer.send_frame(PONG)
        await until(lambda: protocol.stats.pongs_received == 2)
        stats = protocol.stats
    assert (stats.messages_received, stats.messages_sent) == (1, 1)
    assert (stats.payload_bytes_received, stats.payload_bytes_sent) == (5, 5)
    assert (stats.frames_received, stats.frames_sent, stats.bytes_sent) == (3, 2, 13)
    assert (stats.pings_sent, stats.queue_depth, stats.buffered_bytes) == (1, 0, 0)
    assert stats.latency > 0


async def test_stats_without_a_transport():
    async with faked(App()) as (protocol, transport):
        await until(lambda: b"101" in transport.written)

        class Gone:
            def __getattr__(self, name):
                raise AttributeError(name)

        protocol.transport = Gone()
        assert protocol.stats.buffered_bytes == 0
        protocol.transport = transport


async def test_one_debug_line_names_the_implementation(caplog):
    caplog.set_level(logging.DEBUG, "uvicorn.error")
    async with running(App(echo)) as server:
        for _ in range(2):
            async with dial_open(server) as peer:
                await peer.send_close(1000)
                await peer.expect(CLOSE, close_payload(1000))
        await soon(asyncio.sleep(0))
    lines = [record.getMessage() for record in caplog.records if "wsframe" in record.getMessage()]
    version = f"wsframe {wsframe.__version__}, implementation {wsframe.IMPLEMENTATION}"
    assert lines == [f"WebSocket: wsframe.adapters.uvicorn, {version}"]
