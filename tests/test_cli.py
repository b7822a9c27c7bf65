"""The ``wsframe`` command and ``python -m wsframe``; ``wsframe connect`` has a file of its own."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib.util
import io
import logging
import os
import platform
import re
import runpy
import signal
import socket
import ssl
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from support import PATIENCE_S, certificate, connect_in_time, free_port, port_of, request, run, soon, until

import wsframe
from wsframe.cli import build_parser, common, demo, echo, main
from wsframe.cli.wire import Relay, split_frames
from wsframe.exceptions import Close, ConnectionClosedError, ConnectionClosedOK, PayloadTooBig

__all__ = ["certificate"]

ROOT = Path(wsframe.__file__).parents[1]
POSIX_SIGNALS = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
TLS_LEAKS = pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
"""CPython 3.10 does not close the transport of a TLS connection that one side drops."""
QUICK_DEMO = ["demo", "--messages", "20"]


def command(*arguments):
    return [sys.executable, "-W", "error", "-m", "wsframe", *arguments]


def environment(**changes):
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **changes}


def as_coroutine(test):
    @functools.wraps(test)
    def call():
        run(test())

    # pytest would see the coroutine function through it.
    del call.__wrapped__
    return call


class Terminal(io.TextIOWrapper):
    """A stream that says it is a terminal."""

    def __init__(self, buffer=None, encoding="utf-8"):
        super().__init__(buffer or io.BytesIO(), encoding=encoding, newline="\n")

    def isatty(self):
        return True

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


# The command as such


def test_version(capsys):
    with pytest.raises(SystemExit) as info:
        main(["--version"])
    assert info.value.code == 0
    assert capsys.readouterr().out == f"wsframe {wsframe.__version__} ({wsframe.IMPLEMENTATION})\n"


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["demo", "--seconds", "0"],
        ["demo", "--seconds", "inf"],
        ["demo", "--messages", "many"],
        ["echo", "--port", "x"],
        ["echo", "--max-size", "-1"],
        ["echo", "--max-size", "much"],
        ["echo", "--loop", "tornado"],
        ["connect"],
        ["connect", "ws://localhost", "--header", "no colon"],
        ["connect", "ws://localhost", "--header", ": no name"],
    ],
)
def test_wrong_arguments_exit_with_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as info:
        main(arguments)
    assert info.value.code == 2
    assert capsys.readouterr().err.startswith("usage: wsframe")


@pytest.mark.parametrize("name", ["demo", "echo", "connect"])
def test_each_command_has_help(name, capsys):
    with pytest.raises(SystemExit) as info:
        main([name, "--help"])
    assert info.value.code == 0
    assert f"usage: wsframe {name}" in capsys.readouterr().out


def test_max_size_may_be_none():
    options = build_parser().parse_args(["echo", "--max-size", "none"])
    assert options.max_size is None
    assert build_parser().parse_args(["echo", "--max-size", "5"]).max_size == 5


def test_ctrl_c_exits_with_status_130_without_a_traceback(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "run_loop", interrupted)
    assert main(["demo"]) == 130
    assert capsys.readouterr() == ("", "")


def test_closed_stdout_exits_with_status_1_without_a_traceback():
    with subprocess.Popen(
        command(*QUICK_DEMO), stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=environment()
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(PATIENCE_S) == 1


def test_closed_stdout_in_this_process(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w", buffering=1, encoding="utf-8") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        assert main(QUICK_DEMO) == 1
        print("to nobody")
        monkeypatch.undo()


# python -m wsframe


def run_module(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["wsframe", *arguments])
    monkeypatch.delitem(sys.modules, "wsframe.__main__", raising=False)
    # pytest loads the modules of installed plugins in a way that run_module does not expect.
    finders = [finder for finder in sys.meta_path if type(finder).__name__ != "AssertionRewritingHook"]
    monkeypatch.setattr(sys, "meta_path", finders)
    runpy.run_module("wsframe", run_name="__main__")


def test_module_without_arguments_shows_the_implementation(monkeypatch, capsys):
    run_module(monkeypatch)
    version, implementation, python, *paths = capsys.readouterr().out.splitlines()
    assert version == f"wsframe {wsframe.__version__}"
    assert re.fullmatch(rf"implementation: {wsframe.IMPLEMENTATION} \(.+\)", implementation)
    assert platform.python_version() in python
    loops = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
    assert [line.partition(": ")[0] for line in paths] == [f"data path on {loop}" for loop in loops]
    assert all("reads" in line and "writes" in line for line in paths)


def test_module_reports_a_missing_loopback_interface(monkeypatch):
    from wsframe.__main__ import describe_data_paths

    async def refuse(*args, **options):
        raise OSError("no such address")

    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.create_server", refuse)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert describe_data_paths() == (
        "data path on asyncio: unknown, since there is no TCP connection over loopback: no such address"
    )


def test_module_with_arguments_is_the_command(monkeypatch, capsys):
    with pytest.raises(SystemExit) as info:
        run_module(monkeypatch, "--version")
    assert info.value.code == 0
    assert capsys.readouterr().out.startswith("wsframe ")


def test_module_can_be_imported():
    from wsframe.__main__ import describe_implementation

    assert describe_implementation().startswith(f"wsframe {wsframe.__version__}\n")


def test_module_reports_disabled_extensions():
    env = environment(WSFRAME_NO_EXTENSIONS="1", WSFRAME_REQUIRE_EXTENSIONS="0")
    output = subprocess.run(command(), cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout
    assert "implementation: python (WSFRAME_NO_EXTENSIONS=1 is set)\n" in output


# Event loops, signals, words


async def seven():
    return 7


def test_uvloop_is_used_on_request(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", types.SimpleNamespace(run=asyncio.run))
    assert common.run_loop(seven, "uvloop") == 7


def test_a_missing_uvloop_is_reported(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert main([*QUICK_DEMO, "--loop", "uvloop"]) == 1
    assert capsys.readouterr().err == "wsframe demo: uvloop is not installed: pip install uvloop\n"


def test_signal_handlers_stay_unchanged_outside_the_main_thread():
    async def wait():
        with common.on_stop_signal(lambda: None):
            return 7

    results = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(wait())))
    thread.start()
    thread.join()
    assert results == [7]


def too_big():
    exc = ConnectionClosedError(None, Close(1009, "too big"))
    exc.__cause__ = PayloadTooBig("a message exceeds the size limit")
    return exc


def too_big_after_a_close():
    exc = ConnectionClosedError(None, None)
    exc.__cause__ = PayloadTooBig("a message exceeds the size limit")
    return exc


@pytest.mark.parametrize(
    ("exc", "words"),
    [
        (ConnectionClosedOK(Close(1000), Close(1000), True), "closed by the server with 1000 (OK)"),
        (ConnectionClosedError(Close(1011, "oh"), None), "closed by the server with 1011 (internal error) oh"),
        (ConnectionClosedOK(Close(1001), Close(1001), False), "closed by us with 1001 (going away)"),
        (ConnectionClosedError(None, Close(1000)), "closed by us with 1000 (OK), not answered by the server"),
        (ConnectionClosedError(None, None), "lost: the server disconnected without a closing handshake"),
        (too_big(), "failed by us with 1009: a message exceeds the size limit"),
        (too_big_after_a_close(), "failed by us: a message exceeds the size limit"),
    ],
)
def test_how_a_connection_ended(exc, words):
    assert common.describe_end(exc, "server") == words


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80"),
        (("::1", 80, 0, 0), "[::1]:80"),
        ("/run/socket", "/run/socket"),
        (None, "unknown"),
        ("", "unknown"),
    ],
)
def test_addresses(address, text):
    assert common.format_address(address) == text


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (OSError(2, "error while attempting to bind: [errno 2] no"), os.strerror(2)),
        (OSError("Multiple exceptions: [Errno 2] x, [Errno 13] y"), f"{os.strerror(2)}, {os.strerror(13)}"),
        (OSError(123456, "words of its own"), "words of its own"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (TimeoutError("timed out"), "timed out"),
    ],
)
def test_errors_of_the_operating_system(exc, text):
    assert common.describe_os_error(exc) == text


def test_escape_sequences_only_on_terminals_that_support_them(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("WT_SESSION", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    terminal = Terminal()
    assert common.supports_ansi(terminal)
    assert not common.supports_ansi(io.StringIO())
    monkeypatch.setattr(sys, "platform", "win32")
    assert not common.supports_ansi(terminal)
    monkeypatch.setenv("WT_SESSION", "1")
    assert common.supports_ansi(terminal)
    monkeypatch.setenv("TERM", "dumb")
    assert not common.supports_ansi(terminal)


# wsframe demo


def unmask(payload, key):
    return bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


def test_demo_shows_the_frames_and_the_speed(capsys):
    assert main([*QUICK_DEMO, "--no-color"]) == 0
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert "GET /chat HTTP/1.1\n" in output
    assert "HTTP/1.1 101 Switching Protocols\n" in output
    key = re.search(r"Sec-WebSocket-Key: (\S+)", output)[1]
    assert f"Sec-WebSocket-Accept: {wsframe.accept_key(key)}\n" in output
    # The bytes of the first frame in each direction are what they are said to be.
    masked = bytes.fromhex(re.search(r"client → server   (81 85 .*)", output)[1])
    assert unmask(masked[6:], masked[2:6]) == b"Hello"
    assert "server → client   81 05 48 65 6c 6c 6f\n" in output
    assert "10000101  MASK=1  payload length=5\n" in output
    assert len(re.findall(r"messages per second", output)) == 3
    assert f"implementation  {wsframe.IMPLEMENTATION}, " in output
    assert "event loop: asyncio\n" in output


def test_demo_shows_fragments_control_frames_and_the_close(capsys):
    assert main(QUICK_DEMO) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("  → ", "  ← "))]
    # In each direction in order; how the two directions mix is up to the event loop.
    sent = [row[50:62].strip() for row in rows if "→" in row]
    assert sent == ["text", "ping", "continuation", "continuation", "continuation", "binary", "close"]
    received = [row[50:62].strip() for row in rows if "←" in row]
    assert received == ["pong", "text", "binary", "close"]
    for row in rows:
        header = bytes.fromhex(row[4:16])
        payload = bytes.fromhex(row[30:49].replace("…", ""))
        if row[2] == "→":
            payload = unmask(payload, bytes.fromhex(row[17:29]))
        else:
            assert row[17:29].strip() == ""
        fin, mask, length = row[62:].split()[:3]
        assert (int(fin), int(mask)) == (header[0] >> 7, header[1] >> 7)
        assert int(length) == (header[1] & 127 if len(header) == 2 else int.from_bytes(header[2:], "big"))
        if row.endswith('"'):
            assert row.endswith((f' "{payload.decode()}"', ' "WebSocket"'))


def test_demo_with_colors_on_a_terminal(monkeypatch):
    terminal = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(QUICK_DEMO) == 0
    colored = terminal.text()
    assert "\x1b[36m" in colored
    terminal.buffer.truncate(0)
    assert main([*QUICK_DEMO, "--no-color"]) == 0
    assert "\x1b" not in terminal.text()
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(QUICK_DEMO) == 0
    assert "\x1b" not in terminal.text()


def test_demo_where_the_output_is_ascii(monkeypatch):
    stream = Terminal(encoding="ascii")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["demo", "--seconds", "0.05"]) == 0
    assert "client > server   GET /chat" in stream.text()


def test_demo_ends_in_the_pure_implementation():
    env = environment(WSFRAME_NO_EXTENSIONS="1", WSFRAME_REQUIRE_EXTENSIONS="0")
    result = subprocess.run(
        command("demo", "--seconds", "0.1"), cwd=ROOT, env=env, capture_output=True, encoding="utf-8", timeout=60
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "implementation  python, the codec in pure Python\n" in result.stdout
    assert "because         WSFRAME_NO_EXTENSIONS=1 is set\n" in result.stdout


def test_demo_without_a_loopback_interface(monkeypatch, capsys):
    monkeypatch.setattr(demo, "HOST", "203.0.113.1")
    assert main(QUICK_DEMO) == 1
    assert capsys.readouterr().err.startswith("wsframe demo: cannot use the loopback interface: ")


@as_coroutine
async def test_demo_reports_a_server_lost_while_measuring():
    class Leaving(wsframe.WebSocketProtocol):
        def connection_open(self):
            self.close(1011)

    server = await asyncio.get_running_loop().create_server(Leaving, "127.0.0.1", 0)
    async with server:
        port = port_of(server)
        with pytest.raises(OSError, match="ended too early, with code 1011"):
            await soon(demo._measure_callbacks("127.0.0.1", port, demo._Stop(1, None)))


@as_coroutine
async def test_demo_reports_a_server_that_refuses_the_measurement():
    options = {"subprotocols": ["something"]}
    async with wsframe.serve(demo._echo, "127.0.0.1", 0, **options) as server:
        port = port_of(server)
        with pytest.raises(wsframe.InvalidStatus):
            await soon(demo._measure_callbacks("127.0.0.1", port, demo._Stop(1, None)))


# The relay


def test_frames_are_split_from_a_stream_in_pieces():
    pieces = [
        wsframe.serialize_frame(2, bytes(200), mask=b"abcd"),
        wsframe.serialize_frame(1, b"x" * 70_000, mask=b"abcd"),
        wsframe.serialize_frame(9, b"", mask=b"abcd"),
    ]
    parser = wsframe.FrameParser(wsframe.Role.SERVER)
    frames, rest = [], b""
    stream = b"".join(pieces)
    for start in range(0, len(stream), 997):
        found, rest = split_frames(rest + stream[start : start + 997], parser)
        frames += found
    assert rest == b""
    assert [frame.header + frame.masking_key + frame.payload for frame in frames] == pieces
    assert [len(frame.header) for frame in frames] == [4, 10, 2]
    assert frames[0].frame.payload == bytes(200)


class CountingRelay(Relay):
    """A relay that counts the bytes it has received from the client."""

    received = 0

    def _record(self, sender, data):
        super()._record(sender, data)
        if sender is wsframe.Role.CLIENT:
            self.received += len(data)


@as_coroutine
async def test_relay_takes_heads_and_frames_in_pieces():
    sent = (
        request() + wsframe.serialize_frame(1, b"hello", mask=b"abcd") + wsframe.serialize_frame(8, b"", mask=b"abcd")
    )
    async with (
        wsframe.serve(demo._echo, "127.0.0.1", 0) as server,
        CountingRelay("127.0.0.1", port_of(server)) as relay,
    ):
        assert relay.head(wsframe.Role.CLIENT) == b""
        reader, writer = await soon(asyncio.open_connection("127.0.0.1", relay.port))
        for start in range(0, len(sent), 50):
            piece = sent[start : start + 50]
            writer.write(piece)
            await until(lambda: relay.received == start + len(piece))
        await soon(reader.read())
        writer.close()
        await writer.wait_closed()
        await soon(relay.wait_done())
        assert relay.head(wsframe.Role.CLIENT) + b"\r\n\r\n" == request()
        assert relay.head(wsframe.Role.SERVER).startswith(b"HTTP/1.1 101 ")
        frames = [frame for sender, frame in relay.take_frames() if sender is wsframe.Role.CLIENT]
        assert [frame.frame.payload for frame in frames] == [b"hello", b""]
        assert relay.take_frames() == []


@as_coroutine
async def test_relay_without_a_server():
    async with Relay("127.0.0.1", free_port()) as relay:
        with pytest.raises((wsframe.InvalidMessage, OSError)):
            await soon(wsframe.connect(f"ws://127.0.0.1:{relay.port}/"))
        await soon(relay.wait_done())


# wsframe echo


def run_echo(script, *arguments, scheme="ws", stopped=False):
    """Run ``wsframe echo`` here, and ``await script(uri)`` in a thread; then send SIGINT, unless that did."""
    port = free_port()
    problems = []

    async def talk():
        try:
            await script(f"{scheme}://127.0.0.1:{port}/path")
        except BaseException as exc:
            problems.append(exc)
        finally:
            if not stopped:
                os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=run, args=[talk()])
    thread.start()
    status = main(["echo", "--port", str(port), *arguments])
    thread.join()
    if problems:
        raise problems[0]
    return status


@POSIX_SIGNALS
def test_echo_logs_connections(capsys):
    async def script(uri):
        async with await connect_in_time(uri, subprotocols=["chat"]) as websocket:
            for message in ("one", b"two"):
                await websocket.send(message)
                assert await soon(websocket.recv()) == message

    assert run_echo(script, "--subprotocol", "chat") == 0
    lines = [line.split("  ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert re.fullmatch(r"listening on ws://127\.0\.0\.1:\d+ \(Ctrl-C to stop\)", lines[0])
    assert re.fullmatch(r"127\.0\.0\.1:\d+  open, path /path, subprotocol chat", lines[1])
    assert re.fullmatch(r"127\.0\.0\.1:\d+  closed by the client with 1000 \(OK\); 2 messages", lines[2])
    assert lines[3:] == ["stopping; 0 open"]


@POSIX_SIGNALS
def test_echo_closes_its_clients_on_ctrl_c(capsys):
    closed = []

    async def script(uri):
        websocket = await connect_in_time(uri)
        await websocket.send("hello")
        assert await soon(websocket.recv()) == "hello"
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(wsframe.ConnectionClosedOK):
            await soon(websocket.recv())
        closed.append(websocket.close_code)

    assert run_echo(script, stopped=True) == 0
    assert closed == [1001]
    assert "closed by us with 1001 (going away); 1 message\n" in capsys.readouterr().err


@POSIX_SIGNALS
def test_echo_logs_refused_clients(capsys, caplog):
    async def script(uri):
        async with await connect_in_time(uri, origin="https://good.example"):
            pass
        with pytest.raises(wsframe.InvalidStatus):
            await wsframe.connect(uri, origin="https://evil.example")
        async with wsframe.connect(uri):
            pass
        _, writer = await asyncio.open_connection("127.0.0.1", int(re.search(r":(\d+)/", uri)[1]))
        writer.close()
        await writer.wait_closed()
        await until(lambda: "without an opening handshake" in caplog.text)

    assert run_echo(script, "--origin", "https://good.example", "--origin", "none") == 0
    log = capsys.readouterr().err
    assert re.search(r"refused with HTTP 403: Failed to open .*evil\.example", log)
    assert "disconnected without an opening handshake\n" in log


@POSIX_SIGNALS
def test_echo_verbose_logs_messages(capsys):
    async def script(uri):
        async with await connect_in_time(uri) as websocket:
            for message in ("one", b"two"):
                await websocket.send(message)
                await soon(websocket.recv())

    assert run_echo(script, "-v") == 0
    log = capsys.readouterr().err
    assert "text, 3 characters: 'one'\n" in log
    assert "binary, 3 bytes: b'two'\n" in log
    assert "server listening on" in log


@POSIX_SIGNALS
@TLS_LEAKS
def test_echo_with_tls(certificate, capsys):
    context = ssl.create_default_context(cafile=certificate.cert)

    async def script(uri):
        async with await connect_in_time(uri.replace("127.0.0.1", "localhost"), ssl=context) as websocket:
            await websocket.send("secret")
            assert await soon(websocket.recv()) == "secret"
        with pytest.raises(ssl.SSLCertVerificationError):
            await wsframe.connect(uri)
        with pytest.raises((wsframe.InvalidHandshake, OSError)):
            await wsframe.connect(uri.replace("wss:", "ws:"))

    assert run_echo(script, "--tls-cert", certificate.cert, "--tls-key", certificate.key, scheme="wss") == 0
    log = capsys.readouterr().err
    assert "listening on wss://127.0.0.1:" in log
    assert re.search(r"  127\.0\.0\.1:\d+  closed by the client", log)
    assert "Traceback" not in log
    gc.collect()


def test_echo_restores_the_loggers():
    logger = logging.getLogger("wsframe")
    before = list(logger.handlers), logger.level
    with common.log_to_stderr(True):
        assert logger.level == logging.DEBUG
    assert (logger.handlers, logger.level) == before


def test_echo_where_signals_are_exceptions(monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(echo, "run_loop", interrupted)
    assert main(["echo"]) == 0


def test_echo_on_a_port_in_use(capsys):
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        assert main(["echo", "--port", str(port)]) == 1
    words = os.strerror(98 if sys.platform == "linux" else 48)
    if sys.platform != "win32":
        assert capsys.readouterr().err == f"wsframe echo: cannot listen on 127.0.0.1:{port}: {words}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "70000"], "cannot listen on 127.0.0.1:70000: "),
        (["--subprotocol", "not a token"], "cannot listen on "),
        (["--tls-cert", "missing.pem"], "cannot use the certificate missing.pem: No such file or directory"),
        (["--tls-cert", __file__], f"cannot use the certificate {__file__}: "),
        (["--tls-key", "key.pem"], "--tls-key needs --tls-cert"),
    ],
)
def test_echo_reports_in_one_line_why_it_cannot_start(arguments, words, capsys):
    assert main(["echo", *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"wsframe echo: {words}")
    assert error.count("\n") == 1


def test_echo_stops_when_it_is_cancelled(caplog):
    async def cancel_once_it_listens():
        task = asyncio.ensure_future(echo._serve(build_parser().parse_args(["echo", "--port", "0"])))
        await until(lambda: "listening on" in caplog.text)
        task.cancel()
        assert await soon(task) == 0

    with caplog.at_level(logging.INFO, "wsframe.cli"):
        run(cancel_once_it_listens())


@POSIX_SIGNALS
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_echo_as_a_process(number):
    async def talk(uri):
        websocket = await wsframe.connect(uri)
        await websocket.send("hello")
        assert await soon(websocket.recv()) == "hello"
        os.kill(process.pid, getattr(signal, number))
        await soon(websocket.wait_closed())
        return websocket.close_code

    with subprocess.Popen(
        command("echo", "--port", "0"), stderr=subprocess.PIPE, cwd=ROOT, env=environment(), text=True
    ) as process:
        try:
            uri = re.search(r"ws://\S+", process.stderr.readline())[0]
            assert run(talk(uri)) == 1001
            assert process.wait(PATIENCE_S) == 0
        finally:
            process.kill()
        assert "Traceback" not in process.stderr.read()
