"""A transport and an event loop for the asyncio data path: they do what a script says, at the moment it says."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any


class Planned(Exception):
    """What a script raises in the middle of something."""


def is_planned(exc: BaseException | None) -> bool:
    return isinstance(exc, Planned) or (isinstance(exc, MemoryError) and str(exc) == "planned")


class ScriptedTransport:
    """Holds what is written until it is drained, and runs the script's surprises in the middle of a write.

    Attributes:
        attempted: All bytes that a write was called with, in order, whether or not the write raised.
        aborted: Whether the connection was aborted.
        surprises: What to do in the next writes, in order; None for nothing.
    """

    def __init__(self) -> None:
        self.attempted = bytearray()
        self.surprises: list[Callable[[], object] | None] = []
        self.protocol: Any = None
        self.held = 0
        self.limits = (0, 1 << 60)
        self.reading = True
        self.writing = self.writing_paused = self.eof_written = self.closing = self.aborted = False

    # Writing

    def write(self, data: Any) -> None:
        assert not self.closing, "a write after the end"
        assert not self.eof_written, "a write after the end of the stream"
        data = bytes(data)
        assert data, "an empty write"
        self.attempted += data
        self.held += len(data)
        surprise = self.surprises.pop(0) if self.surprises else None
        if surprise is not None:
            surprise()
        if self.held > self.limits[1] and not self.writing_paused:
            self.writing_paused = True
            self.protocol.pause_writing()

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def drain(self, size: int) -> None:
        """Have the peer read."""
        self.held -= min(size, self.held)
        if self.writing_paused and self.held <= self.limits[0]:
            self.writing_paused = False
            self.protocol.resume_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        high = 65_536 if high is None else high
        self.limits = (high // 4 if low is None else low, high)

    def get_write_buffer_size(self) -> int:
        return self.held

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    # Reading

    def pause_reading(self) -> None:
        assert self.reading, "paused twice"
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading, "resumed twice"
        self.reading = True

    def is_reading(self) -> bool:
        return self.reading and not self.closing

    def deliver(self, data: bytes) -> None:
        """Hand over what the peer has sent, as an event loop does."""
        while data:
            buffer = self.protocol.get_buffer(-1)
            size = min(len(buffer), len(data))
            buffer[:size] = data[:size]
            self.protocol.buffer_updated(size)
            data = data[size:]

    # The end

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return self.closing

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True


class ScriptedLoop(asyncio.SelectorEventLoop):
    """An event loop whose ``call_soon`` fails when a script says so.

    Attributes:
        problems: What an event loop logs, but for what was planned.
    """

    failing = False

    def __init__(self) -> None:
        super().__init__()
        self.problems: list[dict[str, Any]] = []
        self.set_exception_handler(ScriptedLoop._note)

    def _note(self, context: dict[str, Any]) -> None:
        exc = context.get("exception")
        if not is_planned(exc):
            self.problems.append(context)

    def take_problems(self) -> list[dict[str, Any]]:
        problems, self.problems = self.problems, []
        return problems

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> Any:
        if self.failing:
            self.failing = False
            raise MemoryError("planned")
        return super().call_soon(callback, *args, context=context)


@functools.cache
def event_loop() -> ScriptedLoop:
    """Return the event loop of all scripts of this process."""
    return ScriptedLoop()


async def one_a_turn(items: Iterable[str]) -> AsyncIterator[str]:
    """Yield one item per iteration of the event loop."""
    for item in items:
        yield item
        await asyncio.sleep(0)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def outside_of_tasks(function: Callable[[], object]) -> None:
    """Call a function as an event loop calls a protocol's, with no task running."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def call() -> None:
        try:
            function()
        except Exception as exc:
            done.set_exception(exc)
        else:
            done.set_result(None)

    loop.call_soon(call)
    await done
