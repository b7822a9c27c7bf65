"""Where a target's decisions come from: hypothesis, or a string of bytes that a fuzzer mutates.

A target asks for integers, members of a sequence and bytes, and builds its structured input from them. So the same
code makes the same kinds of input for hypothesis, which shrinks decisions, for libFuzzer and for our own driver,
which mutate bytes.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, TypeVar

T = TypeVar("T")

MAX_BYTES = 4096
"""Bytes that one decision may ask for: more is made by repeating them."""


class Source(abc.ABC):
    """A source of decisions."""

    @abc.abstractmethod
    def integer(self, low: int, high: int) -> int:
        """Draw an integer, both ends included."""

    @abc.abstractmethod
    def bytes(self, low: int, high: int) -> bytes:
        """Draw a string of so many bytes."""

    def choice(self, options: Sequence[T]) -> T:
        """Draw a member of a sequence; the first one is the simplest."""
        return options[self.integer(0, len(options) - 1)]

    def boolean(self) -> bool:
        return self.integer(0, 1) == 1

    def chance(self, among: int) -> bool:
        """Draw true once in so many times."""
        return self.integer(0, among - 1) == among - 1


class ByteSource(Source):
    """Decisions read from a string of bytes; after its end, each is the smallest one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._pos = 0

    def integer(self, low: int, high: int) -> int:
        span = high - low
        size = (span.bit_length() + 7) // 8
        value = int.from_bytes(self._take(size), "big")
        return low + (value % (span + 1) if span else 0)

    def bytes(self, low: int, high: int) -> bytes:
        assert high <= MAX_BYTES
        size = self.integer(low, high)
        return self._take(size).ljust(size, b"\0")

    @property
    def used(self) -> int:
        """Bytes that have been read."""
        return min(self._pos, len(self._data))

    def _take(self, size: int) -> bytes:
        piece = self._data[self._pos : self._pos + size]
        self._pos += size
        return piece


class HypothesisSource(Source):
    """Decisions drawn by hypothesis."""

    def __init__(self, data: Any) -> None:
        import hypothesis.strategies as st

        self._data = data
        self._strategies = st

    def integer(self, low: int, high: int) -> int:
        return int(self._data.draw(self._strategies.integers(low, high)))

    def bytes(self, low: int, high: int) -> bytes:
        assert high <= MAX_BYTES
        return bytes(self._data.draw(self._strategies.binary(min_size=low, max_size=high)))
