"""What an import costs: CPU time and resident memory of a process beyond those of an interpreter that does nothing."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import subprocess
import sys

from benchmarks.goals import Goal, judge, print_goals
from benchmarks.harness import Tools
from benchmarks.rounds import Suite, interleave, print_table

SERVER, CODEC = "asyncio server", "codec"
STATEMENTS = {
    SERVER: {
        "wsframe": "import wsframe.asyncio.server",
        "websockets": "import websockets.asyncio.server",
        "picows": "import picows",
    },
    CODEC: {
        "wsframe": "import wsframe.codec",
        "websockets": "import websockets.frames, websockets.speedups",
        "wsproto": "import wsproto.frame_protocol",
    },
    "the package alone": {"wsframe": "import wsframe", "websockets": "import websockets", "picows": "import picows"},
}
COLUMNS = {"cpu_ms": ("CPU ms", "8.1f"), "kib": ("KiB", "8,.0f"), "modules": ("modules", "8,.0f")}

PROGRAM = """
import os, sys, time
before = len(sys.modules)
{}
cpu = time.process_time()
resident = int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
print(cpu, resident, len(sys.modules) - before)
"""


@dataclasses.dataclass(frozen=True)
class Weight:
    """What a run has measured.

    Attributes:
        cpu_ms: CPU milliseconds of the process.
        kib: Its resident memory, in KiB.
        modules: Modules that it has loaded.
    """

    cpu_ms: float
    kib: float
    modules: float


def weigh(statement: str) -> Weight:
    """Run a statement in a fresh interpreter, with its compiled modules in the cache of files."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement)], capture_output=True, text=True, check=True, env=environment
    )
    cpu, kib, modules = map(float, done.stdout.split())
    return Weight(cpu * 1000, kib, modules)


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    statements = {(case, name): code for case, codes in STATEMENTS.items() for name, code in codes.items()}
    chosen = {key: code for key, code in statements.items() if options.cases in key[0]}
    for code in chosen.values():
        weigh(code)
    nothing = ("", "an interpreter that does nothing")
    jobs = {key: functools.partial(weigh, code) for key, code in {nothing: "pass", **chosen}.items()}
    medians = interleave(jobs, 4 * options.rounds)
    floor = medians.pop(nothing)
    results = [
        {"case": case, "name": name, **{figure: value - floor[figure] for figure, value in figures.items()}}
        for (case, name), figures in medians.items()
    ]
    for case in dict.fromkeys(case for case, _ in chosen):
        print_table(f"import, {case}", [result for result in results if result["case"] == case], COLUMNS)
    goals = [Goal(SERVER, "wsframe", None, ("websockets",), 1), Goal(CODEC, "wsframe", None, ("websockets",), 1)]
    verdicts = judge(goals, results, "cpu_ms")
    print_goals(verdicts)
    return Suite(results, verdicts)
