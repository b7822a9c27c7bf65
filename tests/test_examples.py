"""The examples run as they stand, and do what they say; all of them use port 8765."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import PATIENCE_S, run, soon

import wsframe

EXAMPLES = Path(__file__).parents[1] / "examples"
PORT = 8765
URI = f"ws://localhost:{PORT}"
ECHO_SERVERS = ["echo_server.py", "echo_server_one_argument.py", "callbacks.py", "sans_io.py", "own_server.py"]
PUSH_SERVERS = ["push_server.py", "push_server_one_argument.py"]
OTHERS = ["blocking_client.py", "chat.py", "client.py", "reconnecting_client.py"]


def port_is_free():
    try:
        with socket.create_server(("127.0.0.1", PORT)):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def running(name):
    """Run an example until the end of the block."""
    end = time.monotonic() + PATIENCE_S
    while not port_is_free():
        if time.monotonic() > end:
            pytest.skip(f"port {PORT} is in use")
        time.sleep(0.1)
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-u", str(EXAMPLES / name)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(Path(wsframe.__file__).parents[1])},
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


async def connect(path=""):
    """Connect to an example that is starting."""
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            return await wsframe.connect(URI + path)
        except OSError:
            assert time.monotonic() < end, "the server does not start"
            await asyncio.sleep(0.05)


def test_all_examples_are_tested():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted([*ECHO_SERVERS, *PUSH_SERVERS, *OTHERS])


@pytest.mark.parametrize("name", [*ECHO_SERVERS[:2], *PUSH_SERVERS, "client.py", "reconnecting_client.py"])
def test_the_import_is_the_only_change_from_websockets(name):
    source = (EXAMPLES / name).read_text()
    assert "import wsframe as websockets\n" in source
    assert source.count("wsframe") == 1


@pytest.mark.parametrize("name", ECHO_SERVERS)
def test_echo_servers(name):
    async def talk():
        async with await connect("/chat?x=1") as websocket:
            for message in ("Hello", "wörld", "x" * 100_000):
                await websocket.send(message)
                assert await soon(websocket.recv()) == f"Echo: {message}"
            await soon(await websocket.ping())
        return websocket.close_code

    with running(name) as process:
        assert run(talk()) == 1000
        if name in ("sans_io.py", "own_server.py"):
            return
        assert process.stdout.readline() == "open: /chat?x=1\n"
        if name == "callbacks.py":
            assert process.stdout.readline() == "closed: 1000 \n"


@pytest.mark.parametrize("client", ["client.py", "blocking_client.py"])
@pytest.mark.parametrize("name", ECHO_SERVERS[:2])
def test_clients_talk_to_the_echo_servers(name, client):
    async def wait():
        await (await connect()).close()

    with running(name):
        run(wait())
        output = subprocess.run(
            [sys.executable, "-W", "error", str(EXAMPLES / client)],
            env={**os.environ, "PYTHONPATH": str(Path(wsframe.__file__).parents[1])},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    assert output == "> Hello\n< Echo: Hello\n> World\n< Echo: World\n"


@pytest.mark.parametrize("name", PUSH_SERVERS)
def test_push_servers(name):
    async def listen():
        async with await connect("/news") as websocket:
            return [await soon(websocket.recv()) for _ in range(2)]

    with running(name) as process:
        first, second = run(listen())
        assert re.fullmatch(r"It is \d\d:\d\d:\d\d UTC", first)
        assert second != first
        assert process.stdout.readline() == "open: /news\n"
        assert process.stdout.readline() == "closed: received 1000 (OK); then sent 1000 (OK)\n"


def test_a_client_that_comes_back(monkeypatch):
    # The example waits a bit longer for its server, in the way that the documentation tells.
    for name, seconds in (("INITIAL", "0"), ("MIN", "0.1"), ("MAX", "0.1")):
        monkeypatch.setenv(f"WEBSOCKETS_BACKOFF_{name}_DELAY", seconds)
    with running("reconnecting_client.py") as client:
        assert "connect failed; reconnecting in " in client.stdout.readline()
        for _ in range(2):
            with running("push_server.py"):
                while not client.stdout.readline().startswith("It is "):
                    pass


def test_chat():
    async def talk():
        async with await connect() as one, await connect() as two, await connect() as three:
            # All three are in the room once each has been heard.
            for speaker, others in ((one, (two, three)), (two, (one, three)), (three, (one, two))):
                await speaker.send("hi")
                for other in others:
                    assert await soon(other.recv()) == "{}:{}: hi".format(*speaker.local_address[:2])

    with running("chat.py"):
        run(talk())


def test_sans_io_refuses_what_is_no_handshake():
    async def ask():
        await (await connect()).close()
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 426 " in await soon(reader.readline())
        await soon(reader.read())
        writer.close()
        await writer.wait_closed()

    with running("sans_io.py"):
        run(ask())
