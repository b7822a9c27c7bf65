"""One message to a thousand connections: CPU time of the server per message delivered."""

from __future__ import annotations

import argparse

from benchmarks.echo import size_name
from benchmarks.goals import LOOPS, Goal, both_loops, judge, print_goals
from benchmarks.harness import C_SERVER, Case, Tools
from benchmarks.rounds import Contender, Suite, measure

SERVERS = ["wsframe", "wsframe callbacks", "picows", "websockets", "aiohttp", C_SERVER]
SIZES = [64, 1024]
CONNECTIONS = 1000
CONNECTIONS_QUICK = 100


def goals(case: str) -> list[Goal]:
    """Return the goals of a case."""
    found = []
    for ours in ("wsframe", "wsframe callbacks"):
        found += [Goal(case, ours, loop, (C_SERVER,), 1 / 1.1, their_loop="") for loop in LOOPS]
        found += both_loops(case, ours, "picows", 1.1)
        found += both_loops(case, ours, "websockets", 2)
    return found


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    connections = CONNECTIONS_QUICK if options.quick else CONNECTIONS
    suite = Suite([])
    for size in SIZES:
        label = f"broadcast of {size_name(size)} to {connections} connections"
        case = Case(connections, 1, (b"x" * size,), mode="broadcast")
        results = measure(tools, Contender.each(SERVERS, LOOPS, options), [(label, case)], options)
        verdicts = judge(goals(label), results, "cpu_us")
        print_goals(verdicts)
        suite.results.extend(results)
        suite.verdicts.extend(verdicts)
    return suite
