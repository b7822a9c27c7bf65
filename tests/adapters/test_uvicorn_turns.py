"""uvicorn: several tasks of an application that receive, and an application that ends while a client does not read."""

from __future__ import annotations

import asyncio

from support import soon, until, wire_frame
from test_uvicorn import faked

from wsframe import Opcode
from wsframe.adapters.uvicorn import WebSocketProtocol


def masked(text):
    return wire_frame(Opcode.TEXT, text, mask=bytes(4))


def taking(received, names, then=None):
    """Return an application in which a task for each name receives, and the event that is set when all of them do."""
    ready = asyncio.Event()

    async def app(scope, receive, send):
        async def take(name):
            received.append((name, (await receive()).get("text")))

        await receive()
        await send({"type": "websocket.accept"})
        tasks = {name: asyncio.ensure_future(take(name)) for name in names}
        await asyncio.sleep(0)
        if then is not None:
            await then(tasks)
        ready.set()
        await asyncio.wait(tasks.values())

    return app, ready


async def test_tasks_receive_in_the_order_in_which_they_asked():
    received = []
    app, ready = taking(received, "abc")
    async with faked(app) as (_, transport):
        await soon(ready.wait())
        transport.deliver(masked(b"1") + masked(b"2"))
        await until(lambda: len(received) == 2)
        transport.deliver(masked(b"3"))
        await until(lambda: len(received) == 3)
    assert received == [("a", "1"), ("b", "2"), ("c", "3")]


async def test_cancelled_task_passes_its_turn_on():
    received = []

    async def cancel(tasks):
        # One before it is its turn, and one in the same iteration of the event loop.
        tasks["early"].cancel()
        tasks["first"].cancel()
        await asyncio.sleep(0)
        assert not tasks["late"].done()
        tasks["late"].cancel()

    app, ready = taking(received, ["first", "early", "late", "last"], cancel)
    async with faked(app) as (_, transport):
        await soon(ready.wait())
        transport.deliver(masked(b"1"))
        await until(lambda: received)
    assert received == [("last", "1")]


async def test_receiving_goes_on_after_all_who_waited_were_cancelled():
    received = []

    async def cancel(tasks):
        tasks["other"].cancel()

    app, ready = taking(received, ["first", "other"], cancel)
    async with faked(app) as (_, transport):
        await soon(ready.wait())
        transport.deliver(masked(b"1"))
        await until(lambda: received)
    assert received == [("first", "1")]


async def test_task_may_receive_before_another_accepts():
    received = []

    async def app(scope, receive, send):
        await receive()
        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await send({"type": "websocket.accept"})
        received.append(await task)

    async with faked(app) as (_, transport):
        await until(lambda: b"101" in transport.written)
        transport.deliver(masked(b"1"))
        await until(lambda: received)
    assert received == [{"type": "websocket.receive", "text": "1"}]


async def test_every_task_is_notified_of_the_end():
    received = []
    app, ready = taking(received, "abc")
    async with faked(app) as (_, transport):
        await soon(ready.wait())
        transport.deliver(wire_frame(Opcode.CLOSE, b"\x03\xe8", mask=bytes(4)))
        await until(lambda: len(received) == 3)
    assert received == [("a", None), ("b", None), ("c", None)]


async def test_client_that_does_not_read_is_cut_off_after_the_application_returns():
    class Impatient(WebSocketProtocol):
        close_timeout = 0.01

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        transport.get_write_buffer_size = lambda: 1

    async with faked(app, ws=Impatient) as (_, transport):
        await until(lambda: "abort" in transport.calls)
