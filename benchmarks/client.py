"""Clients: one message in flight, ``await send; await recv``, against the echo server in C on the other core."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import sys

from benchmarks.echo import size_name
from benchmarks.goals import LOOPS, both_loops, judge, print_goals
from benchmarks.harness import C_SERVER, Cost, Subprocess, Tools, cores, running
from benchmarks.rounds import Contender, Suite, interleave, job, print_table, progress

CLIENTS = [
    "wsframe",
    "wsframe callbacks",
    "picows callbacks",
    "picows, awaited",
    "picows.websockets",
    "websockets",
    "aiohttp",
]
PEERS = ("picows, awaited", "picows.websockets", "websockets", "aiohttp")
FACTORS = {256: 1, 8 * 1024: 1, 100 * 1024: 1.3, 2**20: 1.3}
"""Bytes of a message, and the goal."""

COLUMNS = {"cpu_us": ("CPU µs", "8.2f"), "wall_us": ("µs", "8.2f"), "rate": ("requests/s", "11,.0f")}


class Client(Subprocess):
    """A client under test in its own process.

    Args:
        contender: Which, and on which event loop.
        port: Where it connects to.
    """

    def __init__(self, contender: Contender, port: int) -> None:
        command = [sys.executable, "-m", "benchmarks.clients", contender.name, str(port)]
        super().__init__([*command, "--loop", contender.loop or "asyncio"], cores()[0])
        try:
            self.read_line()
        except BaseException:
            self.stop()
            raise

    def run(self, size: int, messages: int) -> Cost:
        """Send that many messages of that many bytes, one after the other."""
        self.write_line(f"{size} {messages}")
        cpu, seconds = map(float, self.read_line().split())
        return Cost(cpu / messages * 1e6, seconds / messages * 1e6, messages / seconds)


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    suite = Suite([])
    contenders = Contender.each(CLIENTS, LOOPS, options)
    for size, factor in FACTORS.items():
        label = f"client, {size_name(size)}"
        if options.cases not in label:
            continue
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(running(tools, C_SERVER, core=cores()[1]))
            jobs = {}
            for contender in contenders:
                progress(f"starting {contender}")
                client = Client(contender, server.port)
                stack.callback(client.stop)
                jobs[contender] = job(functools.partial(client.run, size), options.seconds)
            medians = interleave(jobs, options.rounds, f"{label}: ")
        results = [
            {"case": label, **dataclasses.asdict(contender), **figures} for contender, figures in medians.items()
        ]
        print_table(label, results, COLUMNS)
        goals = both_loops(label, "wsframe", PEERS, factor)
        goals += both_loops(label, "wsframe callbacks", "picows callbacks", factor)
        verdicts = judge(goals, results, "cpu_us")
        print_goals(verdicts)
        suite.results.extend(results)
        suite.verdicts.extend(verdicts)
    return suite
