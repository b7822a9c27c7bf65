"""Shared by both test suites: starting endpoints, and the expected verdict of each case."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import wsframe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

HERE = Path(__file__).parent
EXPECTED: dict[str, list[str]] = json.loads((HERE / "expected.json").read_text())
"""The verdicts on behaviour and on closing, for each case."""

ENDED_S = 10


def environment(impl: str) -> dict[str, str]:
    """Return the environment of a process that runs the implementation ``c`` or ``py`` of this very wsframe."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("WSFRAME_")}
    env["WSFRAME_REQUIRE_EXTENSIONS" if impl == "c" else "WSFRAME_NO_EXTENSIONS"] = "1"
    package = str(Path(wsframe.__file__).parent.parent)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [package, env.get("PYTHONPATH", "")]))
    return env


@contextlib.contextmanager
def program(name: str, *args: str, impl: str) -> Iterator[subprocess.Popen[str]]:
    """Run one of the programs in this directory; its standard input ends with the context, and so should it."""
    command = [sys.executable, str(HERE / name), *args]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(impl)
    ) as process:
        try:
            yield process
            assert process.stdin is not None
            process.stdin.close()
            process.wait(ENDED_S)
        finally:
            process.kill()


def read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"{process.args} ended without a word, see its standard error"
    return line.strip()


def check_implementation(process: subprocess.Popen[str], impl: str) -> None:
    """Check that an endpoint runs the implementation that it was started for."""
    assert read_line(process) == {"c": "c", "py": "python"}[impl]


@contextlib.contextmanager
def echo_server(api: str, impl: str) -> Iterator[str]:
    """Run our server with the API ``coroutines`` or ``callbacks``; yield its URL."""
    with program("endpoint.py", "server", api, impl=impl) as process:
        check_implementation(process, impl)
        yield f"ws://127.0.0.1:{read_line(process)}"


def run_client(
    api: str, impl: str, url: str, cases: Sequence[str], *, timeout_s: float, concurrent_cases: int = 8
) -> None:
    """Let our client run all cases, which are ``cases``, of the fuzzing server at ``url``."""
    # In these, the server asks for client_no_context_takeover, if the client offers it (RFC 7692 §7.1.1.2).
    forgetful = [str(i) for i, case in enumerate(cases, 1) if case.startswith(("13.2.", "13.5.", "13.6."))]
    command = ["endpoint.py", "client", api, url, str(concurrent_cases), ",".join(forgetful)]
    with program(*command, impl=impl) as process:
        check_implementation(process, impl)
        process.wait(timeout_s)
        assert process.returncode == 0, f"the client failed with {process.returncode}, see its standard error"


def mismatches(cases: Sequence[str], verdicts: Mapping[str, Sequence[str]]) -> list[str]:
    """Compare verdicts with those expected; one line for each that differs, is missing or is too many.

    Args:
        cases: The ids of the cases that were run.
        verdicts: By case, the verdicts on behaviour and on closing, and maybe more to print.
    """
    lines = [f"{case}: not expected to run" for case in verdicts if case not in cases]
    for case in cases:
        if case not in verdicts:
            lines.append(f"{case}: no verdict")
        elif list(verdicts[case][:2]) != EXPECTED[case]:
            lines.append(f"{case}: {' | '.join(verdicts[case])}, expected {' | '.join(EXPECTED[case])}")
    return lines
