"""``wsframe connect``: a client for a person at a terminal, or for a pipe."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import ssl
import sys
import threading
import unicodedata
from collections.abc import AsyncIterator
from typing import Any, BinaryIO, Literal, TextIO

import wsframe.asyncio.client
from wsframe._escape import escape
from wsframe.asyncio.client import ClientConnection
from wsframe.asyncio.timeouts import within
from wsframe.cli import common
from wsframe.constants import State
from wsframe.exceptions import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidProxy,
    InvalidStatus,
    InvalidURI,
)
from wsframe.messages.connection import SansIOConnection

__all__ = ["Console", "Session", "add_parser", "read_lines", "run"]

PROMPT = "> "
READ_SIZE = 64 * 1024
CHUNKS_AHEAD = 4
"""Reads from stdin that may wait to be sent."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "connect",
        help="connect to a server, type messages, see the replies",
        description="Send each line of standard input as a text message, and print the messages received. "
        "At a terminal, the session ends with Ctrl-D. In a pipe, it ends when as many messages as lines have arrived, "
        "or when none has arrived for a while.",
    )
    parser.add_argument("uri", metavar="URI", help="ws://host:port/path or wss://...")
    parser.add_argument("--origin", help="value of the Origin header")
    common.add_header_option(parser, "header to add to the request; may be repeated")
    parser.add_argument("--subprotocol", action="append", metavar="NAME", help="subprotocol to offer; may be repeated")
    common.add_compression_option(parser)
    parser.add_argument("--proxy", metavar="ADDRESS", help="proxy, or 'none' (default: from the environment)")

    messages = parser.add_argument_group("messages")
    kind = messages.add_mutually_exclusive_group()
    kind.add_argument(
        "--binary", dest="kind", action="store_const", const="binary", help="send each line as a binary message"
    )
    kind.add_argument(
        "--hex",
        dest="kind",
        action="store_const",
        const="hex",
        help="read and print binary messages as hex",
    )
    messages.add_argument("--json", action="store_true", help="indent messages that are JSON")
    messages.add_argument(
        "--ping",
        type=common.parse_seconds,
        metavar="SECONDS",
        help="send a ping at this interval, and print its round-trip time",
    )
    messages.add_argument(
        "--wait",
        type=common.parse_wait,
        default=1.0,
        metavar="SECONDS",
        help="in a pipe: how long to wait for the next message (default: %(default)s)",
    )
    common.add_max_size_option(messages)

    tls = parser.add_argument_group("TLS, for wss://")
    tls.add_argument("--insecure", action="store_true", help="do not verify the server's certificate")
    tls.add_argument("--tls-ca", metavar="FILE", help="trust only the certificates in this file")
    tls.add_argument("--tls-cert", metavar="FILE", help="certificate chain to present to the server")
    tls.add_argument("--tls-key", metavar="FILE", help="private key, if it is not in the certificate file")
    tls.add_argument("--server-name", metavar="NAME", help="name that the server's certificate must match")

    common.add_loop_option(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="show the opening handshake")
    parser.set_defaults(run=run, kind="text")


