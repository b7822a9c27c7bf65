"""Text, delivered as ``str`` and echoed, against the same number of bytes as a binary message."""

from __future__ import annotations

import argparse

from benchmarks.echo import case_name
from benchmarks.goals import LOOPS, Goal, judge, print_goals
from benchmarks.harness import Case, Tools
from benchmarks.rounds import Contender, Suite, measure

SERVERS = ["wsframe callbacks", "wsframe", "picows.websockets", "websockets", "aiohttp"]

TEXTS = {
    "ASCII": "The quick brown fox jumps over the lazy dog. ",
    "Latin": "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich. Très élégant, où ça? ",
    "CJK": "永和九年，歲在癸丑，暮春之初，會于會稽山陰之蘭亭，修禊事也。いろはにほへと。",
    "emoji": "😀🎉🚀🌍🔥👍🥳🐍🦊🎈",
}

SHAPES = [(1, 64, 256), (100, 16, 256), (100, 16, 8 * 1024)]
ASCII_FACTOR = 1 / 1.3
OTHERS_FACTOR = 1 / 1.6
OTHERS_SIZE = 8 * 1024
"""Only in messages of this size is text that is not ASCII measured."""


def make_text(kind: str, size: int) -> bytes:
    """Make text of that many bytes of UTF-8."""
    text = b""
    while len(text) < size:
        text += TEXTS[kind].encode()
    # What is left of a character that was cut in two goes, and spaces make up for it.
    return text[:size].decode(errors="ignore").encode().ljust(size)


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    suite = Suite([])
    for shape in SHAPES:
        connections, in_flight, size = shape
        name = case_name(*shape)
        kinds = list(TEXTS) if size == OTHERS_SIZE else ["ASCII"]
        cases = [(f"{name}, binary", Case(connections, in_flight, (b"x" * size,)))]
        cases += [
            (f"{name}, {kind}", Case(connections, in_flight, (make_text(kind, size),), text=True)) for kind in kinds
        ]
        results = measure(tools, Contender.each(SERVERS, LOOPS, options), cases, options)
        goals = [
            Goal(
                f"{name}, {kind}",
                ours,
                loop,
                (ours,),
                ASCII_FACTOR if kind == "ASCII" else OTHERS_FACTOR,
                their_case=f"{name}, binary",
            )
            for kind in kinds
            for ours in ("wsframe callbacks", "wsframe")
            for loop in LOOPS
        ]
        verdicts = judge(goals, results, "cpu_us")
        print_goals(verdicts)
        suite.results.extend(results)
        suite.verdicts.extend(verdicts)
    return suite
