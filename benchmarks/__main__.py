"""``python -m benchmarks``: measure wsframe and its peers in one run, interleaved, and print and save what came out.

Absolute figures depend on the machine, and on what else it does; ratios within one run are what counts. The server
under test has one core, the load client another.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import platform
import sys
import tempfile
import time

from benchmarks import deflate, echo, memory
from benchmarks.harness import build_load_client

SUITES = {"echo": echo, "deflate": deflate, "memory": memory}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each server and case; the median counts")
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long a run takes")
    parser.add_argument("--servers", help="servers to run, separated by semicolons; see benchmarks/servers.py")
    parser.add_argument("--cases", default="", help="only the cases whose name has this in it")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("benchmarks/results"), metavar="DIRECTORY")
    options = parser.parse_args()
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        program = build_load_client(pathlib.Path(directory))
        for name in options.suites or SUITES:
            started = time.monotonic()
            results = SUITES[name].run(program, options)
            about = {
                "python": platform.python_version(),
                "system": platform.platform(),
                "time": time.strftime("%Y-%m-%d", time.gmtime()),
                "rounds": options.rounds,
            }
            path = options.output / f"{name}.json"
            path.write_text(json.dumps({"about": about, "results": results}, indent=1) + "\n")
            print(f"\n{path} written after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
