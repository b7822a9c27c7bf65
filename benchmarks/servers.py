"""Echo servers under test.

Each is what its project's documentation shows for an echo, with limits that let 2 MiB messages pass, and without
compression unless asked. With ``--deflate`` each compresses with zlib at that level where it lets one choose.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
from typing import Any

from benchmarks.registry import HOST, MAX_SIZE, keep, server, tls


def _compression(options: argparse.Namespace, backend: str = "zlib") -> Any:
    if options.deflate is None:
        return None
    import wsframe

    level = min(options.deflate, 3) if backend == "isal" else options.deflate
    return wsframe.PerMessageDeflateFactory(level=level, threshold=0, backend=backend)


async def _echo(websocket: Any) -> None:
    async for message in websocket:
        await websocket.send(message)


async def _wsframe_coroutines(options: argparse.Namespace, backend: str) -> int:
    import wsframe

    compression = _compression(options, backend)
    server = await wsframe.serve(_echo, HOST, 0, max_size=MAX_SIZE, compression=compression, ssl=tls(options))
    return keep(server)


for name, library in [("wsframe", "zlib"), ("wsframe, isal", "isal"), ("wsframe, zlib-ng", "zlib-ng")]:
    server(name)(functools.partial(_wsframe_coroutines, backend=library))


@server("wsframe callbacks")
async def wsframe_callbacks(options: argparse.Namespace) -> int:
    import wsframe

    class Echo(wsframe.WebSocketProtocol):
        def message_received(self, data: str | bytes) -> None:
            self.send(data)

    loop = asyncio.get_running_loop()
    compression = _compression(options)
    protocol = functools.partial(Echo, max_size=MAX_SIZE, compression=compression)
    server = await loop.create_server(protocol, HOST, 0, ssl=tls(options))
    return keep(server)


@server("wsframe, aiofastnet")
async def wsframe_coroutines_on_aiofastnet(options: argparse.Namespace) -> int:
    import aiofastnet

    aiofastnet.patch_loop()
    return await _wsframe_coroutines(options, "zlib")


@server("wsframe callbacks, aiofastnet")
async def wsframe_callbacks_on_aiofastnet(options: argparse.Namespace) -> int:
    import aiofastnet

    aiofastnet.patch_loop()
    return await wsframe_callbacks(options)


@server("websockets")
async def websockets(options: argparse.Namespace) -> int:
    from websockets.asyncio.server import serve
    from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

    extensions = None
    if options.deflate is not None:
        settings = {"level": options.deflate, "memLevel": 5}
        extensions = [
            ServerPerMessageDeflateFactory(
                server_max_window_bits=12, client_max_window_bits=12, compress_settings=settings
            )
        ]
    server = await serve(_echo, HOST, 0, max_size=MAX_SIZE, compression=None, extensions=extensions, ssl=tls(options))
    return keep(server)


@server("picows.websockets")
async def picows_websockets(options: argparse.Namespace) -> int:
    from picows.websockets.asyncio.server import serve

    compression = None if options.deflate is None else "deflate"
    server = await serve(_echo, HOST, 0, max_size=MAX_SIZE, compression=compression, ssl=tls(options))
    return keep(server)


@server("picows")
async def picows(options: argparse.Namespace) -> int:
    from picows import WSListener, WSMsgType, ws_create_server

    class Echo(WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == WSMsgType.CLOSE:
                transport.send_close(frame.get_close_code(), frame.get_close_message())
                transport.disconnect()
            else:
                transport.send(frame.msg_type, frame.get_payload_as_memoryview())

    server = await ws_create_server(lambda request: Echo(), HOST, 0, ssl=tls(options))
    return keep(server)


@server("aiohttp")
async def aiohttp(options: argparse.Namespace) -> int:
    from aiohttp import WSMsgType, web

    async def handler(request: Any) -> Any:
        websocket = web.WebSocketResponse(max_msg_size=MAX_SIZE, compress=options.deflate is not None)
        await websocket.prepare(request)
        async for message in websocket:
            if message.type is WSMsgType.TEXT:
                await websocket.send_str(message.data)
            else:
                await websocket.send_bytes(message.data)
        return websocket

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0, ssl_context=tls(options))
    await site.start()
    server: Any = site._server
    return keep(runner, server.sockets)


@server("tornado")
async def tornado(options: argparse.Namespace) -> int:
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application
    from tornado.websocket import WebSocketHandler

    class Echo(WebSocketHandler):  # type: ignore[misc]
        def get_compression_options(self) -> dict[str, int] | None:
            return None if options.deflate is None else {"compression_level": options.deflate, "mem_level": 5}

        async def on_message(self, message: str | bytes) -> None:
            await self.write_message(message, binary=isinstance(message, bytes))

    server = HTTPServer(Application([("/", Echo)], websocket_max_message_size=MAX_SIZE))
    sockets = bind_sockets(0, HOST)
    server.add_sockets(sockets)
    return keep(server, sockets)


async def uvicorn(options: argparse.Namespace, implementation: str) -> int:
    from uvicorn import Config, Server

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "websocket"
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            text = event.get("text")
            if text is None:
                await send({"type": "websocket.send", "bytes": event["bytes"]})
            else:
                await send({"type": "websocket.send", "text": text})

    config = Config(
        app,
        host=HOST,
        port=0,
        ws=implementation,
        ws_max_size=MAX_SIZE,
        ws_per_message_deflate=options.deflate is not None,
        lifespan="off",
        log_level="error",
    )
    config.load()
    server = Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    return keep(server, server.servers[0].sockets)


for library in ("websockets-sansio", "wsproto"):
    server(f"uvicorn, {library}")(functools.partial(uvicorn, implementation=library))


class _Raw(asyncio.Protocol):
    """Echo of bytes behind a handshake, unmasked frames sent as they came: what asyncio itself costs."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.head: bytes | None = b""

    def data_received(self, data: bytes) -> None:
        if self.head is None:
            self.transport.write(data)
            return
        self.head += data
        if b"\r\n\r\n" in self.head:
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
            )
            self.head = None


@server("raw asyncio.Protocol")
async def raw(options: argparse.Namespace) -> int:
    server = await asyncio.get_running_loop().create_server(_Raw, HOST, 0)
    return keep(server)
