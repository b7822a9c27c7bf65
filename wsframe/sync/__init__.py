"""WebSocket for threads instead of an event loop, under the names of ``websockets.sync``.

``client`` connects; ``connection`` has the class of the result, which reads from the socket in a thread of its own. The
package shares everything without I/O with ``wsframe.asyncio``, and imports no event loop.
"""

from wsframe._lazy import load_on_use

_SUBMODULES = ["client", "connection"]
__getattr__, __dir__ = load_on_use("wsframe.sync", {}, _SUBMODULES)
