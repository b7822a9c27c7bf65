"""What the commands have in common: errors, event loops, signals, logs, words."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import re
import signal
import ssl
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TextIO

from wsframe.exceptions import ConnectionClosed, PayloadTooBig, ProtocolError

__all__ = [
    "CommandError",
    "add_compression_option",
    "add_header_option",
    "add_loop_option",
    "add_max_size_option",
    "describe_end",
    "describe_os_error",
    "format_address",
    "load_authorities",
    "load_certificate",
    "log_to_stderr",
    "on_stop_signal",
    "parse_positive",
    "parse_seconds",
    "parse_wait",
    "run_loop",
    "supports_ansi",
]


class CommandError(Exception):
    """What was asked for cannot be done; the text is the one line that tells why."""


def add_loop_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--loop``."""
    parser.add_argument(
        "--loop", choices=("asyncio", "uvloop"), default="asyncio", help="event loop (default: %(default)s)"
    )


def add_header_option(parser: argparse.ArgumentParser, help_text: str) -> None:
    """Add ``--header``."""
    parser.add_argument("-H", "--header", action="append", type=_header, metavar="NAME:VALUE", help=help_text)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"expected NAME:VALUE, not {text!r}")
    return name.strip(), value.strip()


def add_compression_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--compression``."""
    parser.add_argument(
        "--compression",
        type=_compression,
        default="deflate",
        metavar="KIND",
        help="compression to negotiate: 'deflate' for permessage-deflate, or 'none' (default: %(default)s)",
    )


def _compression(text: str) -> str | None:
    if text not in ("deflate", "none"):
        raise argparse.ArgumentTypeError(f"expected 'deflate' or 'none', not {text!r}")
    return None if text == "none" else text


def parse_positive(text: str, kind: Callable[[str], float] = float, expected: str = "a number above 0") -> float:
    """Parse an option that is a number above 0.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    try:
        number = kind(text)
    except ValueError:
        number = 0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected {expected}, not {text!r}")
    return number


def parse_seconds(text: str) -> float:
    """Parse an option that is a number of seconds above 0.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    return parse_positive(text, expected="a number of seconds")


def parse_wait(text: str) -> float:
    """Parse an option that is a number of seconds to wait, which may be 0.

    Raises:
        argparse.ArgumentTypeError: If it is none.
    """
    return 0.0 if text.strip("0.") == "" and "0" in text else parse_seconds(text)


def load_certificate(context: ssl.SSLContext, cert: str | None, key: str | None) -> None:
    """Show a certificate to the other side.

    Args:
        context: Where to load it.
        cert: File with the certificate chain, and the private key unless that has a file of its own; None for none.
        key: File with the private key.

    Raises:
        CommandError: If that is impossible.
    """
    if cert is None:
        if key is not None:
            raise CommandError("--tls-key needs --tls-cert")
        return
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as exc:
        raise CommandError(f"cannot use the certificate {cert}: {exc.strerror or exc}") from exc


def load_authorities(context: ssl.SSLContext, file: str) -> None:
    """Trust the certificates in a file.

    Args:
        context: Who is to trust them.
        file: The file's name.

    Raises:
        CommandError: If that is impossible.
    """
    try:
        context.load_verify_locations(file)
    except (OSError, ssl.SSLError) as exc:
        raise CommandError(f"cannot use the certificates in {file}: {exc.strerror or exc}") from exc


def add_max_size_option(parser: argparse._ActionsContainer) -> None:
    """Add ``--max-size``."""
    parser.add_argument(
        "--max-size",
        type=_size,
        default=2**20,
        metavar="BYTES",
        help="size of the largest message to accept, or 'none' for no limit (default: %(default)s)",
    )


def _size(text: str) -> int | None:
    if text == "none":
        return None
    size = int(text) if text.isascii() and text.isdecimal() else -1
    if not 0 <= size <= 2**62:
        raise argparse.ArgumentTypeError(f"expected a number of bytes or 'none', not {text!r}")
    return size


def run_loop(main: Callable[[], Coroutine[Any, Any, int]], loop: str) -> int:
    """Run a coroutine function on an event loop of its own.

    Args:
        main: The coroutine function.
        loop: ``asyncio`` or ``uvloop``.

    Returns:
        What it returns.

    Raises:
        CommandError: If there is no such event loop.
    """
    if loop == "asyncio":
        return asyncio.run(main())
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError as exc:
        raise CommandError("uvloop is not installed: pip install uvloop") from exc
    status: int = uvloop.run(main())
    return status


@contextlib.contextmanager
def on_stop_signal(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` for the first SIGINT or SIGTERM; the next one acts as if this were not here.

    Where event loops know nothing of signals, Ctrl-C cancels the task that ``asyncio.run`` runs.
    """
    loop = asyncio.get_running_loop()
    numbers: list[signal.Signals] = []

    def restore() -> None:
        while numbers:
            loop.remove_signal_handler(numbers.pop())

    def handle() -> None:
        restore()
        stop()

    # NotImplementedError: Windows. The others: not the main thread.
    with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, handle)
            numbers.append(number)
    try:
        yield
    finally:
        restore()


@contextlib.contextmanager
def log_to_stderr(verbose: bool) -> Iterator[logging.Logger]:
    """Send log lines to stderr: those of the command, and those of the library that matter.

    Args:
        verbose: Whether all of the library's matter.

    Yields:
        The command's logger.
    """
    library, command = logging.getLogger("wsframe"), logging.getLogger("wsframe.cli")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
    levels = library.level, command.level
    library.addHandler(handler)
    library.setLevel(logging.DEBUG if verbose else logging.WARNING)
    command.setLevel(logging.DEBUG if verbose else logging.INFO)
    try:
        yield command
    finally:
        library.removeHandler(handler)
        library.setLevel(levels[0])
        command.setLevel(levels[1])


def format_address(address: Any) -> str:
    """Spell a socket address as it stands in a URI."""
    if not isinstance(address, tuple):
        return str(address or "unknown")
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def describe_end(exc: ConnectionClosed, peer: str) -> str:
    """Tell who ended a connection, with which code and reason.

    Args:
        exc: How the connection ended.
        peer: What to call the other side.
    """
    cause = exc.__cause__
    if isinstance(cause, (ProtocolError, PayloadTooBig)):
        code = "" if exc.sent is None else f" with {exc.sent.code}"
        return f"failed by us{code}: {cause}"
    if exc.rcvd is None and exc.sent is None:
        return f"lost: the {peer} disconnected without a closing handshake"
    if exc.sent is not None and exc.rcvd is None:
        return f"closed by us with {exc.sent}, not answered by the {peer}"
    if exc.rcvd_then_sent is False:
        return f"closed by us with {exc.sent}"
    return f"closed by the {peer} with {exc.rcvd}"


def describe_os_error(exc: OSError) -> str:
    """Tell what went wrong in the operating system's words, without asyncio's around them."""
    # asyncio: "Multiple exceptions: [Errno 111] Connect call failed ('::1', 80, 0, 0), [Errno 111] ..."
    numbers = re.findall(r"\[errno (\d+)\]", str(exc), re.IGNORECASE)
    words = {os.strerror(int(number)) for number in numbers}
    if words and not any(word.startswith("Unknown") for word in words):
        return ", ".join(sorted(words))
    return exc.strerror or str(exc)


def supports_ansi(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal that understands escape sequences."""
    if not stream.isatty() or os.environ.get("TERM") == "dumb":
        return False
    return sys.platform != "win32" or "WT_SESSION" in os.environ
