"""Clients that come back: ``async for websocket in connect(...)`` (RFC 6455 §7.2.3)."""

from __future__ import annotations

import itertools
import logging

import pytest
from support import echo, free_port, raw_server, serve_forever, soon, uri_of

import wsframe
from wsframe import ConnectionClosed, InvalidMessage, InvalidStatus, connect, serve

HERE = "127.0.0.1"


def soon_enough():
    return itertools.repeat(0.001)


async def collect(connecting, handle, enough):
    """Call ``handle`` with each connection until there are enough."""
    count = 0
    async for websocket in connecting:
        await handle(websocket)
        count += 1
        if count == enough:
            break
    await websocket.close()
    return count


async def test_each_iteration_opens_and_closes_a_connection():
    websockets = []

    async def handle(websocket):
        if websockets:
            assert websockets[-1].close_code == 1000
        websockets.append(websocket)
        await websocket.send("hello")
        assert await soon(websocket.recv()) == "hello"

    async with serve(echo, HERE, 0) as server:
        assert await soon(collect(connect(uri_of(server)), handle, 3)) == 3
    assert len(set(websockets)) == 3


async def test_closed_connection_is_followed_by_another():
    async def close(websocket):
        await websocket.close(1012)

    async def handle(websocket):
        with pytest.raises(ConnectionClosed):
            await soon(websocket.recv())

    async with serve(close, HERE, 0) as server:
        assert await soon(collect(connect(uri_of(server)), handle, 2)) == 2


async def test_failed_attempts_are_repeated_after_a_delay(caplog):
    answers = iter(["drop", 503, 500, None, 502, None])
    taken = []

    def delays():
        for number in itertools.count():
            taken.append(number)
            yield 0.001

    def process_request(connection, request):
        answer = next(answers)
        if answer == "drop":
            connection.transport.abort()
        return connection.respond(answer, "no") if isinstance(answer, int) else None

    async def handle(websocket):
        await websocket.send("hello")
        assert await soon(websocket.recv()) == "hello"

    async with serve(echo, HERE, 0, process_request=process_request) as server:
        connecting = connect(uri_of(server), reconnect_delays=delays)
        with caplog.at_level(logging.INFO, "wsframe.client"):
            assert await soon(collect(connecting, handle, 2)) == 2
    # A connection in between starts them again.
    assert taken == [0, 1, 2, 0]
    lines = [record.getMessage() for record in caplog.records if record.name == "wsframe.client"]
    assert lines[0].startswith(
        "connect failed; reconnecting in 0.0 seconds: wsframe.exceptions.InvalidMessage: did not"
    )
    assert lines[1:] == [
        "connect failed; reconnecting in 0.0 seconds: "
        f"wsframe.exceptions.InvalidStatus: server rejected WebSocket connection: HTTP {status}"
        for status in (503, 500, 502)
    ]


async def test_connecting_succeeds_once_the_server_starts():
    port = free_port()
    servers, answers = [], []

    def delays():
        for _ in range(2):
            yield 0.001
        servers.append(serve(echo, HERE, port))
        yield 0.001

    async def attempt():
        async for websocket in connect(f"ws://{HERE}:{port}/", reconnect_delays=delays):
            await websocket.send("hello")
            answers.append(await websocket.recv())
            break
        await websocket.close()

    original = wsframe.asyncio.client.asyncio.sleep

    async def sleep(delay):
        # Between two attempts.
        for server in servers:
            await server
        await original(delay)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wsframe.asyncio.client.asyncio, "sleep", sleep)
        await soon(attempt())
    assert answers == ["hello"]
    (server,) = servers
    server.close()
    await server.wait_closed()


async def test_timeout_is_followed_by_another_attempt():
    attempts = []

    async def script(peer):
        attempts.append(peer)
        if len(attempts) == 1:
            await peer.reader.read()
        else:
            await peer.accept()
            await serve_forever(peer)

    async def handle(websocket):
        await websocket.send("hello")
        assert await soon(websocket.recv()) == "hello"

    async with raw_server(script) as server:
        connecting = connect(server.uri, open_timeout=0.2, reconnect_delays=soon_enough)
        # The second attempt has all the time it needs.
        connecting.process_exception = lambda exc: setattr(connecting, "open_timeout", None)
        assert await soon(collect(connecting, handle, 1)) == 1
    assert len(attempts) == 2


async def test_permanent_failures_are_raised():
    def process_request(connection, request):
        return connection.respond(403, "no")

    async with serve(echo, HERE, 0, process_request=process_request) as server:
        with pytest.raises(InvalidStatus, match="403"):
            await soon(collect(connect(uri_of(server)), None, 1))


async def test_application_decides_which_failures_are_permanent():
    seen = []

    def process_request(connection, request):
        return connection.respond(404 if len(seen) < 2 else 410, "no")

    def process_exception(exc):
        seen.append(exc.response.status_code)
        return LookupError("gone for good") if exc.response.status_code == 410 else None

    options = {"process_exception": process_exception, "reconnect_delays": soon_enough}
    async with serve(echo, HERE, 0, process_request=process_request) as server:
        with pytest.raises(LookupError, match="gone for good") as info:
            await soon(collect(connect(uri_of(server), **options), None, 1))
    assert seen == [404, 404, 410]
    assert isinstance(info.value.__cause__, InvalidStatus)


async def test_exception_raised_by_the_application_ends_reconnecting():
    def process_exception(exc):
        raise LookupError("gone for good")

    async def script(peer):
        pass

    async with raw_server(script) as server:
        with pytest.raises(LookupError, match="gone for good") as info:
            await soon(collect(connect(server.uri, process_exception=process_exception), None, 1))
    assert isinstance(info.value.__cause__, (InvalidMessage, OSError))
