"""One log line for each frame: its contents and what it omits."""

from __future__ import annotations

import pytest

from wsframe import Limits, Opcode, PreparedMessage, Role, State
from wsframe.codec import Frame
from wsframe.messages.frame_log import describe_frame

LONG = "\xe9" * 200


@pytest.mark.parametrize(
    ("frame", "line"),
    [
        (Frame(Opcode.TEXT, b"abc"), "TEXT 'abc' [3 bytes]"),
        (Frame(Opcode.TEXT, b"a"), "TEXT 'a' [1 byte]"),
        (Frame(Opcode.TEXT, b"a\nb"), r"TEXT 'a\nb' [3 bytes]"),
        (Frame(Opcode.TEXT, b""), "TEXT '' [0 bytes]"),
        (Frame(Opcode.TEXT, b"a\xc3", fin=False), "TEXT 61 c3 [binary, 2 bytes, continued]"),
        (Frame(Opcode.CONTINUATION, b"abc", fin=False), "CONT 'abc' [text, 3 bytes, continued]"),
        (Frame(Opcode.CONTINUATION, b"\x80"), "CONT 80 [binary, 1 byte]"),
        (Frame(Opcode.BINARY, b"\x01\xff"), "BINARY 01 ff [2 bytes]"),
        (Frame(Opcode.BINARY, b"abc"), "BINARY 'abc' [text, 3 bytes]"),
        (Frame(Opcode.BINARY, b""), "BINARY '' [0 bytes]"),
        (Frame(Opcode.CLOSE, b"\x03\xe8bye"), "CLOSE 1000 (OK) bye [5 bytes]"),
        (Frame(Opcode.CLOSE, b"\x03\xe9"), "CLOSE 1001 (going away) [2 bytes]"),
        (Frame(Opcode.CLOSE, b""), "CLOSE '' [0 bytes]"),
        (Frame(Opcode.PING, b"abc"), "PING 'abc' [text, 3 bytes]"),
        (Frame(Opcode.PONG, b"\xc3\xa9"), "PONG c3 a9 [binary, 2 bytes]"),
        (Frame(Opcode.PING, b""), "PING '' [0 bytes]"),
    ],
)
def test_line(frame, line):
    assert describe_frame(frame) == line


@pytest.mark.parametrize("size", [75, 76, 77, 78, 79, 125, 1000, 2**20])
def test_long_payloads_are_elided(size):
    text = ("x" * (size % 3) + "\u20ac" * (size // 3)).encode()
    line = describe_frame(Frame(Opcode.TEXT, text))
    assert line.endswith(f" [{size} bytes]")
    assert ("..." in line) == (size > 75)
    assert len(line) < 110
    line = describe_frame(Frame(Opcode.BINARY, b"\xff" * size))
    assert line == f"BINARY {'ff ' * 16}... {'ff ' * 8}[{size} bytes]"


@pytest.mark.parametrize("cut", range(4))
def test_characters_are_not_cut(cut):
    text = "x" * cut + "\U0001f600" * 100 + "y" * cut
    line = describe_frame(Frame(Opcode.TEXT, text.encode()))
    assert line.startswith("TEXT '" + text[: (50 - cut) // 4 + cut] + "...")
    assert line.endswith("\U0001f600" + "y" * cut + f"' [{len(text.encode())} bytes]")


def test_prepared_messages_are_logged(impl):
    logged = []
    core = impl.messenger.Messenger(Role.SERVER, State.OPEN, Limits(), [])
    core.frame_log = lambda direction, frame: logged.append((direction, describe_frame(frame)))
    core.send_prepared(PreparedMessage("abc"))
    core.send_prepared(PreparedMessage(b"\xff"))
    assert logged == [(">", "TEXT 'abc' [3 bytes]"), (">", "BINARY ff [1 byte]")]
