"""The names that other people's code relies on."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import wsframe

CONTRACT = {
    "codec": [
        "CloseCode",
        "Fault",
        "Frame",
        "FrameParser",
        "Limits",
        "Opcode",
        "Role",
        "PerMessageDeflate",
        "PerMessageDeflateFactory",
        "Utf8Validator",
        "apply_mask",
        "apply_mask_inplace",
        "serialize_frame",
    ],
    "without I/O": ["ClientHandshake", "Connection", "PreparedMessage", "ServerHandshake"],
    "callbacks": ["WebSocketProtocol"],
    "coroutines": [
        "ClientConnection",
        "ConnectionClosed",
        "ConnectionClosedError",
        "ConnectionClosedOK",
        "InvalidHandshake",
        "ServerConnection",
        "broadcast",
        "connect",
        "serve",
        "unix_connect",
        "unix_serve",
    ],
    "plumbing": ["IMPLEMENTATION", "__version__"],
}

ATTRIBUTES = {
    "Connection": [
        "close_code",
        "close_reason",
        "data_to_send",
        "receive_data",
        "receive_eof",
        "send_binary",
        "send_close",
        "send_continuation",
        "send_ping",
        "send_pong",
        "send_prepared",
        "send_text",
        "state",
    ],
    "Frame": ["fin", "opcode", "payload", "rsv1", "rsv2", "rsv3"],
    "FrameParser": ["fault", "feed"],
    "Utf8Validator": ["feed", "finish"],
    "WebSocketProtocol": [
        "close",
        "connection_closed",
        "connection_open",
        "message_received",
        "pause_writing",
        "ping",
        "ping_received",
        "pong_received",
        "resume_writing",
        "send",
    ],
}

PARAMETERS = {
    "apply_mask": "(data, mask)",
    "apply_mask_inplace": "(buffer, mask, phase=0)",
    "serialize_frame": "(opcode, payload, *, fin=True, rsv1=False, rsv2=False, rsv3=False, mask=None)",
}

MODULES = [module.name for module in pkgutil.walk_packages(wsframe.__path__, "wsframe.") if module.name[-2:] != "_c"]


def documented_attributes(owner: type) -> str:
    """Return the part of a class's docstring that lists attributes."""
    return (inspect.getdoc(owner) or "").partition("Attributes:")[2]


def signature_without_types(function: object) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    empty = inspect.Signature.empty
    parameters = [parameter.replace(annotation=empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=empty))


def test_all_names_exist_once() -> None:
    assert len(set(wsframe.__all__)) == len(wsframe.__all__)
    for name in wsframe.__all__:
        assert hasattr(wsframe, name), name


def test_all_is_complete() -> None:
    for name in wsframe.__all__:
        getattr(wsframe, name)
    public = {name for name, value in vars(wsframe).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert public | {"__version__"} == set(wsframe.__all__)


def test_dir_lists_names_not_loaded_yet() -> None:
    assert {*wsframe.__all__, "asyncio", "exceptions"} <= set(dir(wsframe))
    assert {"client", "server"} <= set(dir(wsframe.asyncio))


@pytest.mark.parametrize("level", CONTRACT)
def test_contract_names(level: str) -> None:
    assert set(CONTRACT[level]) <= set(wsframe.__all__)


@pytest.mark.parametrize(
    ("name", "attribute"), [(name, attribute) for name in ATTRIBUTES for attribute in ATTRIBUTES[name]]
)
def test_contract_attributes(name: str, attribute: str) -> None:
    owner = getattr(wsframe, name)
    assert hasattr(owner, attribute) or f"{attribute}: " in documented_attributes(owner)


@pytest.mark.parametrize("name", PARAMETERS)
def test_contract_parameters(name: str) -> None:
    assert signature_without_types(getattr(wsframe, name)) == PARAMETERS[name]


@pytest.mark.parametrize(
    "option", ["max_size", "ping_interval", "ping_timeout", "close_timeout", "subprotocols", "origins", "compression"]
)
def test_callbacks_take_the_options_of_serve(option: str) -> None:
    serve, protocol = inspect.signature(wsframe.serve), inspect.signature(wsframe.WebSocketProtocol)
    assert protocol.parameters[option].default == serve.parameters[option].default


def test_websockets_submodules_have_their_names() -> None:
    assert importlib.import_module("wsframe.asyncio.server").serve is wsframe.serve
    assert importlib.import_module("wsframe.asyncio.client").connect is wsframe.connect


@pytest.mark.parametrize("name", sorted(set(wsframe.__all__) - {"__version__"}))
def test_public_names_are_documented(name: str) -> None:
    value = getattr(wsframe, name)
    if isinstance(value, type) or inspect.isroutine(value):
        assert inspect.getdoc(value), name
    if isinstance(value, type) and value.__module__.startswith("wsframe"):
        for member, function in vars(value).items():
            if member[0] != "_" and (inspect.isroutine(function) or isinstance(function, property)):
                documented = inspect.getdoc(getattr(value, member)) or f"{member}: " in documented_attributes(value)
                assert documented, f"{name}.{member}"


@pytest.mark.parametrize("module_name", MODULES)
def test_modules_export_the_names_in_all(module_name: str) -> None:
    if module_name == "wsframe.__main__":
        return
    module = importlib.import_module(module_name)
    exported = getattr(module, "__all__", [])
    assert sorted(exported) == sorted(set(exported))
    for name in exported:
        assert hasattr(module, name), name
