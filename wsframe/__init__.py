"""wsframe: a WebSocket codec at C speed, with an asyncio server and client (RFC 6455).

``import wsframe as websockets`` runs programs written for the ``websockets`` library's asyncio API.

Public names are loaded on first use (PEP 562): a program that needs only the codec loads neither asyncio nor HTTP.
"""

import typing as _typing

from wsframe import _moved
from wsframe._lazy import load_on_use as _load_on_use
from wsframe._switches import read_switches as _read_switches

if _typing.TYPE_CHECKING:
    from wsframe._cimport import get_include as get_include
    from wsframe._implementation import IMPLEMENTATION as IMPLEMENTATION
    from wsframe.adapters.patching import (
        Patch as Patch,
        PatchError as PatchError,
        UntestedVersionWarning as UntestedVersionWarning,
        patch as patch,
    )
    from wsframe.asyncio.broadcast import broadcast as broadcast
    from wsframe.asyncio.client import (
        ClientConnection as ClientConnection,
        connect as connect,
        unix_connect as unix_connect,
    )
    from wsframe.asyncio.protocol import WebSocketProtocol as WebSocketProtocol
    from wsframe.asyncio.router import (
        Router as Router,
        route as route,
        unix_route as unix_route,
    )
    from wsframe.asyncio.server import (
        Server as Server,
        ServerConnection as ServerConnection,
        basic_auth as basic_auth,
        serve as serve,
        unix_serve as unix_serve,
    )
    from wsframe.codec import (
        Frame as Frame,
        FrameParser as FrameParser,
        Message as Message,
        Utf8Validator as Utf8Validator,
        apply_mask as apply_mask,
        apply_mask_inplace as apply_mask_inplace,
        new_masking_key as new_masking_key,
        serialize_frame as serialize_frame,
    )
    from wsframe.constants import (
        CloseCode as CloseCode,
        Opcode as Opcode,
        Role as Role,
        State as State,
    )
    from wsframe.exceptions import (
        Close as Close,
        ConcurrencyError as ConcurrencyError,
        ConnectionClosed as ConnectionClosed,
        ConnectionClosedError as ConnectionClosedError,
        ConnectionClosedOK as ConnectionClosedOK,
        DuplicateParameter as DuplicateParameter,
        Fault as Fault,
        HeaderLineTooLong as HeaderLineTooLong,
        InvalidHandshake as InvalidHandshake,
        InvalidHeader as InvalidHeader,
        InvalidHeaderFormat as InvalidHeaderFormat,
        InvalidHeaderValue as InvalidHeaderValue,
        InvalidMessage as InvalidMessage,
        InvalidMethod as InvalidMethod,
        InvalidOrigin as InvalidOrigin,
        InvalidParameterName as InvalidParameterName,
        InvalidParameterValue as InvalidParameterValue,
        InvalidProtocol as InvalidProtocol,
        InvalidProxy as InvalidProxy,
        InvalidProxyMessage as InvalidProxyMessage,
        InvalidProxyStatus as InvalidProxyStatus,
        InvalidState as InvalidState,
        InvalidStatus as InvalidStatus,
        InvalidUpgrade as InvalidUpgrade,
        InvalidURI as InvalidURI,
        NegotiationError as NegotiationError,
        PayloadTooBig as PayloadTooBig,
        ProtocolError as ProtocolError,
        ProxyError as ProxyError,
        RequestLineTooLong as RequestLineTooLong,
        SecurityError as SecurityError,
        StatusLineTooLong as StatusLineTooLong,
        TooManyFragments as TooManyFragments,
        TooManyHeaders as TooManyHeaders,
        WebSocketException as WebSocketException,
    )
    from wsframe.extensions.deflate import (
        PerMessageDeflate as PerMessageDeflate,
        PerMessageDeflateFactory as PerMessageDeflateFactory,
    )
    from wsframe.limits import Limits as Limits
    from wsframe.messages.connection import SansIOConnection as _SansIOConnection
    from wsframe.messages.events import (
        CloseReceived as CloseReceived,
        Event as Event,
        Failed as Failed,
        PingReceived as PingReceived,
        PongReceived as PongReceived,
    )
    from wsframe.messages.prepared import PreparedMessage as PreparedMessage
    from wsframe.opening.fields import (
        Headers as Headers,
        HeadersLike as HeadersLike,
        MultipleValuesError as MultipleValuesError,
    )
    from wsframe.opening.handshake import (
        ClientHandshake as ClientHandshake,
        ServerHandshake as ServerHandshake,
        accept_key as accept_key,
    )
    from wsframe.opening.http import (
        Request as Request,
        Response as Response,
    )
    from wsframe.typing import (
        Data as Data,
        ExtensionName as ExtensionName,
        ExtensionParameter as ExtensionParameter,
        LoggerLike as LoggerLike,
        Origin as Origin,
        StatusLike as StatusLike,
        Subprotocol as Subprotocol,
    )

    Connection = _SansIOConnection
    Side = Role
    __version__: str

