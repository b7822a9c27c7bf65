"""Both implementations of the streams do the same with a transport that only records calls.

``Connection`` and ``WebSocketProtocol`` are loaded on top of each implementation. How many writes there are, and in
which turn of the event loop a task goes on, may differ: what is compared is what there is when nothing moves any more.
"""

from __future__ import annotations

import array
import asyncio
import logging

import hypothesis.strategies as st
import pytest
from hypothesis import event, example, given, settings
from stacks import load_stack
from support import frame, run
from support_deflate import codec

import wsframe
from wsframe.codec import apply_mask
from wsframe.constants import Opcode, Role, State
from wsframe.limits import Limits
from wsframe.messages.prepared import PreparedMessage

# Of an example that fails, with large messages in it.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

LOGGER = logging.getLogger("stream parity")
LOGGER.disabled = True


@pytest.fixture(scope="module")
def stacks(twins):
    return [load_stack(twins.c), load_stack(twins.py)]


class Transport:
    """Records what is written, and keeps what is not drained."""

    def __init__(self):
        self.written = bytearray()
        self.held = 0
        self.takes = 0
        self.limits = (0, 10**9)
        self.paused_writing = False
        self.reading = True
        self.closing = False
        self.calls = []
        self.protocol = None

    def set_write_buffer_limits(self, high, low=None):
        self.limits = (high // 4 if low is None else low, high)

    def get_write_buffer_size(self):
        return self.held

    def get_extra_info(self, name):
        return None

    def is_closing(self):
        return self.closing

    def is_reading(self):
        return self.reading and not self.closing

    def pause_reading(self):
        assert self.reading, "paused twice"
        self.reading = False
        self.calls.append("pause_reading")

    def resume_reading(self):
        assert not self.reading, "resumed twice"
        self.reading = True
        self.calls.append("resume_reading")

    def write(self, data):
        assert data, "an empty write"
        assert not self.closing, "a write after the end"
        self.written += data
        taken = min(self.takes, len(data))
        self.takes -= taken
        self.held += len(data) - taken
        if self.held > self.limits[1] and not self.paused_writing:
            self.paused_writing = True
            self.protocol.pause_writing()

    def drain(self, size):
        """Have the peer read so much, now and of what comes."""
        taken = min(size, self.held)
        self.held -= taken
        self.takes += size - taken
        if self.paused_writing and self.held <= self.limits[0]:
            self.paused_writing = False
            self.protocol.resume_writing()

    def can_write_eof(self):
        return True

    def write_eof(self):
        if "write_eof" not in self.calls:
            self.calls.append("write_eof")

    def close(self):
        if not self.closing:
            self.calls.append("close")
        self.closing = True

    def abort(self):
        if not self.closing:
            self.calls.append("abort")
        self.closing = True


OPTIONS = {
    "ping_interval": None,
    "close_timeout": None,
    "open_timeout": None,
    "logger": LOGGER,
}


def attach(end, deflate):
    """Open a connection on a transport of its own, the opening handshake being done."""
    transport = Transport()
    transport.protocol = end
    end.connection_made(transport)
    end.protocol.open(None, [codec()] if deflate else [])
    end._take_reads()
    return transport


async def call(function, *arguments):
    """Call a function as the event loop calls a protocol's, with no task running."""
    done = asyncio.get_running_loop().create_future()

    def run_it():
        try:
            done.set_result(function(*arguments))
        except Exception as exc:
            done.set_exception(exc)

    asyncio.get_running_loop().call_soon(run_it)
    return await done


async def settle():
    for _ in range(8):
        await asyncio.sleep(0)


def read(end, data):
    """Hand over what the peer has sent, as a transport does."""
    buffer = end.get_buffer(-1)
    buffer[: len(data)] = data
    end.buffer_updated(len(data))


def unmasked(wire):
    """Split what a client has written into pairs of header and payload."""
    frames = []
    while wire:
        size, start = wire[1] & 0x7F, 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(wire[2:start], "big")
        masked = wire[start + 4 : start + 4 + size]
        assert len(masked) == size, "half a frame"
        frames.append((wire[:start], apply_mask(masked, wire[start : start + 4])))
        wire = wire[start + 4 + size :]
    return frames


def seen(end, transport):
    """What there is to see of a connection."""
    core = end.protocol
    wire = bytes(transport.written)
    if core.role is Role.CLIENT:
        wire = unmasked(wire)
    return (
        wire,
        transport.calls[:],
        transport.held,
        end.reading_paused,
        end.state,
        core.close_rcvd,
        core.close_sent,
        core.messages_received,
        core.messages_sent,
        core.bytes_sent,
    )


# What happens

PAYLOAD = st.binary(max_size=20) | st.sampled_from([0, 125, 126, 4095, 4096, 65_536, 70_000]).map(bytes)
TEXT = st.text(max_size=10) | st.sampled_from(["é" * 200, "x" * 5000])
OTHER = st.sampled_from(
    [None, 1, "\ud800", {"a": 1}, [], ["a", b"b"], ["a", "é"], [b"a"], bytearray(b"x"), memoryview(b"xyz")]
)


@st.composite
def received(draw, role):
    """Write what the peer sends in one read: messages, control frames, at times what breaks the protocol."""
    data = b""
    for kind in draw(
        st.lists(st.sampled_from(["text", "bytes", "latin", "ping", "pong", "close", "wrong", "half"]), max_size=5)
    ):
        if kind == "text":
            data += frame(Opcode.TEXT, draw(TEXT).encode(), to=role)
        elif kind == "bytes":
            data += frame(Opcode.BINARY, draw(PAYLOAD), to=role)
        elif kind == "latin":
            data += frame(Opcode.BINARY, b"\xe9", to=role)
        elif kind in ("ping", "pong"):
            data += frame(Opcode[kind.upper()], draw(st.binary(max_size=3)), to=role)
        elif kind == "half":
            data += frame(Opcode.TEXT, b"he", to=role, fin=False) + frame(Opcode.CONTINUATION, b"lf", to=role)
        elif draw(st.integers(0, 3)) == 0:
            data += frame(Opcode.CLOSE, b"\x03\xe8", to=role) if kind == "close" else b"\x8f\x00"
    return data


@st.composite
def queue_scenario(draw):
    role = draw(st.sampled_from(Role))
    steps = st.one_of(
        st.tuples(st.just("read"), received(role)),
        st.tuples(st.just("read"), received(role)),
        st.tuples(st.just("recv"), st.sampled_from([None, None, True, False])),
        st.just(("next",)),
        st.tuples(st.just("send"), TEXT | PAYLOAD | OTHER, st.sampled_from([None, None, True, False])),
        st.tuples(st.just("send"), TEXT | PAYLOAD, st.none()),
        st.tuples(st.just("push"), TEXT | PAYLOAD),
        st.tuples(st.just("ping"), st.binary(max_size=4)),
        st.tuples(st.just("drain"), st.sampled_from([1, 100, 10**6])),
        st.tuples(st.just("cancel"), st.integers(0, 5)),
        st.just(("settle",)),
        st.just(("settle",)),
        st.just(("close",)),
        st.just(("abort",)),
    )
    return (
        role,
        draw(st.booleans()),
        draw(st.sampled_from([100, 5000, 10**6])),
        draw(st.sampled_from([None, 1, 2, (2, 0), (3, None)])),
        draw(st.lists(steps, max_size=14)),
    )


def outcome(task):
    if not task.done():
        return "waits"
    if task.cancelled():
        return "cancelled"
    exc = task.exception()
    if exc is not None:
        return (type(exc), str(exc), type(exc.__cause__))
    result = task.result()
    return "a pong to come" if isinstance(result, asyncio.Future) else result


async def play_queue(stack, role, deflate, write_high, max_queue, steps):
    core = stack.core(role, state=State.CONNECTING, limits=Limits(max_message_size=10_000))
    end = stack.connection(core, write_limit=write_high, max_queue=max_queue, **OPTIONS)
    transport = attach(end, deflate)
    tasks, states = [], []

    async def started(coroutine):
        return await coroutine

    for name, *arguments in steps:
        if name == "read":
            if transport.is_reading():
                await call(read, end, arguments[0])
        elif name in ("recv", "send", "ping", "close"):
            tasks.append(asyncio.ensure_future(started(getattr(end, name)(*arguments))))
        elif name == "next":
            tasks.append(asyncio.ensure_future(started(end.__anext__())))
        elif name == "push":
            try:
                end.push(PreparedMessage(*arguments))
            except Exception as exc:
                states.append((type(exc), str(exc)))
        elif name == "drain":
            await call(transport.drain, *arguments)
        elif name == "cancel":
            for task in tasks[-1 - arguments[0] :][:1]:
                task.cancel()
        elif name == "abort":
            transport.abort()
        await settle()
        states.append((name, seen(end, transport), [outcome(task) for task in tasks], end.queue_depth))
    transport.closing = True
    await call(end.connection_lost, None)
    await settle()
    states.append((seen(end, transport), [outcome(task) for task in tasks], end.queue_depth))
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return states


@settings(max_examples=150, deadline=None)
@given(scenario=queue_scenario())
@example(
    scenario=(Role.SERVER, False, 100, None, [("send", bytes(4096), None), ("send", b"a", None), ("drain", 10**6)])
)
def test_queue_streams(stacks, scenario):
    compiled, pure = (run(play_queue(stack, *scenario)) for stack in stacks)
    for mine, theirs in zip(compiled, pure, strict=True):
        assert mine == theirs
    event(f"{scenario[0].name} ends in {compiled[-1][0][4].name}, {len(compiled[-1][1])} tasks")


# Callbacks: the messages say what the hooks do


@st.composite
def callback_scenario(draw):
    role = draw(st.sampled_from(Role))
    actions = st.lists(
        st.one_of(
            st.tuples(st.just("send"), TEXT | PAYLOAD | OTHER | st.just(array.array("h", [1, 2]))),
            st.tuples(st.just("send"), TEXT | PAYLOAD),
            st.tuples(st.just("prepared"), TEXT | PAYLOAD),
            st.tuples(st.just("ping"), st.binary(max_size=4)),
            st.just(("pause",)),
            st.just(("resume",)),
            st.just(("close",)),
            st.just(("abort",)),
            st.just(("fail",)),
        ),
        max_size=3,
    )
    steps = st.one_of(
        st.tuples(st.just("read"), received(role)),
        st.tuples(st.just("act"), actions),
        st.tuples(st.just("drain"), st.sampled_from([1, 100, 10**6])),
    )
    hooks = {name: draw(actions) for name in ("message_received", "ping_received", "pause_writing", "resume_writing")}
    return role, draw(st.booleans()), draw(st.sampled_from([100, 5000])), hooks, draw(st.lists(steps, max_size=8))


def make_scripted(protocol):
    class Scripted(protocol):
        def act(self, name, *arguments):
            """Note a hook, and do what is to be done in it."""
            self.noted.append((name, *arguments))
            self.perform(self.hooks.get(name, ()))

        def perform(self, actions):
            for name, *arguments in actions:
                if name == "fail":
                    raise ZeroDivisionError("on purpose")
                try:
                    if name == "prepared":
                        self.send(PreparedMessage(*arguments))
                    elif name == "abort":
                        self.transport.abort()
                    else:
                        getattr(self, {"pause": "pause_reading", "resume": "resume_reading"}.get(name, name))(
                            *arguments
                        )
                except (wsframe.InvalidState, TypeError, UnicodeEncodeError) as exc:
                    self.noted.append(type(exc))

        def message_received(self, data):
            self.act("message_received", data)

        def ping_received(self, data):
            self.act("ping_received", data)

        def pause_writing(self):
            super().pause_writing()
            self.act("pause_writing")

        def resume_writing(self):
            super().resume_writing()
            self.act("resume_writing")

        def connection_closed(self, code, reason):
            self.noted.append(("closed", code, reason))

    return Scripted


async def play_callback(stack, role, deflate, write_high, hooks, steps):
    options = {name: value for name, value in OPTIONS.items() if name != "open_timeout"}
    uri = None if role is Role.SERVER else "ws://localhost/"
    end = make_scripted(stack.protocol)(uri, write_limit=write_high, open_timeout=None, max_size=10_000, **options)
    end._handshake = None
    end.was_open = True
    end.noted = []
    transport = attach(end, deflate)
    end.hooks = {
        name: [one for one in done if name[-7:] != "writing" or one[0] != "fail"] for name, done in hooks.items()
    }
    states = []
    for name, argument in steps:
        if name == "read":
            if transport.is_reading():
                await call(read, end, argument)
        elif name == "drain":
            await call(transport.drain, argument)
        else:
            await call(end.perform, [one for one in argument if one[0] != "fail"])
        await settle()
        states.append((name, seen(end, transport), end.noted[:]))
    transport.closing = True
    await call(end.connection_lost, None)
    states.append((seen(end, transport), end.noted))
    return states


@settings(max_examples=150, deadline=None)
@given(scenario=callback_scenario())
def test_callback_streams(stacks, scenario):
    compiled, pure = (run(play_callback(stack, *scenario)) for stack in stacks)
    for mine, theirs in zip(compiled, pure, strict=True):
        assert mine == theirs
    event(f"{scenario[0].name} ends in {compiled[-1][0][4].name}")


@pytest.mark.parametrize("size", [10, 5000, 70_000])
def test_frames_sent_by_pause_writing_follow_once(stacks, size):
    """The transport calls the hook within a write, perhaps between a header and its payload."""
    hooks = {"pause_writing": [("send", b"behind"), ("close",)], "ping_received": [("send", bytes(size))]}
    message = frame(Opcode.BINARY, bytes(size), to=Role.CLIENT)
    behind = frame(Opcode.BINARY, b"behind", to=Role.CLIENT) + frame(Opcode.CLOSE, b"\x03\xe8", to=Role.CLIENT)
    # The peer takes nothing, some of the header, or some of the payload.
    for takes in (0, 1, size):
        for stack in stacks:
            steps = [("drain", takes), ("act", [("send", bytes(size))])]
            assert run(play_callback(stack, Role.SERVER, False, 0, hooks, steps))[1][1][0] == message + behind
            steps = [("drain", takes), ("read", frame(Opcode.PING))]
            pong = frame(Opcode.PONG, to=Role.CLIENT)
            assert run(play_callback(stack, Role.SERVER, False, 0, hooks, steps))[1][1][0] == pong + message + behind
