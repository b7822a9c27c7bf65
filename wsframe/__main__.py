"""``python -m wsframe``: which implementation runs and why; with arguments, the ``wsframe`` command."""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import sys

from wsframe._implementation import IMPLEMENTATION, REASON
from wsframe._version import VERSION
from wsframe.asyncio.datapath.report import describe_data_path
from wsframe.asyncio.protocol import WebSocketProtocol
from wsframe.cli import main

__all__ = ["describe_data_paths", "describe_implementation"]


def describe_implementation() -> str:
    """Return the version, which implementation of the codec runs, and why."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    return f"wsframe {VERSION}\nimplementation: {IMPLEMENTATION} ({REASON})\n{python} on {system}"


def describe_data_paths() -> str:
    """Open a TCP connection over loopback on each available event loop, and return what reads and writes its socket."""
    factories = {"asyncio": asyncio.new_event_loop}
    if importlib.util.find_spec("uvloop") is not None:
        factories["uvloop"] = importlib.import_module("uvloop").new_event_loop
    lines = []
    for name, factory in factories.items():
        loop = factory()
        try:
            description = loop.run_until_complete(probe_data_path())
        except OSError as exc:
            description = f"unknown, since there is no TCP connection over loopback: {exc}"
        finally:
            loop.close()
        lines.append(f"data path on {name}: {description}")
    return "\n".join(lines)


async def probe_data_path() -> str:
    """Open a TCP connection over loopback on the running event loop, and describe its data path.

    Raises:
        OSError: If loopback is not available.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[WebSocketProtocol] = loop.create_future()

    class Server(WebSocketProtocol):
        def connection_open(self) -> None:
            opened.set_result(self)

    server = await loop.create_server(Server, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    transport, _ = await loop.create_connection(lambda: WebSocketProtocol(f"ws://{host}:{port}"), host, port)
    connection = await opened
    try:
        return describe_data_path(connection)
    finally:
        transport.abort()
        connection.transport.abort()
        server.close()
        await asyncio.sleep(0)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main())
    print(describe_implementation())
    print(describe_data_paths())
