"""Interleaved rounds: every server takes its turn in each, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import Case, Load, Result, running

__all__ = ["Contender", "measure", "print_table"]


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server under test.

    Attributes:
        name: As in ``servers``.
        loop: ``asyncio`` or ``uvloop``.
        deflate_level: Compression level, or None for no compression.
    """

    name: str
    loop: str
    deflate_level: int | None = None

    def __str__(self) -> str:
        return f"{self.name} ({self.loop})"


def measure(
    program: pathlib.Path,
    contenders: Sequence[Contender],
    cases: Sequence[tuple[str, Case]],
    options: argparse.Namespace,
) -> list[dict[str, Any]]:
    """Run every contender on every case, ``options.rounds`` times over.

    Returns:
        The medians, one dict for each contender and case.
    """
    results = []
    for label, case in cases:
        if options.cases not in label:
            continue
        runs: dict[Contender, list[Result]] = {contender: [] for contender in contenders}
        with contextlib.ExitStack() as stack:
            load = Load(program, case)
            stack.callback(load.close)
            raw_load = Load(program, dataclasses.replace(case, raw=True))
            stack.callback(raw_load.close)
            servers = {}
            messages = {}
            for contender in contenders:
                server = stack.enter_context(
                    running(contender.name, loop=contender.loop, deflate_level=contender.deflate_level)
                )
                servers[contender] = server
                client = raw_load if contender.name.startswith("raw") else load
                # A first run warms up, a second one tells how many messages fill the time.
                least = case.connections * case.in_flight
                client.run(server, max(least, 200))
                rate = client.run(server, max(least, 500)).rate
                messages[contender] = max(least, int(rate * options.seconds))
            for number in range(options.rounds):
                for contender, server in servers.items():
                    progress(f"{label}: round {number + 1} of {options.rounds}, {contender}")
                    client = raw_load if contender.name.startswith("raw") else load
                    runs[contender].append(client.run(server, messages[contender]))
        progress("")
        for contender, measured in runs.items():
            medians = {
                field.name: statistics.median(getattr(result, field.name) for result in measured)
                for field in dataclasses.fields(Result)
            }
            results.append({"case": label, **dataclasses.asdict(contender), **medians})
        print_table(label, [result for result in results if result["case"] == label])
    return results


def progress(text: str) -> None:
    """Show what is going on, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text[:78]:78}\r", end="", file=sys.stderr, flush=True)


def print_table(title: str, results: Sequence[dict[str, Any]]) -> None:
    """Print the figures of one case, the cheapest server first."""
    print(f"\n{title}")
    print(f"  {'server':42} {'CPU µs':>8} {'messages/s':>11} {'p50 µs':>8} {'p99 µs':>8} {'bytes back':>10}")
    for result in sorted(results, key=lambda result: float(result["cpu_us"])):
        name = f"{result['name']} ({result['loop']})"
        print(
            f"  {name:42} {result['cpu_us']:8.2f} {result['rate']:11,.0f} {result['p50_us']:8.0f} "
            f"{result['p99_us']:8.0f} {result['reply_bytes']:10.0f}",
            flush=True,
        )
