"""Echo without compression, over connections, messages in flight and sizes."""

from __future__ import annotations

import argparse
import pathlib
from typing import Any

from benchmarks.harness import Case
from benchmarks.rounds import Contender, measure

SERVERS = [
    "wsframe callbacks",
    "wsframe",
    "picows",
    "picows.websockets",
    "aiohttp",
    "websockets",
    "uvicorn, websockets-sansio",
    "tornado",
    "raw asyncio.Protocol",
]

SHAPES = [(1, 1), (1, 64), (100, 1), (100, 16)]
SIZES = [8, 256, 8192]
LARGE = [(1, 1, 100 * 1024), (100, 1, 100 * 1024), (1, 1, 2**20)]


def run(program: pathlib.Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the suite; return its medians."""
    names = options.servers.split(";") if options.servers else SERVERS
    contenders = [Contender(name, loop) for name in names for loop in ("asyncio", "uvloop")]
    shapes = [(connections, in_flight, size) for size in SIZES for connections, in_flight in SHAPES] + LARGE
    cases = [
        (f"{size} B, {connections} connections, {in_flight} in flight", Case(connections, in_flight, (b"x" * size,)))
        for connections, in_flight, size in shapes
    ]
    return measure(program, contenders, cases, options)