class Console:
    """What the user sees.

    Messages go to stdout: to a terminal with what it would obey spelled out, and to a pipe as they are. Where somebody
    types, words about the connection go to stderr, and on a terminal messages are marked and shown above the line that
    is being typed.

    Args:
        as_json: Whether to indent JSON.
        as_hex: Whether to print binary messages as hex digits in a pipe too.

    Attributes:
        interactive: Whether somebody types.
    """

    def __init__(self, as_json: bool = False, as_hex: bool = False) -> None:
        self._as_json = as_json
        self._as_hex = as_hex
        self.interactive = sys.stdin is not None and sys.stdin.isatty()
        self._to_terminal = sys.stdout.isatty()
        # Whether the line that is being typed can be kept from being mixed up with what is printed.
        self._keep_line = self.interactive and common.supports_ansi(sys.stdout)
        self._prompting = False

    def show_message(self, data: str | bytes) -> None:
        """Print a message from the server."""
        if self._as_json:
            data = _indented(data)
        if not self._to_terminal:
            if self._as_hex and isinstance(data, bytes):
                data = data.hex()
            # The bytes that came, whatever the encoding of stdout is.
            sys.stdout.flush()
            sys.stdout.buffer.write((data.encode() if isinstance(data, str) else data) + b"\n")
            sys.stdout.buffer.flush()
            return
        text = escape(data, limit=None, keep="\n") if isinstance(data, str) else f"{data.hex(' ')} ({len(data)} bytes)"
        self._print(sys.stdout, f"< {text}" if self.interactive else text)

    def show_status(self, text: str) -> None:
        """Print words about the connection."""
        if self.interactive:
            self._print(sys.stderr, f"* {escape(text)}")

    def show_ping(self, latency: float) -> None:
        """Tell how long the answer to a ping took, on stderr in a pipe too."""
        text = f"ping answered in {latency * 1000:.1f} ms"
        if self.interactive:
            self.show_status(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def prompt(self) -> None:
        """Ask for a line."""
        if self.interactive and self._to_terminal:
            self._prompting = True
            sys.stdout.write(PROMPT)
            sys.stdout.flush()

    def end_prompt(self) -> None:
        """Ask for nothing any more."""
        if self._prompting:
            self._prompting = False
            sys.stdout.write("\r\x1b[K" if self._keep_line else "\n")
            sys.stdout.flush()

    def _print(self, stream: TextIO, text: str) -> None:
        if self._prompting and self._keep_line:
            # Save the cursor, make room above the line that is being typed, print there, go back.
            rows = _rows(text, shutil.get_terminal_size().columns or 80)
            text = "".join(("\x1b7", "\n" * rows, f"\x1b[{rows}A\x1b[{rows}L", text, f"\x1b8\x1b[{rows}B"))
        else:
            text += "\n"
        stream.write(text)
        stream.flush()


def _indented(data: str | bytes) -> str | bytes:
    """Indent JSON; what is none stays as it is."""
    try:
        return json.dumps(json.loads(data), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return data


def _rows(text: str, columns: int) -> int:
    """Count the lines of a terminal that a text takes."""
    rows = 0
    for line in text.split("\n"):
        width = sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)
        rows += max(1, -(-width // columns))
    return rows


async def read_lines(stream: BinaryIO) -> AsyncIterator[bytes]:
    """Iterate over the lines of a stream, without their ends, and without blocking the event loop.

    A daemon thread reads, for there is no other way that works for every kind of stream on every system.

    Args:
        stream: A stream without a buffer: the lock of a buffer, held by a thread that waits for a terminal,
            would not let the interpreter exit.
    """
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    room = threading.Semaphore(CHUNKS_AHEAD)

    def read() -> None:
        chunk = b"-"
        # RuntimeError: the event loop is closed.
        with contextlib.suppress(RuntimeError):
            while chunk:
                room.acquire()
                try:
                    chunk = stream.read(READ_SIZE)
                except (OSError, ValueError):
                    chunk = b""
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    threading.Thread(target=read, name="wsframe-stdin", daemon=True).start()
    rest = b""
    while True:
        chunk = await chunks.get()
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
        room.release()
    if rest:
        yield rest


class _Connection(ClientConnection):
    """A connection that shows the server's pings."""

    def __init__(self, protocol: SansIOConnection, console: Console, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._console = console

    def _on_ping(self, payload: bytes) -> None:
        self._console.show_status(f"answered ping {payload!r}")


class Session:
    """One conversation.

    Args:
        websocket: The connection.
        console: What the user sees.
        wait: Seconds to wait for one more answer in a pipe.
        kind: What lines are: ``text``, ``binary`` or ``hex``.
        ping: Seconds between pings whose answers are shown; None for none.
    """

    def __init__(
        self,
        websocket: ClientConnection,
        console: Console,
        wait: float,
        kind: Literal["text", "binary", "hex"] = "text",
        ping: float | None = None,
    ) -> None:
        self._websocket = websocket
        self._console = console
        self._wait = wait
        self._kind = kind
        self._ping = ping
        self._sent = 0
        self._received = 0
        self._arrival = asyncio.Event()

    async def run(self, stream: BinaryIO | None) -> None:
        """Talk until one side has enough, then close.

        Args:
            stream: Where lines come from, without a buffer; None for none.

        Raises:
            common.CommandError: If the connection did not end well.
        """
        self._console.prompt()
        stop = asyncio.Event()
        tasks = [
            asyncio.create_task(coroutine) for coroutine in (self._receive(), self._send_lines(stream), _wait(stop))
        ]
        pings = asyncio.create_task(self._send_pings(self._ping)) if self._ping is not None else None
        try:
            with common.on_stop_signal(stop.set):
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
                ours = self._websocket.state is State.OPEN
                await self._websocket.close()
                # What was still on its way here.
                await tasks[0]
        finally:
            if pings is not None:
                tasks.append(pings)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._console.end_prompt()
        exc = self._websocket.close_exc
        end = common.describe_end(exc, "server")
        if not ours and not isinstance(exc, ConnectionClosedOK):
            raise common.CommandError(end)
        self._console.show_status(end)

    async def _receive(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self._websocket:
                self._console.show_message(message)
                self._received += 1
                self._arrival.set()

    async def _send_lines(self, stream: BinaryIO | None) -> None:
        if stream is not None:
            async for line in read_lines(stream):
                message = self._to_message(line)
                try:
                    await self._websocket.send(message)
                except ConnectionClosed:
                    return
                self._sent += 1
                self._console.prompt()
        if not self._console.interactive:
            await self._wait_for_answers()

    def _to_message(self, line: bytes) -> str | bytes:
        if self._kind == "binary":
            return line
        try:
            text = line.decode()
            return text if self._kind == "text" else bytes.fromhex(text)
        except ValueError as exc:
            wanted = "hex" if self._kind == "hex" else "UTF-8"
            raise common.CommandError(f"line {self._sent + 1} of the input is not valid {wanted}: {exc}") from exc

    async def _send_pings(self, interval: float) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._console.show_ping(await (await self._websocket.ping()))
                await asyncio.sleep(interval)

    async def _wait_for_answers(self) -> None:
        with contextlib.suppress(TimeoutError):
            while self._received < self._sent:
                self._arrival.clear()
                await within(self._wait, self._arrival.wait())


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    with common.log_to_stderr(True) if options.verbose else contextlib.nullcontext():
        return common.run_loop(lambda: _talk(options), options.loop)


async def _talk(options: argparse.Namespace) -> int:
    console = Console(options.json, options.kind == "hex")
    websocket = await _open(options, console)
    subprotocol = "" if websocket.subprotocol is None else f", subprotocol {websocket.subprotocol}"
    console.show_status(f"connected to {options.uri}{subprotocol}; Ctrl-D to quit")
    # The stream below the buffer of stdin; see read_lines.
    stream: BinaryIO | None = getattr(getattr(sys.stdin, "buffer", None), "raw", None)
    async with websocket:
        await Session(websocket, console, options.wait, options.kind, options.ping).run(stream)
    return 0


async def _open(options: argparse.Namespace, console: Console) -> ClientConnection:
    """Connect, or tell in one line why not."""
    kwargs: dict[str, Any] = {}
    if options.uri.lower().startswith("wss:"):
        kwargs["ssl"] = _tls_context(options)
        if options.server_name is not None:
            kwargs["server_hostname"] = options.server_name
    if options.proxy is not None:
        kwargs["proxy"] = None if options.proxy == "none" else options.proxy
    try:
        return await wsframe.asyncio.client.connect(
            options.uri,
            origin=options.origin,
            additional_headers=options.header,
            subprotocols=options.subprotocol,
            compression=options.compression,
            max_size=options.max_size,
            create_connection=lambda protocol, **others: _Connection(protocol, console, **others),
            **kwargs,
        )
    except (InvalidURI, InvalidProxy, ImportError) as exc:
        raise common.CommandError(str(exc)) from exc
    except InvalidStatus as exc:
        response = exc.response
        why = bytes(response.body).decode("utf-8", "replace").partition("\n")[0]
        status = f"HTTP {response.status_code} {response.reason_phrase}".rstrip()
        raise common.CommandError(f"the server refused the connection: {status}{why and f' ({why:.200})'}") from exc
    except InvalidHandshake as exc:
        why = f" ({exc.__cause__})" if exc.__cause__ is not None else ""
        raise common.CommandError(f"the opening handshake failed: {exc}{why}") from exc
    except ssl.SSLCertVerificationError as exc:
        why = f"the certificate is not valid: {exc.verify_message} (--insecure skips the check)"
        raise common.CommandError(f"cannot connect to {options.uri}: {why}") from exc
    except OSError as exc:
        raise common.CommandError(f"cannot connect to {options.uri}: {common.describe_os_error(exc)}") from exc
    except ValueError as exc:
        raise common.CommandError(str(exc)) from exc


def _tls_context(options: argparse.Namespace) -> ssl.SSLContext:
    if options.tls_ca is None:
        context = ssl.create_default_context()
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        common.load_authorities(context, options.tls_ca)
    common.load_certificate(context, options.tls_cert, options.tls_key)
    if options.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
