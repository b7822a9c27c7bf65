"""Connections without a network, and time without waiting, for tests.

``connect_pair`` returns both ends of a connection, joined in memory, on the running event loop::

    async def test_echo():
        async with connect_pair() as pair:
            await pair.client.send("hello")
            assert await pair.server.recv() == "hello"

Keepalive and the timers of opening and closing use ``pair.clock``, which stands still until a test advances it::

    async with connect_pair(client_options={"ping_interval": None}) as pair:
        pair.client.transport.pause_reading()
        await pair.clock.advance(20 + 20 + 10)  # ping_interval, ping_timeout, close_timeout
        assert pair.server.close_code == 1006

With pytest, the fixture ``websocket_pair``, which comes with the package, is ``connect_pair``. Timeouts that a program
sets itself, for example with ``asyncio.timeout``, still use the clock of the event loop.

``clock``    time that a test controls
``pair``     both ends of a connection, and the transports between them
``metrics``  server metrics for Prometheus and others
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._lazy import load_on_use

if TYPE_CHECKING:
    from wsframe.testing.clock import Clock as Clock
    from wsframe.testing.pair import MemoryTransport as MemoryTransport, Pair as Pair, connect_pair as connect_pair

__all__ = ["Clock", "MemoryTransport", "Pair", "connect_pair"]

_HOMES = {
    "Clock": "wsframe.testing.clock",
    "MemoryTransport": "wsframe.testing.pair",
    "Pair": "wsframe.testing.pair",
    "connect_pair": "wsframe.testing.pair",
}
__getattr__, __dir__ = load_on_use("wsframe.testing", _HOMES, ["clock", "metrics", "pair"])
