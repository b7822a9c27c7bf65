"""Public API for third-party servers and clients, beside ``wsframe.Connection`` and the codec.

Our own adapters use nothing else. The names here are loaded on first use.

Connections
    A server that handles HTTP itself performs the opening handshake with ``wsframe.ServerHandshake``, and passes the
    transport to a ``wsframe.asyncio.connection.Connection``: see ``Connection.take_over``. The parts below are for
    servers and clients with connections of their own.

Writing
    ``Cork`` combines the frames that are sent within a read into one write.

Waiting and waking
    ``Waiter``: one task waits for data, and resumes within the read that brings it.

Keepalive
    ``Keepalive`` runs the ping timers (RFC 6455 §5.5.2) for an object with the attributes of ``Pinged``, on a
    ``Clock``, such as an event loop.

Ending a connection
    ``end_writing`` ends the outgoing stream so that the peer can still read what was sent before (RFC 6455 §7.1.1),
    for an object with the attributes of ``Ended``.

Memory
    ``read_moderately`` keeps an asyncio transport from allocating more for a read than messages need.

Counters
    ``Stats``: the counters of a connection.

Text
    ``escape`` makes text from a peer safe for logs; ``describe`` shows a wrong argument in an error message;
    ``is_token`` checks whether a text is a token (RFC 9110 §5.6.2), as subprotocols must be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsframe._lazy import load_on_use

if TYPE_CHECKING:
    from wsframe._checks import describe
    from wsframe._escape import escape
    from wsframe.asyncio.datapath.cork import Cork
    from wsframe.asyncio.datapath.ending import Ended, end_writing
    from wsframe.asyncio.datapath.keepalive import Clock, Keepalive, Pinged, Timer
    from wsframe.asyncio.datapath.memory import read_moderately
    from wsframe.asyncio.datapath.queue import Waiter
    from wsframe.messages.stats import Stats
    from wsframe.opening.grammar import is_token

_HOMES = {
    "Clock": "wsframe.asyncio.datapath.keepalive",
    "Cork": "wsframe.asyncio.datapath.cork",
    "Ended": "wsframe.asyncio.datapath.ending",
    "Keepalive": "wsframe.asyncio.datapath.keepalive",
    "Pinged": "wsframe.asyncio.datapath.keepalive",
    "Stats": "wsframe.messages.stats",
    "Timer": "wsframe.asyncio.datapath.keepalive",
    "Waiter": "wsframe.asyncio.datapath.queue",
    "describe": "wsframe._checks",
    "end_writing": "wsframe.asyncio.datapath.ending",
    "escape": "wsframe._escape",
    "is_token": "wsframe.opening.grammar",
    "read_moderately": "wsframe.asyncio.datapath.memory",
}

__all__ = [
    "Clock",
    "Cork",
    "Ended",
    "Keepalive",
    "Pinged",
    "Stats",
    "Timer",
    "Waiter",
    "describe",
    "end_writing",
    "escape",
    "is_token",
    "read_moderately",
]

__getattr__, __dir__ = load_on_use("wsframe.hosting", _HOMES)
