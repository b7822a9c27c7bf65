"""The migration page lists every name of the asyncio API of the installed ``websockets``, and is correct."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import wsframe

websockets = pytest.importorskip("websockets", "17")

PAGE = (Path(__file__).parents[1] / "docs" / "migration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([\w.]+)` \| (yes|no) \| (.*?) ?\|$", re.MULTILINE)
SECTIONS = {
    title: {name: (here, note) for name, here, note in ROW.findall(body)}
    for title, body in re.findall(r"^## (.*)\n((?:(?!^## ).*\n)*)", PAGE, re.MULTILINE)
}
FUNCTIONS = ["serve", "unix_serve", "route", "unix_route", "basic_auth", "broadcast", "connect", "unix_connect"]
CLASSES = ["Server", "ServerConnection", "ClientConnection", "connect", "Router", "Headers", "Request", "Response"]
# Set in instances, so that the class does not show them: documented, or annotated, in both libraries.
SET = {
    "ServerConnection": {"handler", "handler_kwargs", "username", "server"},
    "ClientConnection": set(),
    "Request": {"headers", "path"},
    "Response": {"headers", "reason_phrase", "status_code"},
}
for _name in ("ServerConnection", "ClientConnection"):
    SET[_name] |= {"id", "latency", "logger", "protocol", "request", "response", "transport"}


def documented(owner, name):
    """Return whether a class has an attribute, or declares one of its instances."""
    docstrings = "\n".join(cls.__doc__ or "" for cls in owner.__mro__ if cls.__module__.startswith("wsframe"))
    annotated = any(name in vars(cls).get("__annotations__", {}) for cls in owner.__mro__)
    return hasattr(owner, name) or annotated or re.search(rf"^ +{name}\b.*:", docstrings, re.MULTILINE) is not None


def check(title, names, has):
    rows = SECTIONS[title]
    assert sorted(rows) == sorted(names)
    for name, (here, note) in rows.items():
        assert here == ("yes" if has(name) else "no"), name
        assert here == "yes" or note, f"{name}: why not?"


def test_names():
    check("`websockets`", websockets.__all__, lambda name: hasattr(wsframe, name))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_arguments(function):
    ours = inspect.signature(getattr(wsframe, function)).parameters
    theirs = inspect.signature(getattr(websockets, function)).parameters
    check(f"Arguments of `{function}`", theirs, lambda name: name in ours)
    for name in ours:
        if name in theirs and not name.endswith("_header"):
            default = theirs[name].default
            assert default == ours[name].default or callable(default), name


@pytest.mark.parametrize("cls", CLASSES)
def test_attributes(cls):
    theirs = {name for name in dir(getattr(websockets, cls)) if name[0] != "_"} | SET.get(cls, set())
    check(f"Attributes of `{cls}`", theirs, lambda name: documented(getattr(wsframe, cls), name))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_modules():
    found = set()
    for package in ("", "asyncio.", "extensions."):
        folder = Path(websockets.__path__[0]) / package[:-1]
        found |= {module.name for module in pkgutil.iter_modules([str(folder)], f"websockets.{package}")}
    found -= {"websockets.__main__", "websockets.asyncio"}

    def has(name):
        ours = name.replace("websockets", "wsframe", 1)
        if name == "websockets.legacy" or importlib.util.find_spec(ours) is None:
            return False
        theirs, ours = importlib.import_module(name), importlib.import_module(ours)
        names = [name for name in getattr(theirs, "__all__", ()) if not name.startswith("enable_")]
        missing = {name for name in names if not hasattr(ours, name)}
        return bool(names) and missing <= {"Protocol", "SEND_EOF"}

    check("Modules", found, has)


def test_additional_features_exist():
    besides = PAGE.partition("## Additional features")[2].partition("\n## ")[0]
    names = set(re.findall(r"`(\w+)(?:\(\))?`", besides)) - {"send", "compress"}
    assert "stats" in names
    for name in names:
        owners = (wsframe, wsframe.ServerConnection)
        assert any(hasattr(owner, name) for owner in owners) or name in inspect.signature(wsframe.serve).parameters, (
            name
        )
    for name in re.findall(r"`(wsframe[\w.]+)`", besides):
        importlib.import_module(name)
