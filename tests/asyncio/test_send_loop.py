"""A handler that sends in a loop without ever waiting for anything else."""

from __future__ import annotations

import asyncio

import pytest
from support import dial_open, soon

import wsframe


async def test_sending_in_a_loop_ends_when_tcp_is_gone(loop_kind):
    sent = []
    ended = asyncio.get_running_loop().create_future()

    async def send_on_and_on(websocket):
        while len(sent) < 1000:
            await websocket.send("x")
            sent.append("x")

    async def handler(websocket):
        # As a write does to which the system answers that the client is gone.
        websocket.transport.abort()
        with pytest.raises(wsframe.ConnectionClosedError):
            await send_on_and_on(websocket)
        ended.set_result(None)

    async with wsframe.serve(handler, "127.0.0.1", 0) as server, dial_open(server):
        await soon(ended)
    assert len(sent) < 1000


async def test_handler_that_only_sends_allows_the_closing_handshake(loop_kind):
    async def handler(websocket):
        while True:
            await websocket.send("x")

    async with wsframe.serve(handler, "127.0.0.1", 0) as server:
        uri = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        # The client does not time out: the server reads its Close frame while it is sending.
        async with wsframe.connect(uri, close_timeout=20) as websocket:
            await websocket.recv()
        assert websocket.close_code == 1000
