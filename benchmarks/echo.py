"""Echo without compression, over connections, messages in flight and sizes."""

from __future__ import annotations

import argparse

from benchmarks.goals import LOOPS, Goal, both_loops, judge, print_goals
from benchmarks.harness import C_SERVER, Case, Tools
from benchmarks.rounds import Contender, Suite, measure

SERVERS = [
    "wsframe callbacks",
    "wsframe",
    "picows",
    "picows.websockets",
    "aiohttp",
    "websockets",
    "uvicorn, websockets-sansio",
    "uvicorn, wsproto",
    "tornado",
    "raw asyncio.Protocol",
    C_SERVER,
]

SHAPES = [
    *(
        (connections, in_flight, size)
        for size in (8, 256)
        for connections, in_flight in ((1, 64), (100, 16), (100, 1), (1, 1))
    ),
    (100, 16, 8 * 1024),
    (1, 1, 100 * 1024),
    (100, 1, 100 * 1024),
    (1, 1, 2**20),
]

AGAINST: dict[tuple[int, int, int], tuple[dict[str, float], float, float]] = {
    # Connections, in flight, size: callbacks against picows, coroutines against picows.websockets and websockets.
    **{(1, 64, size): ({"asyncio": 10, "uvloop": 10}, 6, 15) for size in (8, 256)},
    **{(100, 16, size): ({"asyncio": 8, "uvloop": 8}, 5, 13) for size in (8, 256)},
    **{(100, 1, size): ({"asyncio": 1.3, "uvloop": 1.1}, 1.25, 3) for size in (8, 256)},
    **{(1, 1, size): ({"asyncio": 1.1, "uvloop": 1.3}, 1.2, 1.6) for size in (8, 256)},
    (100, 16, 8 * 1024): ({"asyncio": 3.5, "uvloop": 3.5}, 3.5, 6),
    (1, 1, 100 * 1024): ({"asyncio": 1.5, "uvloop": 1.5}, 1.5, 1.6),
    (100, 1, 100 * 1024): ({"asyncio": 1.5, "uvloop": 1.5}, 1.5, 1.6),
    (1, 1, 2**20): ({"asyncio": 1.3, "uvloop": 1.3}, 1.2, 1.5),
}

WITHIN = {(1, 64): 3, (100, 16): 2, (100, 1): 1.15}
"""Connections, in flight: how many times the server in C callbacks may cost, up to 256 B."""


def size_name(size: int) -> str:
    """Name a number of bytes."""
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB" if size < 2**20 else f"{size // 2**20} MiB"


def case_name(connections: int, in_flight: int, size: int) -> str:
    """Name a case: c100 p16 is 100 connections with 16 messages in flight on each."""
    return f"{size_name(size)}, c{connections} p{in_flight}"


def goals(connections: int, in_flight: int, size: int) -> list[Goal]:
    """Return the goals of a case."""
    case = case_name(connections, in_flight, size)
    callbacks, picows, websockets = AGAINST[connections, in_flight, size]
    found = [Goal(case, "wsframe callbacks", loop, ("picows",), callbacks[loop]) for loop in LOOPS]
    found += both_loops(case, "wsframe", "picows.websockets", picows)
    found += both_loops(case, "wsframe", "websockets", websockets)
    if size <= 256 and (connections, in_flight) in WITHIN:
        factor = 1 / WITHIN[connections, in_flight]
        found += [Goal(case, "wsframe callbacks", loop, (C_SERVER,), factor, their_loop="") for loop in LOOPS]
    return found


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    contenders = Contender.each(SERVERS, LOOPS, options)
    suite = Suite([])
    for shape in SHAPES:
        connections, in_flight, size = shape
        case = Case(connections, in_flight, (b"x" * size,))
        # Servers of their own for each case: what one leaves behind in memory is no other's business.
        results = measure(tools, contenders, [(case_name(*shape), case)], options)
        verdicts = judge(goals(*shape), results, "cpu_us")
        print_goals(verdicts)
        suite.results.extend(results)
        suite.verdicts.extend(verdicts)
    return suite
