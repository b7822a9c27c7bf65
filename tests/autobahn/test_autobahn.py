"""The Autobahn cases of sections 1 to 7, 9 and 10, by ``kosoku``: each API and role, compiled and pure.

``expected.json`` is strict: a case that does better than expected fails too.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from autobahn_harness import EXPECTED, echo_server, mismatches, program, read_line, run_client

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from types import SimpleNamespace

SECTIONS = {
    section: [case for case in EXPECTED if case.startswith(f"{section}.")]
    for section in ("1", "2", "3", "4", "5", "6", "7", "9", "10")
}
# A section takes 6 s at most here.
SECTION_TIMEOUT_S = 60

pytestmark = pytest.mark.skipif(sys.implementation.name != "cpython", reason="kosoku is for CPython")


@pytest.fixture(scope="module", params=["coroutines", "callbacks"])
def api(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def server_url(impl: SimpleNamespace, api: str) -> Iterator[str]:
    with echo_server(api, impl.name) as url:
        yield url


def verdicts(judge: subprocess.Popen[str]) -> dict[str, list[str]]:
    assert judge.stdout is not None
    return dict(json.loads(judge.stdout.read()))


def test_the_301_cases_are_expected_ok_but_for_three() -> None:
    assert len(EXPECTED) == 301
    assert sorted(case for cases in SECTIONS.values() for case in cases) == sorted(EXPECTED)
    assert {case: verdict for case, verdict in EXPECTED.items() if verdict != ["OK", "OK"]} == {
        case: ["INFORMATIONAL", "INFORMATIONAL"] for case in ("7.1.6", "7.13.1", "7.13.2")
    }


@pytest.mark.parametrize("section", SECTIONS)
def test_server(impl: SimpleNamespace, server_url: str, section: str) -> None:
    with program("judge.py", "server", server_url, f"{section}.*", impl=impl.name) as judge:
        wrong = mismatches(SECTIONS[section], verdicts(judge))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("section", SECTIONS)
def test_client(impl: SimpleNamespace, api: str, section: str) -> None:
    with program("judge.py", "client", f"{section}.*", impl=impl.name) as judge:
        run_client(api, impl.name, f"ws://127.0.0.1:{read_line(judge)}", timeout_s=SECTION_TIMEOUT_S)
        wrong = mismatches(SECTIONS[section], verdicts(judge))
    assert not wrong, "\n".join(wrong)
