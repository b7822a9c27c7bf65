"""HTTP headers: case-insensitive names, several values per name (RFC 9110 §5)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Protocol, TypeAlias

from wsframe._checks import check_type, describe, listed
from wsframe.exceptions import InvalidHeaderValue
from wsframe.opening.grammar import is_token, is_valid_value

__all__ = ["Headers", "HeadersLike", "MultipleValuesError"]


class MultipleValuesError(LookupError):
    """A header was looked up as a single value, but has several."""

    def __str__(self) -> str:
        # Use repr(), as KeyError does: an empty name would be invisible.
        return repr(self.args[0]) if len(self.args) == 1 else super().__str__()


_NOT_TEXT: tuple[type, ...] = (bytes, bytearray, memoryview, type(None))
"""Types that ``str()`` converts to text that is useless in a header."""


class Headers(MutableMapping[str, str]):
    """Ordered headers with case-insensitive look-up.

    ``headers[name] = value`` adds a line and never replaces one, so that a header can be repeated;
    ``del headers[name]`` removes all lines with that name. ``headers[name]`` raises MultipleValuesError
    if there are several; ``get_all(name)`` returns them all.

    Values are bytes decoded as ISO-8859-1. This loses nothing, whatever their encoding;
    ``value.encode("iso-8859-1").decode()`` reads UTF-8.

    Args:
        args: Other headers, a mapping, or an iterable of pairs.
        kwargs: More lines.

    Raises:
        TypeError: If a name is not a str, a value is bytes or None, or an argument does not consist of pairs.
        InvalidHeaderValue: (a ValueError) if a name is not a token, or if a value has control characters, which
            would let application data inject lines (RFC 9110 §5.5), or characters outside ISO-8859-1.
    """

    __slots__ = ("_index", "_lines")

    def __init__(self, *args: HeadersLike, **kwargs: str) -> None:
        # A flat list, name, value, name, value and so on: connections keep their headers, so they should be small.
        self._lines: list[str] = []
        # The values by lower-case name, built by the first look-up.
        self._index: dict[str, list[str]] | None = None
        self.update(*args, **kwargs)

    @classmethod
    def from_wire(cls, lines: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Create headers from lines that an HTTP parser has checked."""
        headers = cls()
        for raw_name, raw_value in lines:
            headers._append(raw_name.decode("ascii"), raw_value.decode("iso-8859-1"))
        return headers

    def _append(self, name: str, value: str) -> None:
        # All connections use the same names.
        self._lines += (sys.intern(name), value)
        if self._index is not None:
            self._index.setdefault(name.lower(), []).append(value)

    @property
    def _values(self) -> dict[str, list[str]]:
        if self._index is None:
            self._index = {}
            for name, value in self.raw_items():
                self._index.setdefault(name.lower(), []).append(value)
        return self._index

    def forget_index(self) -> None:
        """Drop the look-up index until the next look-up: call this when few more are expected."""
        self._index = None

    def __str__(self) -> str:
        return "".join(f"{name}: {value}\r\n" for name, value in self.raw_items()) + "\r\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.raw_items())!r})"

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, name: str) -> str:
        values = self._values[name.lower()]
        if len(values) > 1:
            raise MultipleValuesError(name)
        return values[0]

    def __setitem__(self, name: str, value: str) -> None:
        check_type("the name of a header", name, str, "a str")
        if not is_token(name):
            raise InvalidHeaderValue(name, "the name is not a token")
        if isinstance(value, _NOT_TEXT):
            raise TypeError(f"the value of header {name} must be a str, not {describe(value)}")
        value = str(value)
        if not is_valid_value(value):
            raise InvalidHeaderValue(name, value)
        self._append(name, value)

    def __delitem__(self, name: str) -> None:
        name = name.lower()
        del self._values[name]
        self._lines = [text for line in self.raw_items() if line[0].lower() != name for text in line]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return self._values == other._values

    __hash__ = None  # type: ignore[assignment]

    def copy(self) -> Headers:
        """Return headers with the same lines."""
        return type(self)(self)

    def clear(self) -> None:
        """Remove all lines."""
        self._lines.clear()
        self._index = None

    def update(self, *args: HeadersLike, **kwargs: str) -> None:
        """Add the lines of other headers, a mapping or an iterable of pairs; nothing is replaced."""
        super().update(*(_pairs(arg) for arg in args), **kwargs)

    def get_all(self, name: str) -> list[str]:
        """Return all values of a header, none if it is absent."""
        return list(self._values.get(name.lower(), ()))

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """Iterate over the lines as pairs of name and value, in order."""
        texts = iter(self._lines)
        return zip(texts, texts, strict=True)

    def serialize(self) -> bytes:
        """Serialize the lines, followed by the empty line."""
        return str(self).encode("iso-8859-1")


def _pairs(headers: HeadersLike) -> HeadersLike:
    """Return headers, a mapping or pairs in a form that can be added line by line.

    Raises:
        TypeError: If it is none of these.
    """
    if isinstance(headers, Headers):
        return headers.raw_items()
    if isinstance(headers, Mapping) or hasattr(headers, "keys"):
        return headers
    pairs = listed("headers", headers, "a mapping or an iterable of pairs")
    for pair in pairs:
        if isinstance(pair, (str, bytes)) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise TypeError(f"headers must be a mapping or an iterable of pairs, and {describe(pair)} is no pair")
    return pairs


class SupportsKeysAndGetItem(Protocol):
    """What ``dict()`` accepts as a mapping."""

    def keys(self) -> Iterable[str]: ...

    def __getitem__(self, name: str, /) -> str: ...


HeadersLike: TypeAlias = Headers | Mapping[str, str] | Iterable[tuple[str, str]] | SupportsKeysAndGetItem
"""Accepted as ``Headers``, or convertible to them."""
