"""``wsframe.patch("websocket-client")``; its own tests run too, with the patch (``host_suites.py``)."""

from __future__ import annotations

import socket

import pytest

import wsframe
from wsframe import FrameParser, Role, serialize_frame

websocket = pytest.importorskip("websocket")
pytest.importorskip("websocket._utils")
ABNF = websocket.ABNF


@pytest.fixture(autouse=True)
def patched():
    with wsframe.patch("websocket-client") as patch:
        yield patch


@pytest.mark.parametrize("key", [b"abcd", "abcd"])
@pytest.mark.parametrize("size", [0, 125, 126, 70_000])
def test_frames_are_unchanged(key, size, patched):
    def build():
        frame = ABNF(1, 0, 0, 0, ABNF.OPCODE_BINARY, 1, b"x" * size)
        frame.get_mask_key = lambda length: key
        return frame.format()

    ours = build()
    patched.undo()
    assert ours == build() == serialize_frame(2, b"x" * size, mask=b"abcd")


@pytest.mark.parametrize("wrong", [0, 5, False, [], [1], 0.0])
def test_only_bytes_and_text_are_masked(wrong):
    for function in (lambda: ABNF.mask(b"abcd", wrong), lambda: ABNF(1, 0, 0, 0, 2, 1, wrong).format()):
        with pytest.raises(TypeError):
            function()
    assert ABNF.mask(b"abcd", None) == ABNF.mask("abcd", "") == b""


def test_frames_without_a_mask():
    assert ABNF(1, 0, 0, 0, ABNF.OPCODE_TEXT, 0, "text").format() == b"\x81\x04text"


@pytest.mark.parametrize(("fin", "opcode", "text"), [(2, 1, "not 0 or 1"), (1, 3, "Invalid OPCODE")])
def test_wrong_frames_are_refused(fin, opcode, text):
    with pytest.raises(ValueError, match=text):
        ABNF(fin, 0, 0, 0, opcode, 1, b"").format()


@pytest.mark.parametrize("key", [b"\x00\xff\x01\x02", "\x00\xff\x01\x02"])
@pytest.mark.parametrize("data", [b"\xe9bc", "\xe9bc", b"", None])
def test_mask_is_unchanged(key, data, patched):
    ours = ABNF.mask(key, data)
    patched.undo()
    assert ours == ABNF.mask(key, data)


@pytest.mark.parametrize(
    ("data", "valid"), [(b"", True), ("é€".encode(), True), ("ab", True), (b"\xff", False), (b"\xe2\x82", False)]
)
def test_invalid_utf8_is_detected(data, valid):
    assert websocket._utils.validate_utf8(data) is valid


def test_messages_in_both_directions():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client = websocket.WebSocket()
        client.sock = ours
        client.connected = True
        client.send("text")
        client.send_binary(b"binary")
        client.ping("p")
        frames = FrameParser(Role.SERVER).feed(theirs.recv(1000))
        assert [(frame.opcode, frame.payload) for frame in frames] == [(1, b"text"), (2, b"binary"), (9, b"p")]
        theirs.sendall(serialize_frame(1, b"one") + serialize_frame(2, b"two"))
        assert client.recv() == "one"
        assert client.recv() == b"two"
