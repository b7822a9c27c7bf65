"""``Connection``, ``WebSocketProtocol`` and asyncio's ``Connection`` on top of each implementation, in one process."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import SimpleNamespace

import pytest


def load(name, patched, twin):
    """Load a module of the package with some of the others replaced."""
    original = importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(f"{name}_{twin.name}", original.__file__)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)
        for other, replacement in patched.items():
            patch.setitem(sys.modules, other, replacement)
        spec.loader.exec_module(module)
    patched[name] = module
    return module


def load_stack(twin):
    """Load the classes that the streams and the core of an implementation are the bases of."""
    patched = {
        "wsframe.messages.messenger": twin.messenger,
        "wsframe.asyncio.datapath.stream": twin.stream,
        "wsframe.asyncio.datapath.queue": twin.queue,
    }
    core = load("wsframe.messages.connection", patched, twin).SansIOConnection
    load("wsframe.asyncio.datapath.lifecycle", patched, twin)
    protocol = load("wsframe.asyncio.protocol", patched, twin).WebSocketProtocol
    connection = load("wsframe.asyncio.connection", patched, twin).Connection
    assert issubclass(protocol, twin.stream.CallbackStream)
    assert issubclass(connection, twin.queue.QueueStream)
    return SimpleNamespace(name=twin.name, core=core, protocol=protocol, connection=connection, twin=twin)
