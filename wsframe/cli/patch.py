"""``wsframe patch --list``: the servers and clients that wsframe can be put into, and how."""

from __future__ import annotations

import argparse

from wsframe.adapters.patching import HOSTS
from wsframe.cli.common import CommandError

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "patch",
        help="list the servers and clients that wsframe can patch",
        description="List what wsframe.patch() and 'wsframe run --patch' support, with the installed versions.",
    )
    parser.add_argument("--list", action="store_true", help="list them")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    if not options.list:
        raise CommandError(
            "a patch only lasts as long as its process; see 'wsframe patch --list' and 'wsframe run --help'"
        )
    rows = [("host", "version", "state", "what is replaced")]
    for host in HOSTS.values():
        version = host.version()
        if version is None:
            state = "not installed"
        elif host.is_active:
            state = "active"
        else:
            state = "available" if host.is_tested(version) else f"untested (tested: {', '.join(host.tested)})"
        rows.append((host.name, version or "-", state, host.hook))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        print(*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3], sep="  ")
    return 0
