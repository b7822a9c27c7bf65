"""The ``wsframe`` command: one module per subcommand. Nothing of the library imports it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from wsframe._escape import escape
from wsframe._implementation import IMPLEMENTATION
from wsframe._version import VERSION
from wsframe.cli import connect, demo, echo, patch, run
from wsframe.cli.common import CommandError

__all__ = ["build_parser", "main"]


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="wsframe", description="WebSocket at C speed: a demo, an echo server, an interactive client, and more."
    )
    parser.add_argument("--version", action="version", version=f"wsframe {VERSION} ({IMPLEMENTATION})")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for module in (demo, echo, connect, patch, run):
        module.add_parser(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The arguments; those of the process if None.

    Returns:
        The exit status: 0, 1 for what went wrong, 130 for a Ctrl-C that cut something short.

    Raises:
        SystemExit: With status 2 if the arguments are wrong, with 0 behind ``--help`` and ``--version``.
    """
    options = build_parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.run
    try:
        status = command(options)
        sys.stdout.flush()
    except CommandError as exc:
        print(f"wsframe {options.command}: {escape(str(exc), limit=None)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _discard_stdout()
        return 1
    return status


def _discard_stdout() -> None:
    """Nobody reads our output any more: keep the interpreter from complaining about that when it exits."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)
