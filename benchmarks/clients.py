"""Clients under test: ``python -m benchmarks.clients NAME PORT`` sends messages, each when the last one's echo came.

It reads commands from its standard input, a number of bytes and a number of messages, and prints for each the CPU
seconds and the seconds that it took. The length of every echo is checked, and the last one byte for byte.
"""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks.registry import HOST, MAX_SIZE, add_loop_option, run

Exchange = Callable[[bytes, int], Awaitable[bytes]]
"""Sends a message a number of times, and returns the last echo."""

Connect = Callable[[int], Awaitable[Exchange]]
CLIENTS: dict[str, Connect] = {}


def client(name: str) -> Callable[[Connect], Connect]:
    """Register a function that connects to a port."""

    def register(connect: Connect) -> Connect:
        CLIENTS[name] = connect
        return connect

    return register


class WrongEcho(Exception):
    """An echo is not what was sent."""


def _with_recv(send: Callable[[bytes], Awaitable[None]], recv: Callable[[], Awaitable[Any]]) -> Exchange:
    async def exchange(message: bytes, count: int) -> bytes:
        size = len(message)
        reply = b""
        for _ in range(count):
            await send(message)
            reply = await recv()
            if len(reply) != size:
                raise WrongEcho
        return reply

    return exchange


def _of(websocket: Any) -> Exchange:
    """Exchange messages by the methods that most libraries have."""
    return _with_recv(websocket.send, websocket.recv)


@client("wsframe")
async def wsframe_coroutines(port: int) -> Exchange:
    import wsframe

    return _of(await wsframe.connect(f"ws://{HOST}:{port}", max_size=MAX_SIZE, compression=None, proxy=None))


@client("websockets")
async def websockets(port: int) -> Exchange:
    from websockets.asyncio.client import connect

    return _of(await connect(f"ws://{HOST}:{port}", max_size=MAX_SIZE, compression=None, proxy=None))


@client("picows.websockets")
async def picows_websockets(port: int) -> Exchange:
    from picows.websockets.asyncio.client import connect

    return _of(await connect(f"ws://{HOST}:{port}", max_size=MAX_SIZE, compression=None, proxy=None))


@client("aiohttp")
async def aiohttp(port: int) -> Exchange:
    from aiohttp import ClientSession

    session = ClientSession()
    websocket = await session.ws_connect(f"ws://{HOST}:{port}", max_msg_size=MAX_SIZE, compress=0)
    return _with_recv(websocket.send_bytes, websocket.receive_bytes)


class _Callbacks:
    """What clients with callbacks share: send again until there were enough echoes.

    Args:
        send: Sends a message.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._left = 0

    async def exchange(self, message: bytes, count: int) -> bytes:
        self._message = message
        self._size = len(message)
        self._left = count
        self._done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._send(message)
        return await self._done

    def received(self, reply: bytes) -> None:
        self._left -= 1
        if len(reply) != self._size:
            self._done.set_exception(WrongEcho())
        elif self._left:
            self._send(self._message)
        else:
            self._done.set_result(reply)


@client("wsframe callbacks")
async def wsframe_callbacks(port: int) -> Exchange:
    import wsframe

    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()

    class Client(wsframe.WebSocketProtocol):
        def connection_open(self) -> None:
            opened.set_result(None)

        def message_received(self, data: str | bytes) -> None:
            callbacks.received(data)  # type: ignore[arg-type]

    protocol = functools.partial(Client, f"ws://{HOST}:{port}", max_size=MAX_SIZE, compression=None)
    _, connection = await loop.create_connection(protocol, HOST, port)
    callbacks = _Callbacks(connection.send)
    await opened
    return callbacks.exchange


@client("picows callbacks")
async def picows_callbacks(port: int) -> Exchange:
    from picows import WSListener, WSMsgType, ws_connect

    class Client(WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            callbacks.received(frame.get_payload_as_bytes())

    transport, _ = await ws_connect(Client, f"ws://{HOST}:{port}", max_frame_size=MAX_SIZE)
    callbacks = _Callbacks(functools.partial(transport.send, WSMsgType.BINARY))
    return callbacks.exchange


@client("picows, awaited")
async def picows_awaited(port: int) -> Exchange:
    """The core of picows where coroutines wait: a Future for each echo."""
    from picows import WSListener, WSMsgType, ws_connect

    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[bytes]

    class Client(WSListener):
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            waiter.set_result(frame.get_payload_as_bytes())

    transport, _ = await ws_connect(Client, f"ws://{HOST}:{port}", max_frame_size=MAX_SIZE)

    async def exchange(message: bytes, count: int) -> bytes:
        nonlocal waiter
        size = len(message)
        reply = b""
        for _ in range(count):
            waiter = loop.create_future()
            transport.send(WSMsgType.BINARY, message)
            reply = await waiter
            if len(reply) != size:
                raise WrongEcho
        return reply

    return exchange


async def _main(options: argparse.Namespace) -> None:
    exchange = await CLIENTS[options.name](options.port)
    loop = asyncio.get_running_loop()
    print("connected", flush=True)
    # Pings are answered meanwhile; the end of standard input is the signal to stop.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        size, count = map(int, line.split())
        message = bytes(range(256)) * (size // 256)
        started, cpu = time.perf_counter(), time.process_time()
        reply = await exchange(message, count)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - started
        if reply != message:
            raise WrongEcho
        print(cpu, seconds, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("name", choices=CLIENTS)
    parser.add_argument("port", type=int)
    add_loop_option(parser)
    options = parser.parse_args()
    run(_main(options), options.loop)


if __name__ == "__main__":
    main()
