"""uvicorn: several tasks of an application that receive, and an application that ends while a client does not read."""

from __future__ import annotations

import asyncio

from support import soon, until, wire_frame
from test_uvicorn import faked

from wsframe import Opcode
from wsframe.adapters.uvicorn import WebSocketProtocol


def masked(text):
    return wire_frame(Opcode.TEXT, text, mask=bytes(4))


async def test_tasks_receive_in_the_order_in_which_they_asked():
    received = []
    ready = asyncio.Event()

    async def app(scope, receive, send):
        async def take(name):
            event = await receive()
            received.append((name, event.get("text")))

        await receive()
        await send({"type": "websocket.accept"})
        tasks = [asyncio.ensure_future(take(name)) for name in "abc"]
        await asyncio.sleep(0)
        ready.set()
        await asyncio.wait(tasks)

    async with faked(app) as (_, transport):
        await soon(ready.wait())
        transport.deliver(masked(b"1") + masked(b"2"))
        await until(lambda: len(received) == 2)
        transport.deliver(masked(b"3"))
        await until(lambda: len(received) == 3)
    assert received == [("a", "1"), ("b", "2"), ("c", "3")]


async def test_cancelled_task_passes_its_turn_on():
    received = []
    proceed = asyncio.Event()

    async def app(scope, receive, send):
        async def take(name):
            event = await receive()
            received.append((name, event.get("text")))

        await receive()
        await send({"type": "websocket.accept"})
        first, early, late, last = (asyncio.ensure_future(take(name)) for name in ("first", "early", "late", "last"))
        await asyncio.sleep(0)
        # One before it is its turn, and one in the same iteration of the event loop.
        early.cancel()
        first.cancel()
        await asyncio.wait([first])
        late.cancel()
        proceed.set()
        await asyncio.wait([early, late, last])

    async with faked(app) as (_, transport):
        await soon(proceed.wait())
        transport.deliver(masked(b"1"))
        await until(lambda: received)
    assert received == [("last", "1")]


async def test_every_task_is_notified_of_the_end():
    received = []

    async def app(scope, receive, send):
        async def take():
            received.append(await receive())

        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.wait([asyncio.ensure_future(take()) for _ in range(3)])

    async with faked(app) as (protocol, transport):
        await until(lambda: b"101" in transport.written)
        transport.deliver(wire_frame(Opcode.CLOSE, b"\x03\xe8", mask=bytes(4)))
        await until(lambda: len(received) == 3)
    assert received == [{"type": "websocket.disconnect", "code": 1000, "reason": ""}] * 3


async def test_client_that_does_not_read_is_cut_off_after_the_application_returns():
    class Impatient(WebSocketProtocol):
        close_timeout = 0.01

    async def app(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        transport.get_write_buffer_size = lambda: 1

    async with faked(app, ws=Impatient) as (_, transport):
        await until(lambda: "abort" in transport.calls)
