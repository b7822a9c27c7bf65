"""Checks of arguments where they are given: what came, and what is expected, in one line. Rank 0.

A wrong type is a TypeError and a wrong value a ValueError. Nothing here runs for each message.
"""

from __future__ import annotations

import dis
import functools
import inspect
import math
import numbers
import operator
import os
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from wsframe._escape import escape
from wsframe.constants import Role, State

__all__ = [
    "as_view",
    "check_bool",
    "check_callable",
    "check_close",
    "check_count",
    "check_handler",
    "check_keywords",
    "check_logger",
    "check_max_queue",
    "check_max_size",
    "check_optional_str",
    "check_origins",
    "check_path",
    "check_port",
    "check_role",
    "check_seconds",
    "check_state",
    "check_timeouts",
    "check_tls",
    "check_type",
    "check_wait",
    "check_write_limit",
    "describe",
    "listed",
]

MAX_COUNT = 2**62
"""No count of bytes or messages can be larger; see ``limits.MAX_LENGTH``."""

MAX_PORT = 65535
_SHOWN_CHARS = 60
_SHOWN_BITS = 64


def describe(value: object) -> str:
    """Tell what came: simple values as they are written, the type of others."""
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"an int of {value.bit_length()} bits"
    if value is None or type(value) in (bool, int, float, str, bytes):
        return escape(repr(value), limit=_SHOWN_CHARS)
    if isinstance(value, type):
        return f"the class {value.__qualname__}"
    if inspect.iscoroutinefunction(value):
        return "a coroutine function"
    return type(value).__qualname__


