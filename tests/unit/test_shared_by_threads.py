"""Objects that several threads use at once, as they can on an interpreter without a GIL: nothing is corrupted.

With a GIL, threads switch wherever Python code runs, here as often as possible; ``tests.yml`` runs this without one.
``docs/connections.md`` says which objects may be shared.
"""

from __future__ import annotations

import random
import sys
import threading

import pytest
from support import frame

from wsframe.constants import Opcode, Role
from wsframe.extensions.deflate import PerMessageDeflateFactory
from wsframe.limits import Limits
from wsframe.messages.prepared import PreparedMessage

THREADS = 4


@pytest.fixture(autouse=True)
def switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*functions):
    """Run functions in threads that begin at once; raise what one of them raises."""
    barrier = threading.Barrier(len(functions))
    errors = []

    def run(function):
        barrier.wait()
        try:
            function()
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(function,)) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    if errors:
        raise errors[0]


def numbered(thread, count):
    rng = random.Random(thread)
    for number in range(count):
        yield f"{thread}:{number}:" + "x" * rng.choice([0, 5, 500, 5000])


@pytest.mark.parametrize("compression", [False, True])
@pytest.mark.parametrize("role", Role)
def test_threads_may_share_a_connection_for_sending(stack, role, compression):
    """Whole messages, each once, and those of one thread in order."""
    extensions, theirs = [], []
    if compression:
        factory = PerMessageDeflateFactory(threshold=0)
        parameters, server = factory.accept_offer([("client_max_window_bits", None)])
        client = factory.accept_response(parameters)
        extensions, theirs = ([server], [client]) if role is Role.SERVER else ([client], [server])
    connection = stack.core(role, limits=Limits(), extensions=extensions)
    peer_role = Role.CLIENT if role is Role.SERVER else Role.SERVER
    peer = stack.core(peer_role, limits=Limits(max_message_size=None), extensions=theirs)
    written = []
    done = threading.Event()
    count = 60
    # The pure implementation leaves it to its user to keep threads from sending at once.
    lock = threading.Lock() if stack.name == "py" else None

    def send(thread):
        for text in numbered(thread, count):
            if lock is not None:
                with lock:
                    connection.send_text(text)
            elif len(text) % 2:
                connection.send_prepared(PreparedMessage(text))
            else:
                connection.send_text(text)

    def drain():
        while not done.is_set():
            if lock is not None:
                with lock:
                    written.append(connection.data_to_send())
            else:
                written.append(connection.data_to_send())

    def senders():
        try:
            together(*(lambda thread=thread: send(thread) for thread in range(THREADS)))
        finally:
            done.set()

    together(senders, drain)
    written.append(connection.data_to_send())
    received = [event.data for event in peer.receive_data(b"".join(written))]
    assert peer.fault is None
    for thread in range(THREADS):
        assert [text for text in received if text.startswith(f"{thread}:")] == list(numbered(thread, count))


def test_threads_may_share_a_connection_for_receiving(stack):
    """The order is unspecified; each piece is whole frames, so all that were fed arrive."""
    connection = stack.core(Role.SERVER, limits=Limits())
    lock = threading.Lock()
    received = []
    piece = frame(Opcode.TEXT, b"x" * 300) + frame(Opcode.BINARY, b"y" * 70_000) + frame(Opcode.PING, b"p")

    def feed():
        for _ in range(50):
            if stack.name == "py":
                with lock:
                    events = connection.receive_data(piece)
            else:
                events = connection.receive_data(piece)
            received.extend(events)

    together(*[feed] * THREADS)
    assert connection.fault is None
    assert len(received) == 3 * 50 * THREADS
    assert connection.bytes_received == len(piece) * 50 * THREADS


def test_threads_may_share_parser_validator_and_masks(impl):
    parser = impl.framing.FrameParser(Role.SERVER)
    validator = impl.utf8.Utf8Validator()
    piece = frame(Opcode.TEXT, b"x" * 300)
    buffer = bytearray(4096)
    lock = threading.Lock()
    frames, keys = [], []

    def use():
        for _ in range(100):
            if impl.name == "py":
                with lock:
                    frames.extend(parser.feed(piece))
                    validator.feed(b"abc")
                    impl.masking.apply_mask_inplace(buffer, b"abcd")
            else:
                frames.extend(parser.feed(piece))
                validator.feed(b"abc")
                impl.masking.apply_mask_inplace(buffer, b"abcd")
            keys.append(impl.masking.new_masking_key())

    together(*[use] * THREADS)
    assert len(frames) == 100 * THREADS
    assert validator.valid
    assert len(keys) == len(set(keys))
    assert buffer == bytearray(4096)
