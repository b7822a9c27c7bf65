"""Only a name of ``websockets``: what is here lives in ``wsframe.opening.http``."""

from wsframe.opening.http import SERVER, USER_AGENT, Request, Response

__all__ = ["SERVER", "USER_AGENT", "Request", "Response"]
