"""Operations that fail, or are interrupted, between their first step and their last."""

from __future__ import annotations

import asyncio

import pytest
from support import frame

from wsframe.constants import Opcode, Role, State
from wsframe.exceptions import InvalidState, ProtocolError
from wsframe.extensions.deflate import PerMessageDeflate, PerMessageDeflateFactory
from wsframe.limits import Limits
from wsframe.messages.prepared import PreparedMessage


@pytest.fixture
def client(impl, stack):
    """A client whose next masking key can run a hook."""
    impl.masking._forget_pool()
    return stack.core(Role.CLIENT, limits=Limits())


def run_within(impl, monkeypatch, hook):
    """Run a hook once when the next masking key is made."""
    urandom = impl.masking.os.urandom

    def with_hook(size):
        monkeypatch.setattr(impl.masking.os, "urandom", urandom)
        hook()
        return urandom(size)

    impl.masking._forget_pool()
    monkeypatch.setattr(impl.masking.os, "urandom", with_hook)


def received(stack, connection):
    peer = stack.core(Role.SERVER if connection.role is Role.CLIENT else Role.CLIENT, limits=Limits())
    events = peer.receive_data(connection.data_to_send())
    assert peer.fault is None
    return events


def test_message_is_refused_when_another_starts_meanwhile(impl, stack, client, monkeypatch):
    run_within(impl, monkeypatch, lambda: client.send_text("a", fin=False))
    with pytest.raises(ProtocolError, match="a fragmented message is in progress"):
        client.send_text("b")
    client.send_continuation("c", fin=True)
    assert [event.data for event in received(stack, client)] == ["ac"]


def test_fragment_is_refused_when_another_ends_the_message_meanwhile(impl, stack, client, monkeypatch):
    client.send_text("a", fin=False)
    run_within(impl, monkeypatch, lambda: client.send_continuation("b", fin=True))
    with pytest.raises(ProtocolError, match="there is no fragmented message to continue"):
        client.send_continuation("c", fin=True)
    assert [event.data for event in received(stack, client)] == ["ab"]


@pytest.mark.parametrize("fin", [True, False])
def test_message_and_fragment_are_refused_when_a_close_is_sent_meanwhile(impl, stack, client, monkeypatch, fin):
    if not fin:
        client.send_text("a", fin=False)
    run_within(impl, monkeypatch, lambda: client.send_close(1001))
    with pytest.raises(InvalidState, match="cannot send in state CLOSING"):
        client.send_text("b") if fin else client.send_continuation("b", fin=True)
    assert [type(event).__name__ for event in received(stack, client)] == ["CloseReceived"]


class Compressor:
    def __init__(self, compressor, hook):
        self.compressor = compressor
        self.hook = hook

    def compress(self, data):
        self.hook()
        return self.compressor.compress(data)

    def flush(self, mode):
        return self.compressor.flush(mode)


def deflating(stack):
    parameters, extension = PerMessageDeflateFactory(threshold=0).accept_offer([])
    theirs = PerMessageDeflateFactory().accept_response(parameters)
    connection = stack.core(Role.SERVER, extensions=[extension], limits=Limits())
    return connection, extension, stack.core(Role.CLIENT, extensions=[theirs], limits=Limits())


def test_fragment_sent_while_one_is_compressed(stack):
    connection, extension, peer = deflating(stack)
    connection.send_text("a", fin=False)
    refused = []

    def hook():
        with pytest.raises(ProtocolError, match="a fragment is being sent"):
            connection.send_continuation("never", fin=True)
        refused.append(1)

    extension._compressor = Compressor(extension._compressor, hook)
    connection.send_continuation("b", fin=True)
    assert refused
    assert [event.data for event in peer.receive_data(connection.data_to_send())] == ["ab"]


def test_message_and_close_sent_while_one_is_compressed(stack):
    """The message was accepted before the Close frame, but nothing may follow that (RFC 6455 §5.5.1)."""
    connection, extension, peer = deflating(stack)
    connection.send_text("a")

    def hook():
        connection.send_text("never")
        connection.send_close(1001)

    extension._compressor = Compressor(extension._compressor, hook)
    with pytest.raises(InvalidState):
        connection.send_text("nor this")
    events = peer.receive_data(connection.data_to_send())
    assert [type(event).__name__ for event in events] == ["Message", "CloseReceived"]
    assert connection.data_to_send() == b""


