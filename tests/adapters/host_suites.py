"""Other projects' own tests, without and with wsframe: ``python tests/adapters/host_suites.py [NAME ...]``.

Makes a virtual environment for each in a directory of its own; installs the project, what its tests need, and the
wsframe of this work tree; takes the tests out of the project's sdist; and runs them twice. Nothing of theirs is kept
here. The counts must be those recorded below, which are the same in both runs.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[2]
LIMIT_S = 900
ATTEMPTS = 3
"""Some of these tests rely on the time that things take, with and without us."""

PLUGIN = """
import asyncio
import os
import socket

host = os.environ.get("WSFRAME_HOST")
if host == "uvicorn":
    # Under the name of the class whose tests it is to pass: some skip what that class cannot do.
    from uvicorn.protocols.websockets import websockets_sansio_impl
    from wsframe import State
    from wsframe.adapters.uvicorn import WebSocketProtocol

    class Transport(asyncio.Transport):
        # Their transport without a socket has only the methods that their class calls.

        def __init__(self, transport):
            for name in ("get_extra_info", "write", "close", "is_closing", "pause_reading", "resume_reading"):
                setattr(self, name, getattr(transport, name))
            self.abort = transport.close

        def get_protocol(self):
            return None

        def set_protocol(self, protocol):
            pass

        def set_write_buffer_limits(self, high=None, low=None):
            pass

        def get_write_buffer_size(self):
            return 0

        def can_write_eof(self):
            return False

    class WebSocketsSansIOProtocol(WebSocketProtocol):
        # Tests call this object and look at it after another has become the transport's protocol.

        def __init__(self, config, *args, **kwargs):
            # That class does not know --ws-max-queue: it queues a single message, and a test looks for that.
            config.ws_max_queue = 0
            super().__init__(config, *args, **kwargs)

        def connection_made(self, transport):
            super().connection_made(transport if hasattr(transport, "set_protocol") else Transport(transport))

        def data_received(self, data):
            if self.websocket.was_open:
                self.websocket.get_buffer(len(data))[: len(data)] = data
                self.websocket.buffer_updated(len(data))
            else:
                super().data_received(data)

        def pause_writing(self):
            self.websocket.pause_writing()

        def resume_writing(self):
            self.websocket.resume_writing()

        def connection_lost(self, exc):
            if self.websocket.was_open and self.websocket.state is not State.CLOSED:
                self.websocket.connection_lost(exc)
            else:
                super().connection_lost(exc)

        @property
        def ping_sent_at(self):
            return float(self.stats.pings_sent)

        @property
        def ping_timer(self):
            return self.websocket.ping_interval

        @property
        def close_timer(self):
            connection = self.websocket.protocol
            awaits_close = connection.state is State.CLOSING and connection.close_rcvd is None
            return True if awaits_close and not self.transport.is_closing() else None

    websockets_sansio_impl.WebSocketsSansIOProtocol = WebSocketsSansIOProtocol
elif host:
    import wsframe

    wsframe.patch(*host.split(","))
if host:
    import wsframe

    print("behind the patch:", host, wsframe.__version__, wsframe.IMPLEMENTATION)

