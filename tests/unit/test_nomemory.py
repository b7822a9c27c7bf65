"""Allocations that fail, one after the other: MemoryError, a stream of whole frames, and nothing accepted is lost.

CPython makes them fail on demand by ``_testcapi``, and does not survive that everywhere in Python code: here it is done
to the compiled implementation, and in ``test_interrupts`` MemoryError is raised at each step of both.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys

import pytest
from support import frame, skip_without_tool

from wsframe.constants import Opcode, Role
from wsframe.exceptions import ProtocolError
from wsframe.limits import Limits
from wsframe.messages.prepared import PreparedMessage

try:
    import _testcapi
except ImportError:
    skip_without_tool("this CPython has no _testcapi")

STEPS = 30


@pytest.fixture(autouse=True)
def compiled(impl):
    if impl.name == "py":
        pytest.skip("CPython does not survive that in Python code")
    if sys.gettrace() is not None:
        pytest.skip("a tracer needs memory, too")
    if hasattr(sys, "gettotalrefcount"):
        pytest.skip("CPython's debug build aborts where Python code runs out of memory")


@contextlib.contextmanager
def no_memory(start, stop):
    """Let the allocations from the start-th to the stop-th fail; all of them if stop is 0."""
    _testcapi.set_nomemory(start, stop)
    try:
        yield
    finally:
        _testcapi.remove_mem_hooks()


def failing(function, start, stop):
    """Call a function while memory fails; return its result and whether it ran out of memory."""
    try:
        with no_memory(start, stop):
            return function(), False
    except MemoryError:
        return None, True


def peer_of(stack, role):
    return stack.core(Role.SERVER if role is Role.CLIENT else Role.CLIENT, limits=Limits(max_message_size=None))


SCRIPTS = {
    "short text": ["a"] * 5,
    "Latin text": ["\xe9" * 100] * 5,
    "long text": ["\u20ac" * 3000] * 5,
    "emoji": ["\U0001f600" * 400] * 5,
    "short": [b"b"] * 5,
    "uncopied": [b"d" * 5000] * 7,
    "many uncopied": [b"d" * 5000] * 40,
    "large": [b"e" * 100_000] * 5,
    "bytearray": [bytearray(b"f" * 7000)] * 3,
    "strided": [memoryview(b"gh" * 9000)[::2]] * 3,
    "41 in a tail": ["small"] * 41,
    "400 in a tail": ["small"] * 400,
    "61 in a tail": [b"x" * 500] * 61,
    "mixed": [b"s", b"x" * 5000] * 9,
    "fragments": [(b"one", False), (b"two", True)] * 3,
    "pings": [("ping", b"x")] * 5,
    "prepared": [PreparedMessage("p"), PreparedMessage(b"q" * 5000)] * 3,
}


def send(connection, item):
    if isinstance(item, PreparedMessage):
        connection.send_prepared(item)
    elif isinstance(item, str):
        connection.send_text(item)
    elif not isinstance(item, tuple):
        connection.send_binary(item)
    elif item[0] == "ping":
        connection.send_ping(item[1])
    elif item[1]:
        connection.send_continuation(item[0], fin=True)
    else:
        connection.send_binary(item[0], fin=False)


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("name", SCRIPTS)
def test_only_accepted_messages_are_sent(stack, role, name):
    script = SCRIPTS[name]
    failures = 0
    for place in {0, 1, len(script) // 2 // 2 * 2}:
        for step in range(STEPS):
            for stop in (step + 1, 0):
                failures += attempt(stack, role, script, place, step, stop)
    # Memory did run out, so this tested something.
    assert failures > 2


def attempt(stack, role, script, place, start, stop):
    """Send a script, without memory at one place of it and at the end; return how often that failed."""
    connection = stack.core(role, limits=Limits())
    accepted = []
    failures = 0
    for number, item in enumerate(script):
        if number == place:
            _, failed = failing(lambda: send(connection, item), start, stop)
            failures += failed
            if failed:
                continue
        else:
            try:
                send(connection, item)
            except ProtocolError:
                # The first fragment was not accepted.
                assert isinstance(item, tuple)
                continue
        accepted.append(item)
    data, failed = failing(connection.data_to_send, start, stop)
    if failed:
        failures += 1
        data = connection.data_to_send()
    assert connection.data_to_send() == b""
    peer = peer_of(stack, role)
    events = peer.receive_data(data)
    assert peer.fault is None
    assert b"".join(event.payload for event in events) == whole_messages(accepted)
    return failures


def whole_messages(accepted):
    """The payloads that were accepted; nothing of a message whose last fragment was not."""
    result, unfinished = b"", b""
    for item in accepted:
        if isinstance(item, tuple) and item[0] != "ping":
            unfinished += item[0]
            if item[1]:
                result, unfinished = result + unfinished, b""
        else:
            result += payload(item)
    return result


def payload(item):
    if isinstance(item, PreparedMessage):
        return item.payload
    if isinstance(item, str):
        return item.encode()
    return item[1] if isinstance(item, tuple) else bytes(item)


WIRE = (
    frame(Opcode.TEXT, ("\xe9\u20ac\U0001f600" * 300).encode())
    + frame(Opcode.PING, b"ping")
    + frame(Opcode.BINARY, b"z" * 30_000, fin=False)
    + frame(Opcode.CONTINUATION, b"y" * 30)
    + frame(Opcode.CLOSE, b"\x03\xe8bye")
)
PIECES = [WIRE[start : start + 7001] for start in range(0, len(WIRE), 7001)]


@pytest.mark.parametrize("streaming", [False, True])
def test_running_out_of_memory_while_receiving_stops_receiving(stack, streaming):
    """After a loss, nothing follows that depends on what was lost."""
    expected = [type(event).__name__ for event in everything(stack.core(Role.SERVER), PIECES, streaming)]
    failures = 0
    for step in range(3 * STEPS):
        connection = stack.core(Role.SERVER)
        events = []
        failed = False
        for number, piece in enumerate(PIECES):
            if streaming and not number:
                connection.stream_message()
            if number == step % len(PIECES):
                before = connection.bytes_received
                received, failed = failing(lambda: connection.receive_data(piece), step // len(PIECES), 0)
                if failed and not connection.failed:
                    # It has not even been called: older Pythons need memory for that.
                    assert connection.bytes_received == before
                    received, failed = connection.receive_data(piece), False
                events += received or []
            else:
                received = connection.receive_data(piece)
                assert not (failed and received)
                events += received
        failures += failed
        assert connection.failed == failed
        assert [type(event).__name__ for event in events] == expected[: len(events)]
        assert failed or len(events) == len(expected)
    assert failures > 2


def everything(connection, pieces, streaming):
    if streaming:
        connection.stream_message()
    return [event for piece in pieces for event in connection.receive_data(piece)]


def test_codec_without_memory(impl):
    """MemoryError, never SystemError or a wrong result."""
    strided = memoryview(b"abcdef" * 100)[::2]
    validator = impl.utf8.Utf8Validator()
    frames = frame(Opcode.TEXT, b"x" * 3000)
    for operation in (
        lambda: impl.masking.apply_mask(strided, b"abcd"),
        lambda: impl.masking.apply_mask(b"x" * 1000, bytearray(b"abcd")),
        lambda: impl.masking.apply_mask_inplace(bytearray(1000), memoryview(b"abcd")),
        impl.masking.new_masking_key,
        lambda: validator.feed(b"\xe2\x82") and validator.finish(),
        lambda: impl.framing.serialize_frame(1, strided, mask=b"abcd"),
        lambda: repr(impl.framing.Frame(Opcode.TEXT, b"x")),
        lambda: hash(impl.message.Message(Opcode.TEXT, b"x")),
        lambda: impl.message.Message(Opcode.TEXT, "\xe9".encode() * 50).data,
        lambda: impl.framing.FrameParser(Role.SERVER).feed(frames),
    ):
        right = operation()
        for step in range(40):
            for stop in (step + 1, 0):
                impl.masking._forget_pool()
                result, failed = failing(operation, step, stop)
                if not failed and operation != impl.masking.new_masking_key:
                    assert result == right


class Transport(asyncio.Transport):
    def __init__(self):
        super().__init__()
        self.written = []

    def write(self, data):
        self.written.append(data)

    def is_closing(self):
        return False

    def is_reading(self):
        return True

    def get_write_buffer_size(self):
        return 0

    def get_extra_info(self, name, default=None):
        return default

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def abort(self):
        self.written.append(None)

    def set_write_buffer_limits(self, high=None, low=None):
        pass


@pytest.mark.parametrize("kind", ["callbacks", "queue"])
def test_streams_without_memory_lose_nothing_they_accepted(stack, kind):
    async def main():
        for step in range(STEPS):
            for stop in (step + 1, 0):
                await attempt(step, stop)

    async def attempt(step, stop):
        if kind == "callbacks":
            stream = stack.twin.stream.CallbackStream(stack.core(Role.SERVER), 2**15)
            push = stream.send
        else:
            stream = stack.twin.queue.QueueStream(stack.core(Role.SERVER), 2**15, 4, 1)
            push = lambda text: stream.push(PreparedMessage(text))  # noqa: E731
        transport = Transport()
        stream._attach(transport, asyncio.get_running_loop())
        accepted = []
        for number in range(5):
            if number == 2:
                await asyncio.sleep(0)
            failed = False
            if number == 3:
                _, failed = failing(lambda: push("3"), step, stop)
            else:
                push(str(number))
            accepted += [] if failed else [str(number)]
        for _ in range(3):
            await asyncio.sleep(0)
        push("later")
        await asyncio.sleep(0)
        written = transport.written
        if None in written:
            # Aborted, since it is unknown how much was written.
            return
        received = [event.data for event in peer_of(stack, Role.SERVER).receive_data(b"".join(map(bytes, written)))]
        assert [text for text in received if text != "3" or text in accepted] == [*accepted, "later"]
        assert received[-1] == "later"

    asyncio.run(main())


def test_message_stays_in_the_queue_if_decoding_fails(stack):
    async def main():
        for step in range(STEPS):
            stream = stack.twin.queue.QueueStream(stack.core(Role.SERVER), 2**15, 4, 1)
            stream._attach(Transport(), asyncio.get_running_loop())
            data = frame(Opcode.TEXT, b"x" * 1000)
            stream.get_buffer(-1)[: len(data)] = data
            stream.buffer_updated(len(data))
            assert stream.queue_depth == 1
            coroutine = stream.recv()
            try:
                with no_memory(step, step + 1):
                    coroutine.send(None)
            except StopIteration as exc:
                assert exc.value == "x" * 1000
            except MemoryError:
                # Out of memory for the exception that carries the result, in CPython itself.
                if stream.queue_depth:
                    assert await stream.recv() == "x" * 1000
            else:
                raise AssertionError

    asyncio.run(main())
