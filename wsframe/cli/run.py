"""``wsframe run --patch HOST -m MODULE``: somebody's program with wsframe in what it is built on."""

from __future__ import annotations

import argparse
import os
import runpy
import sys

from wsframe.adapters.patching import PatchError, patch
from wsframe.cli.common import CommandError

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "run",
        help="run a program after patching the servers and clients it uses",
        usage="wsframe run --patch HOST[,HOST...] (-m MODULE | FILE) [ARGUMENT ...]",
        description="Run a program as python does, after wsframe.patch(). Processes that it starts are not patched.",
    )
    parser.add_argument(
        "--patch", required=True, metavar="HOST[,HOST...]", help="what to patch; 'wsframe patch --list' shows the names"
    )
    parser.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE", help="module to run, and its arguments"
    )
    parser.add_argument("file", nargs=argparse.REMAINDER, metavar="FILE", help="file to run, and its arguments")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    arguments = options.module or options.file
    if not arguments:
        raise CommandError("no module or file to run")
    try:
        patched = patch(*options.patch.split(","))
    except (PatchError, ValueError) as exc:
        raise CommandError(str(exc)) from exc
    sys.argv = arguments
    with patched:
        # As python does it: where modules are looked for first, and a module's own name in sys.argv.
        if options.module:
            sys.path.insert(0, os.getcwd())
            runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
            runpy.run_path(arguments[0], run_name="__main__")
    return 0
