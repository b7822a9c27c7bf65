"""Other projects' servers with and without wsframe, over messages in flight and sizes, compressed and not."""

from __future__ import annotations

import argparse

from benchmarks import host_codecs
from benchmarks.echo import size_name
from benchmarks.goals import LOOPS, Goal, both_loops, judge, print_goals
from benchmarks.harness import Case, Tools
from benchmarks.rounds import Contender, Suite, measure

PAIRS = {
    "uvicorn, wsframe": ("uvicorn, websockets-sansio", "uvicorn, wsproto"),
    "uvicorn, wsproto, patched": ("uvicorn, wsproto",),
    "hypercorn, patched": ("hypercorn",),
    "tornado, patched": ("tornado",),
    "websockets, patched": ("websockets",),
}
"""With wsframe, and without."""

SERVERS = list(dict.fromkeys(name for ours, theirs in PAIRS.items() for name in (*theirs, ours)))

IN_FLIGHT = (1, 16)
SIZES = (125, 4096, 65536)
CONNECTIONS = 100


def case_name(in_flight: int, size: int, deflate: bool = False) -> str:
    """Name a case: p16 is 16 messages in flight on each of 100 connections."""
    return f"{size_name(size)}, c{CONNECTIONS} p{in_flight}{', compressed' if deflate else ''}"


GOALS = [
    *both_loops(case_name(1, 125), "uvicorn, wsframe", "uvicorn, websockets-sansio", 1.5),
    *both_loops(case_name(16, 125), "uvicorn, wsframe", "uvicorn, websockets-sansio", 3),
    *both_loops(case_name(16, 125), "uvicorn, wsframe", "uvicorn, wsproto", 4),
    *both_loops(case_name(1, 125), "hypercorn, patched", "hypercorn", 2),
    *both_loops(case_name(1, 125), "tornado, patched", "tornado", 1.5),
    *both_loops(case_name(1, 125), "websockets, patched", "websockets", 2),
    Goal("frame of 1 MiB", "websocket-client, patched", None, ("websocket-client",), 10),
]


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    results = []
    for level in (None, 1):
        contenders = Contender.each(SERVERS, LOOPS, options, level)
        cases = []
        for size in SIZES:
            payload = (b'{"id": 1, "text": "some of it comes again"}, ' * (size // 40 + 1))[:size]
            for in_flight in IN_FLIGHT:
                case = Case(CONNECTIONS, in_flight, (payload,), text=True, deflate=level is not None)
                cases.append((case_name(in_flight, size, level is not None), case))
        results += measure(tools, contenders, cases, options)
    results += host_codecs.measure_all(options)
    verdicts = judge(GOALS, results, "cpu_us")
    print_goals(verdicts)
    return Suite(results, verdicts)
