"""The targets: functions of a source that raise AssertionError for what is wrong, and return what they have seen.

What they return are words for the kinds of input and outcome; our driver keeps inputs that show new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .source import Source

Target = Callable[[Source], Iterable[str]]

TARGETS: dict[str, Target] = {}
"""The targets by name."""


def target(name: str) -> Callable[[Target], Target]:
    """Register a target."""

    def register(function: Target) -> Target:
        assert name not in TARGETS
        TARGETS[name] = function
        return function

    return register


def load_targets() -> dict[str, Target]:
    """Import the modules that have targets, and return all of them."""
    from . import targets_codec, targets_connection, targets_handshake, targets_pipe, targets_streams  # noqa: F401

    return TARGETS
