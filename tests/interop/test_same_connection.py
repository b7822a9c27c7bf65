"""One handler on ``websockets`` and on wsframe: connections must do the same, to the byte and to the exception."""

from __future__ import annotations

import asyncio
import importlib
import logging
from types import SimpleNamespace

import pytest
from support import BINARY, CLOSE, PATIENCE_S, PING, PONG, TEXT, close_payload, dial, request, soon, until

import wsframe
from wsframe.testing.clock import settle

websockets = pytest.importorskip("websockets", "17")

HERE = "127.0.0.1"
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def library(name):
    names = ("asyncio.server", "exceptions", "frames", "protocol")
    return SimpleNamespace(**{n.rpartition(".")[2]: importlib.import_module(f"{name}.{n}") for n in names}, name=name)


def describe(exc):
    """Return what a program can see of an exception."""
    seen = [type(exc).__name__, str(exc)]
    for name in ("rcvd", "sent"):
        close = getattr(exc, name, None)
        seen.append(close and (int(close.code), close.reason))
    seen.append(getattr(exc, "rcvd_then_sent", None))
    seen.append(type(exc.__cause__).__name__)
    return seen


async def attempt(awaitable):
    """Await something; return its result, or a description of its exception."""
    try:
        return await awaitable
    except Exception as exc:
        return describe(exc)


async def converse(lib, handle, script, **options):
    """Run a handler and a script for its peer; return what the handler returned and the frames that the peer got."""
    done = asyncio.get_running_loop().create_future()

    async def handler(websocket):
        try:
            done.set_result(await handle(websocket))
        except Exception as exc:
            done.set_result(describe(exc))

    options = {"compression": None, "ping_interval": None, "close_timeout": 0.5, **options}
    async with lib.server.serve(handler, HERE, 0, **options) as server, dial(server) as peer:
        await peer.send(request())
        await peer.read_head()
        frames = await script(peer)
        return await soon(done), frames


async def rest(peer):
    """Answer the Close frame, and return all that comes, as opcode, FIN and payload; then end the connection."""
    frames = []
    try:
        while (frame := await peer.read_frame()) is not None:
            frames.append((frame.opcode, frame.fin, frame.payload))
            if frame.opcode == CLOSE:
                await peer.send_frame(CLOSE, frame.payload)
    except ConnectionError:
        frames.append("reset")
    peer.writer.close()
    return frames


def sending(*frames):
    """Make a script that sends frames, and then a Close frame."""

    async def script(peer):
        for frame in frames:
            await peer.send(frame if isinstance(frame, bytes) else peer.frame(*frame[:2], **dict(frame[2:])))
        await peer.send_close(1000)
        return await rest(peer)

    return script


# Receiving


async def collect(stream):
    return [fragment async for fragment in stream]


MESSAGES = sending(
    (TEXT, "h\xe9".encode()),
    (BINARY, b"\0\xff"),
    (TEXT, b"a", ("fin", False)),
    (0, b"b", ("fin", False)),
    (PING, b"p"),
    (0, b"c"),
    (TEXT, b""),
    (BINARY, b"", ("fin", False)),
    (0, b""),
    (BINARY, b"text"),
)


def receiving(count, **options):
    """Make a handler that receives that many messages."""

    async def handle(websocket):
        return [await attempt(websocket.recv(**options)) for _ in range(count)]

    return handle


@case
async def recv(lib):
    return await converse(lib, receiving(8), MESSAGES)


@case
async def recv_bytes(lib):
    return await converse(lib, receiving(7, decode=False), MESSAGES)


@case
async def recv_str(lib):
    return await converse(lib, receiving(4, decode=True), MESSAGES)


@case
async def iteration(lib):
    async def handle(websocket):
        return [message async for message in websocket]

    return await converse(lib, handle, MESSAGES)


@case
async def recv_streaming(lib):
    async def handle(websocket):
        return [await collect(websocket.recv_streaming()) for _ in range(6)]

    return await converse(lib, handle, MESSAGES)


@case
async def recv_streaming_decodes(lib):
    async def handle(websocket):
        seen = []
        for decode in (True, False, True):
            seen.append(await collect(websocket.recv_streaming(decode=decode)))
        return seen

    frames = [(TEXT, b"\xc3", ("fin", False)), (0, b"\xa9"), (TEXT, b"\xc3\xa9"), (BINARY, b"\xc3\xa9")]
    return await converse(lib, handle, sending(*frames))


