"""What connections do for coroutines. Each test runs on wsframe and websockets: same values, exceptions and codes."""

from __future__ import annotations

import array
import asyncio
import contextlib
import importlib.metadata
from types import SimpleNamespace

import pytest
import websockets
import websockets.asyncio.client
import websockets.asyncio.server
from support import soon, until, uri_of

import wsframe
from wsframe.testing.clock import settle

HERE = "127.0.0.1"

LIBRARIES = {
    "wsframe": SimpleNamespace(serve=wsframe.serve, connect=wsframe.connect, exceptions=wsframe.exceptions, options={}),
    "websockets": SimpleNamespace(
        serve=websockets.asyncio.server.serve,
        connect=websockets.asyncio.client.connect,
        exceptions=websockets.exceptions,
        options={"compression": None},
    ),
}


# Python 3.10 has no websockets 17.
OLD = int(importlib.metadata.version("websockets").split(".")[0]) < 17


@pytest.fixture(
    params=["wsframe", pytest.param("websockets", marks=pytest.mark.skipif(OLD, reason="needs websockets 17"))]
)
def lib(request):
    return LIBRARIES[request.param]


@contextlib.asynccontextmanager
async def pair(lib, handler=None, client_options=(), **options):
    """Give a client and a server connection; the handler ends with the block."""
    done = asyncio.Event()
    connected = asyncio.get_running_loop().create_future()

    async def keep(connection):
        connected.set_result(connection)
        if handler is not None:
            await handler(connection)
        await done.wait()

    async with lib.serve(keep, HERE, 0, **lib.options, **options) as server:
        try:
            async with (
                lib.connect(uri_of(server), proxy=None, **lib.options, **dict(client_options))
                if (lib.options)
                else lib.connect(uri_of(server), **dict(client_options)) as client
            ):
                yield client, await soon(connected)
        finally:
            done.set()


# Receiving


async def test_text_is_str_and_binary_is_bytes(lib):
    """RFC 6455 §5.6."""
    async with pair(lib) as (client, server):
        for message in ("h\xe9", b"\xff", "", b"", "x" * 70_000, bytes(200_000)):
            await client.send(message)
            received = await soon(server.recv())
            assert received == message
            assert type(received) is type(message)


async def test_decode_option_selects_str_or_bytes(lib):
    async with pair(lib) as (client, server):
        await client.send("h\xe9")
        assert await soon(server.recv(decode=False)) == b"h\xc3\xa9"
        await client.send(b"h\xc3\xa9")
        assert await soon(server.recv(decode=True)) == "h\xe9"
        await client.send("h\xe9")
        assert await soon(server.recv(True)) == "h\xe9"
        await client.send(b"\xff")
        assert await soon(server.recv(False)) == b"\xff"


async def test_invalid_utf8_decoded_as_text_fails_the_connection(lib):
    async with pair(lib) as (client, server):
        await client.send(b"\xff")
        with pytest.raises(lib.exceptions.ConnectionClosedError) as info:
            await soon(server.recv(decode=True))
        assert isinstance(info.value.__cause__, UnicodeDecodeError)
        assert info.value.sent.code == 1007
        await soon(client.wait_closed())
        assert (client.close_code, client.close_reason) == (1007, "invalid start byte at position 0")


async def test_iteration_yields_messages_until_a_normal_end(lib):
    async with pair(lib) as (client, server):
        for i in range(3):
            await client.send(str(i))
        await client.close(1001)
        assert [message async for message in server] == ["0", "1", "2"]
        assert [message async for message in server] == []


async def test_iteration_raises_at_an_abnormal_end(lib):
    async with pair(lib) as (client, server):
        await client.send("a")
        await client.close(1011)
        received = []
        with pytest.raises(lib.exceptions.ConnectionClosedError):
            async for message in server:
                received.append(message)
        assert received == ["a"]


