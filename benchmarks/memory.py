"""Resident memory of a server per connection: opened, after a message, idle since, and left after all have closed."""

from __future__ import annotations

import argparse
import gc
import pathlib
import resource
import socket
import time
from typing import Any

import wsframe
from benchmarks.deflate import json_text
from benchmarks.harness import MASKING_KEY, ServerProcess, deflate, running
from benchmarks.rounds import progress

SERVERS = [
    "wsframe",
    "wsframe callbacks",
    "websockets",
    "aiohttp",
    "uvicorn, websockets-sansio",
    "picows.websockets",
    "tornado",
]
KINDS = [("no compression", None, 0), ("deflate, equal windows", 1, 12), ("deflate, defaults", 1, 15)]
"""Kind, level, and window bits that the client asks for; 15 is to leave it to the server."""
CONNECTIONS = 1000
MESSAGE_SIZE = 4096
IDLE_S = 25
"""Longer than two idle timeouts of wsframe's deflate, which is how long it may take to give memory up."""


def run(program: pathlib.Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the suite; return its figures in KiB per connection. The load client is not needed."""
    del program
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    names = options.servers.split(";") if options.servers else SERVERS
    results = []
    for kind, level, window in KINDS:
        rows = []
        for name in names:
            progress(f"memory, {kind}: {name}")
            with running(name, deflate_level=level) as server:
                rows.append({"case": kind, "name": name, **_measure(server, window)})
        progress("")
        print(f"\n{kind}: KiB per connection, of {CONNECTIONS}")
        print(f"  {'server':32} {'opened':>8} {'1 message':>10} {'idle':>8} {'left after closing':>20}")
        for row in sorted(rows, key=lambda row: float(row["idle"])):
            print(f"  {row['name']:32} {row['opened']:8.1f} {row['used']:10.1f} {row['idle']:8.1f} {row['left']:20.1f}")
        results += rows
    return results


def _measure(server: ServerProcess, window: int) -> dict[str, float]:
    payload = json_text(MESSAGE_SIZE, 0)
    extension = ""
    if window:
        bits = f"; server_max_window_bits={window}; client_max_window_bits={window}" if window < 15 else ""
        extension = f"Sec-WebSocket-Extensions: permessage-deflate{bits or '; client_max_window_bits'}\r\n"
    sent = deflate(payload) if window else payload
    frame = wsframe.serialize_frame(wsframe.Opcode.TEXT, sent, rsv1=bool(window), mask=MASKING_KEY)
    head = (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extension}\r\n"
    ).encode()
    # One connection before, so that what is loaded or allocated once does not count.
    for connection in _open(server.port, head, 1):
        _exchange(connection, frame)
        connection.close()
    time.sleep(0.5)
    empty = server.resident_kib()
    connections = _open(server.port, head, CONNECTIONS)
    time.sleep(0.5)
    opened = server.resident_kib()
    for connection in connections:
        _exchange(connection, frame)
    time.sleep(0.5)
    used = server.resident_kib()
    time.sleep(IDLE_S if window else 0)
    idle = server.resident_kib()
    for connection in connections:
        connection.close()
    connections.clear()
    gc.collect()
    time.sleep(2)
    figures = {"opened": opened, "used": used, "idle": idle, "left": server.resident_kib()}
    return {name: (kib - empty) / CONNECTIONS for name, kib in figures.items()}


def _open(port: int, head: bytes, count: int) -> list[socket.socket]:
    connections = []
    for _ in range(count):
        connection = socket.create_connection(("127.0.0.1", port), timeout=20)
        connection.sendall(head)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        if not answer.startswith(b"HTTP/1.1 101"):
            raise RuntimeError(f"the handshake was refused: {answer!r}")
        connections.append(connection)
    return connections


def _exchange(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(frame)
    parser = wsframe.FrameParser(wsframe.Role.CLIENT, rsv1=True)
    while not parser.feed(connection.recv(65536)):
        pass
