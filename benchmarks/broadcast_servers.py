"""Servers under test that send each message on to all connections, in the way that each project recommends."""

from __future__ import annotations

import argparse
import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.registry import BROADCAST, HOST, MAX_SIZE, keep, server


def _sending_on(broadcast: Callable[[set[Any], Any], None]) -> Callable[[Any], Awaitable[None]]:
    """Return a handler that broadcasts each message to all connections."""
    connections = set()

    async def handler(websocket: Any) -> None:
        connections.add(websocket)
        try:
            async for message in websocket:
                broadcast(connections, message)
        finally:
            connections.remove(websocket)

    return handler


@server("wsframe", BROADCAST)
async def wsframe_coroutines(options: argparse.Namespace) -> int:
    import wsframe

    return keep(await wsframe.serve(_sending_on(wsframe.broadcast), HOST, 0, max_size=MAX_SIZE, compression=None))


@server("wsframe callbacks", BROADCAST)
async def wsframe_callbacks(options: argparse.Namespace) -> int:
    import wsframe

    connections = set()

    class Broadcast(wsframe.WebSocketProtocol):
        def connection_open(self) -> None:
            connections.add(self)

        def message_received(self, data: str | bytes) -> None:
            message = wsframe.PreparedMessage(data)
            for connection in connections:
                connection.send(message)

        def connection_closed(self, code: int, reason: str) -> None:
            connections.remove(self)

    protocol = functools.partial(Broadcast, max_size=MAX_SIZE, compression=None)
    return keep(await asyncio.get_running_loop().create_server(protocol, HOST, 0))


@server("websockets", BROADCAST)
async def websockets(options: argparse.Namespace) -> int:
    from websockets.asyncio.server import broadcast, serve

    return keep(await serve(_sending_on(broadcast), HOST, 0, max_size=MAX_SIZE, compression=None))


@server("picows", BROADCAST)
async def picows(options: argparse.Namespace) -> int:
    from picows import WSListener, WSMsgType, ws_create_server

    transports = set()

    class Broadcast(WSListener):
        def on_ws_connected(self, transport: Any) -> None:
            transports.add(transport)

        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
                transport.disconnect()
                return
            message = frame.get_payload_as_bytes()
            for each in transports:
                each.send(frame.msg_type, message)

        def on_ws_disconnected(self, transport: Any) -> None:
            transports.discard(transport)

    return keep(await ws_create_server(lambda request: Broadcast(), HOST, 0))


@server("aiohttp", BROADCAST)
async def aiohttp(options: argparse.Namespace) -> int:
    from aiohttp import WSMsgType, web

    connections = set()

    async def handler(request: Any) -> Any:
        websocket = web.WebSocketResponse(max_msg_size=MAX_SIZE, compress=False)
        await websocket.prepare(request)
        connections.add(websocket)
        try:
            async for message in websocket:
                for each in tuple(connections):
                    await (each.send_str if message.type is WSMsgType.TEXT else each.send_bytes)(message.data)
        finally:
            connections.remove(websocket)
        return websocket

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    server: Any = site._server
    return keep(runner, server.sockets)