def test_prepared_message_that_cannot_be_compressed(stack, monkeypatch):
    """The next message refers to nothing that was not sent."""
    connection, extension, peer = deflating(stack)

    def fail(payload):
        raise MemoryError

    connection.send_text("a" * 100)
    with monkeypatch.context() as patch:
        patch.setattr(PerMessageDeflate, "encode_standalone", lambda self, payload: fail(payload))
        with pytest.raises(MemoryError):
            connection.send_prepared(PreparedMessage("lost"))
    connection.send_text("a" * 100)
    assert [event.data for event in peer.receive_data(connection.data_to_send())] == ["a" * 100] * 2


def test_messages_sent_while_a_prepared_one_is_compressed(stack, monkeypatch):
    connection, extension, peer = deflating(stack)
    encode = PerMessageDeflate.encode_standalone

    def with_hook(self, payload):
        connection.send_text("b")
        connection.send_prepared(PreparedMessage("c"))
        monkeypatch.undo()
        return encode(self, payload)

    monkeypatch.setattr(PerMessageDeflate, "encode_standalone", with_hook)
    connection.send_prepared(PreparedMessage("a"))
    assert [event.data for event in peer.receive_data(connection.data_to_send())] == ["a", "b", "c"]


# Out of memory in Python code; test_nomemory does it to the compiled implementation.


def only_pure(impl):
    if impl.name != "py":
        pytest.skip("in test_nomemory")


def test_output_is_kept_if_joining_fails(impl, stack):
    only_pure(impl)
    connection = stack.core(Role.SERVER)

    class Counter(int):
        def __add__(self, other):
            raise MemoryError

    connection.send_text("a")
    connection.bytes_sent = Counter()
    with pytest.raises(MemoryError):
        connection.data_to_send()
    connection.bytes_sent = 0
    connection.send_text("b")
    assert [event.data for event in received(stack, connection)] == ["a", "b"]


def test_failed_parser_parses_nothing_more(impl, monkeypatch):
    only_pure(impl)
    parser = impl.framing.FrameParser(Role.SERVER)

    def fail(*args):
        raise MemoryError

    first, second = frame(Opcode.TEXT, b"a"), frame(Opcode.TEXT, b"b")
    with monkeypatch.context() as patch:
        patch.setattr(impl.framing, "apply_mask", fail)
        with pytest.raises(MemoryError):
            parser.feed(first)
    assert parser.feed(second) == []
    assert parser.pending_bytes == 0


def test_message_stays_in_the_queue_if_decoding_fails(impl, stack):
    only_pure(impl)

    class Message:
        failures = 1

        @property
        def data(self):
            if self.failures:
                self.failures -= 1
                raise MemoryError
            return "a"

    async def main():
        stream = impl.queue.QueueStream(stack.core(Role.SERVER), 2**15, 4, 1)
        stream._queue.append(Message())
        with pytest.raises(MemoryError):
            await stream.recv()
        assert await stream.recv() == "a"

    asyncio.run(main())


def test_interrupted_close_leaves_the_connection_closing(impl, stack):
    """It stays in the state CLOSING, with the Close frame that was sent."""

    class Interrupt(BaseException):
        pass

    class Stream(impl.stream.CallbackStream):
        def message_received(self, data):
            self.protocol.send_close(1000)
            raise Interrupt

    stream = Stream(stack.core(Role.SERVER), 2**15)
    written = []

    class Transport(asyncio.Transport):
        def is_closing(self):
            return False

        def get_write_buffer_size(self):
            return 0

        def write(self, data):
            written.append(bytes(data))

    async def interrupted():
        stream._attach(Transport(), asyncio.get_running_loop())
        data = frame(Opcode.TEXT, b"a")
        stream.get_buffer(-1)[: len(data)] = data
        with pytest.raises(Interrupt):
            stream.buffer_updated(len(data))
        stream._ending = True
        assert stream.protocol.state is State.CLOSING
        with pytest.raises((AttributeError, NotImplementedError)):
            stream._flush()

    asyncio.run(interrupted())
    assert b"".join(written) == frame(Opcode.CLOSE, b"\x03\xe8", to=Role.CLIENT)
