"""The codec in process: CPU nanoseconds for a call or a frame, everyone's in turn."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import dataclasses
import importlib.util
import os
import time
import timeit
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import wsframe
from benchmarks import parsers
from benchmarks.echo import size_name
from benchmarks.goals import Goal, judge, print_goals
from benchmarks.harness import MASKING_KEY, Tools, cores
from benchmarks.rounds import Suite, interleave, print_table
from benchmarks.text import TEXTS, make_text

MASK_SIZES = [16, 128, 1024, 8 * 1024, 64 * 1024, 2**20]
PURE_MASK_SIZES = [16, 1024, 64 * 1024]
FRAME_SIZES = [8, 128, 64 * 1024]
SERIALIZED_SIZE = 125
TEXT_SIZE = 64 * 1024
READ_SIZE = 64 * 1024
STREAM_SIZE = 4 * READ_SIZE
"""Bytes of the frames that are parsed over and over, about."""

RUNS_PER_SECOND = 5
"""A run takes this part of the seconds that one over sockets does."""

COLUMNS = {"ns": ("ns", "12,.1f")}


@dataclasses.dataclass(frozen=True)
class Time:
    """What a run has measured.

    Attributes:
        ns: CPU nanoseconds for a call or a frame.
    """

    ns: float


@dataclasses.dataclass(frozen=True)
class Task:
    """Something to measure.

    Attributes:
        case: What it does.
        name: Whose it is.
        measure: Does it a number of times; returns the nanoseconds for all of them.
        units: Frames that are one time.
    """

    case: str
    name: str
    measure: Callable[[int], float]
    units: int = 1

    def __str__(self) -> str:
        return f"{self.case}: {self.name}"

    def job(self, seconds: float) -> Callable[[], Time]:
        """Find how often it fits into the time; return what measures it."""
        times = 1
        while (taken := self.measure(times) / 1e9) < seconds / 10:
            times *= 4
        times = max(1, int(times * seconds / taken))
        return lambda: Time(self.measure(times) / times / self.units)


def statement(case: str, name: str, code: str, **names: Any) -> Task:
    """Make a task of a line of Python."""
    timer = timeit.Timer(code, timer=time.thread_time, globals=names)
    return Task(case, name, lambda times: timer.timeit(times) * 1e9)


def masking(tools: Tools) -> Iterator[Task | Goal]:
    """Mask into new bytes, and in place."""
    from aiohttp._websocket.mask import _websocket_mask_cython  # type: ignore[import-not-found]
    from websockets.speedups import apply_mask

    kernels = ctypes.CDLL(str(tools.kernels))
    kernels.xor_in_place.restype = ctypes.c_double
    kernels.xor_in_place.argtypes = [ctypes.c_size_t, ctypes.c_long]
    for size in MASK_SIZES:
        case = f"mask, {size_name(size)}"
        data = os.urandom(size)
        for name, function in (("wsframe", wsframe.apply_mask), ("websockets.speedups", apply_mask)):
            yield statement(case, name, "f(data, key)", f=function, data=data, key=MASKING_KEY)
        yield Goal(case, "wsframe", None, ("websockets.speedups",), 1.3 if size <= 1024 else 1)
        case = f"mask in place, {size_name(size)}"
        yield statement(
            case, "wsframe", "f(data, key)", f=wsframe.apply_mask_inplace, data=bytearray(data), key=MASKING_KEY
        )
        yield statement(
            case, "aiohttp", "f(key, data)", f=_websocket_mask_cython, data=bytearray(data), key=MASKING_KEY
        )
        yield Task(case, "C", lambda times, size=size: kernels.xor_in_place(size, times) * times)  # type: ignore[misc]
        yield Goal(case, "wsframe", None, ("aiohttp",), 1)


def make_stream(size: int) -> tuple[list[bytes], int]:
    """Make a client's frames of that many bytes; return them cut into reads, and how many there are."""
    frame = wsframe.serialize_frame(wsframe.Opcode.BINARY, os.urandom(size), mask=MASKING_KEY)
    count = STREAM_SIZE // size if size > READ_SIZE // 2 else STREAM_SIZE // len(frame)
    stream = frame * count
    return [stream[start : start + READ_SIZE] for start in range(0, len(stream), READ_SIZE)], count


def parsing(tools: Tools, picows: Mapping[int, parsers.Parse]) -> Iterator[Task | Goal]:
    """Parse reads of 64 KiB with masked frames; picows needs a parser for each size."""
    kernels = ctypes.CDLL(str(tools.kernels))
    kernels.copy_and_xor.restype = ctypes.c_double
    kernels.copy_and_xor.argtypes = [ctypes.c_size_t, ctypes.c_long]
    for size in FRAME_SIZES:
        case = f"parse, {size_name(size)}"
        reads, count = make_stream(size)
        yield _parse_task(case, "wsframe", parsers.wsframe_parser(), reads, count)
        yield _parse_task(case, "picows", picows[size], reads, count)
        yield _parse_task(case, "websockets", parsers.websockets_parser(), reads, count)
        yield _parse_task(case, "wsproto", parsers.wsproto_parser(), reads, count)
        yield _parse_task(case, "aiohttp", parsers.aiohttp_parser(), reads, count)
        if size > READ_SIZE // 2:
            yield Task(case, "C", lambda times, size=size: kernels.copy_and_xor(size, times) * times)  # type: ignore[misc]
            yield Goal(case, "wsframe", None, ("C",), 1 / 1.3)
        else:
            for name, factor in (("picows", 1 / 0.55), ("websockets", 20), ("wsproto", 60), ("aiohttp", 4)):
                yield Goal(case, "wsframe", None, (name,), factor)


