"""Memory that connections no longer need is returned to the system."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import socket
import sys
import types

import pytest
from support import echo, until, uri_of

import wsframe
from wsframe.asyncio.datapath import memory
from wsframe.testing import Clock

HERE = "127.0.0.1"


@pytest.fixture
def trimmed(monkeypatch):
    """Replace the C library and shorten the delay; gives the calls of ``malloc_trim``."""
    calls = []
    monkeypatch.setattr(memory, "TRIM_DELAY_S", 0.02)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: types.SimpleNamespace(malloc_trim=calls.append))
    return calls


class Loop(Clock):
    """The part of an event loop that is used here; the test advances its timers."""

    def call_later(self, delay, callback, *arguments):
        return super().call_later(delay, functools.partial(callback, *arguments))

    def run_in_executor(self, executor, function):
        function()


async def test_many_requests_make_one_call(trimmed):
    loop = Loop()
    for _ in range(10):
        memory.trim_soon(loop)
    await loop.advance(memory.TRIM_DELAY_S / 2)
    assert trimmed == []
    memory.trim_soon(loop)
    await loop.advance(10 * memory.TRIM_DELAY_S)
    assert trimmed == [0]
    memory.trim_soon(loop)
    await loop.advance(memory.TRIM_DELAY_S)
    assert trimmed == [0, 0]


async def test_other_c_libraries_are_ignored(trimmed, monkeypatch):
    asked = []
    monkeypatch.setattr(ctypes, "CDLL", lambda name: asked.append(name))
    memory.trim_soon(asyncio.get_running_loop())
    await until(lambda: asked)


async def test_other_systems_are_ignored(trimmed, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    loop = Loop()
    memory.trim_soon(loop)
    await loop.advance(10 * memory.TRIM_DELAY_S)
    assert trimmed == []


@pytest.mark.parametrize("idle_timeout", [0.02, 20])
async def test_idle_and_closed_connections_request_trimming(trimmed, idle_timeout):
    compression = wsframe.PerMessageDeflateFactory(idle_timeout=idle_timeout)
    async with wsframe.serve(echo, HERE, 0, compression=compression) as server:
        async with wsframe.connect(uri_of(server), compression=compression) as websocket:
            await websocket.send("a" * 1000)
            await websocket.recv()
            if idle_timeout < 1:
                await until(lambda: trimmed)
        await until(lambda: trimmed)


async def test_connection_without_compression_requests_no_trimming(trimmed, monkeypatch):
    monkeypatch.setattr(memory, "TRIM_DELAY_S", 60)
    async with wsframe.serve(echo, HERE, 0, compression=None) as server:
        async with wsframe.connect(uri_of(server)) as websocket:
            await websocket.send("a" * 1000)
            await websocket.recv()
    assert asyncio.get_running_loop() not in memory._waiting


async def test_moderate_reads_lose_nothing():
    sizes = []

    class Protocol(asyncio.Protocol):
        def data_received(self, data):
            sizes.append(len(data))

    here, there = socket.socketpair()
    with there:
        there.setblocking(False)
        transport, _ = await asyncio.get_running_loop().create_connection(Protocol, sock=here)
        memory.read_moderately(transport)
        memory.read_moderately(transport)
        sent = 0
        while sent < 1_000_000:
            with contextlib.suppress(BlockingIOError):
                sent += there.send(bytes(1_000_000 - sent))
            await asyncio.sleep(0)
        await until(lambda: sum(sizes) == sent)
        assert max(sizes) < 128 * 1024 or not hasattr(transport, "max_size")
        transport.close()
