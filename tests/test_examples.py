"""The examples run as they stand, but for the port, and do what they say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import PATIENCE_S, certificate, client_tls, connect_in_time, free_port, run, skip_without_tool, soon

import wsframe

__all__ = ["certificate", "client_tls"]

EXAMPLES = Path(__file__).parents[1] / "examples"
PORT = free_port()
URI = f"ws://localhost:{PORT}"
ECHO_SERVERS = ["echo_server.py", "callbacks.py", "sans_io.py", "own_server.py"]
PUSH_SERVERS = ["push_server.py"]
OTHERS = [
    "blocking_client.py",
    "chat.py",
    "client.py",
    "reconnecting_client.py",
    "behind_nginx.py",
    "callbacks_and_coroutines.py",
    "chat_rooms.py",
    "graceful_shutdown.py",
    "health_check.py",
    "slow_client.py",
    "ticker.py",
    "tls_server.py",
]


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    """Copy the examples, with another port in them: theirs may be in use, by other tests for one."""
    directory = tmp_path_factory.mktemp("examples")
    for path in EXAMPLES.iterdir():
        if path.is_file():
            text = path.read_text(encoding="utf-8").replace("8765", str(PORT))
            (directory / path.name).write_text(text, encoding="utf-8")
    return directory


@contextlib.contextmanager
def running(path, *arguments, cwd=None):
    """Run an example until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-u", str(path), *arguments],
        cwd=cwd,
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
    """Connect to an example that may still be starting."""
    return await connect_in_time(URI + path)


def test_all_examples_are_tested():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted([*ECHO_SERVERS, *PUSH_SERVERS, *OTHERS])


@pytest.mark.parametrize("name", [*ECHO_SERVERS[:1], *PUSH_SERVERS, "client.py", "reconnecting_client.py"])
def test_the_import_is_the_only_change_from_websockets(name):
    source = (EXAMPLES / name).read_text()
    assert "import wsframe as websockets\n" in source
    assert source.count("wsframe") == 1


@pytest.mark.parametrize("name", ECHO_SERVERS)
def test_echo_servers(examples, name):
    async def talk():
        async with await connect("/chat?x=1") as websocket:
            for message in ("Hello", "wörld", "x" * 100_000):
                await websocket.send(message)
                assert await soon(websocket.recv()) == f"Echo: {message}"
            await soon(await websocket.ping())
        return websocket.close_code

    with running(examples / name) as process:
        assert run(talk()) == 1000
        if name in ("sans_io.py", "own_server.py"):
            return
        assert process.stdout.readline() == "open: /chat?x=1\n"
        if name == "callbacks.py":
            assert process.stdout.readline() == "closed: 1000 \n"