@case
async def recv_streaming_of_invalid_utf8(lib):
    async def handle(websocket):
        seen = []
        try:
            async for fragment in websocket.recv_streaming(decode=True):
                seen.append(fragment)
        except lib.exceptions.ConnectionClosed as exc:
            seen.append(describe(exc))
        return seen

    return await converse(lib, handle, sending((BINARY, b"a", ("fin", False)), (0, b"\xff")))


@case
async def recv_streaming_at_the_end(lib):
    async def handle(websocket):
        await websocket.wait_closed()

        return await attempt(collect(websocket.recv_streaming()))

    return await converse(lib, handle, sending())


@case
async def concurrent_receiving_is_an_error(lib):
    receivers_tried = asyncio.Event()

    async def handle(websocket):
        seen = []
        for first in (websocket.recv, lambda: collect(websocket.recv_streaming())):
            task = asyncio.ensure_future(first())
            await asyncio.sleep(0)
            seen += [await attempt(websocket.recv()), await attempt(collect(websocket.recv_streaming()))]
            task.cancel()
            await asyncio.wait([task])
        receivers_tried.set()
        return [*seen, await websocket.recv()]

    async def script(peer):
        await receivers_tried.wait()
        return await sending((TEXT, b"a"))(peer)

    return await converse(lib, handle, script)


@case
async def abandoned_stream_blocks_receiving(lib):
    async def handle(websocket):
        stream = websocket.recv_streaming()
        fragment = await stream.__anext__()
        return [fragment, await attempt(websocket.recv())]

    return await converse(lib, handle, sending((TEXT, b"a", ("fin", False)), (0, b"b")))


@case
async def recv_may_be_cancelled(lib):
    cancelled = asyncio.Event()

    async def handle(websocket):
        seen = []
        for _ in range(3):
            try:
                await asyncio.wait_for(websocket.recv(), 0.01)
            except asyncio.TimeoutError:
                seen.append("timeout")
        cancelled.set()
        return [*seen, await websocket.recv(), await websocket.recv()]

    async def script(peer):
        await cancelled.wait()
        return await sending((TEXT, b"a"), (TEXT, b"b"))(peer)

    return await converse(lib, handle, script)


@case
async def messages_before_the_close_are_received_after_it(lib):
    async def handle(websocket):
        await websocket.wait_closed()
        return [await attempt(websocket.recv()) for _ in range(3)]

    return await converse(lib, handle, sending((TEXT, b"a"), (TEXT, b"b")))


# Sending


async def listen(peer):
    return await rest(peer)


async def generate(*items):
    for item in items:
        await asyncio.sleep(0)
        if isinstance(item, Exception):
            raise item
        yield item


def generate_now(*items):
    for item in items:
        if isinstance(item, Exception):
            raise item
        yield item


SENT = {
    "str": (lambda: "h\xe9", {}),
    "bytes": (lambda: b"\0\xff", {}),
    "bytearray": (lambda: bytearray(b"abc"), {}),
    "memoryview": (lambda: memoryview(b"abc"), {}),
    "str as binary": (lambda: "h\xe9", {"text": False}),
    "bytes as text": (lambda: b"abc", {"text": True}),
    "list of str": (lambda: ["a", "b", "c"], {}),
    "list of bytes": (lambda: [b"a", bytearray(b"b"), memoryview(b"c")], {}),
    "list of str as binary": (lambda: ["a", "b"], {"text": False}),
    "list of bytes as text": (lambda: [b"a", b"b"], {"text": True}),
    "one fragment": (lambda: ["a"], {}),
    "no fragment": (list, {}),
    "generator": (lambda: generate_now("a", "b"), {}),
    "async generator": (lambda: generate("a", "b"), {}),
    "async generator of bytes": (lambda: generate(b"a", b"b"), {"text": True}),
    "empty async generator": (lambda: generate(), {}),
    "dict": (lambda: {"a": "b"}, {}),
    "keys": (lambda: {"a": "b", "c": "d"}.keys(), {}),
    "number": (lambda: 42, {}),
    "None": (lambda: None, {}),
    "mixed list": (lambda: ["a", b"b"], {}),
    "mixed list from bytes": (lambda: [b"a", "b"], {}),
    "mixed async generator": (lambda: generate("a", b"b"), {}),
    "list with a number": (lambda: ["a", 1], {}),
    "failing generator": (lambda: generate_now("a", RuntimeError("BOOM")), {}),
    "failing async generator": (lambda: generate("a", RuntimeError("BOOM")), {}),
    "failing before the first": (lambda: generate_now(RuntimeError("BOOM")), {}),
    "async failing before the first": (lambda: generate(RuntimeError("BOOM")), {}),
}


