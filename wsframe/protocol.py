"""States and roles under the names of ``websockets.protocol``; ``wsframe.Connection`` is the protocol. Rank 1."""

from __future__ import annotations

from wsframe.constants import Role, State

__all__ = ["Side", "State"]

Side = Role

SERVER = Role.SERVER
CLIENT = Role.CLIENT
CONNECTING = State.CONNECTING
OPEN = State.OPEN
CLOSING = State.CLOSING
CLOSED = State.CLOSED
