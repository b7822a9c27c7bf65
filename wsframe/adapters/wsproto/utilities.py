"""Exceptions and small functions, with wsproto's names."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wsframe.adapters.wsproto.events import Event

__all__ = [
    "ACCEPT_GUID",
    "LocalProtocolError",
    "ProtocolError",
    "RemoteProtocolError",
    "generate_accept_token",
    "generate_nonce",
    "normed_header_dict",
    "split_comma_header",
]

ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""The GUID that a server appends to Sec-WebSocket-Key (RFC 6455 §1.3)."""


class ProtocolError(Exception):
    """Base class of local and remote protocol errors."""


class LocalProtocolError(ProtocolError):
    """A request to this end that the protocol or the state of the connection does not allow."""


class RemoteProtocolError(ProtocolError):
    """A violation of the protocol by the peer.

    Attributes:
        event_hint: An event to send as the answer, or None.
    """

    def __init__(self, message: str, event_hint: Event | None = None) -> None:
        super().__init__(message)
        self.event_hint = event_hint


def normed_header_dict(h11_headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Join the values of headers with the same name by commas."""
    joined: dict[bytes, bytes] = {}
    for name, value in h11_headers:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def split_comma_header(value: bytes) -> list[str]:
    """Split a header's value at its commas."""
    return [element.strip() for element in value.decode("ascii").split(",")]


def generate_nonce() -> bytes:
    """Return a value for Sec-WebSocket-Key: 16 random bytes in Base64 (RFC 6455 §4.1)."""
    return base64.b64encode(os.urandom(16))


def generate_accept_token(token: bytes) -> bytes:
    """Return the value of Sec-WebSocket-Accept that answers a Sec-WebSocket-Key (RFC 6455 §4.2.2)."""
    return base64.b64encode(hashlib.sha1(token + ACCEPT_GUID, usedforsecurity=False).digest())