async def test_queued_messages_are_received_after_the_end(lib):
    async with pair(lib) as (client, server):
        for i in range(3):
            await client.send(str(i))
        await soon(client.close(1000, "bye"))
        await soon(server.wait_closed())
        assert [await soon(server.recv()) for _ in range(3)] == ["0", "1", "2"]
        for _ in range(2):
            with pytest.raises(lib.exceptions.ConnectionClosedOK) as info:
                await soon(server.recv())
        assert (info.value.rcvd.code, info.value.rcvd.reason) == (1000, "bye")
        assert info.value.rcvd_then_sent is True


async def test_two_tasks_cannot_receive_at_once(lib):
    async with pair(lib) as (client, server):
        first = asyncio.ensure_future(server.recv())
        await asyncio.sleep(0)
        with pytest.raises(lib.exceptions.ConcurrencyError):
            await soon(server.recv())
        await client.send("a")
        assert await soon(first) == "a"


async def test_cancelled_recv_loses_nothing(lib):
    async with pair(lib) as (client, server):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(server.recv(), 0.01)
        await client.send("a")
        assert await soon(server.recv()) == "a"


async def test_end_wakes_a_waiting_recv(lib):
    async with pair(lib) as (client, server):
        receiving = asyncio.ensure_future(server.recv())
        await asyncio.sleep(0)
        await soon(client.close())
        with pytest.raises(lib.exceptions.ConnectionClosedOK):
            await soon(receiving)


# Sending


@pytest.mark.parametrize(
    "data", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"a-b-c")[::2], memoryview(array.array("H", [1, 2, 3]))]
)
async def test_bytes_like_objects_are_sent_as_binary(lib, data):
    if lib.options and data.__class__ is memoryview and data.nbytes != 3:
        pytest.skip("websockets 17 sends as many bytes as there are items")
    async with pair(lib) as (client, server):
        await client.send(data)
        assert await soon(server.recv()) == bytes(data) == memoryview(data).tobytes()


async def test_text_option_overrides_the_type(lib):
    """RFC 6455 §5.6."""
    async with pair(lib) as (client, server):
        await client.send(b"h\xc3\xa9", text=True)
        assert await soon(server.recv()) == "h\xe9"
        await client.send("h\xe9", text=False)
        assert await soon(server.recv()) == b"h\xc3\xa9"
        await client.send([b"h", b"\xc3", b"\xa9"], text=True)
        assert await soon(server.recv()) == "h\xe9"
        await client.send(["h", "\xe9"], text=False)
        assert await soon(server.recv()) == b"h\xc3\xa9"


async def agen(items):
    for item in items:
        await asyncio.sleep(0)
        yield item


@pytest.mark.parametrize("make", [list, tuple, iter, agen], ids=["list", "tuple", "iterator", "asynchronous iterator"])
@pytest.mark.parametrize("items", [["a"], ["a", "", "\xe9"], [b"a", bytearray(b"b"), memoryview(b"c")]])
async def test_iterables_are_sent_as_the_fragments_of_a_message(lib, make, items):
    """RFC 6455 §5.4."""
    async with pair(lib) as (client, server):
        await client.send(make(items))
        received = await soon(server.recv())
        expected = "".join(items) if isinstance(items[0], str) else b"".join(items)
        assert received == expected


@pytest.mark.parametrize("make", [list, agen])
async def test_empty_iterable_sends_nothing(lib, make):
    async with pair(lib) as (client, server):
        await client.send(make([]))
        await client.send("a")
        assert await soon(server.recv()) == "a"


@pytest.mark.parametrize("data", [{"a": 1}, 1, None])
async def test_other_objects_are_refused(lib, data):
    async with pair(lib) as (client, server):
        with pytest.raises(TypeError):
            await client.send(data)
        await client.send("a")
        assert await soon(server.recv()) == "a"