def _parse_task(case: str, name: str, parse: parsers.Parse, reads: list[bytes], count: int) -> Task:
    found = parse(reads)
    if found != count:
        raise RuntimeError(f"{name} found {found} frames instead of {count}")
    return dataclasses.replace(statement(case, name, "parse(reads)", parse=parse, reads=reads), units=count)


def serializing() -> Iterator[Task | Goal]:
    """Make a frame, as a server does and, with a fresh key, as a client does."""
    from aiohttp._websocket.writer import WebSocketWriter
    from websockets.frames import Frame, Opcode

    payload = os.urandom(SERIALIZED_SIZE)
    # A transport that is all in C: it keeps the last piece that was written.
    transport: Any = SimpleNamespace(is_closing=bool, write=deque(maxlen=1).append)
    for masked in (False, True):
        case = f"serialize, {SERIALIZED_SIZE} B, {'masked' if masked else 'unmasked'}"
        yield statement(
            case,
            "wsframe",
            "f(2, payload, mask=key())" if masked else "f(2, payload)",
            f=wsframe.serialize_frame,
            payload=payload,
            key=wsframe.new_masking_key,
        )
        frame = Frame(Opcode.BINARY, payload)
        yield statement(case, "websockets", "frame.serialize(mask=masked)", frame=frame, masked=masked)
        writer = WebSocketWriter(SimpleNamespace(), transport, use_mask=masked)  # type: ignore[arg-type]
        yield statement(case, "aiohttp", "f(payload, 2, 0)", f=writer._write_websocket_frame, payload=payload)
        yield Goal(case, "wsframe", None, ("websockets",), 4)
        yield Goal(case, "wsframe", None, ("aiohttp",), 1)


def validating() -> Iterator[Task | Goal]:
    """Validate UTF-8."""
    has_wsaccel = importlib.util.find_spec("wsaccel") is not None
    for kind in TEXTS:
        case = f"UTF-8, {size_name(TEXT_SIZE)}, {kind}"
        text = make_text(kind, TEXT_SIZE)
        ours = wsframe.Utf8Validator()
        yield statement(case, "wsframe", "feed(text); finish()", feed=ours.feed, finish=ours.finish, text=text)
        yield statement(case, "bytes.decode", "text.decode()", text=text)
        yield Goal(case, "wsframe", None, ("bytes.decode",), 1 if kind == "ASCII" else 5)
        if has_wsaccel:
            from wsaccel.utf8validator import Utf8Validator  # type: ignore[import-untyped]

            theirs = Utf8Validator()
            yield statement(
                case, "wsaccel", "validate(text); reset()", validate=theirs.validate, reset=theirs.reset, text=text
            )
            yield Goal(case, "wsframe", None, ("wsaccel",), 50)


def pure() -> Iterator[Task | Goal]:
    """The same without a compiler: our pure twin and websockets without its extension."""
    from websockets.frames import Frame, Opcode
    from websockets.utils import apply_mask

    from wsframe.codec import _framing_py, _masking_py

    for size in PURE_MASK_SIZES:
        case = f"pure, mask, {size_name(size)}"
        data = os.urandom(size)
        for name, function in (("wsframe", _masking_py.apply_mask), ("websockets", apply_mask)):
            yield statement(case, name, "f(data, key)", f=function, data=data, key=MASKING_KEY)
        yield Goal(case, "wsframe", None, ("websockets",), 1)
    for size in FRAME_SIZES:
        case = f"pure, parse, {size_name(size)}"
        reads, count = make_stream(size)
        yield _parse_task(case, "wsframe", parsers.wsframe_pure_parser(), reads, count)
        yield _without_extension(_parse_task(case, "websockets", parsers.websockets_frame_parser(), reads, count))
        yield Goal(case, "wsframe", None, ("websockets",), 1)
        case = f"pure, serialize, {size_name(size)}, masked"
        payload = os.urandom(size)
        yield statement(
            case,
            "wsframe",
            "f(2, payload, mask=key())",
            f=_framing_py.serialize_frame,
            payload=payload,
            key=_masking_py.new_masking_key,
        )
        frame = Frame(Opcode.BINARY, payload)
        yield _without_extension(statement(case, "websockets", "frame.serialize(mask=True)", frame=frame))
        yield Goal(case, "wsframe", None, ("websockets",), 1)


def _without_extension(task: Task) -> Task:
    def measure(times: int) -> float:
        with parsers.websockets_pure():
            return task.measure(times)

    return dataclasses.replace(task, measure=measure)


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite."""
    usable = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[0]})
    try:
        # Parsers of asyncio's peers want to be made, and fed, where an event loop runs.
        return asyncio.run(_run(tools, options))
    finally:
        os.sched_setaffinity(0, usable)


async def _run(tools: Tools, options: argparse.Namespace) -> Suite:
    suite = Suite([])
    async with contextlib.AsyncExitStack() as stack:
        picows = {size: await stack.enter_async_context(parsers.picows_parser(READ_SIZE)) for size in FRAME_SIZES}
        for group in (masking(tools), parsing(tools, picows), serializing(), validating(), pure()):
            made = [made for made in group if options.cases in made.case]
            tasks = [task for task in made if isinstance(task, Task)]
            goals = [goal for goal in made if isinstance(goal, Goal)]
            jobs = {task: task.job(options.seconds / RUNS_PER_SECOND) for task in tasks}
            medians = interleave(jobs, options.rounds)
            results = [{"case": task.case, "name": task.name, **figures} for task, figures in medians.items()]
            for case in dict.fromkeys(task.case for task in tasks):
                print_table(case, [result for result in results if result["case"] == case], COLUMNS)
            verdicts = judge(goals, results, "ns")
            print_goals(verdicts)
            suite.results.extend(results)
            suite.verdicts.extend(verdicts)
    return suite
