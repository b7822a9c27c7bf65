"""``wsframe demo``: one exchange as it is on the wire, and how fast more of them are."""

from __future__ import annotations

import argparse
import asyncio
import functools
import os
import platform
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TextIO

from wsframe._implementation import IMPLEMENTATION, REASON
from wsframe._version import VERSION
from wsframe.asyncio.client import ClientConnection, connect
from wsframe.asyncio.protocol import WebSocketProtocol
from wsframe.asyncio.server import ServerConnection, serve
from wsframe.cli.common import CommandError, add_loop_option, parse_positive, run_loop, supports_ansi
from wsframe.cli.wire import Relay, WireFrame
from wsframe.constants import CloseCode, Opcode, Role

__all__ = ["Screen", "add_parser", "run"]

HOST = "127.0.0.1"
IN_FLIGHT = 64
MESSAGE = "sixteen letters!"
HEX_BYTES = 6
"""Bytes of a payload that a line of the table has room for."""

COLORS: dict[str | Role, str] = {
    "title": "1",
    "dim": "2",
    Role.CLIENT: "36",
    Role.SERVER: "32",
    "key": "33",
    "result": "1;32",
}
"""Colors as terminals number them."""

ASCII = str.maketrans({"→": ">", "←": "<", "…": "~", "·": "-", "§": "s.", "µ": "u"})
"""What stands in for characters that an output cannot encode."""

NOTES = (
    "FIN=0: more fragments follow. Only control frames (ping, pong, close) may come between fragments.",
    "fe 01 00: 126 (7e) in the length field means that the next 2 bytes hold the length; 127, the next 8.",
    "The peer answers the close frame with the same code; then the server closes the TCP connection.",
)


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "demo",
        help="see what WebSocket looks like on the wire, and how fast it is",
        description="Start an echo server, connect to it, show the frames of one exchange as they appear on the wire, "
        "and measure a short burst of messages.",
    )
    parser.add_argument(
        "--seconds", type=parse_positive, default=1.0, help="total measuring time (default: %(default)s)"
    )
    parser.add_argument(
        "--messages",
        type=functools.partial(parse_positive, kind=int),
        metavar="N",
        help="number of messages per measurement, instead of --seconds",
    )
    parser.add_argument("--no-color", action="store_true", help="disable colors, even on a terminal")
    add_loop_option(parser)
    parser.set_defaults(run=run)


class Screen:
    """Where the demonstration is shown.

    Args:
        stream: Where to write; what it cannot encode is replaced by what it can.
        color: Whether to use colors.
    """

    def __init__(self, stream: TextIO, color: bool) -> None:
        self._stream = stream
        self._color = color

    def paint(self, text: str, style: str | Role) -> str:
        """Give a text a color."""
        return f"\x1b[{COLORS[style]}m{text}\x1b[0m" if self._color and text else text

    def line(self, text: str = "") -> None:
        """Write a line."""
        try:
            text.encode(self._stream.encoding or "ascii")
        except UnicodeEncodeError:
            text = text.translate(ASCII)
        print(text, file=self._stream)

    def title(self, text: str) -> None:
        """Write the title of a part."""
        self.line()
        self.line(self.paint(text, "title"))
        self.line()


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    plain = options.no_color or "NO_COLOR" in os.environ
    screen = Screen(sys.stdout, not plain and supports_ansi(sys.stdout))
    return run_loop(lambda: _demonstrate(screen, options), options.loop)


async def _demonstrate(screen: Screen, options: argparse.Namespace) -> int:
    title = screen.paint(f"wsframe {VERSION}", "title")
    try:
        screen.line(f"{title} · a server and a client on this machine; a relay between them records the bytes")
        async with serve(_echo, HOST, 0) as server:
            address = HOST, server.sockets[0].getsockname()[1]
            await _show_exchange(screen, *address)
            await _show_burst(screen, *address, options)
    except BrokenPipeError:
        # That is stdout.
        raise
    except OSError as exc:
        raise CommandError(f"cannot use the loopback interface: {exc}") from exc
    screen.line()
    screen.line(f"Next:  wsframe echo    and, in another terminal,    wsframe connect ws://{HOST}:8765")
    return 0


async def _echo(websocket: ServerConnection) -> None:
    async for message in websocket:
        await websocket.send(message)


# The exchange