@pytest.mark.parametrize("make", [list, agen])
@pytest.mark.parametrize("items", [["a", b"b"], [b"a", "b"], ["a", 1]])
async def test_mixed_fragments_fail_the_connection(lib, make, items):
    """RFC 6455 §5.4: a message that was begun cannot be taken back."""
    async with pair(lib) as (client, server):
        with pytest.raises((TypeError, lib.exceptions.ConnectionClosedError)):
            await soon(client.send(make(items)))
        await soon(server.wait_closed())
        assert (server.close_code, server.close_reason) == (1011, "error in fragmented message")


async def test_message_waits_for_a_fragmented_one(lib):
    """RFC 6455 §5.4: fragments of two messages are not mixed."""
    started, go_on = asyncio.Event(), asyncio.Event()

    async def slowly():
        yield "a"
        started.set()
        await go_on.wait()
        yield "b"

    async with pair(lib) as (client, server):
        sending = [asyncio.ensure_future(client.send(slowly()))]
        await soon(started.wait())
        sending += [asyncio.ensure_future(client.send(message)) for message in ("c", ["d", "e"], agen(["f", "g"]))]
        await settle()
        assert not any(task.done() for task in sending)
        go_on.set()
        await soon(asyncio.gather(*sending))
        assert sorted([await soon(server.recv()) for _ in range(4)]) == ["ab", "c", "de", "fg"]


async def test_fragmented_message_with_a_late_first_item_waits(lib):
    """RFC 6455 §5.4: another message may have begun meanwhile."""
    if lib.options:
        pytest.skip("websockets 17 fails an assertion there")
    items = [asyncio.Event() for _ in range(2)]

    async def late(event, text):
        await event.wait()
        yield text

    async def slow():
        yield "a"
        await items[1].wait()
        yield "b"

    async with pair(lib) as (client, server):
        first = asyncio.ensure_future(client.send(late(items[0], "late")))
        second = asyncio.ensure_future(client.send(slow()))
        await settle()
        items[0].set()
        await settle()
        assert not first.done()
        items[1].set()
        await soon(asyncio.gather(first, second))
        assert [await soon(server.recv()) for _ in range(2)] == ["ab", "late"]


async def test_close_does_not_wait_for_a_fragmented_message(lib):
    """RFC 6455 §5.4, §7.1.7."""
    started = asyncio.Event()

    async def slowly():
        yield "a"
        started.set()
        await asyncio.Event().wait()

    async with pair(lib) as (client, server):
        sending = asyncio.ensure_future(client.send(slowly()))
        await soon(started.wait())
        await soon(client.close())
        assert (server.close_code, server.close_reason) == (1011, "close during fragmented message")
        sending.cancel()
        await asyncio.wait([sending])


@pytest.mark.parametrize("data", ["a", b"a", ["a"], agen])
async def test_sending_after_the_end_raises(lib, data):
    async with pair(lib) as (client, server):
        await soon(client.close())
        for connection in (client, server):
            with pytest.raises(lib.exceptions.ConnectionClosedOK):
                await soon(connection.send(data(["a"]) if data is agen else data))


# Pings


async def test_ping_measures_latency(lib):
    """RFC 6455 §5.5.2, §5.5.3."""
    async with pair(lib) as (client, _):
        assert client.latency == 0
        pong = await client.ping()
        latency = await soon(pong)
        assert 0 <= latency < 30
        assert client.latency == latency
        assert await soon(await client.ping("text")) >= 0
        assert await soon(await client.ping(bytearray(b"x"))) >= 0


async def test_same_ping_twice_is_refused(lib):
    async with pair(lib) as (client, _):
        pong = await client.ping(b"a")
        with pytest.raises(lib.exceptions.ConcurrencyError):
            await client.ping(b"a")
        await soon(pong)
        await soon(await client.ping(b"a"))


