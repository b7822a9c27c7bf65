"""hypercorn with ``wsframe.patch("hypercorn", "wsproto")``: what it does, over loopback, and the way out of frames."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from types import SimpleNamespace

import hypercorn.asyncio
import pytest
from hypercorn.asyncio.worker_context import WorkerContext
from hypercorn.config import Config
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WebsocketBuffer, WSStream
from support import BINARY, CLOSE, PING, PONG, TEXT, Peer, close_payload, request, soon, steady, until
from wsproto.connection import SERVER, Connection
from wsproto.events import BytesMessage, TextMessage

import wsframe
from wsframe.adapters.hypercorn import MessageBuffer, Output, Reading
from wsframe.hosting import Cork
from wsframe.limits import JOINED_BYTES
from wsframe.testing.clock import settle

PATCHES = [("hypercorn", "wsproto"), ("hypercorn",)]


@contextlib.asynccontextmanager
async def running(app, **options):
    """Run hypercorn with an application that gets ``receive`` and ``send``; gives the port."""

    async def application(scope, receive, send):
        if scope["type"] == "websocket":
            assert await receive() == {"type": "websocket.connect"}
            await app(receive, send)

    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        config = Config()
        config.bind = [f"fd://{sock.detach()}"]
        config.errorlog = None
        config.graceful_timeout = 0.1
        for name, value in options.items():
            setattr(config, name, value)
    stop = asyncio.Event()
    task = asyncio.ensure_future(hypercorn.asyncio.serve(application, config, shutdown_trigger=stop.wait))
    try:
        yield port
    finally:
        stop.set()
        await soon(task)


@contextlib.asynccontextmanager
async def dialed(port, headers=None):
    """Open a connection by hand."""
    reader, writer = await soon(asyncio.open_connection("127.0.0.1", port))
    peer = Peer(reader, writer, "client")
    try:
        await peer.send(request(headers))
        start_line, peer.headers = await peer.read_head()
        assert start_line.split(" ")[1] == "101"
        yield peer
    finally:
        await peer.aclose()


async def echo(receive, send):
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": event["text"], "bytes": event["bytes"]})


@pytest.fixture(params=PATCHES, ids="+".join)
def patched(request):
    with wsframe.patch(*request.param):
        yield


@pytest.fixture
def written(monkeypatch):
    """What ``Output`` was asked to write, as sizes, and whether it did."""
    calls = []
    write = Output.write

    def spy(self, data):
        calls.append((len(data), write(self, data)))
        return calls[-1][1]

    monkeypatch.setattr(Output, "write", spy)
    return calls


async def test_echoes(patched, written):
    async with running(echo) as port, dialed(port) as peer:
        for opcode, payload in [(TEXT, "√".encode()), (BINARY, b"\xff" * 70000), (TEXT, b""), (BINARY, b"")]:
            await peer.send_frame(opcode, payload)
            await peer.expect(opcode, payload)
        await peer.send_frame(TEXT, b"in ", fin=False)
        await peer.send_frame(0, b"parts")
        await peer.expect(TEXT, b"in parts")
        await peer.send_close(1000)
        await peer.expect(CLOSE, close_payload(1000))
        await peer.expect_end()
    assert [done for _, done in written] == [True] * 5


async def test_messages_of_one_read_are_answered_in_order(patched, written, monkeypatch):
    sent = []
    flush = Cork.flush

    def spy(self):
        sent.append(len(self._frames))
        flush(self)

    monkeypatch.setattr(Cork, "flush", spy)
    async with running(echo) as port, dialed(port) as peer:
        payloads = [b"%d" % i for i in range(40)]
        await peer.send(b"".join(peer.frame(TEXT, payload) for payload in payloads))
        for payload in payloads:
            await peer.expect(TEXT, payload)
    assert len(written) == 40
    # More than one frame at a time.
    assert max(sent) > 1


async def test_control_frames_keep_their_place(patched):
    async def app(receive, send):
        await send({"type": "websocket.accept"})
        for _ in range(3):
            event = await receive()
            await send({"type": "websocket.send", "text": event["text"]})
        await send({"type": "websocket.close", "code": 3000, "reason": "enough"})
        assert (await receive())["type"] == "websocket.disconnect"

    async with running(app) as port, dialed(port) as peer:
        frames = [peer.frame(TEXT, b"1"), peer.frame(TEXT, b"2"), peer.frame(PING, b"p"), peer.frame(TEXT, b"3")]
        await peer.send(b"".join(frames))
        received = [await peer.read_frame() for _ in range(5)]
        assert [frame.payload for frame in received if frame.opcode == TEXT] == [b"1", b"2", b"3"]
        assert (PONG, b"p") in [(frame.opcode, frame.payload) for frame in received]
        assert (received[-1].opcode, received[-1].payload) == (CLOSE, close_payload(3000, "enough"))
        await peer.send_close(3000)
        await peer.expect_end()


async def test_application_that_ends_closes_after_its_messages(patched):
    async def app(receive, send):
        await send({"type": "websocket.accept"})
        event = await receive()
        for _ in range(3):
            await send({"type": "websocket.send", "text": event["text"]})

    async with running(app) as port, dialed(port) as peer:
        await peer.send(peer.frame(TEXT, b"a") + peer.frame(TEXT, b"b"))
        for _ in range(3):
            await peer.expect(TEXT, b"a")
        await peer.expect(CLOSE, close_payload(1011))


async def test_oversized_message_fails_the_connection(patched):
    async with running(echo, websocket_max_message_size=10) as port, dialed(port) as peer:
        await peer.send_frame(TEXT, b"0123456789")
        await peer.expect(TEXT, b"0123456789")
        await peer.send(peer.frame(TEXT, b"01234", fin=False) + peer.frame(0, b"567890"))
        await peer.expect(CLOSE, close_payload(1009))


async def test_client_that_does_not_read_stops_the_application(patched):
    sent = []

    async def app(receive, send):
        await send({"type": "websocket.accept"})
        for _ in range(2000):
            await send({"type": "websocket.send", "bytes": bytes(2**16)})
            sent.append(None)

    async with running(app) as port, dialed(port) as peer:
        await until(lambda: len(sent) > 10)
        last = await steady(lambda: len(sent), 0.2)
        assert last < 1000
        for _ in range(last):
            await peer.expect(BINARY, bytes(2**16))
        await until(lambda: len(sent) > last)
        peer.abort()


@pytest.mark.parametrize("ending", ["close", "eof", "abort"])
async def test_slow_application_receives_all_messages_before_the_end(patched, ending):
    wanted, received = asyncio.Event(), []

    async def app(receive, send):
        await send({"type": "websocket.accept"})
        received.append((await receive())["text"])
        await wanted.wait()
        while (event := await receive())["type"] == "websocket.receive":
            received.append(event["text"])
        received.append(event["code"])

    async with running(app) as port, dialed(port) as peer:
        # As many as are read at once, and some more while they wait for the application.
        await peer.send(*[b"".join(peer.frame(TEXT, b"%d" % i) for i in range(40))] * 3)
        await until(lambda: received)
        if ending == "close":
            await peer.send_close(1000)
        elif ending == "eof":
            peer.writer.write_eof()
        else:
            # Data in transit is lost then.
            peer.abort()
        # Loopback delivers the end at once.
        await settle()
        wanted.set()
        await until(lambda: received and isinstance(received[-1], int))
    expected = [str(i) for _ in range(3) for i in range(40)]
    texts = received[:-1]
    assert texts == expected[: len(texts)]
    assert len(texts) == 120 or (ending == "abort" and len(texts) >= 40)


async def test_slow_application_stops_the_client(patched):
    done = asyncio.Event()

    async def app(receive, send):
        await send({"type": "websocket.accept"})
        await done.wait()
        for _ in range(12):
            assert (await receive())["bytes"] == bytes(2**16)
        await send({"type": "websocket.send", "text": "twelve"})
        # An end now would reset the connection, with the client's bytes still in transit.
        while (await receive())["type"] != "websocket.disconnect":
            pass

    async with running(app) as port, dialed(port) as peer:
        sent = 0
        with pytest.raises(asyncio.TimeoutError):
            while sent < 2000:
                await asyncio.wait_for(peer.send_frame(BINARY, bytes(2**16)), 0.5)
                sent += 1
        assert sent > 12
        done.set()
        await peer.expect(TEXT, b"twelve")
        peer.abort()


async def test_read_timeout_applies(patched):
    async with running(echo, read_timeout=0.3) as port, dialed(port) as peer:
        await peer.send_frame(TEXT, b"x")
        await peer.expect(TEXT, b"x")
        await peer.expect_end()


async def test_unsendable_messages_are_left_to_hypercorn(patched):
    problems = []

    async def app(receive, send):
        await send({"type": "websocket.accept"})
        for wrong in ({"text": 5}, {"bytes": None}):
            try:
                await send({"type": "websocket.send", **wrong})
            except (TypeError, KeyError) as exc:
                problems.append(type(exc))
        await send({"type": "websocket.send", "bytes": bytearray(b"right")})

    async with running(app) as port, dialed(port) as peer:
        await peer.expect(BINARY, b"right")
    assert problems == [TypeError, KeyError]


async def test_messages_after_the_close_frame_are_dropped(patched):
    async def app(receive, send):
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        await send({"type": "websocket.send", "text": "late"})

    async with running(app) as port, dialed(port) as peer:
        await peer.send_close(1000)
        await peer.expect(CLOSE, close_payload(1000))
        await peer.expect_end()


@pytest.mark.parametrize("messages", [0, 1])
async def test_lost_client_ends_the_application(patched, messages):
    received = []

    async def app(receive, send):
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": event["text"]})
        received.append(event)

    async with running(app) as port, dialed(port) as peer:
        for _ in range(messages):
            await peer.send_frame(TEXT, b"x")
            await peer.expect(TEXT, b"x")
        peer.abort()
        await until(lambda: received)
    assert received == [{"type": "websocket.disconnect", "code": 1006}]


async def test_messages_after_a_failure_are_dropped(patched):
    done = asyncio.Event()

    async def app(receive, send):
        await send({"type": "websocket.accept"})
        assert (await receive())["text"] == "short"
        await send({"type": "websocket.send", "text": "answer"})
        await done.wait()
        await send({"type": "websocket.send", "text": "late"})

    async with running(app, websocket_max_message_size=10) as port, dialed(port) as peer:
        await peer.send_frame(TEXT, b"short")
        await peer.expect(TEXT, b"answer")
        await peer.send_frame(TEXT, b"much too long")
        await peer.expect(CLOSE, close_payload(1009))
        done.set()
        await peer.expect_end()


@pytest.mark.parametrize("over_h11", [False, True])
async def test_unknown_output_is_left_to_hypercorn(patched, over_h11):
    sent = []

    async def send(event):
        sent.append(event.data)

    config = Config()
    if over_h11:
        send = H11Protocol(None, config, WorkerContext(None), None, {}, False, None, None, send).stream_send
    stream = WSStream(None, config, None, None, False, None, None, send, 1)
    stream.connection = Connection(SERVER)
    stream.state = ASGIWebsocketState.CONNECTED
    for _ in range(2):
        await stream.app_send({"type": "websocket.send", "text": "x"})
    assert sent == [b"\x81\x01x"] * 2


async def test_refusal_before_accepting(patched):
    async def app(receive, send):
        await send({"type": "websocket.close"})

    async with running(app) as port:
        reader, writer = await soon(asyncio.open_connection("127.0.0.1", port))
        peer = Peer(reader, writer, "client")
        await peer.send(request())
        assert (await peer.read_head())[0].split(" ")[1] == "403"
        await peer.aclose()


async def test_bytes_before_accepting_are_an_error(patched):
    started, refused = asyncio.Event(), asyncio.Event()

    async def app(receive, send):
        started.set()
        # hypercorn sends such an application no more events.
        await refused.wait()

    async with running(app) as port:
        reader, writer = await soon(asyncio.open_connection("127.0.0.1", port))
        peer = Peer(reader, writer, "client")
        await peer.send(request())
        await soon(started.wait())
        await peer.send_frame(TEXT, b"early")
        assert (await peer.read_head())[0].split(" ")[1] == "400"
        refused.set()
        await peer.aclose()


async def test_connections_outlive_patching():
    async with running(echo) as port, dialed(port) as early:
        await early.send_frame(TEXT, b"1", fin=False)
        await early.send_frame(PING)
        await early.expect(PONG)
        with wsframe.patch("hypercorn"):
            await early.send_frame(0, b"2")
            await early.expect(TEXT, b"12")
            async with dialed(port) as late:
                await late.send_frame(TEXT, b"3")
                await late.expect(TEXT, b"3")
                await late.send_frame(TEXT, b"4", fin=False)
                await late.send_frame(PING)
                await late.expect(PONG)
        await early.send_frame(TEXT, b"5")
        await early.expect(TEXT, b"5")


async def test_patch_undone_during_a_message():
    handle = wsframe.patch("hypercorn")
    async with running(echo) as port, dialed(port) as peer:
        await peer.send_frame(TEXT, b"1", fin=False)
        await peer.send_frame(PING)
        await peer.expect(PONG)
        handle.undo()
        await peer.send_frame(0, b"2")
        await peer.expect(TEXT, b"12")


# The way out of frames


class Transport:
    """A transport that keeps what it gets."""

    def __init__(self):
        self.writes = []
        self.waiting = 0
        self.closing = False

    def write(self, data):
        self.writes.append(bytes(data))

    def get_write_buffer_size(self):
        return self.waiting

    def is_closing(self):
        return self.closing


def make_output(messages=0):
    sent = []

    async def send(event):
        sent.append(event)

    queue = asyncio.Queue()
    stream = SimpleNamespace(send=send, app_put=queue.put)
    for _ in range(messages):
        queue.put_nowait(None)
    return Output(stream, Transport()), stream, sent, queue


async def test_frame_is_written_at_once_when_the_application_has_nothing_to_do():
    output, _, _, _ = make_output()
    assert output.write(b"a")
    assert output._transport.writes == [b"a"]


async def test_frames_are_written_together_with_the_last():
    output, _, _, queue = make_output(messages=1)
    assert output.write(b"a")
    assert output.write(b"b")
    assert output._transport.writes == []
    queue.get_nowait()
    assert output.write(b"c")
    assert output._transport.writes == [b"abc"]
    await asyncio.sleep(0)
    assert output._transport.writes == [b"abc"]


async def test_frames_are_written_at_the_end_of_the_turn():
    output, _, _, _ = make_output(messages=1)
    output.write(b"a")
    output.write(b"b")
    await asyncio.sleep(0)
    assert output._transport.writes == [b"ab"]


async def test_frames_are_not_kept_without_a_limit():
    output, _, _, _ = make_output(messages=1)
    output.write(b"a")
    output.write(bytes(JOINED_BYTES))
    assert output._transport.writes == [b"a" + bytes(JOINED_BYTES)]
    output.write(bytes(JOINED_BYTES + 1))
    assert len(output._transport.writes) == 2


async def test_other_events_follow_the_frames():
    output, stream, sent, _ = make_output(messages=1)
    output.write(b"a")
    await stream.send("event")
    assert (output._transport.writes, sent) == ([b"a"], ["event"])


@pytest.mark.parametrize("reason", ["waiting", "closing"])
async def test_full_or_closing_transport_is_left_to_hypercorn(reason):
    output, _, _, _ = make_output(messages=1)
    output.write(b"a")
    setattr(output._transport, reason, 1)
    assert not output.write(b"b")
    output.flush()
    assert output._transport.writes == ([b"a"] if reason == "waiting" else [])


# The way in


class Streams(asyncio.Protocol):
    """Stands for a StreamReaderProtocol."""

    def __init__(self):
        self.calls = []

    def data_received(self, data):
        self.calls.append(data)

    def eof_received(self):
        self.calls.append("eof_received")
        return True

    def connection_lost(self, exc):
        self.calls.append(exc)

    def pause_writing(self):
        self.calls.append("pause_writing")

    def resume_writing(self):
        self.calls.append("resume_writing")


async def test_reading_replaces_streams():
    streams = Streams()
    transport = SimpleNamespace(get_protocol=lambda: streams, set_protocol=lambda protocol: placed.append(protocol))
    placed = []
    stream = SimpleNamespace(app_put=asyncio.Queue().put, closed=True)
    reading = Reading(stream, transport)
    assert placed == [reading]
    reading.pause_writing()
    reading.resume_writing()
    reading.data_received(b"late")
    assert reading.eof_received()
    await reading.idle()
    reading.connection_lost(None)
    assert streams.calls == ["pause_writing", "resume_writing", b"late", "eof_received", None]


@pytest.mark.parametrize("parts", [["a"], ["a", "√"], [b"a"], [b"a", bytearray(b"b"), b""]])
def test_buffer_returns_the_same_as_hypercorns(parts):
    theirs = WebsocketBuffer(10)
    ours = MessageBuffer(10)
    for buffer in (theirs, ours):
        for _ in range(2):
            buffer.clear()
            for part in parts:
                buffer.extend(wsproto_event(part))
    assert ours.to_message() == theirs.to_message()


@pytest.mark.parametrize("parts", [["a", b"b"], [b"b", "a"]])
def test_buffer_refuses_mixed_types(parts):
    for buffer in (WebsocketBuffer(10), MessageBuffer(10)):
        buffer.extend(wsproto_event(parts[0]))
        with pytest.raises(TypeError):
            buffer.extend(wsproto_event(parts[1]))


def wsproto_event(part):
    return TextMessage(part) if isinstance(part, str) else BytesMessage(part)
