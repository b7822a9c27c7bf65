"""Data from a peer never controls the terminal, and reaches a pipe unchanged."""

from __future__ import annotations

import asyncio
import io
import sys

import hostile
import pytest
import support
from hostile import REASON, REQUESTS, RESPONSES, VALUE, assert_harmless
from support import raw_server
from test_cli import Terminal
from test_cli_connect import keyboard, pipe, serving, talk
from threads import running

import wsframe
from wsframe.cli import echo as echo_command, main
from wsframe.cli.common import log_to_stderr

__all__ = ["keyboard", "pipe"]


def assert_harmless_lines(text, extra=""):
    for line in text.split("\n"):
        assert_harmless("".join(char for char in line if char not in extra))


@pytest.mark.parametrize("field", RESPONSES)
def test_a_response_commands_no_terminal(field, pipe, capsys):
    async def script(peer):
        await hostile.answer(peer, field)

    pipe.end()
    with running(lambda: raw_server(script)) as server:
        assert main(["connect", "--verbose", "--proxy", "none", server.uri]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert_harmless_lines(shown.err)


def test_a_close_reason_commands_no_terminal(pipe, capsys):
    async def handler(websocket):
        await websocket.close(4000, REASON)

    with serving(handler) as uri:
        assert main(["connect", "--verbose", uri]) == 1
        pipe.end()
    error = capsys.readouterr().err
    assert_harmless_lines(error)
    assert "bye é日\\n2026-01-01 WARNING root" in error.splitlines()[-1]


async def send_hostile(websocket):
    await websocket.recv()
    await websocket.send(REASON)
    await websocket.send(b"\x1b[2J\x85")
    await websocket.recv()


def test_messages_command_no_terminal_with_input_from_a_pipe(pipe, monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    pipe.type(b"one\n")
    pipe.type(b"two\n")
    pipe.end()
    with serving(send_hostile) as uri:
        assert main(["connect", uri]) == 0
    shown = screen.text()
    assert_harmless_lines(shown)
    assert shown.startswith("bye é日\n2026-01-01 WARNING root\\r\\x1b[2J")
    assert "1b 5b 32 4a 85 (5 bytes)\n" in shown


def test_json_commands_no_terminal(pipe, monkeypatch):
    async def handler(websocket):
        await websocket.send('{"a": "\u202e\x9b2J"}')

    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    with serving(handler) as uri:
        assert main(["connect", "--json", uri]) == 0
        pipe.end()
    assert screen.text() == '{\n  "a": "\\u202e\\x9b2J"\n}\n'


def test_messages_reach_a_pipe_unchanged_with_input_from_a_terminal(keyboard, monkeypatch, capsysbinary):
    keyboard.type(b"one\n")
    with serving(send_hostile) as uri:
        keyboard.type(b"two\n")
        assert main(["connect", uri]) == 0
    out, err = capsysbinary.readouterr()
    assert out == REASON.encode() + b"\n\x1b[2J\x85\n"
    assert_harmless_lines(err.decode())


def test_at_a_terminal_nothing_obeys_a_peer(keyboard, monkeypatch):
    async def handler(websocket):
        await send_hostile(websocket)
        await websocket.close(1000, REASON)

    _, shown = talk(
        keyboard,
        monkeypatch,
        handler,
        ("> ", lambda: keyboard.type(b"one\n")),
        ("bytes)", lambda: keyboard.type(b"two\n")),
        arguments=["--subprotocol", "chat"],
    )
    for harmful in "\u202e\u2028\u200b\ufeff\x9b\x07\x00":
        assert harmful not in shown
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize("field", ["path", "header", "origin", "subprotocol", "key", "extension"])
def test_a_request_commands_no_terminal_of_an_echo_server(field, capsys):
    headers, line = REQUESTS[field]
    own = dict(line.split(": ", 1) for line in support.request().decode().split("\r\n")[1:-2])

    def make():
        return wsframe.serve(
            echo_command.echo,
            "127.0.0.1",
            0,
            origins=["https://ok", None],
            create_connection=echo_command.EchoConnection,
        )

    async def ask(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(support.head(line or "GET / HTTP/1.1", own, headers))
        await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), support.PATIENCE_S)
        payload = b"\x0f\xa0" + REASON.encode()
        writer.write(support.wire_frame(support.TEXT, VALUE.encode(), mask=b"abcd"))
        writer.write(support.wire_frame(support.CLOSE, payload, mask=b"abcd"))
        await asyncio.wait_for(reader.read(), support.PATIENCE_S)
        writer.close()

    with log_to_stderr(True), running(make) as server:
        asyncio.run(ask(support.port_of(server)))
    error = capsys.readouterr().err
    assert error
    assert_harmless_lines(error)


def test_wrong_arguments_are_reported_harmlessly(capsys):
    assert main(["connect", "ws://a\u202eb\x9b:x"]) == 1
    assert main(["run", "--patch", "\x1b[2J", "-m", "x"]) == 1
    assert main(["echo", "--header", "a b: c"]) == 1
    assert_harmless_lines(capsys.readouterr().err)


def test_stdout_that_is_not_a_terminal_gets_bytes(pipe, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    pipe.type(b"one\ntwo\n")
    pipe.end()
    with serving(send_hostile) as uri:
        assert main(["connect", uri]) == 0
    assert stream.buffer.getvalue() == REASON.encode() + b"\n\x1b[2J\x85\n"