@pytest.mark.parametrize("kind", ["ping", "pong"])
async def test_control_payload_is_checked(lib, kind):
    """RFC 6455 §5.5."""
    async with pair(lib) as (client, _):
        with pytest.raises(TypeError):
            await getattr(client, kind)(1)
        with pytest.raises(lib.exceptions.ProtocolError):
            await getattr(client, kind)(b"x" * 126)
        await soon(await client.ping())


async def test_pong_answers_all_pings_before_it(lib):
    """RFC 6455 §5.5.3."""
    async with pair(lib) as (client, server):
        # Nobody answers these: the server's end does not read.
        server.transport.pause_reading()
        pings = [await client.ping(str(i)) for i in range(3)]
        await server.pong(b"1")
        await soon(asyncio.gather(*pings[:2]))
        assert not pings[2].done()
        server.transport.resume_reading()
        await soon(pings[2])


async def test_unsolicited_pongs_are_ignored(lib):
    """RFC 6455 §5.5.3."""
    async with pair(lib) as (client, server):
        for data in ("text", b"x", bytearray(b"y"), memoryview(b"z"), b""):
            await client.pong(data)
        await client.pong()
        await client.send("a")
        assert await soon(server.recv()) == "a"


async def test_unanswered_pings_raise_at_the_end(lib):
    async with pair(lib) as (client, server):
        server.transport.pause_reading()
        pong = await client.ping()
        ignored = await client.ping()
        del ignored
        server.transport.abort()
        with pytest.raises(lib.exceptions.ConnectionClosedError):
            await soon(pong)
        with pytest.raises(lib.exceptions.ConnectionClosedError):
            await soon(client.ping())
        with pytest.raises(lib.exceptions.ConnectionClosedError):
            await soon(client.pong())


# Closing


async def test_close_codes_and_reasons_arrive(lib):
    """RFC 6455 §7.1.5, §7.1.6."""
    async with pair(lib) as (client, server):
        assert client.close_code is None
        assert client.close_reason is None
        assert client.state.name == "OPEN"
        await soon(client.close(4000, "why"))
        for connection in (client, server):
            await soon(connection.wait_closed())
            assert (connection.close_code, connection.close_reason) == (4000, "why")
            assert connection.state.name == "CLOSED"
            with pytest.raises(lib.exceptions.ConnectionClosedError) as info:
                await connection.recv()
            assert info.value.rcvd_then_sent is (connection is server)
            assert (info.value.sent.code, info.value.rcvd.code) == (4000, 4000)


async def test_second_close_does_nothing(lib):
    async with pair(lib) as (client, _):
        await soon(asyncio.gather(client.close(1000), client.close(1001), client.wait_closed()))
        await soon(client.close(4000))
        assert client.close_code == 1000


@pytest.mark.parametrize(("code", "reason"), [(1005, ""), (1006, ""), (999, ""), (5000, ""), (1000, "x" * 124)])
async def test_invalid_close_arguments_are_refused(lib, code, reason):
    """RFC 6455 §5.5.1, §7.4."""
    async with pair(lib) as (client, server):
        with pytest.raises(lib.exceptions.ProtocolError):
            await soon(client.close(code, reason))
        await client.send("still open")
        assert await soon(server.recv()) == "still open"


async def test_both_sides_close_at_once(lib):
    """RFC 6455 §7.1.2."""
    async with pair(lib) as (client, server):
        await soon(asyncio.gather(client.close(1000), server.close(1001)))
        assert {client.close_code, server.close_code} <= {1000, 1001}


async def test_context_manager_closes_normally(lib):
    async with pair(lib) as (_, server):
        pass
    await soon(server.wait_closed())
    assert server.close_code == 1000


async def test_context_manager_closes_with_1011_on_an_exception(lib):
    with pytest.raises(ZeroDivisionError):
        async with pair(lib) as (_, server):
            raise ZeroDivisionError
    await soon(server.wait_closed())
    assert server.close_code == 1011


