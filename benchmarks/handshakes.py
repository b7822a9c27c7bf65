"""Opening handshakes, one after the other, each on a connection that stays open until the end of the run."""

from __future__ import annotations

import argparse

from benchmarks import echo
from benchmarks.goals import LOOPS, both_loops, judge, print_goals
from benchmarks.harness import Case, Tools
from benchmarks.rounds import Contender, Suite, measure

SERVERS = [name for name in echo.SERVERS if name not in ("uvicorn, wsproto", "raw asyncio.Protocol")]
LABEL = "handshakes, one after the other"


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    case = Case(1, 1, (b"",), mode="handshakes")
    results = measure(tools, Contender.each(SERVERS, LOOPS, options), [(LABEL, case)], options)
    goals = both_loops(LABEL, "wsframe", "websockets", 1) + both_loops(LABEL, "wsframe callbacks", "picows", 1)
    verdicts = judge(goals, results, "wall_us")
    print_goals(verdicts)
    return Suite(results, verdicts)
