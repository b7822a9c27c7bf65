"""A model of two asyncio connections joined in memory, whose bytes arrive when and in what pieces the script says.

What an application sends is on the wire once and whole; what is on the wire is received once, in order, whatever is
cancelled meanwhile; when TCP is gone, nobody waits any more.
"""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

from . import reference
from .model import ENDS
from .targets_connection import deflate_extension
from .transport import ScriptedTransport, event_loop, one_a_turn, outside_of_tasks, turns

LOGGER = logging.getLogger("tests.fuzz.model")
LOGGER.disabled = True


class AsyncEnd:
    """One end: the connection, its transport, its tasks."""

    def __init__(
        self,
        implementation: SimpleNamespace,
        name: str,
        deflate: dict[str, Any] | None,
        write_limit: int,
        max_queue: Any,
    ) -> None:
        constants = implementation.constants
        self.name = name
        self.implementation = implementation
        self.server = name == "server"
        role = constants.Role.SERVER if self.server else constants.Role.CLIENT
        core = implementation.connection.SansIOConnection(role, state=constants.State.CONNECTING)
        self.connection = implementation.asyncio_connection.Connection(
            core, ping_interval=None, close_timeout=None, max_queue=max_queue, write_limit=write_limit, logger=LOGGER
        )
        self.transport = ScriptedTransport()
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        core.open(None, [] if deflate is None else [deflate_extension(implementation, deflate, self.server)])
        self.connection._take_reads()
        self.delivered = 0
        self.lost = False
        self.tasks: list[asyncio.Task[Any]] = []
        # Texts by what is known of them: those whose send has returned, and those whose send has not.
        self.sent: set[str] = set()
        self.unsure: set[str] = set()
        self.received: list[str] = []
        # A task has left recv_streaming() in the middle of a message, so that nothing can be received any more.
        self.broken = False


