"""``wsframe.patch`` on each version of its hosts that it says was tested: ``python tests/adapters/host_versions.py``.

Makes one virtual environment with the wsframe of this work tree, installs the versions into it one by one, and runs our
tests of the adapter on each; where there are none that need the host, it talks to it here. A version that the patch
warns of is an error.

    host_versions.py [HOST ...]       all hosts by default
    host_versions.py --newest         what pip installs today, for the day after a release; the warning is none then
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import warnings

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
LIMIT_S = 900

# The oldest and the newest release of each series in ``wsframe.adapters.patching``, and what differs between them.
VERSIONS = {
    "autobahn": ["26.10.1", "26.10.2"],
    "gevent-websocket": ["0.10", "0.10.1"],
    "hypercorn": ["0.18.0"],
    "tornado": ["6.6", "6.6.1"],
    "uvicorn": ["0.54.0"],
    "websocket-client": ["1.9.0", "1.9.2"],
    "websockets": ["17.0", "17.0.1", "17.1", "17.2", "17.3", "17.4"],
    "websockify": ["0.13.0"],
    "wsproto": ["1.3.0", "1.3.2"],
}

TESTS = {
    "hypercorn": ["test_hypercorn.py"],
    "tornado": ["test_tornado.py"],
    "uvicorn": ["test_uvicorn_handshake.py", "test_uvicorn.py"],
    "websocket-client": ["test_websocket_client.py"],
    "websockets": ["test_websockets.py"],
    "wsproto": ["test_wsproto.py", "test_wsproto_parity.py::test_receives_the_same_as_wsproto[patch]"],
}
"""Our tests that use a host which the extra ``test`` installs; for the others, ``CHECKS``."""

TEXT = "Grüße, " * 1000
PIP = ["-m", "pip", "--quiet", "--disable-pip-version-check", "install"]


def check_autobahn() -> None:
    from autobahn.asyncio import websocket

    received = []

    class Server(websocket.WebSocketServerProtocol):
        def onMessage(self, payload, is_binary):  # noqa: N802 - autobahn's name
            self.sendMessage(payload, is_binary)

    class Client(websocket.WebSocketClientProtocol):
        def onOpen(self):  # noqa: N802 - autobahn's name
            self.sendMessage(TEXT.encode())

        def onMessage(self, payload, is_binary):  # noqa: N802 - autobahn's name
            received.append(payload.decode())
            self.sendClose(1000)

        def onClose(self, was_clean, code, reason):  # noqa: N802 - autobahn's name
            done.set()

    async def talk():
        global done
        done = asyncio.Event()
        loop = asyncio.get_running_loop()
        factory, ask = websocket.WebSocketServerFactory(), websocket.WebSocketClientFactory()
        factory.protocol, ask.protocol = Server, Client
        server = await loop.create_server(factory, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        ask.setSessionParameters(url=f"ws://127.0.0.1:{port}")
        await loop.create_connection(ask, "127.0.0.1", port)
        await asyncio.wait_for(done.wait(), 30)
        server.close()

    asyncio.run(talk())
    assert received == [TEXT]
    from wsframe.adapters.wsaccel import xormask

    assert sys.modules["autobahn.websocket.protocol"].create_xor_masker is xormask.createXorMasker


def check_gevent_websocket() -> None:
    import gevent
    from gevent.pywsgi import WSGIServer
    from geventwebsocket.handler import WebSocketHandler

    import wsframe.sync.client

    received = []

    def app(environ, start_response):
        ws = environ["wsgi.websocket"]
        ws.send(ws.receive())
        ws.close()
        return []

    def talk(port):
        with wsframe.sync.client.connect(f"ws://127.0.0.1:{port}") as client:
            client.send(TEXT)
            received.append(client.recv(timeout=30))

    server = WSGIServer(("127.0.0.1", 0), app, handler_class=WebSocketHandler, log=None)
    server.start()
    client = threading.Thread(target=talk, args=[server.server_port], daemon=True)
    client.start()
    deadline = time.monotonic() + 30
    while client.is_alive() and time.monotonic() < deadline:
        gevent.sleep(0.01)
    server.stop()
    assert received == [TEXT]


def check_websockify() -> None:
    from websockify.websocket import WebSocket

    import wsframe

    ours, theirs = socket.socketpair()
    headers = {"upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x"}
    server = WebSocket()
    server.accept(theirs, headers)
    assert b" 101 " in ours.recv(4096)
    payload = TEXT.encode()[:3000]
    ours.sendall(wsframe.serialize_frame(2, payload, mask=wsframe.new_masking_key()))
    server.send(server.recv())
    (frame,) = wsframe.FrameParser(wsframe.Role.CLIENT).feed(ours.recv(8192))
    assert frame.payload == payload
    ours.close()
    theirs.close()


CHECKS = {
    "autobahn": check_autobahn,
    "gevent-websocket": check_gevent_websocket,
    "websockify": check_websockify,
}


def check_here(host: str, is_newest: bool) -> None:
    """Patch a host that is installed, and talk to it."""
    import wsframe

    # Of the host, and of what it imports, warnings are its own business.
    warnings.simplefilter("ignore" if is_newest else "error", wsframe.UntestedVersionWarning)
    with wsframe.patch(host):
        CHECKS[host]()
    print("1 passed with", host, importlib.metadata.version(host))


def run(command: list[object]) -> tuple[bool, str]:
    """Run a command in the work tree; return whether it succeeded, and what it printed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=ROOT,
        env=environment,
        timeout=LIMIT_S,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode == 0, done.stdout


