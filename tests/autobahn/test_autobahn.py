"""The Autobahn cases, by ``kosoku``: each API and role, compiled and pure.

``expected.json`` is strict: a case that does better than expected fails too. Of sections 12 and 13, compression with
1,000 messages in each case, each API has every other case, and the ordinary run only those of 64 and 1,024 bytes.
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
COMPRESSION = {
    section: [case for case in EXPECTED if case.startswith(f"{section}.")]
    for section in [*(f"12.{i}" for i in range(1, 6)), *(f"13.{i}" for i in range(1, 8))]
}
SHORT_COMPRESSION = [case for cases in COMPRESSION.values() for case in cases if case.split(".")[2] in ("2", "4")]
# The longest, a section of compression in pure Python; the others take some seconds.
RUN_TIMEOUT_S = 540

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


def share(cases: list[str], api: str) -> list[str]:
    """Return the half of the cases of compression that an API has, of all kinds and sizes."""
    numbers = [(case, *map(int, case.split(".")[1:])) for case in cases]
    return [case for case, kind, size in numbers if (kind + size // 2) % 2 == (api == "callbacks")]


def test_the_517_cases_are_expected_ok_except_three() -> None:
    assert len(EXPECTED) == 301 + 216
    assert sorted(case for cases in (SECTIONS | COMPRESSION).values() for case in cases) == sorted(EXPECTED)
    assert {case: verdict for case, verdict in EXPECTED.items() if verdict != ["OK", "OK"]} == {
        case: ["INFORMATIONAL", "INFORMATIONAL"] for case in ("7.1.6", "7.13.1", "7.13.2")
    }


def check_server(impl: str, url: str, cases: list[str]) -> None:
    with program("judge.py", "server", url, ",".join(cases), impl=impl) as judge:
        wrong = mismatches(cases, verdicts(judge))
    assert not wrong, "\n".join(wrong)


def check_client(impl: str, api: str, cases: list[str]) -> None:
    with program("judge.py", "client", ",".join(cases), impl=impl) as judge:
        url = f"ws://127.0.0.1:{read_line(judge)}"
        run_client(api, impl, url, cases, timeout_s=RUN_TIMEOUT_S)
        wrong = mismatches(cases, verdicts(judge))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("section", SECTIONS)
def test_server(impl: SimpleNamespace, server_url: str, section: str) -> None:
    check_server(impl.name, server_url, SECTIONS[section])


@pytest.mark.parametrize("section", SECTIONS)
def test_client(impl: SimpleNamespace, api: str, section: str) -> None:
    check_client(impl.name, api, SECTIONS[section])


def test_server_with_compression(impl: SimpleNamespace, api: str, server_url: str) -> None:
    check_server(impl.name, server_url, share(SHORT_COMPRESSION, api))


def test_client_with_compression(impl: SimpleNamespace, api: str) -> None:
    check_client(impl.name, api, share(SHORT_COMPRESSION, api))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("section", COMPRESSION)
def test_server_with_all_of_compression(impl: SimpleNamespace, api: str, server_url: str, section: str) -> None:
    check_server(impl.name, server_url, share(COMPRESSION[section], api))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("section", COMPRESSION)
def test_client_with_all_of_compression(impl: SimpleNamespace, api: str, section: str) -> None:
    check_client(impl.name, api, share(COMPRESSION[section], api))
