"""``kosoku``, which runs the Autobahn cases natively, as a program of its own: it puts stand-ins for the
packages autobahn and twisted on ``sys.path``, which no other test should see.

``judge.py server URL CASES`` tries a server; ``judge.py client CASES`` prints the port where it waits for a
client. Each prints its verdicts, as JSON, last.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import kosoku

if TYPE_CHECKING:
    from kosoku._kosoku import CaseResult

CONCURRENT_CASES = 8


async def try_server(url: str, cases: str) -> list[CaseResult]:
    try:
        return await kosoku.run_fuzzingclient(url, cases.split(","), concurrency=CONCURRENT_CASES)
    except kosoku.FailureError as exc:
        return exc.results


async def try_client(cases: str) -> list[CaseResult]:
    async with kosoku.run_fuzzingserver(cases.split(","), port=0) as server:
        print(server.port, flush=True)
        try:
            return await server.get_result()
        except kosoku.FailureError as exc:
            return exc.results


def report(results: list[CaseResult]) -> dict[str, list[str]]:
    return {
        result.case_id: [result.behavior.value, result.behavior_close.value, result.result, result.result_close]
        for result in results
    }


if __name__ == "__main__":
    results = asyncio.run(try_server(*sys.argv[2:4]) if sys.argv[1] == "server" else try_client(sys.argv[2]))
    print(json.dumps(report(results)))
