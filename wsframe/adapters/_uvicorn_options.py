"""The options of the uvicorn adapter that subclasses set; they are checked when the class is created."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

from wsframe import Limits
from wsframe.extensions import ExtensionFactory

__all__ = ["check_options", "combine_limits"]


def combine_limits(limits: Limits | None, max_size: int | None) -> Limits:
    """Return the limits of a connection.

    Args:
        limits: The limits of its class; None for the defaults, with the message size replaced by ``max_size``.
        max_size: uvicorn's ``--ws-max-size``. The smaller of this and the limit on messages applies.
    """
    if limits is None:
        return Limits.for_max_size(max_size)
    sizes = [size for size in (limits.max_message_size, max_size) if size is not None]
    return dataclasses.replace(limits, max_message_size=min(sizes, default=None))


def check_options(cls: type, base: type) -> None:
    """Check the attributes of a subclass, including those of its other bases.

    Methods, properties and names that begin with an underscore are not checked.

    Raises:
        TypeError: If an attribute is not an option, and would be ignored, or if its value is not valid for the option.
    """
    for owner in cls.__mro__:
        if owner in base.__mro__:
            continue
        for name, value in vars(owner).items():
            if name in OPTIONS and not isinstance(value, property):
                expected, is_right = OPTIONS[name]
                if not is_right(value):
                    raise TypeError(f"{name} must be {expected}, not {value!r}")
            elif not name.startswith("_") and not hasattr(type(value), "__get__"):
                raise TypeError(f"{name} is not an option of {base.__name__}; there are {', '.join(OPTIONS)}")


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0


def _are_origins(value: object) -> bool:
    if value is None:
        return True
    # A str is also a collection of strings, but would match nothing.
    return isinstance(value, (list, tuple, set, frozenset)) and all(
        origin is None or isinstance(origin, (str, re.Pattern)) for origin in value
    )


OPTIONS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "compression": (
        "an ExtensionFactory, such as PerMessageDeflateFactory, or None",
        lambda value: value is None or isinstance(value, ExtensionFactory),
    ),
    "origins": ("a list of str, compiled patterns and None, or None", _are_origins),
    "limits": ("a Limits or None", lambda value: value is None or isinstance(value, Limits)),
    "close_timeout": ("a number of seconds", _is_seconds),
}
"""Attributes that a subclass may set: a description of the valid values, and a test for them."""
