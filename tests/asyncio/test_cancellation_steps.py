"""Cancellation at every step: at the n-th turn of the event loop, for every n until the coroutine is done.

After each: CancelledError came out, no socket, task or transport is left over, and the connection is usable, with
nothing lost and no half frame sent, or closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import os
import socket
import sys

import pytest
from proxies import HTTPProxy, SocksProxy
from support import CLOSE, TEXT, close_payload, dial_open, echo, port_of, raw_server, soon, until, uri_of

from wsframe import ConnectionClosed, ConnectionClosedError, State, connect, serve
from wsframe.testing import connect_pair

HERE = "127.0.0.1"
MOST_STEPS = 2000
FOLDER = "/proc/self/fd" if sys.platform == "linux" else "/dev/fd"


def count_files():
    return len(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else 0


async def nothing_left(files, tasks):
    """Wait until sockets and tasks are gone; what is only waiting for the garbage collector counts as left over."""
    await until(lambda: asyncio.all_tasks() <= tasks)
    await until(lambda: count_files() <= files)


async def cancel_at_each_step(prepare):
    """Cancel a coroutine at each of its steps.

    Args:
        prepare: Called for each step; an asynchronous context manager that gives the coroutine, and a coroutine
            function that looks at what there is afterwards, called with the task.

    Returns:
        The number of steps.
    """
    files = tasks = None
    for step in itertools.chain([MOST_STEPS], range(MOST_STEPS)):
        async with prepare() as (coroutine, check):
            task = asyncio.ensure_future(coroutine)
            for _ in range(step):
                if step < MOST_STEPS:
                    await asyncio.sleep(0)
            if step == MOST_STEPS:
                # The first time, it runs to its end, so that everything that is made only once is there.
                await soon(asyncio.wait([task]))
            done = task.done()
            assert task.cancel() is not done
            await soon(asyncio.wait([task]))
            assert task.cancelled() is not done, f"the cancellation at step {step} was swallowed: {task}"
            await check(task)
            del task, coroutine, check
        if files is None:
            gc.collect()
            files, tasks = count_files(), asyncio.all_tasks()
        else:
            await nothing_left(files, tasks)
            if done:
                return step
    raise AssertionError("it never ends")


def everything_is_gone(server):
    return until(lambda: not server._attached and not server._tasks)


async def cancel_each_client(server, start):
    """Cancel at each of its steps what ``start()`` makes; close a connection that it returns."""

    async def check(task):
        websocket = None if task.cancelled() else task.result()
        if websocket is not None:
            await websocket.close()
        await everything_is_gone(server)

    @contextlib.asynccontextmanager
    async def prepare():
        yield start(), check

    return await cancel_at_each_step(prepare)


# Opening


@pytest.mark.parametrize("open_timeout", [10, None])
async def test_connect(open_timeout):
    async with serve(echo, HERE, 0) as server:
        client = connect(uri_of(server), open_timeout=open_timeout)
        assert await cancel_each_client(server, client.connect) > 3


async def test_connect_over_tls(server_tls, client_tls):
    async with serve(echo, HERE, 0, ssl=server_tls) as server:
        client = connect(f"wss://localhost:{port_of(server)}/", host=HERE, ssl=client_tls)
        assert await cancel_each_client(server, client.connect) > 5


# What start_tls() of Python 3.10 has made when it is cancelled warns, though its connection is gone.
@pytest.mark.filterwarnings("ignore:unclosed transport <asyncio.sslproto:ResourceWarning")
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
async def test_connect_through_a_proxy(scheme, server_tls, client_tls):
    script = HTTPProxy() if scheme == "http" else SocksProxy()
    async with serve(echo, HERE, 0, ssl=server_tls) as server:

        async def quiet(peer):
            # The client may be gone at any moment.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, AssertionError):
                await script(peer)

        async with raw_server(quiet) as proxy:
            uri = f"wss://localhost:{port_of(server)}/"
            options = {"proxy": f"{scheme}://{HERE}:{proxy.port}", "ssl": client_tls, "host": HERE}
            assert await cancel_each_client(server, connect(uri, **options).connect) > 10


async def test_redirected_connect():
    def process_request(connection, request):
        if request.path == "/":
            response = connection.respond(302, "")
            response.headers["Location"] = "/there"
            return response
        return None

    async with serve(echo, HERE, 0, process_request=process_request) as server:
        assert await cancel_each_client(server, connect(uri_of(server)).connect) > 6


async def test_connection_as_a_context_manager():
    async with serve(echo, HERE, 0) as server:

        async def talk():
            async with connect(uri_of(server)) as websocket:
                await websocket.send("a")
                assert await websocket.recv() == "a"

        assert await cancel_each_client(server, talk) > 6


async def test_endless_iteration_over_connections():
    async with serve(echo, HERE, 0) as server:

        async def talk():
            async with contextlib.aclosing(connect(uri_of(server)).__aiter__()) as connections:
                async for websocket in connections:
                    await websocket.send("a")
                    assert await websocket.recv() == "a"
                    return

        assert await cancel_each_client(server, talk) > 6


async def test_starting_server():
    @contextlib.asynccontextmanager
    async def prepare():
        server = serve(echo, HERE, 0)

        async def start():
            await server

        async def check(task):
            if not task.cancelled():
                assert server.is_serving()
                server.close()
                await server.wait_closed()

        yield start(), check

    await cancel_at_each_step(prepare)


async def test_starting_server_with_clients():
    """One that was accepted already is not left to itself."""
    listener = socket.create_server((HERE, 0))

    @contextlib.asynccontextmanager
    async def prepare():
        sock = listener.dup()
        server = serve(echo, sock=sock)
        _, writer = await asyncio.open_connection(HERE, listener.getsockname()[1])

        async def start():
            await server

        async def check(task):
            if not task.cancelled():
                server.close()
                await server.wait_closed()
            # Cancelled before it began, it has not taken the socket.
            sock.close()
            writer.close()
            await until(lambda: not server._attached)

        yield start(), check

    with listener:
        await cancel_at_each_step(prepare)


# Receiving


async def test_recv():
    """A message is either handed over, or there for the next one."""

    @contextlib.asynccontextmanager
    async def prepare():
        async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:
            await websocket.send("a")

            async def check(task):
                assert (await soon(websocket.recv()) if task.cancelled() else task.result()) == "a"
                await websocket.send("b")
                assert await soon(websocket.recv()) == "b"

            yield websocket.recv(), check

    assert await cancel_at_each_step(prepare) > 1


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "fragments"])
async def test_recv_streaming(whole):
    """Before its first fragment, nothing is lost; after that, the connection is good for nothing but its end."""

    async def handler(websocket):
        await websocket.send("ab" if whole else ["a", "b"])
        await websocket.wait_closed()

    @contextlib.asynccontextmanager
    async def prepare():
        async with serve(handler, HERE, 0) as server, connect(uri_of(server)) as websocket:
            received = []

            async def receive():
                async with contextlib.aclosing(websocket.recv_streaming()) as fragments:
                    async for fragment in fragments:
                        received.append(fragment)
                        await asyncio.sleep(0)

            async def check(task):
                if not task.cancelled() or "".join(received) == "ab":
                    assert "".join(received) == "ab"
                elif not received:
                    assert await soon(websocket.recv()) == "ab"
                await soon(websocket.close())
                assert websocket.close_code == 1000

            yield receive(), check

    assert await cancel_at_each_step(prepare) > 1


# Sending


async def test_send_to_a_peer_that_does_not_read():
    """RFC 6455 §5.2: frames arrive whole."""
    size = 3_000_000
    go = None

    async def handler(websocket):
        await go.wait()
        async for message in websocket:
            received.append(message)

    @contextlib.asynccontextmanager
    async def prepare():
        nonlocal go
        go = asyncio.Event()
        received.clear()
        async with serve(handler, HERE, 0, max_size=None, max_queue=1, compression=None) as server:
            async with connect(uri_of(server), compression=None) as websocket:

                async def send():
                    for i in range(3):
                        await websocket.send(bytes([i]) * size)
                        go.set()

                async def check(task):
                    go.set()
                    await soon(websocket.send(b"end"))
                    await until(lambda: received and received[-1] == b"end")
                    whole = [message[:1] * size for message in received[:-1]]
                    same = received[:-1] == whole
                    assert same
                    assert [message[0] for message in whole] == list(range(len(whole)))
                    if not task.cancelled():
                        assert len(whole) == 3

                yield send(), check

    received = []
    assert await cancel_at_each_step(prepare) > 1


async def test_send_fragments():
    """RFC 6455 §5.4: a message that was begun cannot be taken back, so the connection fails; or nothing was begun."""

    async def fragments():
        for fragment in ("a", "b", "c"):
            await asyncio.sleep(0)
            yield fragment

    @contextlib.asynccontextmanager
    async def prepare():
        async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:

            async def check(task):
                if not task.cancelled():
                    assert await soon(websocket.recv()) == "abc"
                elif websocket.state is State.OPEN:
                    await websocket.send("d")
                    assert await soon(websocket.recv()) in ("d", "abc")
                else:
                    with pytest.raises(ConnectionClosedError) as info:
                        await soon(websocket.recv())
                    assert info.value.sent.code == 1011

            yield websocket.send(fragments()), check

    assert await cancel_at_each_step(prepare) > 3


async def test_ping_and_its_pong():
    @contextlib.asynccontextmanager
    async def prepare():
        async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:

            async def ping():
                return await (await websocket.ping(b"a"))

            async def check(task):
                assert await soon(await websocket.ping(b"b")) >= 0
                assert not websocket._pings
                assert await soon(await websocket.ping(b"a")) >= 0

            yield ping(), check

    assert await cancel_at_each_step(prepare) > 1


# Closing


@pytest.mark.parametrize("who", ["client", "server"])
async def test_close(who):
    """RFC 6455 §7.1.2: the closing handshake goes on."""

    async def idle(websocket):
        await websocket.wait_closed()

    @contextlib.asynccontextmanager
    async def prepare():
        async with serve(idle, HERE, 0) as server, connect(uri_of(server)) as client:
            await until(lambda: server.connections)
            (theirs,) = server.connections
            first = client if who == "client" else theirs

            async def check(task):
                await soon(first.close(4001))
                await soon(client.wait_closed())
                await soon(theirs.wait_closed())
                # Cancelled before it began, it has done nothing.
                assert (first.close_code, client.close_code, theirs.close_code) in ((4000,) * 3, (4001,) * 3)

            yield first.close(4000), check

    assert await cancel_at_each_step(prepare) > 1


async def test_close_while_the_peer_is_silent():
    async with serve(lambda websocket: websocket.wait_closed(), HERE, 0, close_timeout=0.1) as server:

        @contextlib.asynccontextmanager
        async def prepare():
            async with dial_open(server) as peer:
                await until(lambda: server.connections)
                (connection,) = server.connections

                async def close():
                    # The end comes by time only.
                    await asyncio.wait({asyncio.ensure_future(connection.close(4000))}, timeout=0)

                async def check(task):
                    await soon(connection.close(4000))
                    await peer.expect(CLOSE, close_payload(4000))
                    await everything_is_gone(server)

                yield close(), check

        assert await cancel_at_each_step(prepare) > 1


async def test_wait_closed():
    @contextlib.asynccontextmanager
    async def prepare():
        async with serve(echo, HERE, 0) as server, connect(uri_of(server)) as websocket:

            async def wait():
                await asyncio.wait_for(websocket.wait_closed(), 0.01)

            async def check(task):
                if not task.cancelled():
                    assert isinstance(task.exception(), asyncio.TimeoutError)
                await websocket.send("a")
                assert await soon(websocket.recv()) == "a"

            yield wait(), check

    assert await cancel_at_each_step(prepare) > 1


async def test_closing_server():
    async def handler(websocket):
        with contextlib.suppress(ConnectionClosed):
            await websocket.recv()

    @contextlib.asynccontextmanager
    async def prepare():
        server = await serve(handler, HERE, 0)
        websocket = await connect(uri_of(server))
        await until(lambda: server.connections)

        async def close():
            server.close()
            await server.wait_closed()

        async def check(task):
            server.close()
            await soon(server.wait_closed())
            await soon(websocket.wait_closed())
            assert websocket.close_code == 1001
            assert not server._attached

        yield close(), check

    assert await cancel_at_each_step(prepare) > 2


async def test_server_as_a_context_manager_and_serve_forever():
    @contextlib.asynccontextmanager
    async def prepare():
        servers = []

        async def run():
            async with serve(echo, HERE, 0) as server:
                servers.append(server)
                async with connect(uri_of(server)) as websocket:
                    await websocket.send("a")
                    await websocket.recv()
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(server.serve_forever(), 0.01)

        async def check(task):
            for server in servers:
                await soon(server.wait_closed())
                assert not server._attached

        yield run(), check

    assert await cancel_at_each_step(prepare) > 6


async def test_pair_in_memory():
    @contextlib.asynccontextmanager
    async def prepare():
        async def talk():
            async with connect_pair() as pair:
                await pair.client.send("a")
                assert await pair.server.recv() == "a"

        async def check(task):
            pass

        yield talk(), check

    assert await cancel_at_each_step(prepare) > 6


# The harness itself


async def test_swallowed_cancellation_is_detected():
    @contextlib.asynccontextmanager
    async def prepare():
        async def swallow():
            for _ in range(3):
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)

        async def check(task):
            pass

        yield swallow(), check

    with pytest.raises(AssertionError, match="was swallowed"):
        await cancel_at_each_step(prepare)


async def test_peer_receives_only_whole_frames():
    """RFC 6455 §5.2: what a raw peer reads, with a send cancelled at each step, can be parsed to its end."""

    async def handler(websocket):
        task = asyncio.ensure_future(websocket.send("x" * 100_000))
        for _ in range(next(steps)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    steps = iter(range(6))
    async with serve(handler, HERE, 0, compression=None) as server:
        for _ in range(6):
            async with dial_open(server) as peer:
                frames = []
                while (frame := await peer.read_frame()).opcode != CLOSE:
                    frames.append((frame.opcode, frame.payload))
                assert frames in ([], [(TEXT, b"x" * 100_000)])
                await peer.send_close(1000)
