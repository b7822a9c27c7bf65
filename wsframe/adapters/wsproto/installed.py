"""wsframe's codec under the installed wsproto.

Functions of this package run in wsproto's classes, with copies of their modules' globals in which wsproto's events,
exceptions and enumerations replace ours. Thus an application sees only wsproto's classes, and classes that it has
imported or derived before are patched too. A connection that already exists continues with wsproto's codec.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from wsframe.adapters.wsproto import connection, events, frame_protocol

__all__ = ["replacements"]


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes in wsproto."""
    import wsproto.connection  # noqa: PLC0415 - only where it is patched
    import wsproto.events  # noqa: PLC0415
    import wsproto.extensions  # noqa: PLC0415
    import wsproto.frame_protocol  # noqa: PLC0415

    original = wsproto.frame_protocol.FrameProtocol
    theirs = vars(wsproto.extensions) | vars(wsproto.frame_protocol)
    scope = vars(frame_protocol) | {name: theirs[name] for name in FRAME_NAMES}
    for function in (frame_protocol.parse_failed, frame_protocol.close_reason):
        scope[function.__name__] = _move(function, scope)
    members = vars(frame_protocol.FrameProtocol).items()
    methods = {name: _move(member, scope) for name, member in members if isinstance(member, FunctionType)}
    patched = type("FrameProtocol", (original,), methods)

    scope = vars(connection) | {name: vars(wsproto.connection)[name] for name in CONNECTION_NAMES}
    scope["close_reason"] = _move(frame_protocol.close_reason, vars(frame_protocol) | theirs)
    receiving = scope | {"BytesMessage": _bytes_message(wsproto.events.BytesMessage)}
    fast = {
        events.Message.__init__: (wsproto.events.Message, wsproto.events.TextMessage, wsproto.events.BytesMessage),
        events.CloseConnection.__init__: (wsproto.events.CloseConnection,),
        events.Ping.__init__: (wsproto.events.Ping, wsproto.events.Pong),
    }
    return [
        (wsproto.frame_protocol, "FrameProtocol", patched),
        (wsproto.connection, "FrameProtocol", patched),
        # For connections that already exist.
        (original, "next_piece", _next_frame),
        (wsproto.frame_protocol.XorMaskerSimple, "process", frame_protocol.XorMaskerSimple.process),
        *(
            (wsproto.connection.Connection, name, _move(getattr(connection.Connection, name), names))
            for name, names in (("send", scope), ("receive_data", scope), ("events", receiving))
        ),
        *((kind, "__init__", init) for init, kinds in fast.items() for kind in kinds),
    ]


FRAME_NAMES = (
    "LOCAL_ONLY_CLOSE_REASONS",
    "CloseReason",
    "Frame",
    "FrameDecoder",
    "MessageDecoder",
    "Opcode",
    "ParseFailed",
    "PerMessageDeflate",
    "RsvBits",
)
"""wsproto's names used by ``frame_protocol.FrameProtocol``."""

CONNECTION_NAMES = (
    "BytesMessage",
    "CloseConnection",
    "CloseReason",
    "ConnectionState",
    "LocalProtocolError",
    "Message",
    "Opcode",
    "ParseFailed",
    "Ping",
    "Pong",
    "TextMessage",
)
"""wsproto's names used by ``connection.Connection``."""


def _move(function: Any, scope: dict[str, Any]) -> FunctionType:
    """Copy a function with other globals."""
    moved = FunctionType(function.__code__, scope, function.__name__, function.__defaults__, function.__closure__)
    moved.__doc__ = function.__doc__
    return moved


def _bytes_message(kind: Any) -> Any:
    """Return the constructor of received events: before 1.3.2, their data is a bytearray, and annotated as such."""

    def make(data: bytes, frame_finished: bool, message_finished: bool) -> Any:
        return kind(bytearray(data), frame_finished, message_finished)

    return make if kind.__annotations__.get("data") == "bytearray" else kind


def _next_frame(protocol: Any) -> Any:
    return next(protocol._parse_more, None)
