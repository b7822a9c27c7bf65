"""Names for the types of arguments and results, as in the ``websockets`` library."""

from __future__ import annotations

import http
import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NewType, TypeAlias

__all__ = [
    "BytesLike",
    "Data",
    "DataLike",
    "ExtensionName",
    "ExtensionParameter",
    "LoggerLike",
    "Origin",
    "PathLike",
    "StatusLike",
    "Subprotocol",
]

Data: TypeAlias = str | bytes
"""A message: text or binary."""

BytesLike: TypeAlias = bytes | bytearray | memoryview
"""Bytes-like objects."""

DataLike: TypeAlias = str | bytes | bytearray | memoryview
"""Accepted as a message, or as the payload of a ping."""

if TYPE_CHECKING:
    LoggerLike: TypeAlias = logging.Logger | logging.LoggerAdapter[Any]
else:
    # Python 3.10 cannot subscript it.
    LoggerLike = logging.Logger | logging.LoggerAdapter
    """Accepted as a logger."""

PathLike: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
"""Accepted as the path of a Unix socket."""

StatusLike: TypeAlias = http.HTTPStatus | int
"""Accepted as an HTTP status."""

Origin = NewType("Origin", str)
"""Value of an Origin header."""

Subprotocol = NewType("Subprotocol", str)
"""A subprotocol, as in Sec-WebSocket-Protocol."""

ExtensionName = NewType("ExtensionName", str)
"""Name of an extension, as in Sec-WebSocket-Extensions."""

ExtensionParameter: TypeAlias = tuple[str, str | None]
"""A parameter of an extension: name and value, or None if it has no value."""

ExtensionHeader: TypeAlias = tuple[ExtensionName, Sequence[ExtensionParameter]]
"""An extension with its parameters."""
