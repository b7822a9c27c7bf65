"""Run the official Autobahn test suite, ``wstest``, against our server or client on loopback.

DEVELOPERS.md tells how to install it. Its verdicts are checked as strictly as those of ``kosoku``; where the two
differ, this one counts. Ends with code 1 if any verdict is not as expected.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autobahn_harness import EXPECTED, echo_server, mismatches, run_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# Its own time limits for the biggest cases are of 100 s each.
RUN_TIMEOUT_S = 3600
LISTEN_TIMEOUT_S = 30
# One case at a time leaves it idle while the cases of sections 5 and 6 wait.
CONCURRENT_CASES = 2


@contextlib.contextmanager
def running(wstest: str, mode: str, spec: dict[str, Any], directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run ``wstest``; print when it starts another section."""
    spec_file = directory / "spec.json"
    spec_file.write_text(json.dumps(spec))
    command = [wstest, "--mode", mode, "--spec", str(spec_file), "--webport", "0"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    env["PYTHONUNBUFFERED"] = "1"
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=directory,
        env=env,
    ) as process:
        watcher = threading.Thread(target=show_progress, args=(process, directory / "wstest.log"))
        watcher.start()
        try:
            yield process
        finally:
            process.terminate()
            watcher.join()


def show_progress(process: subprocess.Popen[str], log: Path) -> None:
    assert process.stdout is not None
    started = time.monotonic()
    section = ""
    with log.open("w") as copy:
        for line in process.stdout:
            copy.write(line)
            if line.startswith("Running test case ID "):
                case = line.split()[4].split(".")
                # Nearly all of the time goes into these sections.
                current = ".".join(case[: 2 if case[0] in ("9", "12", "13") else 1])
                if current != section:
                    section = current
                    print(f"  {time.monotonic() - started:6.1f} s  {section}.*", flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def wait_until_listening(process: subprocess.Popen[str], port: int) -> None:
    deadline = time.monotonic() + LISTEN_TIMEOUT_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def run(wstest: str, role: str, api: str, impl: str, cases: Sequence[str], directory: Path) -> dict[str, list[str]]:
    """Run cases against one endpoint; return the verdicts on behaviour and on closing."""
    spec: dict[str, Any] = {
        "outdir": str(directory / "reports"),
        "cases": list(cases),
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    if role == "server":
        with echo_server(api, impl) as url:
            spec["servers"] = [{"agent": "wsframe", "url": url}]
            with running(wstest, "fuzzingclient", spec, directory) as process:
                process.wait(RUN_TIMEOUT_S)
    else:
        port = free_port()
        spec["url"] = f"ws://127.0.0.1:{port}"
        with running(wstest, "fuzzingserver", spec, directory) as process:
            wait_until_listening(process, port)
            run_client(api, impl, spec["url"], cases, timeout_s=RUN_TIMEOUT_S, concurrent_cases=CONCURRENT_CASES)
    index = json.loads((directory / "reports" / "index.json").read_text())
    return {case: [entry["behavior"], entry["behaviorClose"]] for case, entry in index["wsframe"].items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impl", choices=["c", "py"], required=True)
    parser.add_argument("--role", choices=["server", "client"], required=True)
    parser.add_argument("--api", choices=["coroutines", "callbacks"], default="coroutines")
    parser.add_argument("--cases", default="*", help="which ones, such as '1.*,9.7.*' (default: all)")
    parser.add_argument("--wstest", default=shutil.which("wstest"), help="where it is (default: on the PATH)")
    parser.add_argument("--keep", action="store_true", help="keep the reports, and say where they are")
    args = parser.parse_args()
    if args.wstest is None:
        parser.error("wstest is not on the PATH: DEVELOPERS.md tells how to install it")
    wanted = [case for case in EXPECTED if any(fnmatchcase(case, pattern) for pattern in args.cases.split(","))]
    title = f"wstest: {args.role}, {args.api}, {args.impl}"
    print(f"{title}: {len(wanted)} cases", flush=True)
    started = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="wsframe-wstest-"))
    try:
        verdicts = run(args.wstest, args.role, args.api, args.impl, wanted, directory)
    finally:
        if args.keep:
            print(f"reports: {directory}")
        else:
            shutil.rmtree(directory)
    wrong = mismatches(wanted, verdicts)
    for line in wrong:
        print(f"  {line}")
    print(f"{title}: {len(wanted) - len(wrong)} of {len(wanted)} as expected in {time.monotonic() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
