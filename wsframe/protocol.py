"""Only a name of ``websockets``: states and sides live in ``wsframe.constants``; see ``wsframe.Connection``."""

from wsframe.constants import Role, State

__all__ = ["Side", "State"]
Side = Role
SERVER, CLIENT = Role.SERVER, Role.CLIENT
CONNECTING, OPEN, CLOSING, CLOSED = State
