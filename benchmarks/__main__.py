"""``python -m benchmarks``: measure wsframe and its peers in one run, interleaved, and print and save what came out.

Absolute figures depend on the machine, and on what else it does; ratios within one run are what counts. The process
under test has one core, its counterpart another.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

import wsframe
from benchmarks import broadcast, client, codec, deflate, echo, handshakes, hosts, imports, memory, text, tls
from benchmarks.harness import Tools

SUITES = {
    "echo": echo,
    "text": text,
    "client": client,
    "codec": codec,
    "broadcast": broadcast,
    "handshakes": handshakes,
    "tls": tls,
    "deflate": deflate,
    "memory": memory,
    "imports": imports,
    "hosts": hosts,
}
PACKAGES = ["aiofastnet", "aiohttp", "picows", "tornado", "uvicorn", "uvloop", "websockets", "wsaccel", "wsproto"]


def versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    installed = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    return {name: installed[name] for name in PACKAGES if name in installed}


def commit() -> str | None:
    """Return the commit of the work tree that the benchmarks are in, with "+" behind it if files differ."""
    git = ["git", "-C", str(pathlib.Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """Return the processor's name."""
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"{', '.join(SUITES)}; all of them by default")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each server and case; the median counts")
    parser.add_argument("--seconds", type=float, default=0.5, help="about how long a run takes")
    parser.add_argument("--quick", action="store_true", help="few short runs, just to see that all works")
    parser.add_argument("--servers", help="servers to run, separated by semicolons; see benchmarks/servers.py")
    parser.add_argument("--cases", default="", help="only the cases whose name has this in it")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("benchmarks/results"), metavar="DIRECTORY")
    parser.add_argument(
        "--pure", action="store_true", help="measure the pure implementation of wsframe, if that is the one that runs"
    )
    options = parser.parse_args()
    if wsframe.IMPLEMENTATION == "python" and not options.pure:
        parser.error(
            "the pure implementation of wsframe runs, which --pure measures; "
            "`python -m wsframe` tells why it does, and `pip install .` outside the work tree brings the compiled one"
        )
    if wsframe.IMPLEMENTATION == "c" and options.pure:
        parser.error("--pure: the compiled implementation runs; set WSFRAME_NO_EXTENSIONS=1")
    unknown = set(options.suites) - set(SUITES)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if options.quick:
        options.rounds, options.seconds = min(options.rounds, 2), min(options.seconds, 0.1)
    # Clients and servers of thousands of connections inherit this.
    most_files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    options.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        tools = Tools(pathlib.Path(directory))
        for name in options.suites or SUITES:
            started = time.monotonic()
            busy = os.getloadavg()[0]
            suite = SUITES[name].run(tools, options)
            about: dict[str, Any] = {
                "wsframe": wsframe.__version__,
                "implementation": wsframe.IMPLEMENTATION,
                "installed": str(pathlib.Path(wsframe.__file__).parent),
                "commit": commit(),
                "python": platform.python_version(),
                "system": platform.platform(),
                "processor": processor(),
                "packages": versions(),
                "time": time.strftime("%Y-%m-%d", time.gmtime()),
                "rounds": options.rounds,
                "load_before": busy,
            }
            path = options.output / f"{name}.json"
            saved = {"about": about, "results": suite.results, "goals": suite.verdicts}
            path.write_text(json.dumps(saved, indent=1) + "\n")
            print(f"\n{path} written after {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