@pytest.mark.parametrize("client", ["client.py", "blocking_client.py"])
@pytest.mark.parametrize("name", ECHO_SERVERS[:1])
def test_clients_talk_to_the_echo_servers(examples, name, client):
    async def wait():
        await (await connect()).close()

    with running(examples / name):
        run(wait())
        output = subprocess.run(
            [sys.executable, "-W", "error", str(examples / client)],
            env={**os.environ, "PYTHONPATH": str(Path(wsframe.__file__).parents[1])},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
    assert output == "> Hello\n< Echo: Hello\n> World\n< Echo: World\n"


@pytest.mark.parametrize("name", PUSH_SERVERS)
def test_push_servers(examples, name):
    async def listen():
        async with await connect("/news") as websocket:
            return [await soon(websocket.recv()) for _ in range(2)]

    with running(examples / name) as process:
        first, second = run(listen())
        assert re.fullmatch(r"It is \d\d:\d\d:\d\d UTC", first)
        assert second != first
        assert process.stdout.readline() == "open: /news\n"
        assert process.stdout.readline() == "closed: received 1000 (OK); then sent 1000 (OK)\n"


def test_reconnecting_client(examples, monkeypatch):
    # Short delays, set as documented.
    for name, seconds in (("INITIAL", "0"), ("MIN", "0.1"), ("MAX", "0.1")):
        monkeypatch.setenv(f"WEBSOCKETS_BACKOFF_{name}_DELAY", seconds)
    with running(examples / "reconnecting_client.py") as client:
        assert "connect failed; reconnecting in " in client.stdout.readline()
        for _ in range(2):
            with running(examples / "push_server.py"):
                while not client.stdout.readline().startswith("It is "):
                    pass


def test_chat(examples):
    async def talk():
        async with await connect() as one, await connect() as two, await connect() as three:
            # All three are in the room once each has been heard.
            for speaker, others in ((one, (two, three)), (two, (one, three)), (three, (one, two))):
                await speaker.send("hi")
                for other in others:
                    assert await soon(other.recv()) == "{}:{}: hi".format(*speaker.local_address[:2])

    with running(examples / "chat.py"):
        run(talk())


def test_sans_io_refuses_a_plain_request(examples):
    async def ask():
        await (await connect()).close()
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 426 " in await soon(reader.readline())
        await soon(reader.read())
        writer.close()
        await writer.wait_closed()

    with running(examples / "sans_io.py"):
        run(ask())


def test_chat_has_rooms(examples):
    async def talk():
        async with await connect("/a") as one, await connect("/a") as two, await connect("/b") as three:
            assert await soon(one.recv()) == "1 in /a"
            assert await soon(one.recv()) == await soon(two.recv()) == "2 in /a"
            assert await soon(three.recv()) == "1 in /b"
            await two.send("hi")
            assert await soon(one.recv()) == "hi"
            await two.close()
            await three.send("nobody hears")
            async with await connect("/b") as four:
                assert await soon(three.recv()) == await soon(four.recv()) == "2 in /b"
                await four.send("but now")
                assert await soon(three.recv()) == "but now"

    with running(examples / "chat_rooms.py"):
        run(talk())


def test_ticker_broadcasts_to_all_clients(examples):
    async def listen():
        async with await connect() as one, await connect() as two:
            second = [await soon(two.recv()) for _ in range(5)]
            # The first client may have been connected for any number of ticks when the second one came.
            first = []
            while first[-5:] != second:
                assert len(first) < 100
                first.append(await soon(one.recv()))
            assert re.fullmatch(r'{"price": \d+\.\d+}', first[0])

    with running(examples / "ticker.py"):
        run(listen())


def test_slow_client(examples):
    with running(examples / "slow_client.py") as process:
        output = process.communicate(timeout=PATIENCE_S)[0]
    received = re.findall(r"^received (\d+), queued (\d+), waiting to be sent (\d+)$", output, re.MULTILINE)
    assert [int(one[0]) for one in received] == [5, 10, 15, 20], output
    # The queue has a limit of 4, and the read that filled it (256 KiB) may have brought 3 messages of 100 kB.
    assert all(int(queued) <= 4 + 3 and int(waiting) <= 2 for _, queued, waiting in received), output
    # As many as the buffers of the system hold, and far from as many as there was time for.
    assert 20 <= int(re.search(r"the server sent (\d+) messages", output)[1]) < 1000


async def get(path):
    reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    status, body = (await soon(reader.read())).decode().split("\r\n\r\n", 1)
    writer.close()
    await writer.wait_closed()
    return int(status.split(" ")[1]), body


def test_health_check(examples):
    async def talk():
        async with await connect() as websocket:
            await websocket.send("Hello")
            assert await soon(websocket.recv()) == "Echo: Hello"
            assert await get("/healthz") == (200, "OK\n")
            assert await get("/drain") == (503, "no more of you\n")
            assert (await get("/"))[0] == 426
            status, metrics = await get("/metrics")
            assert status == 200
            assert "\nwsframe_connections 1\n" in metrics
            assert "\nwsframe_messages_received_total 1\n" in metrics

    with running(examples / "health_check.py"):
        run(talk())


def test_tls_server(examples, certificate, client_tls):
    async def talk():
        async with await connect_in_time(f"wss://localhost:{PORT}", ssl=client_tls) as websocket:
            await websocket.send("Hello")
            return await soon(websocket.recv())

    with running(examples / "tls_server.py", certificate.cert, certificate.key):
        assert run(talk()) == "Echo: Hello"


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_graceful_shutdown(examples):
    with running(examples / "graceful_shutdown.py") as process:

        async def talk():
            async with await connect() as websocket:
                await websocket.send("Hello")
                assert await soon(websocket.recv()) == "Echo: Hello"
                process.terminate()
                with pytest.raises(wsframe.ConnectionClosedError) as info:
                    await soon(websocket.recv())
                return info.value.rcvd

        close = run(talk())
        assert (close.code, close.reason) == (1012, "restarting")
        output = process.communicate(timeout=PATIENCE_S)[0]
        assert output == "handler done\nserver done\n"
        assert process.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs Unix sockets")
def test_behind_nginx(examples, tmp_path):
    nginx = os.environ.get("WSFRAME_NGINX") or shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        skip_without_tool("nginx is not there")
    shutil.copy(examples / "nginx.conf", tmp_path)

    async def talk():
        # nginx answers with 502 until the server has started.
        retried = (OSError, wsframe.InvalidHandshake)
        async with await connect_in_time(URI + "/chat", retried=retried) as websocket:
            for message in ("Hello", "x" * 100_000):
                await websocket.send(message)
                assert await soon(websocket.recv()) == f"Echo for 127.0.0.1: {message}"
        return websocket.close_code

    with running(examples / "behind_nginx.py", "app.sock", cwd=tmp_path):
        command = [nginx, "-p", str(tmp_path), "-c", "nginx.conf"]
        if os.geteuid() == 0:
            # Otherwise, nginx would drop root and could not open the socket.
            command += ["-g", "user root;"]
        with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
            try:
                assert run(talk()) == 1000
            finally:
                process.terminate()


def test_callbacks_and_coroutines(examples):
    with running(examples / "callbacks_and_coroutines.py") as process:
        output = process.communicate(timeout=2 * PATIENCE_S)[0]
    assert re.fullmatch(r"(coroutines|callbacks): [\d,]+ messages a second, client included\n" * 2, output)
