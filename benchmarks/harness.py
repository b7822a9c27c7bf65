"""Run a server on one core and the load client on another, and read what a message costs the server."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import wsframe

HERE = pathlib.Path(__file__).parent
RUN_LIMIT_S = 120
"""A run that takes longer is given up, and says so."""

HANDSHAKES_MAX = 1000
"""Connections that a run opens and keeps at most."""

MASKING_KEY = b"\x37\xfa\x21\x3d"

C_SERVER = "C epoll"
"""Name of the one server that is not in Python."""


@dataclasses.dataclass(frozen=True)
class Case:
    """What the load client does.

    Attributes:
        connections: How many at once.
        in_flight: Messages in flight on each.
        payloads: The messages, uncompressed, sent in turn; one, unless there is compression.
        text: Whether it is text.
        deflate: Whether it is compressed, on the way back too.
        mode: What load.c calls so: echo, tls, broadcast or handshakes.
    """

    connections: int
    in_flight: int
    payloads: tuple[bytes, ...]
    text: bool = False
    deflate: bool = False
    mode: str = "echo"


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run has measured.

    Attributes:
        cpu_us: CPU microseconds of the process under test per message.
        wall_us: Microseconds per message.
        rate: Messages per second.
    """

    cpu_us: float
    wall_us: float
    rate: float


@dataclasses.dataclass(frozen=True)
class Result(Cost):
    """What a run of the load client has measured.

    Attributes:
        p50_us: Latency in microseconds that half of the messages stayed below.
        p99_us: Likewise 99 per cent of them.
        reply_bytes: Bytes per reply.
    """

    p50_us: float
    p99_us: float
    reply_bytes: float


class Tools:
    """The programs in C, compiled into a directory.

    Args:
        directory: Where to.

    Attributes:
        load: The load client.
        has_tls: Whether it can do TLS, for which it needs OpenSSL's headers.
        echo_server: The echo server.
        kernels: A library of kernels.

    Raises:
        RuntimeError: If there is no C compiler.
    """

    def __init__(self, directory: pathlib.Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise RuntimeError("the benchmarks need a C compiler")
        self._command = [compiler, "-D_GNU_SOURCE", "-o"]
        self.load = directory / "load"
        self.echo_server = directory / "echo_server"
        self.kernels = directory / "kernels.so"
        self.has_tls = self._compile(self.load, "load.c", "-O2", "-DWITH_TLS", "-lssl", "-lcrypto", check=False)
        if not self.has_tls:
            self._compile(self.load, "load.c", "-O2")
        # As fast as this machine can: they are the floor that everything else is compared with.
        self._compile(self.echo_server, "echo_server.c", "-O3", "-march=native")
        self._compile(self.kernels, "kernels.c", "-O3", "-march=native", "-shared", "-fPIC")

    def _compile(self, program: pathlib.Path, source: str, *flags: str, check: bool = True) -> bool:
        command = [*self._command, str(program), str(HERE / source), *flags]
        return subprocess.run(command, check=check, stderr=None if check else subprocess.DEVNULL).returncode == 0


def cores() -> tuple[int, int]:
    """Return the cores for what is under test and for its counterpart; the same one if there is only one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, all threads, up to this moment."""
    # The clock of another process (clock_getcpuclockid), of the kind that the scheduler keeps.
    return time.clock_gettime(~pid << 3 | 2)


class Subprocess:
    """A program that prints lines, reads commands if any from its standard input, and ends when that does.

    Args:
        command: What to run.
        core: Where.

    Attributes:
        pid: Its process.
    """

    def __init__(self, command: Sequence[str | pathlib.Path], core: int) -> None:
        self._name = " ".join(map(str, command[-4:]))
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE.parent,
            preexec_fn=functools.partial(os.sched_setaffinity, 0, {core}),
        )
        self.pid = self._process.pid

    def read_line(self) -> str:
        """Read a line of its output.

        Raises:
            RuntimeError: If it has ended, or says nothing for too long.
        """
        assert self._process.stdout is not None
        # Lines come one at a time, so none is in Python's buffer already.
        if not select.select([self._process.stdout], [], [], RUN_LIMIT_S)[0]:
            raise RuntimeError(f"{self._name} says nothing for {RUN_LIMIT_S} s")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._name} has ended")
        return line

    def write_line(self, line: str) -> None:
        """Write a line to its input."""
        assert self._process.stdin is not None
        print(line, file=self._process.stdin, flush=True)

    def stop(self) -> None:
        """Tell it to end, and see to it that it does."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Server(Subprocess):
    """A server under test in its own process.

    Args:
        command: What to run; it prints its port.
        core: Where.

    Attributes:
        port: Where it listens.
    """

    def __init__(self, command: Sequence[str | pathlib.Path], core: int) -> None:
        super().__init__(command, core)
        try:
            self.port = int(self.read_line())
        except BaseException:
            self.stop()
            raise

    def resident_kib(self) -> int:
        """Return its resident memory in KiB."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1])
        raise RuntimeError("no VmRSS")


@contextmanager
def running(
    tools: Tools,
    name: str,
    *,
    loop: str = "asyncio",
    deflate_level: int | None = None,
    broadcast: bool = False,
    certificate: pathlib.Path | None = None,
    core: int | None = None,
) -> Iterator[Server]:
    """Run a server for the time of a ``with`` block.

    Args:
        tools: The programs in C.
        name: As in ``servers``, or that of the server in C.
        loop: ``asyncio`` or ``uvloop``.
        deflate_level: Compression level, or None for no compression.
        broadcast: Whether a message goes to all connections.
        certificate: File with a certificate and its key, for TLS.
        core: Where it runs; where what is under test does by default.
    """
    if name == C_SERVER:
        command: list[str | pathlib.Path] = [tools.echo_server, *(["broadcast"] if broadcast else [])]
    else:
        command = [sys.executable, "-m", "benchmarks.serve", name, "--loop", loop]
        command += ["--deflate", str(deflate_level)] if deflate_level is not None else []
        command += ["--broadcast"] if broadcast else []
        command += ["--certificate", certificate] if certificate is not None else []
    server = Server(command, cores()[0] if core is None else core)
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
        tools: The programs in C.
        case: What it does.
        raw: Whether the server sends back the very bytes it gets, masked as they are.
    """

    def __init__(self, tools: Tools, case: Case, *, raw: bool = False) -> None:
        self._tools = tools
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
        (path / "reply").write_bytes(frames[0] if raw else reply)
        self._files = [str(path / name) for name in ("headers", "frames", "reply")]

    def run(self, server: Server, messages: int) -> Result:
        """Send about that many messages, as far as the case allows, and measure."""
        case = self._case
        if case.mode == "handshakes":
            messages = min(messages, HANDSHAKES_MAX)
        messages = max(messages, case.connections * case.in_flight)
        numbers = [server.port, server.pid, case.connections, case.in_flight, messages]
        process = subprocess.run(
            [self._tools.load, case.mode, *map(str, numbers), *self._files],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=RUN_LIMIT_S,
            preexec_fn=functools.partial(os.sched_setaffinity, 0, {cores()[1]}),
        )
        count, seconds, cpu, p50, p99, reply_bytes = map(float, process.stdout.split())
        return Result(cpu / count * 1e6, seconds / count * 1e6, count / seconds, p50, p99, reply_bytes / count)

    def close(self) -> None:
        self._directory.cleanup()
