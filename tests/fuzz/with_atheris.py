"""libFuzzer as the engine, by atheris: it sees the branches of the pure implementation, and of no C."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import atheris

from .implementations import implementations


def run(attempt: Callable[[bytes], set[str]], options: argparse.Namespace) -> int:
    """Drive a target; what is wrong ends the process."""
    with atheris.instrument_imports():
        implementations()
    from .driver import HANG_S, MAX_INPUT

    print(
        f"{options.target}: libFuzzer by atheris, guided by branches; seed {options.seed}, {options.seconds:g} s",
        flush=True,
    )
    # The supervisor removes it.
    folder = Path(options.work).parent
    corpus = options.corpus or folder / "corpus"
    corpus.mkdir(exist_ok=True)
    arguments = [
        "tests.fuzz",
        f"-max_total_time={max(1, round(options.seconds))}",
        f"-max_len={MAX_INPUT}",
        f"-seed={options.seed % 2**32 or 1}",
        f"-timeout={HANG_S}",
        "-rss_limit_mb=0",
        "-len_control=0",
        # The supervisor keeps failing inputs.
        f"-artifact_prefix={folder}/",
        str(corpus),
    ]

    def one(data: bytes) -> None:
        attempt(data)

    atheris.Setup(arguments, one)
    atheris.Fuzz()
    return 0
