"""Hosts in which only steps of the codec can be exchanged: those steps, with and without wsframe.

``python -m benchmarks.host_codecs NAME`` measures one in a process of its own; ``-`` stands for nothing patched.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.echo import size_name
from benchmarks.rounds import print_table, progress

SIZES = (125, 4096, 65536, 2**20)
DURATION_S = 0.1
COLUMNS = {"cpu_us": ("CPU µs", "8.2f")}
Step = Callable[[bytes], object]


def websocket_client() -> dict[str, Step]:
    from websocket import ABNF

    return {"frame": lambda data: ABNF.create_frame(data, ABNF.OPCODE_BINARY).format()}


def autobahn() -> dict[str, Step]:
    from autobahn.websocket import utf8validator, xormasker

    return {
        "mask": lambda data: xormasker.create_xor_masker(b"abcd", len(data)).process(data),
        "UTF-8": lambda data: utf8validator.Utf8Validator().validate(data),
    }


def gevent_websocket() -> dict[str, Step]:
    from geventwebsocket import websocket

    def mask(data: bytes) -> object:
        header = websocket.Header(length=len(data))
        header.mask = b"abcd"
        return header.mask_payload(data)

    return {"mask": mask, "UTF-8": lambda data: websocket.Utf8Validator().validate(data)}


def websockify() -> dict[str, Step]:
    from websockify.websocket import WebSocket

    connection = object.__new__(WebSocket)
    return {"mask": lambda data: connection._unmask(data, b"abcd")}


HOSTS = {
    "websocket-client": websocket_client,
    "autobahn": autobahn,
    "gevent-websocket": gevent_websocket,
    "websockify": websockify,
}


def time_step(step: Step, data: bytes) -> float:
    """Return CPU microseconds per call."""
    step(data)
    calls, seconds = 0, 0.0
    start = time.process_time()
    while seconds < DURATION_S:
        step(data)
        calls += 1
        seconds = time.process_time() - start
    return seconds / calls * 1e6


def measure_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure those that are installed; return medians."""
    runs: dict[tuple[str, str], list[float]] = {}
    for number in range(options.rounds):
        for host in HOSTS:
            for patched in ("-", host):
                progress(f"codecs: round {number + 1} of {options.rounds}, {host}")
                command = [sys.executable, "-m", "benchmarks.host_codecs", host, patched]
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
                for line in done.stdout.splitlines():
                    case, figure = line.split("\t")
                    name = host if patched == "-" else f"{host}, patched"
                    runs.setdefault((case, name), []).append(float(figure))
    progress("")
    results: list[dict[str, Any]] = [
        {"case": case, "name": name, "loop": None, "cpu_us": statistics.median(figures)}
        for (case, name), figures in runs.items()
    ]
    for case in dict.fromkeys(result["case"] for result in results):
        print_table(case, [result for result in results if result["case"] == case], COLUMNS)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_codecs", description=__doc__)
    parser.add_argument("name", choices=HOSTS)
    parser.add_argument("patched", nargs="?", default="-", help="what to patch")
    options = parser.parse_args()
    if options.patched != "-":
        import wsframe

        wsframe.patch(options.patched)
    for kind, step in HOSTS[options.name]().items():
        for size in SIZES:
            data = ("é" * (size // 2) + "x" * (size % 2)).encode()
            print(f"{kind} of {size_name(size)}\t{time_step(step, data)}")


if __name__ == "__main__":
    main()