class AsyncPipe:
    """A client and a server. Each method is a step, after which the event loop is idle."""

    def __init__(
        self,
        client: SimpleNamespace,
        server: SimpleNamespace,
        deflate: dict[str, Any] | None = None,
        write_limit: int = 1000,
        max_queue: Any = 16,
    ) -> None:
        self._deflate = deflate
        self._count = 0
        self._loop = event_loop()

        async def make() -> None:
            self.ends = {
                name: AsyncEnd(implementation, name, deflate, write_limit, max_queue)
                for name, implementation in (("client", client), ("server", server))
            }

        self._loop.run_until_complete(make())

    def _other(self, end: AsyncEnd) -> AsyncEnd:
        return self.ends[ENDS[1 - ENDS.index(end.name)]]

    def text(self, size: int) -> str:
        self._count += 1
        return f"{self._count}é€".ljust(size, "x")

    def _start(self, end: AsyncEnd, coroutine: Any) -> None:
        end.tasks.append(self._loop.create_task(coroutine))

    def turn(self, count: int) -> None:
        self._loop.run_until_complete(turns(count))

    # Steps

    def send(self, name: str, size: int, compress: bool | None) -> None:
        end = self.ends[name]
        text = self.text(size)
        end.unsure.add(text)

        async def send() -> None:
            await end.connection.send(text, compress=compress)
            end.unsure.discard(text)
            end.sent.add(text)

        self._start(end, send())

    def send_fragments(self, name: str, sizes: list[int]) -> None:
        end = self.ends[name]
        texts = [self.text(size) for size in sizes]
        end.unsure.add("".join(texts))

        async def send() -> None:
            await end.connection.send(one_a_turn(texts))
            end.unsure.discard("".join(texts))
            end.sent.add("".join(texts))

        self._start(end, send())

    def try_send(self, name: str, size: int) -> None:
        end = self.ends[name]
        text = self.text(size)
        exceptions = end.implementation.exceptions

        async def send() -> None:
            # Within a task, as an application does it.
            try:
                sent = end.connection.try_send(text)
            except (exceptions.ConnectionClosed, exceptions.InvalidState):
                return
            if sent:
                end.sent.add(text)

        self._loop.run_until_complete(send())

    def recv(self, name: str) -> None:
        end = self.ends[name]

        async def receive() -> None:
            # Nothing can come between the message and the note of it, but a cancellation would before.
            end.received.append(await end.connection.recv())

        self._start(end, receive())

    def recv_streaming(self, name: str) -> None:
        end = self.ends[name]

        async def receive() -> None:
            parts = []
            try:
                async for part in end.connection.recv_streaming():
                    parts.append(part)
                    await asyncio.sleep(0)
            except asyncio.CancelledError:
                end.broken |= bool(parts)
                raise
            end.received.append("".join(parts))

        self._start(end, receive())

    def ping(self, name: str) -> None:
        end = self.ends[name]

        async def ping() -> None:
            await (await end.connection.ping())

        self._start(end, ping())

    def close(self, name: str) -> None:
        end = self.ends[name]
        self._start(end, end.connection.close())

    def cancel(self, name: str, number: int) -> None:
        waiting = [task for task in self.ends[name].tasks if not task.done()]
        if waiting:
            waiting[number % len(waiting)].cancel()

    def deliver(self, name: str, size: int) -> None:
        """Have an end read so many bytes, if it reads."""
        end = self.ends[name]
        source = self._other(end)
        if end.lost or not end.transport.is_reading():
            return
        piece = bytes(source.transport.attempted[source.delivered : source.delivered + size])
        source.delivered += len(piece)
        if piece:
            self._loop.run_until_complete(outside_of_tasks(lambda: end.transport.deliver(piece)))
            self._loop.run_until_complete(outside_of_tasks(lambda: source.transport.drain(len(piece))))

    def lose(self, name: str) -> None:
        """TCP is gone, as this end learns."""
        end = self.ends[name]
        if not end.lost:
            end.lost = True
            end.transport.closing = True
            self._loop.run_until_complete(outside_of_tasks(lambda: end.connection.connection_lost(None)))

    # The end

    def finish(self) -> None:
        """Let everything arrive, receive it, and check what there is."""
        try:
            for _ in range(400):
                before = [(end.delivered, len(end.received)) for end in self.ends.values()]
                for name, end in self.ends.items():
                    self.deliver(name, 1 << 30)
                    if end.connection.queue_depth and not any(not task.done() for task in end.tasks):
                        self.recv(name)
                    self.turn(4)
                if before == [(end.delivered, len(end.received)) for end in self.ends.values()]:
                    break
            cut = any(end.lost for end in self.ends.values())
            for name in ENDS:
                self.lose(name)
            self.turn(6)
            for end in self.ends.values():
                self._check_tasks(end)
            for end in self.ends.values():
                self._check(end, cut)
            problems = self._loop.take_problems()
            assert not problems, problems
        finally:
            tasks = [task for end in self.ends.values() for task in end.tasks]
            for task in tasks:
                task.cancel()

            async def gather() -> None:
                await asyncio.gather(*tasks, return_exceptions=True)

            self._loop.run_until_complete(gather())

    def _check_tasks(self, end: AsyncEnd) -> None:
        exceptions = end.implementation.exceptions
        for task in end.tasks:
            assert task.done(), (end.name, "waits for ever", task)
            if task.cancelled():
                continue
            exc = task.exception()
            if exc is not None and not isinstance(
                exc, (exceptions.ConnectionClosed, exceptions.ConcurrencyError, exceptions.InvalidState)
            ):
                raise exc
        while end.connection.queue_depth and not end.broken:
            self.recv(end.name)
            self.turn(2)
            assert end.tasks[-1].done()

    def _check(self, end: AsyncEnd, cut: bool) -> None:
        source = self._other(end)
        takeover = self._deflate is None or not self._deflate[f"{source.name}_no_context_takeover"]
        rules = reference.Rules(end.server, rsv1=self._deflate is not None)
        wire = bytes(source.transport.attempted)
        written = reference.receive(wire, rules, takeover=takeover)
        assert written.bad is None, (source.name, written.bad)
        assert reference.decode(wire, rules).pending == 0, (source.name, "half a frame")
        texts = [event.value for event in written.events if event.kind == "text"]
        assert len(set(texts)) == len(texts), (source.name, "doubled", texts)
        assert set(texts) <= source.sent | source.unsure, (source.name, "of nobody", texts)
        lost = source.sent - set(texts)
        assert cut or not lost, (source.name, "lost", lost)
        arrived = reference.receive(wire[: source.delivered], rules, takeover=takeover)
        expected = [event.value for event in arrived.events if event.kind == "text"]
        if end.connection.protocol.close_sent is not None:
            # After close(), only what fits into the queue is kept (see QueueStream).
            rest = iter(expected)
            assert all(text in rest for text in end.received), (end.name, end.received, expected)
        elif end.broken:
            assert end.received == expected[: len(end.received)], (end.name, end.received, expected)
        else:
            assert end.received == expected, (end.name, end.received, expected)
