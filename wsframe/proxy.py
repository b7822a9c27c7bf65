"""Only a name of ``websockets``: what is here lives in ``wsframe.opening.proxy``."""

from wsframe.opening.proxy import Proxy, get_proxy, parse_proxy, prepare_connect_request

__all__ = ["Proxy", "get_proxy", "parse_proxy", "prepare_connect_request"]
