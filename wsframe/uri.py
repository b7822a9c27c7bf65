"""Only a name of ``websockets``: what is here lives in ``wsframe.opening.uri``."""

from wsframe.opening.uri import WebSocketURI, parse_uri

__all__ = ["WebSocketURI", "parse_uri"]
