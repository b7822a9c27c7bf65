"""Only a name of ``websockets``: how clients reconnect lives in ``wsframe.opening.attempts``."""

from wsframe.opening.attempts import backoff

__all__ = ["backoff"]
