"""Run targets for a while: ``python -m tests.fuzz TARGET --seconds N``.

Each target runs in a process of its own, so that a crash ends that process and is a finding like any other: the input
that is being tried is in a mapped file, which outlives it. The engine is our own: it makes inputs by mutating those
that have shown something new, which is a line of the pure implementation that no input had reached (CPython 3.12 and
later), or a word of the target's own. With ``--engine atheris``, libFuzzer drives the same targets.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import importlib.util
import mmap
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from .source import ByteSource
from .targets import Target, load_targets

MAX_INPUT = 4096
"""Bytes of an input: decisions for more than one example of anything."""

HANG_S = 120
"""Seconds that one input may take, on a busy machine, with sanitizers: what takes longer hangs."""

SHOWN_BYTES = 1024
"""Bytes of a failing input that are shown; all of them are in a file."""

SHRINK_S = 20
"""Seconds for making a failing input smaller."""

FINDING, TROUBLE = 1, 2
"""Exit codes: something is wrong with wsframe, or with the run itself."""

REPORTED = 101
"""Exit code of a worker that has shown what it has found; sanitizers and faulthandler end a process with 1."""

NOTHING = 2**64 - 1
"""Replaced by the size of the current input once there is one."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for; return the exit code."""
    options = parse_arguments(arguments)
    try:
        targets = load_targets()
    except ImportError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return TROUBLE
    if options.list:
        for name, function in targets.items():
            print(f"{name:24}{(function.__doc__ or '').strip().splitlines()[0] if function.__doc__ else ''}".rstrip())
        return 0
    if options.target not in {*targets, "all"}:
        print(f"error: no target {options.target!r}; --list names them", file=sys.stderr)
        return TROUBLE
    if options.input is not None:
        return reproduce(targets[options.target], options)
    if options.engine == "atheris" and importlib.util.find_spec("atheris") is None:
        print("error: atheris is not installed", file=sys.stderr)
        return TROUBLE
    if options.work is not None:
        return work(targets[options.target], options)
    names = list(targets) if options.target == "all" else [options.target] * options.jobs
    return supervise(names, options)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.splitlines()[0])
    parser.add_argument("target", nargs="?", help="a target, or all")
    parser.add_argument("--list", action="store_true", help="name the targets")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each target runs (default: 60)")
    parser.add_argument("--seed", type=int, help="seed of the random numbers (default: a new one, which is shown)")
    parser.add_argument(
        "--corpus", type=Path, help="directory of inputs: read at first, and those that show new are added"
    )
    parser.add_argument(
        "--findings", type=Path, help="directory for failing inputs (default: one in the temporary directory)"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time (default: 1)")
    parser.add_argument("--keep-going", action="store_true", help="go on after a finding; each kind is shown once")
    parser.add_argument("--input", type=Path, help="run the target once, on the input in this file")
    parser.add_argument(
        "--engine", choices=("own", "atheris"), default="own", help="what makes the inputs (default: own)"
    )
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.target is None and not options.list:
        parser.error("name a target, or all")
    if options.target == "all" and options.input is not None:
        parser.error("--input needs one target")
    if options.seconds <= 0 or options.jobs < 1:
        parser.error("--seconds and --jobs must be positive")
    return options


def reproduce(target: Target, options: argparse.Namespace) -> int:
    """Run a target once on the input in a file."""
    try:
        data = options.input.read_bytes()
    except OSError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return TROUBLE
    faulthandler.enable()
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    try:
        words = target(ByteSource(data))
    except Exception:
        traceback.print_exc()
        return FINDING
    print("passed:", *words, sep="\n    ")
    return 0


# The supervisor: a process for each target


class Job:
    """A process that works on a target."""

    def __init__(self, name: str, number: int, options: argparse.Namespace) -> None:
        self.name = name
        self.folder = tempfile.TemporaryDirectory(prefix="wsframe-fuzz-")
        self.current = Path(self.folder.name) / "current"
        self.current.write_bytes(NOTHING.to_bytes(8, "big") + bytes(MAX_INPUT))
        self.corpus = options.corpus / name if options.corpus is not None else None
        if self.corpus is not None:
            self.corpus.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", __package__, name, "--work", str(self.current)]
        command += ["--seconds", str(options.seconds), "--seed", str(options.seed + number), "--engine", options.engine]
        command += ["--findings", str(options.findings)]
        command += ["--corpus", str(self.corpus)] if self.corpus is not None else []
        command += ["--keep-going"] if options.keep_going else []
        self.process = subprocess.Popen(command)

    def finish(self, options: argparse.Namespace) -> int:
        """Say how it ended, its process being over; return the exit code for it."""
        code = self.process.wait()
        with self.folder:
            content = self.current.read_bytes()
        size = int.from_bytes(content[:8], "big")
        if code in (0, REPORTED):
            return FINDING if code else 0
        if size == NOTHING:
            print(f"error: {self.name} did not begin", file=sys.stderr)
            return TROUBLE
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        data = shorten(self.name, content[8 : 8 + size], code)
        report(self.name, data, f"the process ended with {how}; its words are above", options.findings)
        return FINDING


def shorten(name: str, data: bytes, code: int) -> bytes:
    """Find the shortest beginning of an input that ends a process in the same way."""
    low, high = 0, len(data)
    with tempfile.TemporaryDirectory(prefix="wsframe-fuzz-") as folder:
        path = Path(folder) / "input"
        command = [sys.executable, "-m", __package__, name, "--input", str(path)]
        while low < high:
            middle = (low + high) // 2
            path.write_bytes(data[:middle])
            try:
                result = subprocess.run(command, capture_output=True, check=False, timeout=HANG_S)
            except subprocess.TimeoutExpired:
                return data[:high]
            if result.returncode == code and b"AssertionError" not in result.stderr:
                high = middle
            else:
                low = middle + 1
    return data[:high]


def supervise(names: list[str], options: argparse.Namespace) -> int:
    if options.seed is None:
        options.seed = int.from_bytes(os.urandom(4), "big")
    if options.findings is None:
        options.findings = Path(tempfile.gettempdir()) / "wsframe-fuzz"
    waiting = list(enumerate(names))
    running: list[Job] = []
    codes: list[int] = []
    try:
        while waiting or running:
            while waiting and len(running) < options.jobs:
                number, name = waiting.pop(0)
                running.append(Job(name, number, options))
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                codes.append(job.finish(options))
            time.sleep(0.05)
    except KeyboardInterrupt:
        return TROUBLE
    finally:
        for job in running:
            job.process.kill()
            job.process.wait()
            job.folder.cleanup()
    found, trouble = codes.count(FINDING), len(codes) - codes.count(FINDING) - codes.count(0)
    print(f"{len(codes)} runs: {codes.count(0)} without a finding, {found} with one, {trouble} that did not work")
    return TROUBLE if trouble else FINDING if found else 0


def report(name: str, data: bytes, what: str, findings: Path) -> None:
    """Show a failing input, and how to run it again."""
    findings.mkdir(parents=True, exist_ok=True)
    path = findings / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    shown = data.hex() if len(data) <= SHOWN_BYTES else f"{data[:SHOWN_BYTES].hex()} and so on"
    print(
        f"\nFINDING in {name}: {what}\n"
        f"  input, {len(data)} bytes: {shown}\n"
        f"  again: python -m tests.fuzz {name} --input {path}\n",
        flush=True,
    )


# The worker


class Attempt:
    """Runs a target on one input after the other, each of them written down before."""

    def __init__(self, target: Target, current: str) -> None:
        self._target = target
        with open(current, "r+b") as file:
            self._current = mmap.mmap(file.fileno(), MAX_INPUT + 8)
        self.used = 0

    def run(self, data: bytes) -> set[str]:
        """Return the words of the target; what is wrong is an exception."""
        self._current[: 8 + len(data)] = len(data).to_bytes(8, "big") + data
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        source = ByteSource(data)
        try:
            return set(self._target(source))
        finally:
            self.used = source.used
            faulthandler.cancel_dump_traceback_later()


def work(target: Target, options: argparse.Namespace) -> int:
    faulthandler.enable()
    attempt = Attempt(target, options.work)
    if options.engine == "atheris":
        from . import with_atheris

        return with_atheris.run(attempt.run, options)
    return Engine(attempt, options).run()


class Lines:
    """Returns whether a line of the package was reached for the first time; always False before CPython 3.12."""

    def __init__(self) -> None:
        self._new = 0
        monitoring = getattr(sys, "monitoring", None)
        if monitoring is None:
            return
        tool = monitoring.PROFILER_ID
        monitoring.use_tool_id(tool, "wsframe-fuzz")

        def line(code: object, number: int) -> object:
            if "wsframe" in code.co_filename:  # type: ignore[attr-defined]
                self._new += 1
            # Each line is looked at once, so that this costs next to nothing.
            return monitoring.DISABLE

        monitoring.register_callback(tool, monitoring.events.LINE, line)
        monitoring.set_events(tool, monitoring.events.LINE)

    def take(self) -> int:
        new, self._new = self._new, 0
        return new


class Engine:
    """Makes inputs out of random numbers and of inputs that have shown something new."""

    def __init__(self, attempt: Attempt, options: argparse.Namespace) -> None:
        self._attempt = attempt
        self._options = options
        self._random = random.Random(options.seed)
        self._corpus: list[bytes] = []
        self._seen: set[str] = set()
        self._lines = Lines()
        self._found: set[str] = set()
        self._runs = 0
        self._started = time.monotonic()

    def run(self) -> int:
        options = self._options
        engine = (
            "own engine, guided by lines and words" if hasattr(sys, "monitoring") else "own engine, guided by words"
        )
        print(f"{options.target}: {engine}; seed {options.seed}, {options.seconds:g} s", flush=True)
        stored = sorted(options.corpus.iterdir()) if options.corpus is not None else []
        shown = self._started
        for data in [b"", *(path.read_bytes()[:MAX_INPUT] for path in stored)]:
            if not self._try(data):
                return REPORTED
        while time.monotonic() < self._started + options.seconds:
            if not self._try(self._make()):
                return REPORTED
            if time.monotonic() > shown + 10:
                shown = time.monotonic()
                self._show()
        self._show()
        return REPORTED if self._found else 0

    def _show(self) -> None:
        spent = time.monotonic() - self._started
        print(
            f"{self._options.target}: {spent:.0f} s, {self._runs} inputs, {self._runs / max(spent, 0.001):.0f}/s, "
            f"{len(self._corpus)} kept, {len(self._seen)} words, {len(self._found)} findings",
            flush=True,
        )

    def _try(self, data: bytes) -> bool:
        """Run one input; return whether to go on."""
        self._runs += 1
        try:
            words = self._attempt.run(data)
        except Exception as exc:
            kind = kind_of(exc)
            if kind in self._found:
                return True
            self._found.add(kind)
            text = "".join(traceback.format_exception(exc))
            smaller = shrink(data, self._attempt, kind)
            report(self._options.target, smaller, f"{kind}\n{text}", self._options.findings)
            return bool(self._options.keep_going)
        new = self._lines.take()
        if new or not words <= self._seen:
            self._seen |= words
            kept = data[: self._attempt.used]
            self._corpus.append(kept)
            if self._options.corpus is not None:
                (self._options.corpus / hashlib.sha256(kept).hexdigest()[:16]).write_bytes(kept)
        return True

    def _make(self) -> bytes:
        chooser = self._random
        if not self._corpus or chooser.random() < 0.2:
            return chooser.randbytes(chooser.choice((16, 64, 256, 1024, MAX_INPUT)))
        # What was found last has been tried least.
        recent = self._corpus[-50:] if chooser.random() < 0.5 else self._corpus
        data = bytearray(chooser.choice(recent))
        for _ in range(chooser.choice((1, 1, 2, 4, 8))):
            self._mutate(data)
        return bytes(data[:MAX_INPUT])

    def _mutate(self, data: bytearray) -> None:
        chooser = self._random
        place = chooser.randrange(len(data) + 1)
        kind = chooser.randrange(7)
        if kind == 0:
            data[place : place + 1] = chooser.randbytes(1)
        elif kind == 1:
            data[place:place] = chooser.randbytes(chooser.choice((1, 2, 8)))
        elif kind == 2:
            del data[place : place + chooser.choice((1, 2, 8, 32))]
        elif kind == 3 and place < len(data):
            data[place] = (data[place] + chooser.choice((-1, 1, 128))) % 256
        elif kind == 4:
            other = chooser.choice(self._corpus)
            begin = chooser.randrange(len(other) + 1)
            data[place:] = other[begin:]
        elif kind == 5:
            piece = data[place : place + chooser.choice((2, 8, 32))]
            data[place:place] = piece
        else:
            data += chooser.randbytes(chooser.choice((4, 32)))


def kind_of(exc: BaseException) -> str:
    """Name the kind of a failure: the same for inputs that show the same fault, as a rule."""
    frames = traceback.extract_tb(exc.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames[-2:]]
    return f"{type(exc).__name__} at {' > '.join(places)}"


def shrink(data: bytes, attempt: Attempt, kind: str) -> bytes:
    """Make a failing input smaller for as long as it fails in the same way."""
    end = time.monotonic() + SHRINK_S

    def fails(candidate: bytes) -> bool:
        try:
            attempt.run(candidate)
        except Exception as exc:
            return kind_of(exc) == kind
        return False

    def passes(edit: Callable[[bytes, int, int], bytes]) -> bool:
        nonlocal data
        changed = False
        size = max(1, len(data) // 2)
        while size:
            pos = 0
            while pos < len(data) and time.monotonic() < end:
                candidate = edit(data, pos, size)
                if candidate != data and fails(candidate):
                    data, changed = candidate, True
                else:
                    pos += size
            size //= 2
        return changed

    while time.monotonic() < end:
        changed = passes(lambda whole, pos, size: whole[:pos] + whole[pos + size :])
        changed |= passes(
            lambda whole, pos, size: whole[:pos] + bytes(len(whole[pos : pos + size])) + whole[pos + size :]
        )
        if not changed:
            break
    return data
