"""Hosts in which only masking and UTF-8 validation are replaced, played by modules with the names that are hooked.

Their own tests run with the patches (``host_suites.py``).
"""

from __future__ import annotations

import importlib.metadata
import sys
from types import ModuleType, SimpleNamespace

import pytest

import wsframe
from wsframe.adapters.patching import HOSTS

KEY = b"\x01\x02\x03\x04"
MASKED = bytes(byte ^ KEY[i % 4] for i, byte in enumerate(b"payload"))


@pytest.fixture
def install(monkeypatch):
    """Make modules; a name with dots makes its packages too."""

    def install(host, **modules):
        monkeypatch.setattr(importlib.metadata, "version", lambda name: HOSTS[host].tested[0])
        for path, attributes in modules.items():
            parts = path.split("__")
            for i in range(len(parts)):
                name = ".".join(parts[: i + 1])
                if name not in sys.modules:
                    module = ModuleType(name)
                    module.__spec__ = SimpleNamespace(name=name)
                    module.__path__ = []
                    monkeypatch.setitem(sys.modules, name, module)
                    if i:
                        setattr(sys.modules[".".join(parts[:i])], parts[i], module)
            vars(module).update(attributes)

    return install


@pytest.mark.parametrize("protocol_is_imported", [False, True])
def test_autobahn(install, protocol_is_imported):
    xormasker = {"create_xor_masker": None, "XorMaskerNull": None}
    utf8validator = {"Utf8Validator": None}
    modules = {"autobahn__websocket__xormasker": xormasker, "autobahn__websocket__utf8validator": utf8validator}
    if protocol_is_imported:
        modules["autobahn__websocket__protocol"] = {**xormasker, **utf8validator}
    install("autobahn", **modules)
    with wsframe.patch("autobahn"):
        websocket = sys.modules["autobahn.websocket"]
        assert websocket.xormasker.create_xor_masker(KEY, 7).process(b"payload") == MASKED
        assert websocket.utf8validator.Utf8Validator().validate(b"x") == (True, True, 1, 1)
        if protocol_is_imported:
            assert websocket.protocol.XorMaskerNull().process(b"payload") == b"payload"
            assert websocket.protocol.create_xor_masker is websocket.xormasker.create_xor_masker
        assert ("autobahn.websocket.protocol" in sys.modules) is protocol_is_imported
    assert websocket.xormasker.create_xor_masker is websocket.utf8validator.Utf8Validator is None


def test_gevent_websocket(install):
    class Header:
        mask = KEY

        def mask_payload(self, payload):
            return "host"

        unmask_payload = mask_payload

    install("gevent-websocket", geventwebsocket__websocket={"Header": Header, "Utf8Validator": None})
    with wsframe.patch("gevent-websocket"):
        assert Header().mask_payload(b"payload") == Header().unmask_payload(b"payload") == MASKED
        assert sys.modules["geventwebsocket.websocket"].Utf8Validator().validate(b"\xff") == (False, False, 0, 0)
    assert Header().mask_payload(b"payload") == Header().unmask_payload(b"payload") == "host"


def test_websockify(install):
    class WebSocket:
        def _unmask(self, buf, mask):
            return "host"

        _mask = _unmask

    install("websockify", websockify__websocket={"WebSocket": WebSocket})
    with wsframe.patch("websockify"):
        assert WebSocket()._mask(b"payload", KEY) == WebSocket()._unmask(b"payload", KEY) == MASKED
    assert WebSocket()._mask(b"payload", KEY) == "host"
