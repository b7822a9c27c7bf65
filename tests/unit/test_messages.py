"""Messages out of frames (RFC 6455 §5.4)."""

from __future__ import annotations

import tracemalloc

from wsframe.constants import Opcode
from wsframe.events import Message
from wsframe.framing import Frame
from wsframe.messages import MessageAssembler


def test_single_frame_is_a_message():
    assert MessageAssembler().add(Frame(Opcode.TEXT, b"abc")) == Message(Opcode.TEXT, b"abc")


def test_fragments_are_put_together_under_the_first_opcode():
    messages = MessageAssembler()
    for _ in range(2):
        assert messages.add(Frame(Opcode.BINARY, b"ab", fin=False)) is None
        assert messages.add(Frame(Opcode.CONTINUATION, b"cd", fin=False)) is None
        assert messages.add(Frame(Opcode.CONTINUATION, b"ef")) == Message(Opcode.BINARY, b"abcdef")
        assert messages.add(Frame(Opcode.TEXT, b"x")) == Message(Opcode.TEXT, b"x")


def test_empty_fragments_are_put_together():
    """RFC 6455 §5.4: row F12."""
    messages = MessageAssembler()
    assert messages.add(Frame(Opcode.TEXT, b"", fin=False)) is None
    assert messages.add(Frame(Opcode.CONTINUATION, b"", fin=False)) is None
    assert messages.add(Frame(Opcode.CONTINUATION, b"")) == Message(Opcode.TEXT, b"")


def test_what_is_held_does_not_depend_on_the_number_of_fragments():
    """RFC 6455 §10.4."""
    messages = MessageAssembler()
    messages.add(Frame(Opcode.TEXT, b"", fin=False))
    fragment, empty = Frame(Opcode.CONTINUATION, b"x", fin=False), Frame(Opcode.CONTINUATION, b"", fin=False)
    tracemalloc.start()
    try:
        for _ in range(20_000):
            messages.add(fragment)
            messages.add(empty)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert messages.add(Frame(Opcode.CONTINUATION, b"")).payload == b"x" * 20_000
