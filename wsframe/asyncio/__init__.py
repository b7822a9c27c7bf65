"""Servers and clients on asyncio, under the names of ``websockets.asyncio``.

The package connects an event loop's sockets to coroutines (``server``, ``client``, ``connection``, ``router``,
``auth``, ``broadcast``) or callbacks (``protocol``). The path of each message is in ``datapath``. The lower layers,
``wsframe.opening`` and ``wsframe.messages``, interpret the bytes.
"""

from wsframe._lazy import load_on_use

_SUBMODULES = ["auth", "broadcast", "client", "connection", "protocol", "proxy", "router", "server"]
__getattr__, __dir__ = load_on_use("wsframe.asyncio", {}, _SUBMODULES)
