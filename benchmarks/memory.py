"""Resident memory of a server per connection: opened, after a message, idle since, and left after all have closed."""

from __future__ import annotations

import argparse
import dataclasses
import gc
import resource
import socket
import time
from collections.abc import Sequence
from typing import Any

import wsframe
from benchmarks.deflate import json_text
from benchmarks.goals import LOOPS, Goal, judge, print_goals
from benchmarks.harness import C_SERVER, MASKING_KEY, Server, Tools, deflate, running
from benchmarks.rounds import Contender, Suite, print_table, progress

IDLE_SERVERS = [
    "wsframe callbacks",
    "wsframe",
    "picows",
    "picows.websockets",
    "websockets",
    "aiohttp",
    "uvicorn, websockets-sansio",
    "tornado",
    C_SERVER,
]
DEFLATE_SERVERS = ["wsframe", "websockets", "aiohttp", "uvicorn, websockets-sansio", "picows.websockets", "tornado"]

MESSAGE_SIZE = 4096
DEFLATE_IDLE_S = 25
"""Longer than two idle timeouts of wsframe's deflate, which is how long it may take to give memory up."""

SETTLE_S = 0.5
CLOSED_S = 3
"""Time to give memory back after the last connection is closed."""

SPARE_FILES = 200
PER_ADDRESS = 3000
"""Connections from one loopback address: its ports are limited."""

# Python knows the number only since 3.12.
IP_BIND_ADDRESS_NO_PORT = 24

MOST_KIB = {"wsframe callbacks": 6.0, "wsframe": 8.0}

COLUMNS = {
    "opened": ("opened", "8.1f"),
    "used": ("1 message", "10.1f"),
    "idle": ("idle", "8.1f"),
    "left": ("left after closing", "19.1f"),
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """What kind of connections.

    Attributes:
        label: What they are called.
        connections: How many.
        level: Compression level, None for no compression.
        window_bits: What the client asks for; 15 is to leave it to the server.
        idle_s: Seconds to wait after the message.
    """

    label: str
    connections: int
    level: int | None = None
    window_bits: int = 0
    idle_s: float = 0


def run(tools: Tools, options: argparse.Namespace) -> Suite:
    """Run the suite; the figures are KiB per connection. The load client is not needed."""
    many = min(900 if options.quick else 9000, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)
    few = many // 9
    idle_s = 0 if options.quick else DEFLATE_IDLE_S
    idle = Kind(f"{many} connections", many)
    suite = Suite([])
    if options.cases in idle.label:
        contenders = Contender.each(IDLE_SERVERS, LOOPS, options)
        suite.results.extend(_measure_all(tools, idle, contenders))
        # Whichever event loop takes less counts.
        best = [
            min((row for row in suite.results if row["name"] == name), key=lambda row: float(row["opened"]))
            | {"loop": None}
            for name in MOST_KIB
            if any(contender.name == name for contender in contenders)
        ]
        goals = [Goal(idle.label, name, None, (), most) for name, most in MOST_KIB.items()]
        suite.verdicts.extend(judge(goals, best, "opened"))
        print_goals(suite.verdicts)
    for kind in (
        Kind(f"{few} connections, deflate, equal windows", few, 1, 12, idle_s),
        Kind(f"{few} connections, deflate, defaults", few, 1, 15, idle_s),
    ):
        if options.cases in kind.label:
            contenders = Contender.each(DEFLATE_SERVERS, ["asyncio"], options, kind.level)
            suite.results.extend(_measure_all(tools, kind, contenders))
    return suite


def _measure_all(tools: Tools, kind: Kind, contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    rows = []
    for contender in contenders:
        progress(f"memory, {kind.label}: {contender}")
        loop = contender.loop or "asyncio"
        with running(tools, contender.name, loop=loop, deflate_level=contender.deflate_level) as server:
            rows.append({"case": kind.label, **dataclasses.asdict(contender), **_measure(server, kind)})
    progress("")
    print_table(f"{kind.label}: KiB of each", rows, COLUMNS)
    return rows


def _measure(server: Server, kind: Kind) -> dict[str, float]:
    payload = json_text(MESSAGE_SIZE, 0)
    extension = ""
    if kind.window_bits:
        bits = f"; server_max_window_bits={kind.window_bits}; client_max_window_bits={kind.window_bits}"
        extension = (
            f"Sec-WebSocket-Extensions: permessage-deflate"
            f"{bits if kind.window_bits < 15 else '; client_max_window_bits'}\r\n"
        )
    sent = deflate(payload) if kind.window_bits else payload
    frame = wsframe.serialize_frame(wsframe.Opcode.TEXT, sent, rsv1=bool(kind.window_bits), mask=MASKING_KEY)
    head = (
        f"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{extension}\r\n"
    ).encode()
    # One connection before, so that what is loaded or allocated once does not count.
    first = [_open(server.port, head, 0)]
    _exchange(first[0], frame)
    _close(first)
    time.sleep(SETTLE_S)
    empty = server.resident_kib()
    connections = [_open(server.port, head, number) for number in range(kind.connections)]
    time.sleep(SETTLE_S)
    opened = server.resident_kib()
    for connection in connections:
        _exchange(connection, frame)
    time.sleep(SETTLE_S)
    used = server.resident_kib()
    time.sleep(kind.idle_s)
    idle = server.resident_kib()
    _close(connections)
    connections.clear()
    gc.collect()
    time.sleep(CLOSED_S)
    figures = {"opened": opened, "used": used, "idle": idle, "left": server.resident_kib()}
    return {name: (kib - empty) / kind.connections for name, kib in figures.items()}


def _open(port: int, head: bytes, number: int) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(20)
    connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    connection.bind((f"127.0.0.{2 + number // PER_ADDRESS}", 0))
    connection.connect(("127.0.0.1", port))
    connection.sendall(head)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        received = connection.recv(4096)
        if not received:
            break
        answer += received
    if not answer.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"the handshake was refused: {answer!r}")
    return connection


def _exchange(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(frame)
    parser = wsframe.FrameParser(wsframe.Role.CLIENT, rsv1=True)
    while not parser.feed(connection.recv(65536)):
        pass


def _close(connections: Sequence[socket.socket]) -> None:
    """End connections in the proper way."""
    close_frame = wsframe.serialize_frame(wsframe.Opcode.CLOSE, b"\x03\xe8", mask=MASKING_KEY)
    for connection in connections:
        connection.sendall(close_frame)
        connection.shutdown(socket.SHUT_WR)
    for connection in connections:
        while connection.recv(65536):
            pass
        connection.close()