# Public names, by the module that defines them.
_HOMES = {
    "_cimport": "get_include",
    "_implementation": "IMPLEMENTATION",
    "adapters.patching": "Patch PatchError UntestedVersionWarning patch",
    "asyncio.broadcast": "broadcast",
    "asyncio.client": "ClientConnection connect unix_connect",
    "asyncio.protocol": "WebSocketProtocol",
    "asyncio.router": "Router route unix_route",
    "asyncio.server": "Server ServerConnection basic_auth serve unix_serve",
    "codec": "Frame FrameParser Message Utf8Validator apply_mask apply_mask_inplace new_masking_key serialize_frame",
    "constants": "CloseCode Opcode Role State",
    "exceptions": (
        "Close ConcurrencyError ConnectionClosed ConnectionClosedError ConnectionClosedOK "
        "DuplicateParameter Fault HeaderLineTooLong InvalidHandshake InvalidHeader InvalidHeaderFormat "
        "InvalidHeaderValue InvalidMessage InvalidMethod InvalidOrigin InvalidParameterName "
        "InvalidParameterValue InvalidProtocol InvalidProxy InvalidProxyMessage InvalidProxyStatus "
        "InvalidState InvalidStatus InvalidURI InvalidUpgrade NegotiationError PayloadTooBig "
        "ProtocolError ProxyError RequestLineTooLong SecurityError StatusLineTooLong TooManyFragments "
        "TooManyHeaders WebSocketException"
    ),
    "extensions.deflate": "PerMessageDeflate PerMessageDeflateFactory",
    "limits": "Limits",
    "messages.events": "CloseReceived Event Failed PingReceived PongReceived",
    "messages.prepared": "PreparedMessage",
    "opening.fields": "Headers HeadersLike MultipleValuesError",
    "opening.handshake": "ClientHandshake ServerHandshake accept_key",
    "opening.http": "Request Response",
    "typing": "Data ExtensionName ExtensionParameter LoggerLike Origin StatusLike Subprotocol",
}
_SUBMODULES = [
    "adapters",
    "asyncio",
    "client",
    "codec",
    "constants",
    "datastructures",
    "exceptions",
    "extensions",
    "frames",
    "http11",
    "limits",
    "messages",
    "metrics",
    "opening",
    "protocol",
    "proxy",
    "sync",
    "testing",
    "typing",
    "uri",
]

_homes = {name: f"wsframe.{module}" for module, names in _HOMES.items() for name in names.split()}
_homes |= {
    "Connection": "wsframe.messages.connection:SansIOConnection",
    "Side": "wsframe.constants:Role",
    "__version__": "wsframe._version:VERSION",
}
__all__ = [*_homes]
__getattr__, __dir__ = _load_on_use("wsframe", _homes, _SUBMODULES)
_moved.install()

# Report an invalid switch, or required extensions that are missing, at import.
if _read_switches()[1]:
    __getattr__("IMPLEMENTATION")
