"""Wrong calls of the public API, each with what it must raise; right ones, which must stay accepted.

Run as a program, it prints what they do with the implementation in use, as JSON: the two are compared by processes.
"""

# What calls use that are evaluated, and not seen by a linter.
# ruff: noqa: F401

from __future__ import annotations

import array
import asyncio
import contextlib
import decimal
import fractions
import functools
import inspect
import json
import logging
import re
import socket
import ssl
import sys
import types
from pathlib import Path

import wsframe
import wsframe.opening.attempts
import wsframe.opening.proxy
import wsframe.sync.client
import wsframe.sync.connection
import wsframe.testing
import wsframe.testing.metrics
from wsframe import (
    ClientHandshake,
    Connection,
    Frame,
    FrameParser,
    Headers,
    Limits,
    Opcode,
    PerMessageDeflate,
    PerMessageDeflateFactory,
    PreparedMessage,
    Role,
    Router,
    ServerHandshake,
    State,
    Utf8Validator,
    WebSocketProtocol,
    accept_key,
    apply_mask,
    apply_mask_inplace,
    basic_auth,
    broadcast,
    connect,
    patch,
    serialize_frame,
    serve,
    unix_connect,
    unix_serve,
)
from wsframe.extensions import Extension
from wsframe.extensions.permessage_deflate import ClientPerMessageDeflateFactory, ServerPerMessageDeflateFactory
from wsframe.opening.uri import parse_uri

try:
    from werkzeug.routing import Map, Rule
except ImportError:
    Map = Rule = None

inf, nan = float("inf"), float("nan")
SERVER, CLIENT = Role.SERVER, Role.CLIENT
URI = "ws://localhost"


async def handler(websocket):
    pass


async def handler_with_path(websocket, path):
    pass


def plain_handler(websocket):
    return handler(websocket)


def sync_handler(websocket):
    for message in websocket:
        websocket.send(message)


async def generator_handler(websocket):
    yield


def generator(websocket):
    yield


class Methods:
    async def handle(self, websocket):
        pass

    def sync(self, websocket):
        pass

    async def __call__(self, websocket):
        pass


class Callable:
    def __call__(self, websocket):
        pass


class NoSignature:
    """Callables whose parameters are unknown."""

    __signature__ = "unknown"

    def __call__(self, *arguments):
        return handler(*arguments)


def server(**options):
    return serve(handler, **options)


def client(**options):
    return connect(URI, **options)


def sync(**options):
    return wsframe.sync.client.reconnect(URI, **options)


def callbacks(uri=None, **options):
    return WebSocketProtocol(uri, **options)


def sans_io(**options):
    return Connection(SERVER, **options)


def factory(**options):
    return PerMessageDeflateFactory(**options)


def deflate(**options):
    right = {
        "remote_no_context_takeover": False,
        "local_no_context_takeover": False,
        "remote_max_window_bits": 15,
        "local_max_window_bits": 15,
    }
    return PerMessageDeflate(options.pop("factory", PerMessageDeflateFactory()), **{**right, **options})


def asyncio_connection(**options):
    return wsframe.ServerConnection(
        options.pop("protocol", Connection(SERVER, state=State.CONNECTING)), BARE, **options
    )


COROUTINE = handler(None)
COROUTINE.close()

BARE = types.SimpleNamespace(open_timeout=10, logger=logging.getLogger("wsframe"))


def route(*rules, **options):
    return wsframe.route(Map(rules), **options)


def legacy_request(path, request_headers):
    pass


def legacy_select(client_subprotocols, server_subprotocols):
    pass


async def async_select(connection, subprotocols):
    pass


def make(protocol, server, *, ping_interval, ping_timeout, close_timeout, max_queue, write_limit):
    pass


def make_client(protocol, **options):
    pass


def make_too_little(protocol, server):
    pass


class OldFactory:
    name = "x"

    def get_request_params(self):
        return []

    def process_request_params(self, params, accepted):
        return [], None


class Keys:
    def keys(self):
        return ["X"]

    def __getitem__(self, name):
        return "y"


def outcome(call, names):
    """Return a description of what a call raises; its result is ignored."""
    try:
        result = eval(call, names)
        if inspect.iscoroutine(result):
            result.send(None)
    except StopIteration:
        return "accepted"
    except Exception as exc:
        return f"{type(exc).__name__}: {exc}"
    return "accepted"


TABLE = json.loads(Path(__file__).with_name("wrong_calls.json").read_text(encoding="utf-8"))


def outcomes():
    """Return what each call of the tables does, by its text."""
    names = dict(globals())
    found = {}

    async def with_pair():
        async with wsframe.testing.connect_pair() as pair:
            names["pair"], names["ws"] = pair, pair.client
            for call in TABLE["live"]:
                try:
                    result = eval(call, names)
                    if inspect.isawaitable(result):
                        await asyncio.wait_for(result, 0.05)
                    found[call] = "accepted"
                except asyncio.TimeoutError:
                    found[call] = "accepted"
                except Exception as exc:
                    found[call] = f"{type(exc).__name__}: {exc}"

    for call in [*TABLE["wrong"], *TABLE["right"]]:
        found[call] = outcome(call, names)
    asyncio.run(with_pair())
    ours, theirs = socket.socketpair()
    names["blocking"] = wsframe.sync.connection.Connection(ours, Connection(CLIENT))
    for call in TABLE["blocking"]:
        found[call] = outcome(call, names)
    theirs.close()
    names["blocking"].close()
    return found


if __name__ == "__main__":
    print(json.dumps(outcomes()))
