"""Interleaved rounds: everyone takes a turn in each, so that a slow minute of the machine hits all alike."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import pathlib
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from benchmarks.goals import contender_name
from benchmarks.harness import C_SERVER, Case, Cost, Load, Tools, running

__all__ = ["Contender", "Suite", "interleave", "job", "measure", "print_table", "progress"]

TRIAL = 200
"""Messages of the first run, which counts for nothing, nor do those with more of them until there is an estimate."""

TRIAL_SHARE = 5
"""A run of this part of the time is long enough for an estimate."""

TRIAL_MAX = 10**6

Key = TypeVar("Key")


@dataclasses.dataclass(frozen=True)
class Suite:
    """What a suite has to say.

    Attributes:
        results: Medians, one dict for each contender and case.
        verdicts: How they compare with the goals.
    """

    results: list[dict[str, Any]]
    verdicts: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Contender:
    """A server under test.

    Attributes:
        name: As in ``servers``.
        loop: ``asyncio`` or ``uvloop``; None for what is not Python.
        deflate_level: Compression level, or None for no compression.
    """

    name: str
    loop: str | None
    deflate_level: int | None = None

    def __str__(self) -> str:
        return contender_name(self.name, self.loop)

    @classmethod
    def each(
        cls, names: Sequence[str], loops: Sequence[str], options: argparse.Namespace, deflate_level: int | None = None
    ) -> list[Contender]:
        """Make contenders of those names that the user wants, on each of the event loops."""
        chosen = options.servers.split(";") if options.servers else names
        return [
            cls(name, loop, deflate_level)
            for name in names
            if name in chosen
            for loop in ([None] if name == C_SERVER else loops)
        ]


def interleave(jobs: Mapping[Key, Callable[[], Any]], rounds: int, label: str = "") -> dict[Key, dict[str, float]]:
    """Do every job once in each round.

    Args:
        jobs: What to do, which measures, and returns a dataclass of figures.
        rounds: How often.
        label: What to show besides the job and the round.

    Returns:
        The medians of what each has measured.
    """
    runs: dict[Key, list[dict[str, float]]] = {key: [] for key in jobs}
    for number in range(rounds):
        for key, job in jobs.items():
            progress(f"{label}round {number + 1} of {rounds}, {key}")
            runs[key].append(dataclasses.asdict(job()))
    progress("")
    return {
        key: {figure: statistics.median(run[figure] for run in measured) for figure in measured[0]}
        for key, measured in runs.items()
    }


def measure(
    tools: Tools,
    contenders: Sequence[Contender],
    cases: Sequence[tuple[str, Case]],
    options: argparse.Namespace,
    *,
    certificate: pathlib.Path | None = None,
) -> list[dict[str, Any]]:
    """Run every contender on every case, ``options.rounds`` times over, all of them interleaved.

    Args:
        tools: The programs in C.
        contenders: Servers.
        cases: Names and cases; those that the user does not want are left out.
        options: Those of the command.
        certificate: File with a certificate and its key, for TLS.

    Returns:
        The medians, one dict for each contender and case.
    """
    chosen = [(label, case) for label, case in cases if options.cases in label and contenders]
    jobs: dict[tuple[str, Contender], Callable[[], Cost]] = {}
    with contextlib.ExitStack() as stack:
        for contender in contenders if chosen else ():
            progress(f"starting {contender}")
            server = stack.enter_context(
                running(
                    tools,
                    contender.name,
                    loop=contender.loop or "asyncio",
                    deflate_level=contender.deflate_level,
                    broadcast=chosen[0][1].mode == "broadcast",
                    certificate=certificate,
                )
            )
            for label, case in chosen:
                load = Load(tools, case, raw=contender.name.startswith("raw"))
                stack.callback(load.close)
                jobs[label, contender] = job(functools.partial(load.run, server), options.seconds)
        medians = interleave(jobs, options.rounds, f"{chosen[0][0]}: " if len(chosen) == 1 else "")
    results = [
        {"case": label, **dataclasses.asdict(contender), **figures} for (label, contender), figures in medians.items()
    ]
    for label, _ in chosen:
        print_table(label, [result for result in results if result["case"] == label])
    return results


def job(run: Callable[[int], Cost], seconds: float) -> Callable[[], Cost]:
    """Find how many messages fill the time, which warms up, too; return what sends them.

    Args:
        run: Sends a number of messages, or fewer if there cannot be as many.
        seconds: The time.
    """
    messages = TRIAL
    cost = run(messages)
    while messages * cost.wall_us < seconds / TRIAL_SHARE * 1e6 and messages < TRIAL_MAX:
        messages *= 4
        cost = run(messages)
    messages = max(1, int(cost.rate * seconds))
    return lambda: run(messages)


def progress(text: str) -> None:
    """Show what is going on, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text[:78]:78}\r", end="", file=sys.stderr, flush=True)


COLUMNS = {
    "cpu_us": ("CPU µs", "8.2f"),
    "rate": ("messages/s", "11,.0f"),
    "p50_us": ("p50 µs", "8.0f"),
    "p99_us": ("p99 µs", "8.0f"),
    "reply_bytes": ("bytes back", "10.0f"),
}


def print_table(
    title: str, results: Sequence[dict[str, Any]], columns: Mapping[str, tuple[str, str]] = COLUMNS
) -> None:
    """Print the figures of one case, the least first.

    Args:
        title: What is above the table.
        results: Its lines.
        columns: For each figure the head of its column and its format; the first one sorts.
    """
    widths = {
        figure: max(len(head), int(layout.split(",")[0].split(".")[0])) for figure, (head, layout) in columns.items()
    }
    print(f"\n{title}")
    print(f"  {'':42} " + " ".join(f"{columns[figure][0]:>{width}}" for figure, width in widths.items()))
    for result in sorted(results, key=lambda result: float(result[next(iter(columns))])):
        name = contender_name(result["name"], result.get("loop"))
        figures = " ".join(f"{result[figure]:{columns[figure][1]}}".rjust(width) for figure, width in widths.items())
        print(f"  {name:42} {figures}", flush=True)
