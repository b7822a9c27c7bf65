"""``python -m wsframe``: which implementation runs and why; with arguments, the ``wsframe`` command. Rank 7."""

from __future__ import annotations

import platform
import sys

from wsframe._build import IMPLEMENTATION, REASON
from wsframe._version import VERSION
from wsframe.cli import main

__all__ = ["describe_implementation"]


def describe_implementation() -> str:
    """Tell the version, which implementation of the codec runs, and why."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    system = f"{platform.system()} {platform.machine()}"
    return f"wsframe {VERSION}\nimplementation: {IMPLEMENTATION} ({REASON})\n{python} on {system}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main())
    print(describe_implementation())