async def _show_exchange(screen: Screen, host: str, port: int) -> None:
    async with Relay(host, port) as relay:
        async with connect(f"ws://{host}:{relay.port}/chat", compression=None) as websocket:
            screen.title("1. The opening handshake is HTTP (RFC 6455 §4)")
            _show_head(screen, relay, Role.CLIENT)
            _show_head(screen, relay, Role.SERVER)

            await websocket.send("Hello")
            await websocket.recv()
            screen.title("2. Then come frames: a header of 2 to 14 bytes and a payload (RFC 6455 §5)")
            for sender, frame in relay.take_frames():
                _explain_frame(screen, sender, frame)

            screen.title(
                "3. A message in fragments with a ping between them, a longer message, and the closing handshake"
            )
            _show_columns(screen)
            await _send_fragments(websocket)
            _show_frames(screen, relay)
            await websocket.send(bytes(range(256)))
            await websocket.recv()
            _show_frames(screen, relay)
            await websocket.close(CloseCode.NORMAL_CLOSURE, "bye")
        await relay.wait_done()
        _show_frames(screen, relay)
        screen.line()
        for note in NOTES:
            screen.line(screen.paint(f"    {note}", "dim"))


async def _send_fragments(websocket: ClientConnection) -> None:
    async def fragments() -> AsyncIterator[str]:
        yield "Web"
        pong = await websocket.ping(b"you?")
        yield "Sock"
        await pong
        yield "et"

    await websocket.send(fragments())
    await websocket.recv()


def _arrow(sender: Role) -> str:
    return "→" if sender is Role.CLIENT else "←"


def _names(sender: Role) -> str:
    return f"{sender.name.lower()} → {Role(1 - sender).name.lower()}"


def _show_head(screen: Screen, relay: Relay, sender: Role) -> None:
    for number, line in enumerate(relay.head(sender).decode("latin-1").split("\r\n")):
        margin = f"{_names(sender)}   " if number == 0 else " " * 18
        name, colon, value = line.partition(":")
        important = number == 0 or name.startswith("Sec-WebSocket")
        text = line if important else screen.paint(name + colon + value, "dim")
        screen.line(f"  {screen.paint(margin, sender)}{text}")
    if sender is Role.SERVER:
        note = "(Accept: SHA-1 of Key and a fixed GUID; proves that the server speaks WebSocket)"
        screen.line(" " * 20 + screen.paint(note, "dim"))


def _explain_frame(screen: Screen, sender: Role, frame: WireFrame) -> None:
    first, second = frame.header[:2]
    raw = [screen.paint(frame.header.hex(" "), sender), screen.paint(frame.payload.hex(" "), sender)]
    if frame.masking_key:
        raw.insert(1, screen.paint(frame.masking_key.hex(" "), "key"))
    screen.line(f"{screen.paint(f'  {_names(sender)}', sender)}   {' '.join(raw)}")
    flags = f"FIN={first >> 7}  RSV={first >> 4 & 7:03b}  opcode={first & 15} ({_word(frame)})"
    fields = [
        (f"{first:02x}", f"{first:08b}", flags),
        (f"{second:02x}", f"{second:08b}", f"MASK={second >> 7}  payload length={second & 127}"),
    ]
    if frame.masking_key:
        fields.append((frame.masking_key.hex(" "), "", "masking key: random, a fresh one for each frame"))
        how = "payload XOR masking key"
    else:
        how = "unmasked payload, since servers do not mask"
    fields.append((frame.payload.hex(" "), "", f"{how}: {_quote(frame)}"))
    for data, bits, meaning in fields:
        screen.line(f"  {'':18}{data:<15}{screen.paint(f'{bits:<8}', 'dim')}  {meaning}")


def _show_columns(screen: Screen) -> None:
    title = f"    {'header':<12} {'masking key':<12} {'payload':<19} {'opcode':<12} FIN MASK  len"
    screen.line(screen.paint(title, "dim"))


def _show_frames(screen: Screen, relay: Relay) -> None:
    for sender, frame in relay.take_frames():
        payload = frame.payload[:HEX_BYTES].hex(" ") + (" …" if len(frame.payload) > HEX_BYTES else "")
        first, second = frame.header[:2]
        header = screen.paint(f"  {_arrow(sender)} {frame.header.hex(' '):<12}", sender)
        key = screen.paint(f"{frame.masking_key.hex(' '):<12}", "key")
        payload = screen.paint(f"{payload:<19}", sender)
        fields = f"{_word(frame):<12}  {first >> 7}    {second >> 7}  {len(frame.payload):>4}  {_quote(frame)}"
        screen.line(f"{header} {key} {payload} {fields}")


def _word(frame: WireFrame) -> str:
    return frame.frame.opcode.name.lower()


