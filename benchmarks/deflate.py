"""Echo with permessage-deflate, at equal windows (12 bits both ways) and equal levels.

The client sends different messages in turn, each compressed by itself. Level 1 is wsframe's and aiohttp's default, and
set where it can be (websockets, tornado); uvicorn and picows.websockets have no such option and are compared at level
6, zlib's own default.
"""

from __future__ import annotations

import argparse
import json
import random

from benchmarks.harness import Case, Tools
from benchmarks.rounds import Contender, Suite, measure

LEVEL_1 = ["wsframe", "wsframe, isal", "wsframe, zlib-ng", "websockets", "aiohttp", "tornado"]
LEVEL_6 = ["wsframe", "websockets", "uvicorn, websockets-sansio", "picows.websockets", "tornado"]
SIZES = [256, 4096, 65536]
CYCLE = 2**17
"""Bytes of different messages that are sent in turn: more than any window reaches back over."""


def json_text(size: int, seed: int) -> bytes:
    """Make JSON of that many bytes, as an API would send it: records with names, numbers and dates."""
    source = random.Random(seed)
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet"]
    records: list[dict[str, object]] = []
    while len(json.dumps(records)) < size:
        records.append(
            {
                "id": source.randrange(10**6),
                "name": " ".join(source.sample(words, 2)),
                "price": round(source.uniform(1, 500), 2),
                "active": source.random() < 0.8,
                "updated": f"2026-11-{source.randrange(1, 29):02}T{source.randrange(24):02}:00:00Z",
            }
        )
    return json.dumps(records).encode()[:size]


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    results = []
    for level, names in ((1, LEVEL_1), (6, LEVEL_6)):
        contenders = Contender.each(names, ["asyncio"], options, level)
        cases = []
        for size in SIZES:
            payloads = tuple(json_text(size, seed) for seed in range(max(4, CYCLE // size)))
            cases.append((f"JSON of {size} B, level {level}", Case(10, 4, payloads, text=True, deflate=True)))
        results += measure(tools, contenders, cases, options)
    return Suite(results)