@pytest.mark.parametrize("name", SENT)
async def test_send(name):
    make, options = SENT[name]

    async def ask_about(lib):
        async def handle(websocket):
            return [await attempt(websocket.send(make(), **options)), await attempt(websocket.send("next"))]

        return await converse(lib, handle, listen)

    assert await ask_about(library("wsframe")) == await ask_about(library("websockets"))


@case
async def fragments_of_a_wrong_type(lib):
    async def handle(websocket):
        # wsframe has sent nothing then, and keeps the connection open.
        return await attempt(websocket.send([1, 2]))

    return (await converse(lib, handle, listen))[0]


@case
async def async_fragments_of_a_wrong_type(lib):
    async def handle(websocket):
        return await attempt(websocket.send(generate(1, 2)))

    return (await converse(lib, handle, listen))[0]


class PausedFragments:
    """Two fragments: ``first_is_sent`` is set before the second, which waits for ``go_on``."""

    def __init__(self):
        self.first_is_sent, self.go_on = asyncio.Event(), asyncio.Event()

    async def __aiter__(self):
        yield "a"
        self.first_is_sent.set()
        await self.go_on.wait()
        yield "b"


@case
async def messages_wait_for_fragments(lib):
    async def handle(websocket):
        fragments = PausedFragments()
        first = asyncio.ensure_future(websocket.send(fragments))
        await fragments.first_is_sent.wait()
        others = [asyncio.ensure_future(websocket.send(message)) for message in ("c", [b"d", b"e"], b"f")]
        await websocket.pong(b"not a message")
        await settle()
        fragments.go_on.set()
        await asyncio.gather(first, *others)

    return await converse(lib, handle, listen)


@case
async def closing_in_the_middle_of_fragments(lib):
    async def handle(websocket):
        fragments = PausedFragments()
        task = asyncio.ensure_future(attempt(websocket.send(fragments)))
        await fragments.first_is_sent.wait()
        await websocket.close()
        fragments.go_on.set()
        return await task

    return await converse(lib, handle, listen)


# Pings


@case
async def pings(lib):
    async def handle(websocket):
        seen = []
        for data in (b"a", "h\xe9", bytearray(b"b"), memoryview(b"c")):
            pong = await websocket.ping(data)
            latency = await pong
            seen.append((latency >= 0, latency == websocket.latency))
        pong = await websocket.ping()
        await pong
        return seen

    async def script(peer):
        seen = []
        while (frame := await peer.read_frame()).opcode == PING:
            seen.append(frame.payload if len(seen) < 4 else len(frame.payload))
            await peer.send_frame(PONG, frame.payload)
        return seen

    return await converse(lib, handle, script)


@case
async def wrong_pings(lib):
    async def handle(websocket):
        seen = []
        await websocket.ping(b"a")
        for data in (b"a", 42, [b"a"], b"x" * 126):
            seen.append((await attempt(websocket.ping(data)))[:2])
        for data in (42, [b"a"], None, b"x" * 126):
            seen.append((await attempt(websocket.pong(data)))[:2])
        return seen

    return await converse(lib, handle, listen)


@case
async def pong_answers_earlier_pings(lib):
    async def handle(websocket):
        pongs = [await websocket.ping(data) for data in (b"a", b"b", b"c")]
        await asyncio.wait([pongs[1]])
        seen = [pong.done() for pong in pongs]
        await websocket.close()
        return [*seen, await attempt(pongs[2])]

    async def script(peer):
        for _ in range(3):
            await peer.read_frame()
        await peer.send_frame(PONG, b"x")
        await peer.send_frame(PONG, b"b")
        return await rest(peer)

    return await converse(lib, handle, script)