def check_type(name: str, value: object, kinds: type | tuple[type, ...], expected: str) -> None:
    """Check that a value is of some type.

    Args:
        name: What the argument is called.
        value: What came.
        kinds: The types that are right.
        expected: The same in words.

    Raises:
        TypeError: If it is of none of them.
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {expected}, not {describe(value)}")


def as_view(data: Any) -> memoryview:
    """Return a view of what is bytes-like; the TypeError for all else reads as that of the compiled twins."""
    try:
        return memoryview(data)
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None


def check_bool(name: str, value: object, *, optional: bool = False) -> None:
    """Check a flag: a bool, or None if it is optional."""
    if value is None and optional:
        return
    check_type(name, value, bool, "a bool or None" if optional else "a bool")


def check_optional_str(name: str, value: object) -> None:
    """Check a text, or None for none."""
    if value is not None:
        check_type(name, value, str, "a str or None")


def check_role(role: object) -> None:
    """Check the role of an endpoint. A number or a word is none, since every wrong one would pass for some role."""
    check_type("role", role, Role, "Role.SERVER or Role.CLIENT")


def check_state(state: object) -> None:
    """Check the state of a connection."""
    check_type("state", state, State, "a State")


def listed(name: str, values: Iterable[Any], expected: str) -> list[Any]:
    """Return what is in a sequence, or in an iterable that can be consumed once.

    Args:
        name: What the argument is called.
        values: What came.
        expected: What it must be, in words.

    Raises:
        TypeError: If it is a text, bytes, a mapping, or cannot be iterated.
    """
    if type(values) is list or type(values) is tuple:
        return list(values)
    if isinstance(values, (str, bytes, bytearray, memoryview, Mapping)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be {expected}, not {describe(values)}")
    return list(values)


# Numbers


def check_count(name: str, value: Any, *, low: int = 0, high: int = MAX_COUNT, optional: bool = True) -> None:
    """Check a number of bytes, messages or the like.

    Args:
        name: What the argument is called.
        value: What came.
        low: The lowest number that is right.
        high: The highest one.
        optional: Whether None is right too.

    Raises:
        TypeError: If it is no int, or a bool.
        ValueError: If it is out of range.
    """
    # The usual case first: connections check several of them.
    if (type(value) is int and low <= value <= high) or (value is None and optional):
        return
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} must be an int{' or None' if optional else ''}, not {describe(value)}")
    if not low <= number <= high:
        bound = "2**62" if high == MAX_COUNT else high
        raise ValueError(f"{name} must be between {low} and {bound}, not {describe(value)}")


def check_seconds(name: str, value: Any, *, positive: bool = False, optional: bool = True) -> None:
    """Check a number of seconds, of which None stands for no limit.

    Args:
        name: What the argument is called.
        value: What came.
        positive: Whether 0 is wrong.
        optional: Whether None is right.

    Raises:
        TypeError: If it is no number, or a bool.
        ValueError: If it is negative, infinite or not a number.
    """
    if (type(value) is float and 0.0 < value < math.inf) or (value is None and optional):
        return
    if not _is_real(value):
        raise TypeError(f"{name} must be a number of seconds{' or None' if optional else ''}, not {describe(value)}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        sign = "positive" if positive else "0 or more"
        raise ValueError(f"{name} must be {sign} and finite{', or None' if optional else ''}, not {describe(value)}")


def _is_real(value: Any) -> bool:
    # The usual kinds first: abstract base classes take their time.
    if type(value) is float or type(value) is int:
        return True
    return isinstance(value, numbers.Real) and not isinstance(cast(object, value), bool)


def check_wait(name: str, value: Any) -> None:
    """Check a number of seconds to wait; 0 or less is not to wait, and None is to wait for ever."""
    if value is None or (_is_real(value) and math.isfinite(value)):
        return
    if isinstance(value, float):
        raise ValueError(f"{name} must be finite, or None, not {describe(value)}")
    raise TypeError(f"{name} must be a number of seconds or None, not {describe(value)}")


def check_timeouts(open_timeout: Any, ping_interval: Any, ping_timeout: Any, close_timeout: Any) -> None:
    """Check the times of a connection: each in seconds, None for no limit."""
    check_seconds("open_timeout", open_timeout)
    check_seconds("ping_interval", ping_interval, positive=True)
    check_seconds("ping_timeout", ping_timeout)
    check_seconds("close_timeout", close_timeout)


def check_port(name: str, value: Any) -> None:
    """Check a TCP port: a number, the name of a service, or None."""
    if not isinstance(value, str):
        check_count(name, value, high=MAX_PORT)


def check_max_size(max_size: Any) -> None:
    """Check ``max_size``: bytes of a message, or a pair with those of a fragment; None for no limit."""
    message, fragment = _pair("max_size", max_size, optional=True)
    check_count("max_size", message)
    check_count("the second number of max_size", fragment)


def check_max_queue(max_queue: Any) -> tuple[int | None, int | None]:
    """Check ``max_queue``; return the high and the low mark, of which None is for no limit and for the default."""
    high, low = _pair("max_queue", max_queue, optional=True)
    check_count("max_queue", high)
    check_count("the second number of max_queue", low)
    if high is not None and low is not None and low > high:
        raise ValueError(f"the second number of max_queue must not exceed the first, {high}, and {low} does")
    return high, low


def check_write_limit(write_limit: Any) -> tuple[int, int | None]:
    """Check ``write_limit``; return the high and the low mark, of which None is for the default."""
    high, low = _pair("write_limit", write_limit, optional=False)
    check_count("write_limit", high, optional=False)
    check_count("the second number of write_limit", low)
    if low is not None and low > high:
        raise ValueError(f"the second number of write_limit must not exceed the first, {high}, and {low} does")
    return high, low


def _pair(name: str, value: Any, *, optional: bool) -> tuple[Any, Any]:
    """Split a number, or a pair of numbers; what is neither is a number to complain about."""
    if type(value) is int:
        return value, None
    if not isinstance(value, tuple):
        try:
            operator.index(value)
        except TypeError:
            if value is not None or not optional:
                none = ", or None" if optional else ""
                raise TypeError(f"{name} must be an int or a pair of them{none}, not {describe(value)}") from None
        return value, None
    if len(value) != 2:
        raise ValueError(f"{name} must be an int or a pair of them, not a tuple of {len(value)}")
    return value


# Words


def check_close(code: Any, reason: Any) -> None:
    """Check the types of a close code and a reason; the connection refuses values that cannot be sent."""
    if code is not None and (isinstance(code, bool) or not isinstance(code, int)):
        raise TypeError(f"code must be an int or None, not {describe(code)}")
    check_type("reason", reason, str, "a str")


def check_origins(origins: Any) -> list[Any] | None:
    """Check values of Origin that are accepted: strings, compiled patterns and None; return them as a list."""
    if origins is None:
        return None
    values = listed("origins", origins, "a list of str, compiled patterns and None")
    for value in values:
        # A pattern of bytes would fail when it meets the first request.
        if value is not None and not isinstance(getattr(value, "pattern", value), str):
            raise TypeError(f"origins must have str, compiled patterns of str and None, not {describe(value)}")
    return values


def check_path(path: Any) -> None:
    """Check the path of a Unix socket, or None for none."""
    check_type("path", path, (str, bytes, os.PathLike, type(None)), "a str, a path or None")


def check_logger(logger: Any) -> None:
    """Check what to log to: a logger, an adapter, or something that behaves like one; None is for the default."""
    if logger is not None and not (hasattr(logger, "isEnabledFor") and hasattr(logger, "log")):
        raise TypeError(f"logger must be a logging.Logger, a LoggerAdapter or None, not {describe(logger)}")


def check_tls(name: str, value: Any, *others: bool) -> None:
    """Check a TLS context, which may also be None, or a bool among ``others``."""
    # Not by its class: this module does no I/O, and neither do those that import it.
    if value is None or any(value is other for other in others) or hasattr(value, "wrap_bio"):
        return
    raise TypeError(
        f"{name} must be an ssl.SSLContext{''.join(f', {o}' for o in others)} or None, not {describe(value)}"
    )


def check_keywords(function: str, names: Iterable[str], known: Iterable[str], renamed: Mapping[str, str]) -> None:
    """Check the names of arguments that are passed on.

    Args:
        function: The name of the function that got them.
        names: What came.
        known: What may come.
        renamed: For names that early versions of ``websockets`` had, what to do instead.

    Raises:
        TypeError: If one is not known.
    """
    for name in names:
        if name in renamed:
            raise TypeError(f"{function}() has no argument {name}: {renamed[name]}")
        if name not in known:
            raise TypeError(f"{function}() got an unexpected keyword argument {name!r}")


# Functions


def check_callable(
    name: str,
    value: Any,
    *arguments: str,
    keywords: Iterable[str] = (),
    optional: bool = True,
    never_async: bool = False,
    legacy: str = "",
) -> None:
    """Check that a value can be called with some arguments.

    Args:
        name: What the argument is called.
        value: What came.
        arguments: What it is called with, in words.
        keywords: Which keyword arguments it is called with.
        optional: Whether None is right too.
        never_async: Whether a coroutine function is wrong.
        legacy: What the first parameter was called in early versions of ``websockets``, which called it with
            something else.

    Raises:
        TypeError: If it cannot.
    """
    if value is None and optional:
        return
    expected = f"a function that takes ({', '.join([*arguments, *keywords])})"
    if not callable(value):
        raise TypeError(f"{name} must be {expected}{', or None' if optional else ''}, not {describe(value)}")
    parameters = _parameters(value, len(arguments), keywords)
    if parameters is not None:
        raise TypeError(f"{name} must be {expected}, not ({parameters})")
    if never_async and (inspect.iscoroutinefunction(value) or inspect.isasyncgenfunction(value)):
        raise TypeError(f"{name} must be {expected}, and no coroutine function")
    if legacy and _first_parameter(value) == legacy:
        raise TypeError(f"{name} must be {expected}; one that takes {legacy} first is for the legacy API of websockets")


def check_handler(handler: Any, name: str = "handler", keywords: Iterable[str] = (), *, with_path: bool = True) -> None:
    """Check what handles a connection: a function whose result can be awaited, and that takes the connection.

    Args:
        handler: What came.
        name: What it is called.
        keywords: Keyword arguments that it gets.
        with_path: Whether it may take the path as a second argument.

    Raises:
        TypeError: If it cannot be that. Of a function that is not declared ``async``, that is certain only if it
            never returns anything.
    """
    if not callable(handler):
        raise TypeError(f"{name} must be a coroutine function, not {describe(handler)}")
    keywords = list(keywords)
    parameters = _parameters(handler, 1, keywords)
    if parameters is not None and not (with_path and _parameters(handler, 2, keywords) is None):
        expected = ", ".join(["websocket", *keywords])
        raise TypeError(f"{name} must be a coroutine function that takes ({expected}), not ({parameters})")
    if _is_never_awaitable(handler):
        raise TypeError(f"{name} must be a coroutine function: what {_name_of(handler)} returns cannot be awaited")


def _parameters(function: Callable[..., Any], count: int, keywords: Iterable[str] = ()) -> str | None:
    """Return None if a function can be called like that, or is not known, and its parameters otherwise."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*[None] * count, **dict.fromkeys(keywords))
    except TypeError:
        return ", ".join(
            str(parameter).partition(":")[0].partition("=")[0] for parameter in signature.parameters.values()
        )
    return None


def _first_parameter(function: Callable[..., Any]) -> str | None:
    try:
        return next(iter(inspect.signature(function).parameters), None)
    except (TypeError, ValueError):
        return None


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)


def _is_never_awaitable(function: Any) -> bool:
    """Tell whether what a function returns can certainly not be awaited: a generator, or always None."""
    while isinstance(function, functools.partial):
        function = function.func
    if not hasattr(function, "__code__") and not isinstance(function, type) and inspect.ismethod(function.__call__):
        function = function.__call__
    code = getattr(function, "__code__", None)
    if code is None or code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE):
        return False
    if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR):
        return True
    return _returns_none(code)


def _returns_none(code: types.CodeType) -> bool:
    """Tell whether a function returns None wherever it returns."""
    returned = False
    loaded: object = ...
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("RETURN_"):
            if instruction.opname == "RETURN_CONST":
                loaded = instruction.argval
            # What jumps to a return may bring another value than what stands before it.
            elif instruction.is_jump_target:
                return False
            if loaded is not None:
                return False
            returned = True
        loaded = instruction.argval if instruction.opname == "LOAD_CONST" else ...
    return returned
