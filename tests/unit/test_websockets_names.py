"""Modules that have the names of ``websockets`` for what is elsewhere in this package."""

from __future__ import annotations

import importlib

import pytest

import wsframe
from wsframe import constants, frames, protocol, typing


def test_frames():
    assert frames.Frame is wsframe.Frame
    assert frames.Opcode is wsframe.Opcode
    assert frames.CloseCode is wsframe.CloseCode
    assert str(frames.Close(1000, "bye")) == "1000 (OK) bye"
    assert (frames.CONT, frames.TEXT, frames.BINARY) == frames.DATA_OPCODES == (0, 1, 2)
    assert (frames.CLOSE, frames.PING, frames.PONG) == frames.CTRL_OPCODES == (8, 9, 10)


def test_protocol():
    assert protocol.State is constants.State
    assert protocol.Side is wsframe.Side is constants.Role
    assert tuple(constants.State) == (protocol.CONNECTING, protocol.OPEN, protocol.CLOSING, protocol.CLOSED)
    assert tuple(constants.Role) == (protocol.SERVER, protocol.CLIENT)


def test_types():
    assert typing.Origin("https://example.com") == "https://example.com"
    assert typing.Subprotocol("chat") == "chat"
    assert isinstance(memoryview(b""), typing.BytesLike)
    assert isinstance("", typing.DataLike)


MODULES = {
    "asyncio.client": [],
    "asyncio.connection": [],
    "asyncio.router": [],
    "asyncio.server": [],
    "datastructures": [],
    "exceptions": [],
    "extensions": [],
    "extensions.base": [],
    "extensions.permessage_deflate": ["enable_client_permessage_deflate", "enable_server_permessage_deflate"],
    "frames": [],
    "http11": [],
    "protocol": ["Protocol", "SEND_EOF"],
    "typing": [],
    "uri": [],
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_have_the_names_of_websockets(name):
    pytest.importorskip("websockets", "17")
    theirs = importlib.import_module(f"websockets.{name}")
    ours = importlib.import_module(f"wsframe.{name}")
    assert [name for name in theirs.__all__ if not hasattr(ours, name)] == MODULES[name]