async def test_cancelled_close_still_closes(lib):
    async with pair(lib) as (client, server):
        server.transport.pause_reading()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.close(), 0.02)
        server.transport.resume_reading()
        await soon(client.wait_closed())
        assert client.close_code == 1000


# Attributes


async def test_attributes(lib):
    async with pair(lib, subprotocols=["a"], client_options={"subprotocols": ["b", "a"]}) as (client, server):
        assert client.remote_address == server.local_address
        assert server.remote_address == client.local_address
        assert client.remote_address[0] == HERE
        assert client.subprotocol == server.subprotocol == "a"
        assert client.id != server.id
        assert client.request.path == server.request.path == "/"
        assert client.response.status_code == server.response.status_code == 101
        assert client.request.headers["Upgrade"] == server.request.headers["upgrade"] == "websocket"
        assert client.logger.extra["websocket"].id == client.id
        assert server.logger.extra["websocket"].id == server.id


# Handlers


@pytest.mark.parametrize("error", [None, ZeroDivisionError])
async def test_end_of_the_handler_closes_the_connection(lib, error, caplog):
    async def handler(connection):
        if error is not None:
            raise error

    async with lib.serve(handler, HERE, 0, **lib.options) as server, connecting(lib, server) as client:
        with pytest.raises(lib.exceptions.ConnectionClosed) as info:
            await soon(client.recv())
    assert info.value.rcvd.code == (1000 if error is None else 1011)
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == (error is not None)


def connecting(lib, server, **options):
    if lib.options:
        options["proxy"] = None
    return lib.connect(uri_of(server), **lib.options, **options)


async def test_server_close_sends_1001_and_waits_for_handlers(lib):
    """RFC 6455 §7.4.1: going away."""
    ended, release = [], asyncio.Event()

    async def handler(connection):
        try:
            async for _ in connection:
                pass
        finally:
            await release.wait()
            ended.append(connection.close_code)

    server = await lib.serve(handler, HERE, 0, **lib.options)
    clients = [await connecting(lib, server) for _ in range(3)]
    await until(lambda: len(server.connections) == 3)
    assert server.is_serving()
    server.close()
    server.close()
    for client in clients:
        with pytest.raises(lib.exceptions.ConnectionClosedOK) as info:
            await soon(client.recv())
        assert info.value.rcvd.code == 1001
    closing = asyncio.ensure_future(server.wait_closed())
    await settle()
    assert not closing.done()
    release.set()
    await soon(closing)
    assert not server.is_serving()
    assert ended == [1001] * 3


async def test_server_close_may_leave_connections_open(lib):
    async def handler(connection):
        await connection.send(await connection.recv())

    server = await lib.serve(handler, HERE, 0, **lib.options)
    client = await connecting(lib, server)
    await until(lambda: server.connections)
    server.close(close_connections=False)
    await settle()
    await client.send("a")
    assert await soon(client.recv()) == "a"
    await soon(server.wait_closed())
    await soon(client.close())


async def test_oversized_message_is_a_connection_closed_error(lib):
    """RFC 6455 §7.4.1."""
    async with pair(lib, max_size=10) as (client, server):
        await client.send("x" * 11)
        with pytest.raises(lib.exceptions.ConnectionClosedError) as info:
            await soon(server.recv())
        assert info.value.sent.code == 1009
        assert isinstance(info.value.__cause__, lib.exceptions.PayloadTooBig)
        with pytest.raises(lib.exceptions.ConnectionClosedError) as info:
            await soon(client.recv())
        assert info.value.rcvd.code == 1009


async def test_max_size_may_limit_messages_and_fragments_separately(lib):
    async with pair(lib, max_size=(10, 5)) as (client, server):
        await client.send(["12345", "67890"])
        assert await soon(server.recv()) == "1234567890"
        await client.send("123456")
        with pytest.raises(lib.exceptions.ConnectionClosedError) as info:
            await soon(server.recv())
        assert info.value.sent.code == 1009
