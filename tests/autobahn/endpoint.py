"""The endpoint under test, as a program: an echo server, or a client that runs the cases of a fuzzing server.

``endpoint.py server API`` prints the port it listens on and runs until its standard input ends;
``endpoint.py client API URL N NUMBERS`` runs all cases, N at a time, and ends. ``API`` is ``coroutines`` or
``callbacks``. NUMBERS are those of cases for which to offer ``client_no_context_takeover``, with commas.
Which implementation runs is up to the environment, and printed first.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import wsframe

if TYPE_CHECKING:
    from collections.abc import Iterator

# Cases 9.1.6 and 9.2.6 send 16 MiB, and nothing here may depend on the reader's patience.
OPTIONS: dict[str, Any] = {
    "max_size": 2**24,
    "ping_interval": None,
    # The cases of sections 12 and 13 want to see every message compressed, those of 16 bytes as well.
    "compression": wsframe.PerMessageDeflateFactory(threshold=0),
}
FORGETFUL = {**OPTIONS, "compression": wsframe.PerMessageDeflateFactory(threshold=0, client_no_context_takeover=True)}
AGENT = "wsframe"


async def echo(websocket: wsframe.ServerConnection | wsframe.ClientConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


class Echo(wsframe.WebSocketProtocol):
    """Send each message back; remember the last one."""

    def __init__(self, uri: str | None = None, options: dict[str, Any] = OPTIONS) -> None:
        super().__init__(uri, **options)
        self.last: str | bytes = ""
        self.closed = asyncio.get_running_loop().create_future()

    def message_received(self, data: str | bytes) -> None:
        self.last = data
        self.send(data)

    def connection_closed(self, code: int, reason: str) -> None:
        self.closed.set_result(None)

    def handshake_failed(self, exc: Exception) -> None:
        self.closed.set_exception(exc)


class Listener(Echo):
    """Only take messages in."""

    def message_received(self, data: str | bytes) -> None:
        self.last = data


async def serve(api: str) -> None:
    if api == "coroutines":
        coroutine_server = await wsframe.serve(echo, "127.0.0.1", 0, **OPTIONS)
        port = coroutine_server.sockets[0].getsockname()[1]
    else:
        callback_server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
        port = callback_server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def with_coroutines(url: str, options: dict[str, Any] = OPTIONS, *, answer: bool = True) -> str | bytes:
    last: str | bytes = ""
    async with wsframe.connect(url, **options) as websocket:
        with contextlib.suppress(wsframe.ConnectionClosed):
            if answer:
                await echo(websocket)
            else:
                async for message in websocket:
                    last = message
    return last


async def with_callbacks(url: str, options: dict[str, Any] = OPTIONS, *, answer: bool = True) -> str | bytes:
    target = urlsplit(url)
    factory = Echo if answer else Listener
    _, protocol = await asyncio.get_running_loop().create_connection(
        lambda: factory(url, options), target.hostname, target.port
    )
    await protocol.closed
    return protocol.last


async def run_cases(api: str, url: str, concurrent_cases: int, forgetful: set[int]) -> None:
    visit = with_coroutines if api == "coroutines" else with_callbacks
    count = int(await visit(f"{url}/getCaseCount", answer=False))
    print(f"{count} cases", flush=True)

    async def worker(cases: Iterator[int]) -> None:
        for case in cases:
            options = FORGETFUL if case in forgetful else OPTIONS
            await visit(f"{url}/runCase?case={case}&agent={AGENT}", options)

    cases = iter(range(1, count + 1))
    await asyncio.gather(*(worker(cases) for _ in range(concurrent_cases)))
    await visit(f"{url}/updateReports?agent={AGENT}", answer=False)


if __name__ == "__main__":
    print(wsframe.IMPLEMENTATION, flush=True)
    if sys.argv[1] == "server":
        asyncio.run(serve(sys.argv[2]))
    else:
        numbers = {int(number) for number in sys.argv[5].split(",") if number}
        asyncio.run(run_cases(sys.argv[2], sys.argv[3], int(sys.argv[4]), numbers))
