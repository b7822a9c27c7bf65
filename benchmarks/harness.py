"""Run a server on one core and the load client on another, and read what a message costs the server."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import wsframe

HERE = pathlib.Path(__file__).parent
RUN_LIMIT_S = 120
"""A run that takes longer is given up, and says so."""

MASKING_KEY = b"\x37\xfa\x21\x3d"


@dataclasses.dataclass(frozen=True)
class Case:
    """What the load client does.

    Attributes:
        connections: How many at once.
        in_flight: Messages in flight on each.
        payloads: The messages, uncompressed, sent in turn; one, unless there is compression.
        text: Whether it is text.
        deflate: Whether it is compressed, on the way back too.
        raw: Whether the server sends back the very bytes it gets, masked as they are.
    """

    connections: int
    in_flight: int
    payloads: tuple[bytes, ...]
    text: bool = False
    deflate: bool = False
    raw: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
    """What a run has measured.

    Attributes:
        cpu_us: CPU microseconds of the server process per message.
        rate: Messages per second.
        p50_us: Latency in microseconds that half of the messages stayed below.
        p99_us: Likewise 99 per cent of them.
        reply_bytes: Bytes per reply.
    """

    cpu_us: float
    rate: float
    p50_us: float
    p99_us: float
    reply_bytes: float


def build_load_client(directory: pathlib.Path) -> pathlib.Path:
    """Compile the load client.

    Raises:
        RuntimeError: If there is no C compiler.
    """
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("the load client needs a C compiler")
    program = directory / "load"
    subprocess.run([compiler, "-O2", "-D_GNU_SOURCE", "-o", program, HERE / "load.c"], check=True)
    return program


def _cores() -> tuple[int, int]:
    """Return the cores for the server and for the load client; the same one if there is only one."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[-1], cores[0]


class ServerProcess:
    """A server under test in its own process.

    Attributes:
        pid: Its process.
        port: Where it listens.
    """

    def __init__(self, name: str, *, loop: str, deflate_level: int | None) -> None:
        command = [sys.executable, "-m", "benchmarks.servers", name, "--loop", loop]
        if deflate_level is not None:
            command += ["--deflate", str(deflate_level)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise RuntimeError(f"{name} did not start")
        self.pid = self._process.pid
        self.port = int(line)
        os.sched_setaffinity(self.pid, {_cores()[0]})

    def cpu_s(self) -> float:
        """CPU seconds that the process has used, all threads."""
        total = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def resident_kib(self) -> int:
        """Resident memory in KiB."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise RuntimeError("no VmRSS")

    def stop(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def running(name: str, *, loop: str = "asyncio", deflate_level: int | None = None) -> Iterator[ServerProcess]:
    """Run a server for the time of a ``with`` block."""
    server = ServerProcess(name, loop=loop, deflate_level=deflate_level)
    try:
        yield server
    finally:
        server.stop()


def deflate(payload: bytes) -> bytes:
    """Compress a message by itself, as a client that takes no context over (RFC 7692 §7.2.1)."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, -12)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


class Load:
    """The load client with the files for one case.

    Args:
        program: The compiled load client.
        case: What it does.
    """

    def __init__(self, program: pathlib.Path, case: Case) -> None:
        self._program = program
        self._case = case
        self._directory = tempfile.TemporaryDirectory()
        path = pathlib.Path(self._directory.name)
        opcode = wsframe.Opcode.TEXT if case.text else wsframe.Opcode.BINARY
        payloads = [deflate(payload) if case.deflate else payload for payload in case.payloads]
        frames = [wsframe.serialize_frame(opcode, payload, rsv1=case.deflate, mask=MASKING_KEY) for payload in payloads]
        # As many together as are in flight, so that they leave in one write.
        copies = -(-case.in_flight // len(frames))
        offer = "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12"
        (path / "headers").write_text(f"Sec-WebSocket-Extensions: {offer}\r\n" if case.deflate else "")
        (path / "frames").write_bytes(b"".join(frames) * copies)
        reply = b"" if case.deflate else wsframe.serialize_frame(opcode, payloads[0])
        (path / "reply").write_bytes(frames[0] if case.raw else reply)
        self._files = [str(path / name) for name in ("headers", "frames", "reply")]

    def run(self, server: ServerProcess, messages: int) -> Result:
        """Send that many messages, and measure."""
        case = self._case
        before = server.cpu_s()
        process = subprocess.run(
            [self._program, str(server.port), str(case.connections), str(case.in_flight), str(messages), *self._files],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=RUN_LIMIT_S,
            preexec_fn=lambda: os.sched_setaffinity(0, {_cores()[1]}),
        )
        cpu = server.cpu_s() - before
        seconds, p50, p99, reply_bytes = map(float, process.stdout.split())
        return Result(cpu / messages * 1e6, messages / seconds, p50, p99, reply_bytes / messages)

    def close(self) -> None:
        self._directory.cleanup()
