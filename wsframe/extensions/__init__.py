"""Extensions (RFC 6455 §9): their interface, their negotiation, and permessage-deflate.

``base``                the interface of an extension to a handshake and to a connection
``negotiation``         offers, choices and responses; adapts extensions written for ``websockets``
``deflate``             permessage-deflate (RFC 7692), on zlib, zlib-ng or ISA-L
``permessage_deflate``  its factories with the arguments of ``websockets``

The interface is ``ExtensionFactory`` and ``Extension``. Nothing here reads or writes header fields;
``wsframe.opening`` does.
"""

from __future__ import annotations

from wsframe._lazy import load_on_use
from wsframe.extensions.base import ClientExtensionFactory, Extension, ExtensionFactory, ServerExtensionFactory

__all__ = ["ClientExtensionFactory", "Extension", "ExtensionFactory", "ServerExtensionFactory"]

__getattr__, __dir__ = load_on_use("wsframe.extensions", {}, ["deflate", "negotiation", "permessage_deflate"])
