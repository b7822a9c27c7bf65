"""Proxies for tests, as scripts for ``raw_server``: they record requests and open tunnels."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ipaddress

from support import soon


async def tunnel(peer, host, port):
    """Carry bytes between a peer and a server, until one of them ends its stream."""
    reader, writer = await soon(asyncio.open_connection(host, port))

    async def carry(source, sink):
        with contextlib.suppress(ConnectionError):
            while data := await source.read(2**16):
                sink.write(data)
                await sink.drain()

    tasks = [asyncio.ensure_future(carry(reader, peer.writer)), asyncio.ensure_future(carry(peer.reader, writer))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        writer.close()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


class HTTPProxy:
    """An HTTP proxy, to be passed to ``raw_server``.

    Args:
        user_info: ``user:password`` that it wants, or None.
        target: Where tunnels end; where the client wants them to, if None.

    Attributes:
        asked: Start line and headers of each request.
    """

    def __init__(self, user_info=None, target=None):
        self.asked = []
        self._target = target
        self._authorization = None if user_info is None else "Basic " + base64.b64encode(user_info.encode()).decode()

    async def __call__(self, peer):
        start_line, lines = await peer.read_head()
        headers = dict(lines)
        self.asked.append((start_line, headers))
        if headers.get("Proxy-Authorization") != self._authorization:
            await peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno")
            return
        method, address, _ = start_line.split(" ")
        assert method == "CONNECT"
        host, _, port = address.rpartition(":")
        await peer.send(b"HTTP/1.0 200 Connection established\r\n\r\n")
        await tunnel(peer, *(self._target or (host.strip("[]"), int(port))))


class SocksProxy:
    """A SOCKS5 proxy, to be passed to ``raw_server`` (RFC 1928, RFC 1929).

    Args:
        user_info: ``user:password`` that it wants, or None.

    Attributes:
        asked: Host and port of each request; a host is a name or an ``ipaddress`` object.
    """

    def __init__(self, user_info=None):
        self.asked = []
        self._user_info = user_info

    async def __call__(self, peer):
        async def read(size):
            return await soon(peer.reader.readexactly(size))

        version, count = await read(2)
        assert version == 5
        methods = await read(count)
        wanted = 0 if self._user_info is None else 2
        if wanted not in methods:
            await peer.send(b"\x05\xff")
            return
        await peer.send(bytes([5, wanted]))
        if self._user_info is not None:
            username = await read((await read(2))[1])
            password = await read((await read(1))[0])
            right = username + b":" + password == self._user_info.encode()
            await peer.send(b"\x01\x00" if right else b"\x01\x01")
            if not right:
                return
        _, command, _, kind = await read(4)
        assert command == 1
        if kind == 3:
            host = (await read((await read(1))[0])).decode()
        else:
            host = ipaddress.ip_address(await read({1: 4, 4: 16}[kind]))
        port = int.from_bytes(await read(2), "big")
        self.asked.append((host, port))
        await peer.send(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        await tunnel(peer, str(host), port)