# Some tests look a real name up, to connect to a mock.
_getaddrinfo = socket.getaddrinfo
socket.getaddrinfo = lambda name, *args, **kw: _getaddrinfo("127.0.0.1" if name == "example.com" else name, *args, **kw)
"""

RUNNERS = {
    "pytest": ["-m", "pytest", "-q", "-p", "wsframe_patch", "-p", "no:cacheprovider"],
    "tornado": ["-c", "import wsframe_patch; from tornado.test import runtests; runtests.main()"],
    "trial": ["-c", "import wsframe_patch; from twisted.scripts.trial import run; run()"],
}


@dataclasses.dataclass(frozen=True)
class Suite:
    """A project's tests.

    Attributes:
        requirement: The project, in the version whose tests these are.
        host: What is patched; several with commas between them.
        passed: Tests that pass.
        failed: Tests that fail, whoever is at fault.
        needs: What the tests need.
        runner: How they are run.
        tests: What is taken out of the sdist; nothing if the wheel has the tests.
        arguments: For the runner.
        environment: Variables that the tests need.
    """

    requirement: str
    host: str
    passed: int
    failed: int = 0
    needs: Sequence[str] = ()
    runner: str = "pytest"
    tests: Sequence[str] = ("tests",)
    arguments: Sequence[str] = ("tests",)
    environment: Sequence[tuple[str, str]] = ()


SUITES = {
    "uvicorn": Suite(
        "uvicorn==0.54.0",
        host="uvicorn",
        passed=216,
        needs=[
            "pytest>=9",
            "pytest-timeout",
            "pytest-mock",
            "pytest-xdist",
            "anyio",
            "httpx2",
            "trustme",
            "cryptography",
            "a2wsgi",
            "httptools",
            "h11",
            "zttp>=0.0.34",
            "uvloop",
            "websockets==17.4",
            "wsproto==1.3.2",
            "python-dotenv",
            "PyYAML",
            "watchfiles",
            "typing-extensions",
        ],
        tests=["tests", "pyproject.toml"],
        arguments=["-n", "0", "-k", "not wsproto", "tests/protocols/test_websocket.py"],
    ),
    "wsproto": Suite("wsproto==1.3.2", host="wsproto", passed=230, needs=["pytest<9"]),
    "hypercorn": Suite(
        "hypercorn[h3]==0.18.0",
        host="hypercorn,wsproto",
        passed=80,
        failed=1,
        needs=["pytest<9", "pytest-asyncio", "pytest-trio", "trio", "h2==4.4.1", "wsproto==1.3.2", "httpx", "mock"],
        arguments=["-o", "addopts=", "tests/protocol/test_ws_stream.py", "tests/asyncio", "tests/protocol/test_h11.py"],
        tests=["tests", "pyproject.toml"],
    ),
    "httpx-ws": Suite(
        "httpx-ws==0.9.0",
        host="wsproto",
        passed=147,
        needs=[
            "pytest<9",
            "pytest-asyncio",
            "anyio",
            "trio",
            "starlette",
            "uvicorn==0.54.0",
            "websockets",
            "wsproto==1.3.2",
        ],
        tests=["tests", "pyproject.toml"],
        arguments=["-o", "addopts=", "tests"],
    ),
    "simple-websocket": Suite(
        "simple-websocket==1.1.0", host="wsproto", passed=47, needs=["pytest<9", "wsproto==1.3.2", "flask"]
    ),
    "websocket-client": Suite(
        "websocket-client==1.9.2",
        host="websocket-client",
        passed=195,
        needs=["pytest>=9", "python-socks"],
        tests=["websocket/tests"],
        arguments=["websocket_tests"],
    ),
    "tornado": Suite(
        "tornado==6.6.1",
        host="tornado",
        passed=70,
        runner="tornado",
        tests=[],
        arguments=["tornado.test.websocket_test"],
    ),
    "autobahn": Suite(
        "autobahn[twisted]==26.10.2",
        host="autobahn",
        passed=78,
        runner="trial",
        tests=[],
        arguments=["autobahn.websocket.test", "autobahn.nvx.test"],
        environment=[("USE_TWISTED", "1")],
    ),
    "sanic": Suite(
        "sanic==25.12.1",
        host="websockets",
        passed=8,
        needs=["pytest<9", "pytest-asyncio", "sanic-testing", "websockets==17.4", "pytest-sanic", "beautifulsoup4"],
        arguments=["tests/test_ws_handlers.py"],
    ),
}


def run(command: Sequence[object], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LIMIT_S, **options
    )


PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check"]


def build_wheel(folder: pathlib.Path) -> pathlib.Path:
    """Build wsframe; return the wheel."""
    subprocess.run([sys.executable, *PIP, "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def prepare(suite: Suite, wheel: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Make the virtual environment and fetch the tests; return the interpreter."""
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    subprocess.run([python, *PIP, "install", suite.requirement, *suite.needs, wheel], check=True)
    if suite.tests:
        project = re.sub(r"\[.*\]", "", suite.requirement)
        name = project.partition("==")[0]
        sdists = folder / "sdist"
        subprocess.run([python, *PIP, "download", "--no-deps", "--no-binary", name, "-d", sdists, project], check=True)
        (archive,) = sdists.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(sdists, filter="data")
        (source,) = (path for path in sdists.iterdir() if path.is_dir())
        for path in suite.tests:
            target = folder / path.replace("/", "_")
            copy = shutil.copytree if (source / path).is_dir() else shutil.copy
            copy(source / path, target)
    (folder / "wsframe_patch.py").write_text(PLUGIN)
    return python


def count(output: str) -> tuple[int, int]:
    """Return how many tests have passed and failed, from the last summary line."""
    passed = failed = 0
    for number, word in re.findall(r"(\d+) (passed|failed|errors?)\b", output.splitlines()[-1] if output else ""):
        passed += int(number) * (word == "passed")
        failed += int(number) * (word != "passed")
    trial = re.search(r"successes=(\d+)", output)
    if trial:
        passed = int(trial[1])
        failed = sum(map(int, re.findall(r"(?:failures|errors)=(\d+)", output)))
    ran = re.search(r"^Ran (\d+) tests? in .*\n\n?(OK|FAILED)", output, re.MULTILINE)
    if ran and not trial:
        failed = sum(map(int, re.findall(r"(?:failures|errors)=(\d+)", output)))
        passed = int(ran[1]) - failed
    return passed, failed


def check(name: str, suite: Suite, wheel: pathlib.Path, verbose: bool) -> bool:
    """Run the tests without and with wsframe; return whether the counts are those recorded."""
    right = True
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsframe-hosts-")))
        python = prepare(suite, wheel, folder)
        for host in ("", suite.host):
            environment = {**os.environ, **dict(suite.environment), "PYTHONPATH": str(folder), "WSFRAME_HOST": host}
            for _ in range(ATTEMPTS):
                done = run([python, *RUNNERS[suite.runner], *suite.arguments], cwd=folder, env=environment)
                counts = count(done.stdout)
                ok = counts == (suite.passed, suite.failed)
                if ok:
                    break
            right = right and ok
            verdict = "" if ok else f"  EXPECTED {suite.passed} passed, {suite.failed} failed"
            patched = f"with {host}" if host else "without"
            print(f"{name:18} {patched:22} {counts[0]} passed, {counts[1]} failed{verdict}", flush=True)
            if verbose or not ok:
                print(done.stdout[-6000:], flush=True)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(SUITES)}; all of them by default")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what the tests print")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wsframe-hosts-") as folder:
        wheel = build_wheel(pathlib.Path(folder))
        results = [check(name, SUITES[name], wheel, options.verbose) for name in options.names or SUITES]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
