"""Docstrings document all options of ``connect`` and ``serve``, with types and defaults, in the same words."""

from __future__ import annotations

import inspect
import pydoc
import re

import pytest

import wsframe
import wsframe.asyncio.client
import wsframe.asyncio.server
import wsframe.sync.client
from wsframe._options import describe_options

COMMON = [
    "compression",
    "open_timeout",
    "ping_interval",
    "ping_timeout",
    "close_timeout",
    "max_size",
    "max_queue",
    "write_limit",
]
"""Options that mean the same on both sides."""

CLIENTS = [
    *(name for name in COMMON if name != "write_limit"),
    "origin",
    "extensions",
    "subprotocols",
    "additional_headers",
    "user_agent_header",
    "proxy",
    "logger",
    "create_connection",
]
"""Options that mean the same with and without an event loop."""

FUNCTIONS = {
    "connect": (wsframe.connect, wsframe.connect, wsframe.asyncio.client),
    "serve": (wsframe.serve, wsframe.serve, wsframe.asyncio.server),
    # Its options are those of reconnect.
    "sync": (wsframe.sync.client.connect, wsframe.sync.client.reconnect, wsframe.sync.client),
}


def documented(owner):
    """Read the list of arguments: for each its type, its default and the text, None for what is not documented."""
    section = re.search(r"^Args:\n(.*?)^\w", inspect.getdoc(owner), re.MULTILINE | re.DOTALL)[1]
    found = {}
    for entry in re.split(r"\n    (?=\w)", "\n" + section.rstrip())[1:]:
        text = " ".join(entry.split())
        name, kind, default, words = re.fullmatch(r"(\w+) \((.*?)(?:, default ([^ ]+))?\): (.*)", text).groups()
        found[name] = (kind, default, words)
    return found


def parameters(owner):
    return {name: parameter for name, parameter in inspect.signature(owner).parameters.items() if name != "self"}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_all_options_are_documented_with_type_and_default(function):
    owner, options, module = FUNCTIONS[function]
    told = documented(owner)
    taken = parameters(options)
    if function == "sync":
        taken = {name: taken[name] for name in taken if name not in ("process_exception", "reconnect_delays")}
        taken["legacy"] = parameters(owner)["legacy"]
    assert set(told) == set(taken)
    for name, parameter in taken.items():
        kind, default, words = told[name]
        assert kind == parameter.annotation, name
        if parameter.default is inspect.Parameter.empty:
            assert default is None, name
        else:
            assert eval(default, vars(module)) == parameter.default, name
        assert words.endswith("."), name


@pytest.mark.parametrize("name", COMMON)
def test_servers_and_clients_document_options_alike(name):
    assert documented(wsframe.serve)[name] == documented(wsframe.connect)[name]


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_document_options_alike_with_and_without_an_event_loop(name):
    assert documented(wsframe.sync.client.connect)[name] == documented(wsframe.connect)[name]


@pytest.mark.parametrize("name", [name for name in COMMON if name not in ("max_queue", "write_limit")])
def test_callbacks_document_options_alike(name):
    kind, default, words = documented(wsframe.serve)[name]
    lines = " ".join(inspect.getdoc(wsframe.WebSocketProtocol).split())
    assert f" {name} ({kind}, default {default}): {words} " in lines


def test_missing_docstrings_stay_missing():
    """For example with ``python -OO``."""

    def undocumented():
        pass

    assert describe_options(undocumented).__doc__ is None


def test_help_shows_the_options():
    for owner in (wsframe.serve, wsframe.connect, wsframe.WebSocketProtocol, wsframe.sync.client.connect):
        text = pydoc.render_doc(owner, renderer=pydoc.plaintext)
        assert "close_timeout (float | None, default 10): Seconds" in text
        assert "{" not in inspect.getdoc(owner)


@pytest.mark.parametrize("name", ["open_timeout", "ping_interval", "ping_timeout", "close_timeout"])
def test_times_are_in_seconds(name):
    assert documented(wsframe.connect)[name][2].startswith("Seconds ")


@pytest.mark.parametrize("name", ["max_size", "write_limit"])
def test_sizes_are_in_bytes(name):
    assert documented(wsframe.connect)[name][2].startswith("Bytes ")


def test_reconnect_refers_to_connect_for_shared_options():
    section = inspect.getdoc(wsframe.sync.client.reconnect)
    for name in parameters(wsframe.sync.client.reconnect):
        assert re.search(rf"^    {name}[: ]", section, re.MULTILINE), name
