"""Other projects' echo servers with wsframe put into them; without it, they are in ``servers``."""

from __future__ import annotations

import argparse
import asyncio
import socket
from typing import Any

from benchmarks.registry import ECHO, HOST, MAX_SIZE, Start, keep, server
from benchmarks.servers import uvicorn


@server("uvicorn, wsframe")
async def uvicorn_wsframe(options: argparse.Namespace) -> int:
    return await uvicorn(options, "wsframe.adapters.uvicorn:WebSocketProtocol")


def patched(host: str, start: Start) -> Start:
    """Make a function that starts a server behind ``wsframe.patch(host)``."""

    async def start_patched(options: argparse.Namespace) -> int:
        import wsframe

        wsframe.patch(host)
        return await start(options)

    return start_patched


for name, host in [("tornado", "tornado"), ("websockets", "websockets"), ("uvicorn, wsproto", "wsproto")]:
    server(f"{name}, patched")(patched(host, ECHO[name]))


async def _echo(scope: Any, receive: Any, send: Any) -> None:
    event = await receive()
    if scope["type"] == "lifespan":
        while event["type"] != "lifespan.shutdown":
            await send({"type": f"{event['type']}.complete"})
            event = await receive()
        return
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] != "websocket.disconnect":
        text = event.get("text")
        await send({"type": "websocket.send", **({"bytes": event["bytes"]} if text is None else {"text": text})})


@server("hypercorn")
async def hypercorn(options: argparse.Namespace) -> int:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    sock = socket.create_server((HOST, 0))
    config = Config()
    config.bind = [f"fd://{sock.fileno()}"]
    config.websocket_max_message_size = MAX_SIZE
    config.loglevel = "CRITICAL"
    stop = asyncio.Event()
    running = asyncio.ensure_future(serve(_echo, config, shutdown_trigger=stop.wait))
    await asyncio.sleep(0.5)
    return keep((stop, running, sock), [sock])


@server("hypercorn, patched")
async def hypercorn_patched(options: argparse.Namespace) -> int:
    import wsframe

    wsframe.patch("hypercorn", "wsproto")
    return await hypercorn(options)