@case
async def pongs(lib):
    async def handle(websocket):
        for data in (b"a", "h\xe9", bytearray(b"b")):
            await websocket.pong(data)
        await websocket.pong()

    return await converse(lib, handle, listen)


@case
async def pings_are_answered(lib):
    return await converse(lib, receiving(1), sending((PING, b""), (PING, b"abc"), (TEXT, b"a")))


# The end


@case
async def everything_fails_once_closed(lib):
    async def handle(websocket):
        await websocket.wait_closed()
        seen = [websocket.state.name, websocket.close_code, websocket.close_reason]
        for call in (websocket.recv, websocket.ping, websocket.pong):
            seen.append(await attempt(call()))
        for message in ("a", ["a"], [], generate("a"), generate()):
            seen.append(await attempt(websocket.send(message)))
        for message in ({}, 42, None):
            seen.append((await attempt(websocket.send(message)))[:2])
        await websocket.close()
        await websocket.wait_closed()
        return seen

    return await converse(lib, handle, sending())


@case
async def end_of_the_connection_fails_all_waiters(lib):
    async def handle(websocket):
        ping = await websocket.ping()
        tasks = [asyncio.ensure_future(attempt(waiting)) for waiting in (websocket.recv(), ping)]
        await asyncio.wait(tasks)
        return [task.result() for task in tasks]

    async def script(peer):
        await peer.read_frame()
        await peer.send_close(1001, "bye")
        return await rest(peer)

    return await converse(lib, handle, script)


@pytest.mark.parametrize(
    "arguments",
    [(), (1001,), (1000, "h\xe9"), (4000, "x"), (999,), (1004,), (1005,), (1006,), (1015,), (2999,), (5000,)]
    + [(1000, "x" * 124), (1000, "x" * 123)],
)
async def test_close(arguments):
    async def ask_about(lib):
        async def handle(websocket):
            seen = [(await attempt(websocket.close(*arguments)))]
            return [*seen, websocket.state.name, websocket.close_code, websocket.close_reason]

        return await converse(lib, handle, listen)

    assert await ask_about(library("wsframe")) == await ask_about(library("websockets"))


@case
async def both_close(lib):
    async def handle(websocket):
        await until(lambda: websocket.state.name != "OPEN")
        await websocket.close(1001)
        return await attempt(websocket.recv())

    async def script(peer):
        await peer.send_close(4000, "mine")
        return await rest(peer)

    return await converse(lib, handle, script)


@case
async def peer_does_not_answer_close(lib):
    async def handle(websocket):
        await websocket.close()
        return await attempt(websocket.recv())

    async def script(peer):
        await peer.read_frame()
        try:
            return await soon(peer.reader.read())
        except ConnectionError:
            return b""

    return await converse(lib, handle, script, close_timeout=0.05)


@case
async def peer_leaves(lib):
    async def handle(websocket):
        return [await attempt(websocket.recv()), websocket.close_code, websocket.close_reason]

    async def script(peer):
        peer.writer.close()

    return await converse(lib, handle, script)


@case
async def peer_leaves_in_the_middle_of_a_frame(lib):
    async def script(peer):
        await peer.send(peer.frame(TEXT, b"abc")[:-1])
        peer.writer.close()

    return await converse(lib, receiving(1), script)


@case
async def peer_resets(lib):
    async def handle(websocket):
        return (await attempt(websocket.recv()))[:5]

    async def script(peer):
        peer.abort()

    return await converse(lib, handle, script)


@case
async def peer_does_not_answer_keepalive(lib):
    async def handle(websocket):
        # wsframe names a cause, TimeoutError.
        return (await attempt(websocket.recv()))[:5]

    async def script(peer):
        return [frame for frame in await rest(peer) if frame[0] != PING]

    return await converse(lib, handle, script, ping_interval=0.05, ping_timeout=0.1)