def _quote(frame: WireFrame) -> str:
    """Show a payload, unmasked."""
    opcode, payload = frame.frame.opcode, frame.frame.payload
    if opcode is Opcode.CLOSE:
        return f"{int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}"
    if opcode is Opcode.BINARY:
        return f"{payload[:3].hex(' ')} …"
    return f'"{payload.decode()}"'


# The burst


async def _show_burst(screen: Screen, host: str, port: int, options: argparse.Namespace) -> None:
    screen.title(f"4. A short burst: {len(MESSAGE)} bytes of text to the server and back, all in one process")
    loop = asyncio.get_running_loop()
    async with await loop.create_server(_EchoProtocol, host, 0) as server:
        callback_port = server.sockets[0].getsockname()[1]
        uri = f"ws://{host}:{port}"
        measurements: list[tuple[str, Callable[[_Stop], Awaitable[float]]]] = [
            (f"callbacks,  {IN_FLIGHT} in flight", lambda stop: _measure_callbacks(host, callback_port, stop)),
            (f"coroutines, {IN_FLIGHT} in flight", lambda stop: _measure_coroutines(uri, IN_FLIGHT, stop)),
            ("coroutines,  1 in flight", lambda stop: _measure_coroutines(uri, 1, stop)),
        ]
        for name, measure in measurements:
            rate = await measure(_Stop(options.seconds / len(measurements), options.messages))
            result = screen.paint(f"{rate:>11,.0f} messages per second", "result")
            screen.line(f"    {name:<24} {result}  {1e6 / rate:8.1f} µs each")
    screen.line()
    codec = {"c": "c, the compiled codec", "python": "python, the codec in pure Python"}[IMPLEMENTATION]
    python = f"{platform.python_implementation()} {platform.python_version()}"
    event_loop = type(loop).__module__.partition(".")[0]
    screen.line(f"    implementation  {screen.paint(codec, 'title')}")
    screen.line(f"    because         {REASON}")
    screen.line(f"    on              {python}, {platform.system()} {platform.machine()}, event loop: {event_loop}")


class _Stop:
    """Tells when a measurement has enough messages.

    Args:
        seconds: After this time.
        messages: After this many messages, whatever the time; None for the time alone.
    """

    def __init__(self, seconds: float, messages: int | None) -> None:
        self._seconds = seconds
        self._messages = messages
        self._begin = 0.0
        self._count = 0

    def start(self) -> None:
        """Start the clock."""
        self._begin = time.perf_counter()

    def __call__(self) -> bool:
        """Count a message that came back; tell whether it was the last one."""
        self._count += 1
        if self._messages is not None:
            return self._count >= self._messages
        return time.perf_counter() - self._begin >= self._seconds

    def rate(self) -> float:
        """Return the messages per second up to now."""
        return self._count / (time.perf_counter() - self._begin)


async def _measure_coroutines(uri: str, in_flight: int, stop: _Stop) -> float:
    async with connect(uri) as websocket:
        stop.start()
        for _ in range(in_flight):
            await websocket.send(MESSAGE)
        await websocket.recv()
        while not stop():
            await websocket.send(MESSAGE)
            await websocket.recv()
        return stop.rate()


class _EchoProtocol(WebSocketProtocol):
    def message_received(self, data: str | bytes) -> None:
        self.send(data)


class _BurstProtocol(WebSocketProtocol):
    def __init__(self, uri: str, stop: _Stop, done: asyncio.Future[float]) -> None:
        super().__init__(uri)
        self._stop = stop
        self._done = done
        self._rate: float | None = None

    def connection_open(self) -> None:
        self._stop.start()
        for _ in range(IN_FLIGHT):
            self.send(MESSAGE)

    def message_received(self, data: str | bytes) -> None:
        if self._rate is not None:
            return
        if self._stop():
            self._rate = self._stop.rate()
            self.close()
        else:
            self.send(MESSAGE)

    def connection_closed(self, code: int, reason: str) -> None:
        if self._rate is None:
            self._done.set_exception(OSError(f"the connection ended too early, with code {code} {reason}".rstrip()))
        else:
            self._done.set_result(self._rate)

    def handshake_failed(self, exc: Exception) -> None:
        self._done.set_exception(exc)


async def _measure_callbacks(host: str, port: int, stop: _Stop) -> float:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[float] = loop.create_future()
    await loop.create_connection(lambda: _BurstProtocol(f"ws://{host}:{port}", stop, done), host, port)
    return await done
