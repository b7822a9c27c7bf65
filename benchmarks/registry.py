"""What the programs under test share: where servers register, and what all programs need."""

from __future__ import annotations

import argparse
import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

MAX_SIZE = 2**21
HOST = "127.0.0.1"

Start = Callable[[argparse.Namespace], Awaitable[int]]
ECHO: dict[str, Start] = {}
BROADCAST: dict[str, Start] = {}


def server(name: str, servers: dict[str, Start] = ECHO) -> Callable[[Start], Start]:
    """Register a function that starts a server and returns its port."""

    def register(start: Start) -> Start:
        servers[name] = start
        return start

    return register


_alive: list[Any] = []
"""Servers live as long as the process; nobody else refers to them."""


def keep(server: Any, sockets: Sequence[Any] = ()) -> int:
    """Keep a server; return its port, that of the sockets it has or those given."""
    _alive.append(server)
    return int((sockets or server.sockets)[0].getsockname()[1])


def tls(options: argparse.Namespace) -> ssl.SSLContext | None:
    """Return the TLS context of a server, None without TLS."""
    if options.certificate is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.certificate)
    return context


def add_loop_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--loop``."""
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")


def run(main: Coroutine[Any, Any, None], loop: str) -> None:
    """Run a program under test on an event loop, without logs: how connections end is not measured."""
    logging.disable(logging.CRITICAL)
    if loop == "uvloop":
        import uvloop

        uvloop.run(main)
    else:
        asyncio.run(main)