def install_wsframe(folder: pathlib.Path) -> pathlib.Path:
    """Make the virtual environment; return its directory of programs."""
    # As in host_suites, which is no module of a package.
    subprocess.run([sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "-w", folder, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    programs = folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    subprocess.run([programs / "python", *PIP, f"wsframe[test] @ {wheel.as_uri()}"], check=True)
    return programs


def check(host: str, version: str | None, programs: pathlib.Path) -> bool:
    """Install a version of a host, None for the newest, and check it."""
    python = programs / "python"
    requirement = ["--upgrade", host] if version is None else [f"{host}=={version}"]
    installed, output = run([python, *PIP, *requirement])
    if not installed:
        print(output)
        return False
    if host in CHECKS:
        right, output = run([python, __file__, "--check", host, *["--newest"] * (version is None)])
    else:
        action = "ignore" if version is None else "error"
        # The program, not the module: the work tree, which is not built, must not be imported.
        right, output = run(
            [programs / "pytest", "-q", "-p", "no:cacheprovider", "-W", f"{action}::wsframe.UntestedVersionWarning"]
            # One event loop is enough: the adapters do not depend on the release in what differs between loops.
            + ["-k", "not uvloop"]
            + [f"{HERE}/{name}" for name in TESTS[host]]
        )
    passed = re.findall(r"(\d+) passed", output)
    right = right and bool(passed)
    verdict = f"{passed[-1]} passed" if right else "FAILED"
    _, found = run([python, "-c", f"import importlib.metadata as m; print(m.version({host!r}))"])
    print(f"{host:18} {found.strip():8} {verdict}", flush=True)
    if not right:
        print(output[-6000:], flush=True)
    return right


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hosts", nargs="*", metavar="HOST", help=f"{', '.join(VERSIONS)}; all of them by default")
    parser.add_argument("--newest", action="store_true", help="check the newest release of each instead")
    parser.add_argument("--check", metavar="HOST", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.check:
        check_here(options.check, options.newest)
        return 0
    results = []
    with tempfile.TemporaryDirectory(prefix="wsframe-versions-") as folder:
        programs = install_wsframe(pathlib.Path(folder))
        for host in options.hosts or VERSIONS:
            results += [check(host, version, programs) for version in ([None] if options.newest else VERSIONS[host])]
    print(f"{results.count(True)} passed, {results.count(False)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