VIOLATIONS = {
    "unmasked": (TEXT, b"a", ("mask", None)),
    "rsv1": (TEXT, b"a", ("rsv", 4)),
    "rsv2": (TEXT, b"a", ("rsv", 2)),
    "opcode 3": (3, b"a"),
    "opcode 11": (11, b"a"),
    "fragmented ping": (PING, b"a", ("fin", False)),
    "continuation of nothing": (0, b"a"),
    "not UTF-8": (TEXT, b"ab\xff"),
    "close of one byte": (CLOSE, b"a"),
    "close code 1005": (CLOSE, close_payload(1005)),
    "close reason not UTF-8": (CLOSE, b"\x03\xe8\xff"),
    "too big": (BINARY, b"a" * 101),
}


@pytest.mark.parametrize("name", VIOLATIONS)
async def test_violations(name):
    async def ask_about(lib):
        async def handle(websocket):
            return await attempt(websocket.recv())

        async def script(peer):
            frame = VIOLATIONS[name]
            await peer.send_frame(*frame[:2], **dict(frame[2:]))
            return await rest(peer)

        result, frames = await converse(lib, handle, script, max_size=100)
        # The libraries word the reason differently; code and exception are the same.
        result[1] = result[3] = None
        return result, [(opcode, fin, payload[:2]) for opcode, fin, payload in frames]

    ours, theirs = await ask_about(library("wsframe")), await ask_about(library("websockets"))
    ours[0][3], theirs[0][3] = None, None
    assert ours == theirs


@case
async def too_big(lib):
    seen = []
    for max_size in (4, (4, None), (100, 4), (4, 3)):
        for frames in (
            [(TEXT, b"abcde")],
            [(TEXT, b"abc", ("fin", False)), (0, b"de")],
            [(TEXT, b"abcd", ("fin", False)), (0, b"e", ("fin", False))],
        ):
            if max_size == (100, 4) and len(frames) == 2:
                # No limit is exceeded, and the Close frame comes inside of a message: 1002 there, clean here.
                continue
            seen.append(await converse(lib, receiving(1), sending(*frames), max_size=max_size))
    return seen


# Broadcast


@case
async def broadcast(lib):
    seen = []

    async def handle(websocket):
        for message, options in (("a", {}), (b"b", {}), ("c", {"text": False}), (b"d", {"text": True})):
            lib.server.broadcast([websocket], message, **options)
        for message in (["a"], 42, None, {}):
            try:
                lib.server.broadcast([websocket], message)
            except TypeError:
                seen.append("TypeError")
        await websocket.close()
        lib.server.broadcast([websocket], "too late")
        lib.server.broadcast([websocket], "too late", raise_exceptions=True)
        return seen

    return await converse(lib, handle, listen)


@case
async def broadcast_during_fragments(lib):
    records = []

    class Handler(logging.Handler):
        def emit(self, record):
            records.append((record.levelname, record.getMessage()))

    async def handle(websocket):
        fragments = PausedFragments()
        task = asyncio.ensure_future(websocket.send(fragments))
        await fragments.first_is_sent.wait()
        lib.server.broadcast([websocket], "c")
        seen = []
        try:
            lib.server.broadcast([websocket], "c", raise_exceptions=True)
        except Exception as exc:
            seen = [type(exc).__name__, str(exc), [describe(one) for one in exc.exceptions]]
        fragments.go_on.set()
        await task
        return seen

    logger = logging.getLogger(f"{lib.name}.server")
    logger.addHandler(handler := Handler(logging.WARNING))
    try:
        return await converse(lib, handle, listen), records
    finally:
        logger.removeHandler(handler)


# Backpressure


@case
async def max_queue(lib):
    seen = []
    for max_queue in (16, 4, (4, 2), (4, 0), (None, None), None, 0, 1):
        all_sent = asyncio.Event()

        async def handle(websocket, all_sent=all_sent):
            await all_sent.wait()
            return [await websocket.recv() for _ in range(40)]

        async def script(peer, all_sent=all_sent):
            await peer.send(*(peer.frame(TEXT, str(i).encode()) for i in range(40)))
            all_sent.set()
            return await rest(peer)

        seen.append(await converse(lib, handle, script, max_queue=max_queue))
    return seen


@pytest.mark.parametrize("name", CASES)
async def test_same(name):
    ours = await soon(CASES[name](library(wsframe.__name__)), 2 * PATIENCE_S)
    theirs = await soon(CASES[name](library(websockets.__name__)), 2 * PATIENCE_S)
    assert ours == theirs
