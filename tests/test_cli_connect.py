"""``wsframe connect``: in a pipe, at a terminal, and where it cannot connect."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import signal
import ssl
import subprocess
import sys
import threading
import time

import pytest
import support
from support import PATIENCE_S, certificate, free_port, port_of, soon
from test_cli import POSIX_SIGNALS, ROOT, TLS_LEAKS, Terminal, command, environment

import wsframe
from wsframe.cli import connect, main

__all__ = ["certificate"]


@contextlib.contextmanager
def serving(handler, **options):
    """Run a server in a thread; gives its URI."""
    started = threading.Event()
    state = {}

    async def serve():
        state["loop"], state["stop"] = asyncio.get_running_loop(), asyncio.Event()
        async with wsframe.serve(handler, "127.0.0.1", 0, **options) as server:
            scheme = "wss" if options.get("ssl") else "ws"
            state["uri"] = f"{scheme}://127.0.0.1:{port_of(server)}/"
            started.set()
            await state["stop"].wait()

    # What asyncio logs of a client that does not like the certificate is no failure.
    thread = threading.Thread(target=asyncio.run if "ssl" in options else support.run, args=[serve()])
    thread.start()
    assert started.wait(PATIENCE_S)
    try:
        yield state["uri"]
    finally:
        state["loop"].call_soon_threadsafe(state["stop"].set)
        thread.join(PATIENCE_S)


class Input:
    """The other end of stdin."""

    def __init__(self, monkeypatch, kind):
        reader, self._writer = os.pipe()
        self.stream = kind(os.fdopen(reader, "rb"))
        monkeypatch.setattr(sys, "stdin", self.stream)

    def type(self, data):
        os.write(self._writer, data)

    def end(self):
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def close(self):
        self.end()
        for thread in threading.enumerate():
            if thread.name == "wsframe-stdin":
                thread.join(PATIENCE_S)
        self.stream.close()


@pytest.fixture
def pipe(monkeypatch):
    pipe = Input(monkeypatch, io.TextIOWrapper)
    yield pipe
    pipe.close()


@pytest.fixture
def keyboard(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    keyboard = Input(monkeypatch, Terminal)
    yield keyboard
    keyboard.close()


# In a pipe


def test_each_line_is_a_message(pipe, capsysbinary):
    received = []

    async def handler(websocket):
        async for message in websocket:
            received.append(message)
            await websocket.send(f"Echo: {message}")
        received.append(websocket.close_code)

    pipe.type("one\r\n\nthr€e\nwithout an end".encode())
    pipe.end()
    with serving(handler) as uri:
        assert main(["connect", uri]) == 0
    assert received == ["one", "", "thr€e", "without an end", 1000]
    expected = "Echo: one\nEcho: \nEcho: thr€e\nEcho: without an end\n".encode()
    assert capsysbinary.readouterr() == (expected, b"")


def test_replies_are_printed_as_they_are(pipe, capsysbinary):
    async def handler(websocket):
        await websocket.recv()
        await websocket.send(b"\x00\xff")
        await websocket.send("\x1b[31m")

    pipe.type(b"x\ny\n")
    pipe.end()
    with serving(handler) as uri:
        assert main(["connect", uri]) == 0
    assert capsysbinary.readouterr().out == b"\x00\xff\n\x1b[31m\n"


def test_many_lines(pipe, capsys):
    lines = [f"{number:>40}" for number in range(8000)]
    feeder = threading.Thread(target=lambda: (pipe.type("\n".join(lines).encode()), pipe.end()))
    with serving(support.echo) as uri:
        feeder.start()
        assert main(["connect", uri]) == 0
        feeder.join()
    assert capsys.readouterr().out.splitlines() == lines


def test_without_input_it_closes_at_once(pipe, capsys):
    pipe.end()
    with serving(support.echo) as uri:
        assert main(["connect", uri, "--wait", "60"]) == 0
    assert capsys.readouterr() == ("", "")


def test_without_stdin(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with serving(support.echo) as uri:
        assert main(["connect", uri]) == 0


def test_unreadable_stdin_counts_as_ended(monkeypatch, tmp_path):
    with open(tmp_path / "write only", "w") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        with serving(support.echo) as uri:
            assert main(["connect", uri]) == 0


def test_wait_option_limits_the_wait_for_answers(pipe, monkeypatch, capsys):
    waiting = threading.Event()
    wait_for_answers = connect.Session._wait_for_answers

    async def announce(self):
        waiting.set()
        await wait_for_answers(self)

    async def handler(websocket):
        await websocket.recv()
        await support.until(waiting.is_set)
        await websocket.send("late")
        await websocket.wait_closed()

    monkeypatch.setattr(connect.Session, "_wait_for_answers", announce)
    pipe.type(b"1\n2\n")
    pipe.end()
    with serving(handler) as uri:
        assert main(["connect", uri, "--wait", "0.5"]) == 0
    assert capsys.readouterr().out == "late\n"


def test_invalid_utf8_input_is_reported(pipe, capsys):
    pipe.type(b"good\n\xff\n")
    with serving(support.echo) as uri:
        assert main(["connect", uri]) == 1
    assert capsys.readouterr().err.startswith("wsframe connect: line 2 of the input is not valid UTF-8: ")


def test_normal_close_by_the_server_is_success(pipe, capsys):
    async def handler(websocket):
        await websocket.send("that is all")

    with serving(handler) as uri:
        assert main(["connect", uri]) == 0
    assert capsys.readouterr() == ("that is all\n", "")


def test_error_close_by_the_server_is_reported(pipe, capsys):
    async def handler(websocket):
        await websocket.close(4001, "go away")

    with serving(handler) as uri:
        assert main(["connect", uri]) == 1
    assert capsys.readouterr().err == "wsframe connect: closed by the server with 4001 (private use) go away\n"


def test_lost_connection_is_reported(pipe, capsys):
    async def handler(websocket):
        websocket.transport.abort()

    with serving(handler) as uri:
        assert main(["connect", uri]) == 1
    assert capsys.readouterr().err.startswith("wsframe connect: lost: the server disconnected")


def test_oversized_message_is_reported(pipe, capsys):
    async def handler(websocket):
        await websocket.send("x" * 11)
        await websocket.wait_closed()

    with serving(handler) as uri:
        assert main(["connect", uri, "--max-size", "10"]) == 1
    assert "failed by us with 1009: frame with 11 bytes exceeds limit of 10 bytes" in capsys.readouterr().err


def test_lines_after_the_servers_close_are_not_an_error(pipe, monkeypatch, capsys):
    class Closed:
        """A connection whose close the sender notices before the receiver does."""

        state = wsframe.State.CLOSED
        subprotocol = None

        def __init__(self):
            self.noticed = asyncio.Event()

        def __aiter__(self):
            return self

        async def __anext__(self):
            await self.noticed.wait()
            raise StopAsyncIteration

        async def send(self, message):
            raise wsframe.ConnectionClosedOK(None, None)

        async def close(self):
            self.noticed.set()

        @property
        def close_exc(self):
            close = wsframe.Close(1000)
            return wsframe.ConnectionClosedOK(close, close, True)

    pipe.type(b"x\n")
    asyncio.run(connect.Session(Closed(), connect.Console(), 1).run(pipe.stream.buffer.raw))
    assert capsys.readouterr() == ("", "")


def test_options_reach_the_server(pipe, capsys):
    async def handler(websocket):
        headers = websocket.request.headers
        for name in ("Origin", "X-One", "X-Two", "Sec-WebSocket-Protocol"):
            await websocket.send(headers[name])

    options = ["--origin", "https://here.example", "--header", "X-One:1", "--header", "X-Two: a:b"]
    options += ["--subprotocol", "chat", "--subprotocol", "talk"]
    with serving(handler, subprotocols=["talk"]) as uri:
        assert main(["connect", uri, *options]) == 0
    assert capsys.readouterr().out.splitlines() == ["https://here.example", "1", "a:b", "chat, talk"]


def test_as_a_process():
    with serving(support.echo) as uri:
        result = subprocess.run(
            command("connect", uri), input=b"hi\n", capture_output=True, cwd=ROOT, env=environment(), timeout=60
        )
    assert (result.returncode, result.stdout, result.stderr) == (0, b"hi\n", b"")


@POSIX_SIGNALS
def test_as_a_process_with_closed_stdout():
    async def handler(websocket):
        while True:
            await websocket.send("x" * 1000)
            await asyncio.sleep(0)

    with (
        serving(handler) as uri,
        subprocess.Popen(
            command("connect", uri),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
        ) as process,
    ):
        assert process.stdout.read(1) == b"x"
        process.stdout.close()
        assert process.wait(PATIENCE_S) == 1
        assert process.stderr.read() == b""


# At a terminal


def talk(keyboard, monkeypatch, handler, *steps, stdout=None, arguments=()):
    """Run it at a terminal; each step is what to wait for on the screen, and what to do then."""
    screen = Terminal() if stdout is None else stdout
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "stderr", screen)
    status = []

    def use():
        for awaited, action in steps:
            end = time.monotonic() + PATIENCE_S
            while awaited not in screen.buffer.getvalue().decode() and time.monotonic() < end:
                time.sleep(0.01)
            action()

    person = threading.Thread(target=use)
    with serving(handler) as uri:
        person.start()
        status.append(main(["connect", uri, *arguments]))
        person.join()
    screen.flush()
    return status[0], screen.buffer.getvalue().decode().replace(uri, "URI")


def say_hello(keyboard, monkeypatch):
    """Type a line, and end the input once the answer is shown."""
    steps = ("> ", lambda: keyboard.type(b"hello\n")), ("< hello", keyboard.end)
    return talk(keyboard, monkeypatch, support.echo, *steps)


def test_terminal_shows_messages_above_the_typed_line(keyboard, monkeypatch):
    status, shown = say_hello(keyboard, monkeypatch)
    assert status == 0
    assert shown == (
        "* connected to URI; Ctrl-D to quit\n"
        "> > \x1b7\n\x1b[1A\x1b[1L< hello\x1b8\x1b[1B"
        "\r\x1b[K* closed by us with 1000 (OK)\n"
    )


def test_terminal_shows_pings_binary_messages_and_the_close(keyboard, monkeypatch):
    async def handler(websocket):
        await (await websocket.ping(b"\x1b?"))
        await websocket.send(b"\x01\xab")
        await websocket.send("evil \x1b[2J\r\x07 two\nlines")
        await websocket.recv()
        await websocket.close(4000, "so long")

    status, shown = talk(keyboard, monkeypatch, handler, ("lines", lambda: keyboard.type(b"x\n")), stdout=Terminal())
    assert status == 1
    assert "* answered ping b'\\x1b?'" in shown
    assert "< 01 ab (2 bytes)" in shown
    assert "\x1b7\n\n\x1b[2A\x1b[2L< evil \\x1b[2J\\r\\x07 two\nlines\x1b8\x1b[2B" in shown
    assert shown.endswith("wsframe connect: closed by the server with 4000 (private use) so long\n")


def test_a_terminal_without_escape_sequences(keyboard, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    status, shown = say_hello(keyboard, monkeypatch)
    assert status == 0
    assert shown == "* connected to URI; Ctrl-D to quit\n> > < hello\n\n* closed by us with 1000 (OK)\n"


@POSIX_SIGNALS
def test_ctrl_c_closes_the_connection(keyboard, monkeypatch):
    status, shown = talk(keyboard, monkeypatch, support.echo, ("> ", lambda: os.kill(os.getpid(), signal.SIGINT)))
    assert status == 0
    assert shown.endswith("* closed by us with 1000 (OK)\n")


@pytest.mark.parametrize(
    ("text", "rows"), [("", 1), ("x" * 10, 1), ("x" * 11, 2), ("日" * 5, 1), ("日" * 6, 2), ("a\n\nb", 3)]
)
def test_rows_of_a_text(text, rows):
    assert connect._rows(text, 10) == rows


def test_at_a_real_terminal():
    pty = pytest.importorskip("pty")
    with serving(support.echo) as uri:
        master, slave = pty.openpty()
        process = subprocess.Popen(
            command("connect", uri),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=environment(TERM="xterm"),
            start_new_session=True,
        )
        os.close(slave)
        try:
            shown = read_until(master, b"> ")
            os.write(master, b"hello\n")
            shown += read_until(master, b"< hello")
            os.write(master, b"half a line")
            process.send_signal(signal.SIGINT)
            shown += read_until(master, b"(OK)")
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
            process.wait()
            os.close(master)
    assert b"closed by us with 1000 (OK)" in shown
    assert b"Traceback" not in shown
    assert b"Fatal" not in shown


def read_until(master, wanted):
    data = b""
    while wanted not in data:
        data += os.read(master, 1000)
    return data


# Where it cannot connect


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["http://localhost"], "http://localhost isn't a valid URI: scheme isn't ws or wss"),
        (["ws://localhost", "--subprotocol", "not a token"], "'not a token' is not a valid subprotocol"),
    ],
)
def test_wrong_arguments_are_reported_in_one_line(arguments, words, capsys):
    assert main(["connect", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"wsframe connect: {words}")
    assert error.count("\n") == 1


@pytest.mark.skipif(sys.platform == "win32", reason="other words")
def test_a_refused_connection_is_reported(capsys):
    uri = f"ws://127.0.0.1:{free_port()}"
    assert main(["connect", uri]) == 1
    assert capsys.readouterr().err == f"wsframe connect: cannot connect to {uri}: Connection refused\n"


def test_a_rejected_handshake_is_reported(capsys):
    def refuse(connection, request):
        return connection.respond(404, "There is\x1b[2J nothing here.\nReally.\n")

    def refuse_silently(connection, request):
        return connection.respond(403, "")

    with serving(support.echo, process_request=refuse) as uri:
        assert main(["connect", uri]) == 1
    words = "HTTP 404 Not Found (There is\\x1b[2J nothing here.)"
    assert capsys.readouterr().err == f"wsframe connect: the server refused the connection: {words}\n"
    with serving(support.echo, process_request=refuse_silently) as uri:
        assert main(["connect", uri]) == 1
    assert capsys.readouterr().err == "wsframe connect: the server refused the connection: HTTP 403 Forbidden\n"


def test_a_server_of_another_protocol_is_reported(capsys):
    async def refuse():
        async def script(peer):
            await peer.send(b"220 mail.example ESMTP\r\n\r\n")

        async with support.raw_server(script) as server:
            return await asyncio.to_thread(main, ["connect", server.uri])

    assert asyncio.run(soon(refuse())) == 1
    assert capsys.readouterr().err.startswith("wsframe connect: the opening handshake failed: ")


@TLS_LEAKS
def test_tls_with_an_invalid_certificate(certificate, pipe, capsys):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.cert, certificate.key)
    pipe.type(b"secret\n")
    pipe.end()
    with serving(support.echo, ssl=context) as uri:
        assert main(["connect", uri]) == 1
        error = capsys.readouterr().err
        assert "the certificate is not valid: self" in error
        assert error.endswith("(--insecure skips the check)\n")
        assert main(["connect", uri, "--insecure"]) == 0
        assert capsys.readouterr().out == "secret\n"
    gc.collect()


def test_insecure_is_no_error_without_tls(pipe):
    pipe.end()
    with serving(support.echo) as uri:
        assert main(["connect", uri, "--insecure"]) == 0
