"""Other projects' echo servers with wsframe put into them; without it, they are in ``servers``."""

from __future__ import annotations

import argparse

from benchmarks.registry import ECHO, Start, server
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
