"""Targets for the asyncio data path, on a transport that cuts, delays, re-enters, raises and cancels."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from . import generate, reference
from .implementations import implementations
from .reference import Event
from .source import Source
from .targets import target
from .targets_connection import deflate_extension, deflate_options
from .transport import Planned, ScriptedTransport, event_loop, is_planned, one_a_turn, outside_of_tasks, turns

LOGGER = logging.getLogger("tests.fuzz.streams")
LOGGER.disabled = True

SURPRISES = ("raise", "try_send", "push", "close", "read", "cancel", "finalizer", "abort", "pause")
"""What happens in the middle of a write."""


class Plan:
    """All decisions of one script, drawn before it is played on each implementation."""

    def __init__(self, source: Source) -> None:
        self.server = source.boolean()
        self.deflate = deflate_options(source, plain=True) if source.chance(3) else None
        self.max_queue = source.choice((None, 1, 2, 16, (3, 0)))
        self.write_limit = source.choice((2**15, 0, 100, 5000))
        deflater = None
        if self.deflate is not None:
            peer = "client" if self.server else "server"
            deflater = generate.Deflater(not self.deflate[f"{peer}_no_context_takeover"])
        self.stream = self._stream(source, deflater)
        ends = generate.cuts(source, len(self.stream), most=6)
        self.reads = [piece for piece in generate.pieces(self.stream, ends) if piece]
        self.steps = [self._step(source) for _ in range(source.integer(1, 14))]
        self.calm = not any(step[0] in ("surprise", "fail_soon", "cancel", "abort") for step in self.steps)

    def _stream(self, source: Source, deflater: generate.Deflater | None) -> bytes:
        """Draw what the peer sends: mostly right, so that the connection lives."""
        stream = b""
        for _ in range(source.integer(0, 4)):
            key = generate.key(source, self.server)
            kind = source.integer(0, 5)
            if kind < 3:
                payload = generate.text(source).encode()
                opcode = source.choice((reference.TEXT, reference.BINARY))
                if deflater is not None and source.boolean():
                    deflater.begin()
                    payload = deflater.block(source, payload, last=True)
                    stream += reference.write(opcode, payload, rsv=4, key=key)
                elif source.chance(3):
                    middle = source.integer(0, len(payload))
                    stream += reference.write(opcode, payload[:middle], fin=False, key=key)
                    stream += reference.write(reference.CONTINUATION, payload[middle:], key=key)
                else:
                    stream += reference.write(opcode, payload, key=key)
            elif kind == 3:
                stream += reference.write(source.choice((reference.PING, reference.PONG)), b"p", key=key)
            elif source.chance(3):
                stream += reference.write(reference.CLOSE, b"\x03\xe8", key=key)
            elif source.chance(3):
                stream += generate.odd_frame(source, self.server)
            else:
                stream += reference.write(reference.BINARY, generate.binary(source, large=True), key=key)
        return stream

    def _step(self, source: Source) -> tuple[Any, ...]:
        name = source.choice(
            ("read", "read", "recv", "send", "turn", "try_send", "push", "fragments", "ping", "drain", "surprise",
             "stream", "fail_soon", "cancel", "close", "abort")
        )  # fmt: skip
        if name in ("send", "try_send", "push"):
            size = source.choice((0, 5, 125, 126, 1000, 5000, 70_000))
            return name, size, source.choice((None, True, False)), source.boolean(), source.boolean()
        if name == "fragments":
            return name, [source.choice((0, 3, 200)) for _ in range(source.integer(1, 3))]
        if name == "surprise":
            return name, source.choice(SURPRISES), source.integer(0, 2)
        if name == "drain":
            return name, source.choice((1 << 40, 1, 100, 5000))
        if name in ("turn", "cancel"):
            return name, source.integer(1, 4)
        return (name,)


class Play:
    """One implementation of a connection that goes through a plan."""

    def __init__(self, implementation: SimpleNamespace, plan: Plan) -> None:
        self._implementation = implementation
        self._plan = plan
        self._reads = list(plan.reads)
        self._count = 0
        # Texts that must be on the wire, and texts whose fate was not reported.
        self._sent: list[str] = []
        self._unsure: set[str] = set()
        self._tasks: list[asyncio.Task[Any]] = []
        self._received: list[Any] = []
        self._raised = False
        self._transport = ScriptedTransport()
        exceptions = implementation.exceptions
        self._refusals = (
            exceptions.ConnectionClosed,
            exceptions.ConcurrencyError,
            exceptions.InvalidState,
            exceptions.ProtocolError,
        )
        self._end = self._open()

    def _open(self) -> Any:
        implementation, plan = self._implementation, self._plan
        constants = implementation.constants
        role = constants.Role.SERVER if plan.server else constants.Role.CLIENT
        core = implementation.connection.SansIOConnection(role, state=constants.State.CONNECTING)
        end = implementation.asyncio_connection.Connection(
            core,
            ping_interval=None,
            close_timeout=None,
            max_queue=plan.max_queue,
            write_limit=plan.write_limit,
            logger=LOGGER,
        )
        self._transport.protocol = end
        end.connection_made(self._transport)
        extensions = [] if plan.deflate is None else [deflate_extension(implementation, plan.deflate, plan.server)]
        core.open(None, extensions)
        end._take_reads()
        return end

    async def run(self) -> object:
        for name, *arguments in self._plan.steps:
            try:
                await getattr(self, f"_do_{name}")(*arguments)
            except (Planned, MemoryError) as exc:
                assert is_planned(exc), exc
                self._raised = True
        return await self._finish()

    async def _finish(self) -> object:
        """Let everything come to its end, and check what there is."""
        end, transport = self._end, self._transport
        transport.surprises.clear()
        event_loop().failing = False
        # Whatever has happened, sending must still work.
        await turns(20)
        if not (self._raised or transport.is_closing()):
            assert not end.protocol.unsent_bytes, (self._implementation.name, "unsent bytes left")
        assert not (end.queue_depth and self._is_receiving()), (
            self._implementation.name,
            "nobody has woken the receiver",
        )
        open_still = end.state is self._implementation.constants.State.OPEN
        if open_still and not transport.is_closing():
            await self._do_send(5, None, binary=False, soon=True)
        await self._drain()
        self._check_wire()
        transport.closing = True
        await outside_of_tasks(lambda: end.connection_lost(None))
        await turns(6)
        for task in self._tasks:
            assert task.done(), (self._implementation.name, "waits for ever", task)
        await self._take_rest()
        self._check_received(open_still)
        outcomes = [self._outcome(task) for task in self._tasks]
        assert end.state is self._implementation.constants.State.CLOSED
        return (end.close_code, outcomes, self._wire(), self._received)

    def _is_receiving(self) -> bool:
        """Return whether a task waits for a message, and none before it is in the middle of one."""
        return any(not task.done() for task in self._tasks if task.get_name() == "recv")

    async def _drain(self) -> None:
        for _ in range(20):
            await outside_of_tasks(lambda: self._transport.drain(1 << 40))
            await turns(3)
            if not self._transport.held:
                break

    async def _take_rest(self) -> None:
        """Receive what is still in the queue."""
        while self._end.queue_depth:
            try:
                self._received.append(await self._end.recv())
            except self._implementation.exceptions.ConcurrencyError:
                # A task has left recv_streaming() in the middle of a message.
                return

    # What is done

    def _new_text(self, size: int) -> str:
        self._count += 1
        return f"{self._count}:".ljust(size, "x")

    def _start(self, coroutine: Any, name: str | None = None) -> None:
        loop = event_loop()
        # It is the connection's calls that fail, not ours.
        failing, loop.failing = loop.failing, False
        self._tasks.append(loop.create_task(coroutine, name=name))
        loop.failing = failing

    async def _do_read(self) -> None:
        await outside_of_tasks(self._read)

    def _read(self) -> None:
        if self._reads and self._transport.is_reading():
            self._transport.deliver(self._reads.pop(0))

    async def _do_recv(self) -> None:
        async def receive() -> Any:
            message = await self._end.recv()
            self._received.append(message)
            return message

        self._start(receive(), "recv")

    async def _do_stream(self) -> None:
        async def receive() -> Any:
            fragments = []
            async for fragment in self._end.recv_streaming():
                fragments.append(fragment)
                await asyncio.sleep(0)
            message = fragments[0][:0].join(fragments)
            self._received.append(message)
            return message

        self._start(receive())

    async def _do_send(self, size: int, compress: bool | None, binary: bool, soon: bool) -> None:
        text = self._new_text(size)
        self._unsure.add(text)
        data = text.encode() if binary else text

        async def send() -> None:
            await self._end.send(data, compress=compress)
            self._unsure.discard(text)
            self._sent.append(text)

        self._start(send())
        if soon:
            await asyncio.sleep(0)

    async def _do_fragments(self, sizes: list[int]) -> None:
        texts = [self._new_text(size) for size in sizes]
        whole = "".join(texts)
        self._unsure.add(whole)

        async def send() -> None:
            await self._end.send(one_a_turn(texts))
            self._unsure.discard(whole)
            self._sent.append(whole)

        self._start(send())

    async def _do_try_send(self, size: int, compress: bool | None, binary: bool, soon: bool) -> None:
        self._try_send(size, compress, binary)

    def _try_send(self, size: int, compress: bool | None = None, binary: bool = False) -> None:
        text = self._new_text(size)
        self._unsure.add(text)
        try:
            sent = self._end.try_send(text.encode() if binary else text, compress=compress)
        except self._refusals:
            return
        self._unsure.discard(text)
        if sent:
            self._sent.append(text)

    async def _do_push(self, size: int, compress: bool | None, binary: bool, soon: bool) -> None:
        self._push(size)

    def _push(self, size: int) -> None:
        text = self._new_text(size)
        self._unsure.add(text)
        try:
            self._end.push(self._implementation.prepared.PreparedMessage(text))
        except self._refusals:
            return
        self._unsure.discard(text)
        self._sent.append(text)

    async def _do_ping(self) -> None:
        async def ping() -> None:
            await self._end.ping()

        self._start(ping())

    async def _do_close(self) -> None:
        self._start(self._end.close())

    async def _do_drain(self, size: int) -> None:
        await outside_of_tasks(lambda: self._transport.drain(size))

    async def _do_turn(self, count: int) -> None:
        await turns(count)

    async def _do_cancel(self, number: int) -> None:
        self._cancel(number)

    def _cancel(self, number: int) -> None:
        waiting = [task for task in self._tasks if not task.done()]
        if waiting:
            waiting[-number % len(waiting)].cancel()

    async def _do_abort(self) -> None:
        self._transport.abort()

    async def _do_fail_soon(self) -> None:
        event_loop().failing = True
        try:
            self._try_send(5)
        finally:
            event_loop().failing = False

    async def _do_surprise(self, kind: str, later: int) -> None:
        surprises = self._transport.surprises
        surprises += [None] * (later - len(surprises)) + [getattr(self, f"_surprise_{kind}")]

    def _surprise_raise(self) -> None:
        raise Planned

    def _surprise_try_send(self) -> None:
        self._try_send(300)

    def _surprise_push(self) -> None:
        for size in (10, 5000, 10):
            self._push(size)

    def _surprise_close(self) -> None:
        self._start(self._end.close())

    def _surprise_read(self) -> None:
        self._read()

    def _surprise_cancel(self) -> None:
        self._cancel(1)

    def _surprise_finalizer(self) -> None:
        play = self

        class Finalized:
            def __init__(self) -> None:
                self.itself = self

            def __del__(self) -> None:
                play._try_send(20)

        Finalized()
        gc.collect(0)

    def _surprise_abort(self) -> None:
        self._transport.abort()

    def _surprise_pause(self) -> None:
        transport = self._transport
        if not transport.writing_paused:
            transport.writing_paused = True
            self._end.pause_writing()

    # What must be

    def _outcome(self, task: asyncio.Task[Any]) -> Any:
        if task.cancelled():
            return "cancelled"
        exc = task.exception()
        if exc is None:
            return task.result() if isinstance(task.result(), (str, bytes)) else None
        if is_planned(exc):
            return "planned"
        if not isinstance(exc, self._refusals):
            raise exc
        return type(exc).__name__

    def _wire(self) -> list[Event]:
        plan = self._plan
        takeover = True
        if plan.deflate is not None:
            takeover = not plan.deflate[f"{'server' if plan.server else 'client'}_no_context_takeover"]
        rules = reference.Rules(not plan.server, rsv1=plan.deflate is not None)
        outcome = reference.receive(bytes(self._transport.attempted), rules, takeover=takeover)
        pending = reference.decode(bytes(self._transport.attempted), rules).pending
        assert outcome.bad is None, (self._implementation.name, outcome.bad)
        # One of the several writes of a frame may have failed, which aborts the connection in the middle of it.
        assert pending == 0 or self._transport.aborted, (self._implementation.name, "half a frame", pending)
        # Payloads of pings are random.
        return [Event("ping", None) if event.kind == "ping" else event for event in outcome.events]

    def _check_wire(self) -> None:
        """Everything that was sent is on the wire, once and in order; nothing else but what may be."""
        events = self._wire()
        texts = [
            event.value.decode() if isinstance(event.value, bytes) else event.value
            for event in events
            if event.kind in ("text", "binary")
        ]
        assert all(event.kind in ("text", "binary", "ping", "pong", "close") for event in events), (
            self._implementation.name,
            events,
        )
        assert len(set(texts)) == len(texts), (self._implementation.name, "doubled", texts)
        known = set(self._sent) | self._unsure
        assert set(texts) <= known, (self._implementation.name, "of nobody", texts)
        if not self._transport.closing:
            missing = [text[:20] for text in self._sent if text not in set(texts)]
            assert not missing, (self._implementation.name, "lost", missing)
        assert [event.kind for event in events].count("close") <= 1

    def _check_received(self, open_still: bool) -> None:
        """What was received is what the peer has sent, in order, without a gap but where a task was cancelled."""
        plan = self._plan
        takeover = True
        if plan.deflate is not None:
            takeover = not plan.deflate[f"{'client' if plan.server else 'server'}_no_context_takeover"]
        delivered = plan.stream[: len(plan.stream) - sum(map(len, self._reads))]
        rules = reference.Rules(plan.server, 2**20, rsv1=plan.deflate is not None)
        outcome = reference.receive(delivered, rules, takeover=takeover, max_final_blocks=256)
        expected = [event.value for event in outcome.events if event.kind in ("text", "binary")]
        streamed = any(step[0] == "stream" for step in plan.steps)
        where = (self._implementation.name, self._received, expected)
        if streamed and not plan.calm:
            return
        if streamed:
            assert [one for one in self._received if one not in expected] == [], where
            return
        if self._end.protocol.close_sent is not None:
            # After close(), only what fits into the queue is kept (see QueueStream).
            rest = iter(expected)
            assert all(one in rest for one in self._received), where
            return
        assert self._received == expected[: len(self._received)], where
        if open_still and not self._raised:
            assert self._received == expected, where


@target("streams")
def streams(source: Source) -> Iterable[str]:
    """recv(), send() and what is around them; what happens in the middle of a write, too."""
    plan = Plan(source)
    results = []
    for implementation in implementations():
        results.append(event_loop().run_until_complete(play(implementation, plan)))
        problems = event_loop().take_problems()
        assert not problems, (implementation.name, problems)
    if plan.calm:
        assert results == results[:1] * len(results), results
    code, outcomes, wire, received = results[0]
    words = [f"{step[0]} {step[1] if step[0] == 'surprise' else ''}" for step in plan.steps]
    return [
        *words,
        f"{plan.calm} {code} {plan.deflate is None}",
        *(f"ends {one if one is None else str(one)[:9]}" for one in outcomes),
    ]


async def play(implementation: SimpleNamespace, plan: Plan) -> Any:
    playing = Play(implementation, plan)
    try:
        return await playing.run()
    finally:
        for task in playing._tasks:
            task.cancel()
        await asyncio.gather(*playing._tasks, return_exceptions=True)


# Callbacks

ACTIONS = ("send", "send", "binary", "ping", "close", "raise", "pause", "resume", "abort", "prepared", "wrong")


@target("callbacks")
def callbacks(source: Source) -> Iterable[str]:
    """WebSocketProtocol, whose hooks send, close and raise in the middle of a read or a write."""
    plan = Plan(source)
    hooks = {
        name: [source.choice(ACTIONS) for _ in range(source.integer(0, 2))]
        for name in ("message_received", "ping_received", "pause_writing", "resume_writing")
    }
    results = []
    for implementation in implementations():
        results.append(event_loop().run_until_complete(play_callbacks(implementation, plan, hooks)))
        problems = event_loop().take_problems()
        assert not problems, (implementation.name, problems)
    if plan.calm:
        assert results == results[:1] * len(results), results
    return [f"{name} {actions}" for name, actions in hooks.items()] + [f"{results[0][0]} {len(results[0][1])}"]


async def play_callbacks(implementation: SimpleNamespace, plan: Plan, hooks: dict[str, list[str]]) -> Any:
    constants = implementation.constants
    transport = ScriptedTransport()
    noted: list[Any] = []
    count = 0

    class Scripted(implementation.asyncio_protocol.WebSocketProtocol):  # type: ignore[misc]
        def act(self, hook: str, *arguments: Any) -> None:
            nonlocal count
            noted.append((hook, *arguments))
            for action in hooks.get(hook, ()):
                count += 1
                if count > 200:
                    return
                self.perform(action, hook)

        def perform(self, action: str, hook: str = "") -> None:
            try:
                if action == "send":
                    self.send(f"{count}")
                elif action == "binary":
                    self.send(bytes(5000))
                elif action == "prepared":
                    self.send(implementation.prepared.PreparedMessage("prepared"))
                elif action == "ping":
                    self.ping(b"p")
                elif action == "close":
                    self.close()
                elif action == "pause":
                    self.pause_reading()
                elif action == "resume":
                    self.resume_reading()
                elif action == "abort":
                    transport.abort()
                elif action == "wrong":
                    self.send(3)
                elif hook in ("message_received", "ping_received"):
                    raise ZeroDivisionError("planned")
            except (implementation.exceptions.InvalidState, TypeError) as exc:
                noted.append(type(exc).__name__)

        def message_received(self, data: Any) -> None:
            self.act("message_received", data)

        def ping_received(self, data: bytes) -> None:
            self.act("ping_received", data)

        def pause_writing(self) -> None:
            super().pause_writing()
            self.act("pause_writing")

        def resume_writing(self) -> None:
            super().resume_writing()
            self.act("resume_writing")

        def connection_closed(self, code: int, reason: str) -> None:
            noted.append(("closed", code, reason))

    end = Scripted(
        None if plan.server else "ws://localhost/",
        ping_interval=None, close_timeout=None, open_timeout=None, write_limit=plan.write_limit, logger=LOGGER,
    )  # fmt: skip
    end._handshake = None
    end.was_open = True
    transport.protocol = end
    end.connection_made(transport)
    extensions = [] if plan.deflate is None else [deflate_extension(implementation, plan.deflate, plan.server)]
    end.protocol.open(None, extensions)
    end._take_reads()
    reads = list(plan.reads)

    def read() -> None:
        if reads and transport.is_reading():
            transport.deliver(reads.pop(0))

    for name, *arguments in plan.steps:
        if name in ("send", "try_send", "push"):
            await outside_of_tasks(lambda: end.perform("send"))
        elif name == "drain":
            await outside_of_tasks(lambda: transport.drain(arguments[0]))
        elif name == "close":
            await outside_of_tasks(end.close)
        elif name == "abort":
            transport.abort()
        elif name == "surprise" and arguments[0] in ("try_send", "push", "read"):

            def surprise(kind: str = arguments[0]) -> None:
                if kind == "read":
                    read()
                else:
                    end.perform("send")

            transport.surprises += [None] * arguments[1] + [surprise]
        await outside_of_tasks(read)
        await turns(1)
    transport.surprises.clear()
    while transport.held:
        await outside_of_tasks(lambda: transport.drain(1 << 40))
        await turns(2)
    takeover = plan.deflate is None or not plan.deflate[f"{'server' if plan.server else 'client'}_no_context_takeover"]
    rules = reference.Rules(not plan.server, rsv1=plan.deflate is not None)
    wire = reference.receive(bytes(transport.attempted), rules, takeover=takeover)
    assert wire.bad is None, (implementation.name, wire.bad)
    assert reference.decode(bytes(transport.attempted), rules).pending == 0, (implementation.name, "half a frame")
    transport.closing = True
    await outside_of_tasks(lambda: end.connection_lost(None))
    await turns(2)
    assert end.state is constants.State.CLOSED
    assert [one for one in noted if one[0] == "closed"] == noted[-1:], (implementation.name, noted)
    delivered = plan.stream[: len(plan.stream) - sum(map(len, reads))]
    takeover = plan.deflate is None or not plan.deflate[f"{'client' if plan.server else 'server'}_no_context_takeover"]
    known = reference.receive(
        delivered,
        reference.Rules(plan.server, 2**20, rsv1=plan.deflate is not None),
        takeover=takeover,
        max_final_blocks=256,
    )
    expected = [event.value for event in known.events if event.kind in ("text", "binary")]
    messages = [one[1] for one in noted if one[0] == "message_received"]
    if "raise" in hooks["message_received"] + hooks["ping_received"]:
        # What came in the same read as the message whose handler fails is not handled.
        rest = iter(expected)
        assert all(one in rest for one in messages), (implementation.name, messages, expected)
    else:
        assert messages == expected[: len(messages)], (implementation.name, messages, expected)
    return end.close_code, noted, wire.events
