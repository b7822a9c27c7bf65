"""wsframe: a WebSocket codec at C speed, with an asyncio server and client (RFC 6455).

``import wsframe as websockets`` runs programs written for the ``websockets`` library's asyncio API.
"""

from wsframe import exceptions
from wsframe._build import IMPLEMENTATION
from wsframe._version import VERSION as __version__
from wsframe.asyncio.broadcast import broadcast
from wsframe.asyncio.client import ClientConnection, connect, unix_connect
from wsframe.asyncio.protocol import WebSocketProtocol
from wsframe.asyncio.router import Router, route, unix_route
from wsframe.asyncio.server import Server, ServerConnection, basic_auth, serve, unix_serve
from wsframe.cimport import get_include
from wsframe.connection import Connection
from wsframe.constants import CloseCode, Opcode, Role, State
from wsframe.datastructures import Headers, HeadersLike, MultipleValuesError
from wsframe.deflate import PerMessageDeflate, PerMessageDeflateFactory
from wsframe.events import CloseReceived, Event, Failed, Message, PingReceived, PongReceived
from wsframe.exceptions import *  # noqa: F403
from wsframe.framing import Frame, FrameParser, serialize_frame
from wsframe.handshake import ClientHandshake, ServerHandshake, accept_key
from wsframe.http11 import Request, Response
from wsframe.limits import Limits
from wsframe.masking import apply_mask, apply_mask_inplace, new_masking_key
from wsframe.patching import Patch, PatchError, UntestedVersionWarning, patch
from wsframe.prepared import PreparedMessage
from wsframe.protocol import Side
from wsframe.typing import Data, ExtensionName, ExtensionParameter, LoggerLike, Origin, StatusLike, Subprotocol
from wsframe.utf8 import Utf8Validator

__all__ = [
    "IMPLEMENTATION",
    "ClientConnection",
    "ClientHandshake",
    "CloseCode",
    "CloseReceived",
    "Connection",
    "Data",
    "Event",
    "ExtensionName",
    "ExtensionParameter",
    "Failed",
    "Frame",
    "FrameParser",
    "Headers",
    "HeadersLike",
    "Limits",
    "LoggerLike",
    "Message",
    "MultipleValuesError",
    "Opcode",
    "Origin",
    "Patch",
    "PatchError",
    "PerMessageDeflate",
    "PerMessageDeflateFactory",
    "PingReceived",
    "PongReceived",
    "PreparedMessage",
    "Request",
    "Response",
    "Role",
    "Router",
    "Server",
    "ServerConnection",
    "ServerHandshake",
    "Side",
    "State",
    "StatusLike",
    "Subprotocol",
    "UntestedVersionWarning",
    "Utf8Validator",
    "WebSocketProtocol",
    "__version__",
    "accept_key",
    "apply_mask",
    "apply_mask_inplace",
    "basic_auth",
    "broadcast",
    "connect",
    "get_include",
    "new_masking_key",
    "route",
    "patch",
    "serialize_frame",
    "serve",
    "unix_connect",
    "unix_route",
    "unix_serve",
    *exceptions.__all__,
]
