"""``python -m benchmarks.serve NAME`` runs a server under test: it prints its port, and ends with its standard input.

The names are those in ``servers``, ``host_servers`` and ``broadcast_servers``.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from benchmarks import broadcast_servers, host_servers, servers
from benchmarks.registry import BROADCAST, ECHO, add_loop_option, run

__all__ = ["broadcast_servers", "host_servers", "main", "servers"]


async def _main(options: argparse.Namespace) -> None:
    start = (BROADCAST if options.broadcast else ECHO)[options.name]
    print(await start(options), flush=True)
    # The end of standard input is the signal to stop, also if whoever started this is killed.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve", description=__doc__)
    parser.add_argument("name", help="; ".join(ECHO))
    add_loop_option(parser)
    parser.add_argument("--deflate", type=int, metavar="LEVEL")
    parser.add_argument("--broadcast", action="store_true", help="a message goes to all connections")
    parser.add_argument("--certificate", metavar="FILE", help="certificate and key for TLS")
    options = parser.parse_args()
    run(_main(options), options.loop)


if __name__ == "__main__":
    main()
