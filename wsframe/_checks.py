"""Argument checks at the point of call: the error names the value received and the one expected, in one line.

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
"""Upper bound on every count of bytes or messages; see ``limits.MAX_LENGTH``."""

MAX_PORT = 65535
_SHOWN_CHARS = 60
_SHOWN_BITS = 64


def describe(value: object) -> str:
    """Describe a value for an error message: simple values as literals, others by their type."""
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
    """Check the type of a value.

    Args:
        name: The argument's name.
        value: The value received.
        kinds: The accepted types.
        expected: The same in words.

    Raises:
        TypeError: If the value has none of these types.
    """
    if not isinstance(value, kinds):
        raise TypeError(f"{name} must be {expected}, not {describe(value)}")


def as_view(data: Any) -> memoryview:
    """Return a view of a bytes-like object; the TypeError for anything else reads like that of the compiled twins."""
    try:
        return memoryview(data)
    except TypeError:
        raise TypeError(f"a bytes-like object is required, not {type(data).__name__!r}") from None


def check_bool(name: str, value: object, *, optional: bool = False) -> None:
    """Check a flag: a bool, or None if optional."""
    if value is None and optional:
        return
    check_type(name, value, bool, "a bool or None" if optional else "a bool")


def check_optional_str(name: str, value: object) -> None:
    """Check a str, or None for none."""
    if value is not None:
        check_type(name, value, str, "a str or None")


def check_role(role: object) -> None:
    """Check the role of an endpoint. Numbers and words are refused: any wrong one would pass for some role."""
    check_type("role", role, Role, "Role.SERVER or Role.CLIENT")


def check_state(state: object) -> None:
    """Check the state of a connection."""
    check_type("state", state, State, "a State")


def listed(name: str, values: Iterable[Any], expected: str) -> list[Any]:
    """Return the items of a sequence, or of an iterable that can be consumed only once, as a list.

    Args:
        name: The argument's name.
        values: The value received.
        expected: What it must be, in words.

    Raises:
        TypeError: If it is a str, bytes, a mapping, or not iterable.
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
        name: The argument's name.
        value: The value received.
        low: The lowest accepted number.
        high: The highest accepted number.
        optional: Whether to accept None too.

    Raises:
        TypeError: If the value is not an int, or is a bool.
        ValueError: If the value is out of range.
    """
    # The common case first: each connection checks several counts.
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
    """Check a number of seconds; None means no limit.

    Args:
        name: The argument's name.
        value: The value received.
        positive: Whether to refuse 0.
        optional: Whether to accept None.

    Raises:
        TypeError: If the value is not a number, or is a bool.
        ValueError: If the value is negative, infinite or NaN.
    """
    if (type(value) is float and 0.0 < value < math.inf) or (value is None and optional):
        return
    if not _is_real(value):
        raise TypeError(f"{name} must be a number of seconds{' or None' if optional else ''}, not {describe(value)}")
    if not math.isfinite(value) or value < 0 or (positive and value == 0):
        sign = "positive" if positive else "0 or more"
        raise ValueError(f"{name} must be {sign} and finite{', or None' if optional else ''}, not {describe(value)}")


def _is_real(value: Any) -> bool:
    # The common types first: checks against abstract base classes are slow.
    if type(value) is float or type(value) is int:
        return True
    return isinstance(value, numbers.Real) and not isinstance(cast(object, value), bool)


def check_wait(name: str, value: Any) -> None:
    """Check a number of seconds to wait: 0 or less means not to wait, None means to wait forever."""
    if value is None or (_is_real(value) and math.isfinite(value)):
        return
    if isinstance(value, float):
        raise ValueError(f"{name} must be finite, or None, not {describe(value)}")
    raise TypeError(f"{name} must be a number of seconds or None, not {describe(value)}")


def check_timeouts(open_timeout: Any, ping_interval: Any, ping_timeout: Any, close_timeout: Any) -> None:
    """Check the timeouts of a connection: each in seconds, None for no limit."""
    check_seconds("open_timeout", open_timeout)
    check_seconds("ping_interval", ping_interval, positive=True)
    check_seconds("ping_timeout", ping_timeout)
    check_seconds("close_timeout", close_timeout)


def check_port(name: str, value: Any) -> None:
    """Check a TCP port: a number, the name of a service, or None."""
    if not isinstance(value, str):
        check_count(name, value, high=MAX_PORT)


def check_max_size(max_size: Any) -> None:
    """Check ``max_size``: bytes of a message, or a pair for a message and a fragment; None for no limit."""
    message, fragment = _pair("max_size", max_size, optional=True)
    check_count("max_size", message)
    check_count("the second number of max_size", fragment)


def check_max_queue(max_queue: Any) -> tuple[int | None, int | None]:
    """Check ``max_queue``; return its high mark, None for no limit, and its low mark, None for the default."""
    high, low = _pair("max_queue", max_queue, optional=True)
    check_count("max_queue", high)
    check_count("the second number of max_queue", low)
    if high is not None and low is not None and low > high:
        raise ValueError(f"the second number of max_queue must not exceed the first, {high}, and {low} does")
    return high, low


def check_write_limit(write_limit: Any) -> tuple[int, int | None]:
    """Check ``write_limit``; return the high and the low mark, where None means the default."""
    high, low = _pair("write_limit", write_limit, optional=False)
    check_count("write_limit", high, optional=False)
    check_count("the second number of write_limit", low)
    if low is not None and low > high:
        raise ValueError(f"the second number of write_limit must not exceed the first, {high}, and {low} does")
    return high, low


def _pair(name: str, value: Any, *, optional: bool) -> tuple[Any, Any]:
    """Split a number or a pair of numbers; a number by itself leaves the second one None."""
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
    """Check the types of a close code and a reason; the connection refuses values that must not be sent."""
    if code is not None and (isinstance(code, bool) or not isinstance(code, int)):
        raise TypeError(f"code must be an int or None, not {describe(code)}")
    check_type("reason", reason, str, "a str")


def check_origins(origins: Any) -> list[Any] | None:
    """Check the accepted values of Origin: strings, compiled patterns and None; return them as a list."""
    if origins is None:
        return None
    values = listed("origins", origins, "a list of str, compiled patterns and None")
    for value in values:
        # A bytes pattern would only fail on the first request.
        if value is not None and not isinstance(getattr(value, "pattern", value), str):
            raise TypeError(f"origins must have str, compiled patterns of str and None, not {describe(value)}")
    return values


def check_path(path: Any) -> None:
    """Check the path of a Unix socket, or None for none."""
    check_type("path", path, (str, bytes, os.PathLike, type(None)), "a str, a path or None")


def check_logger(logger: Any) -> None:
    """Check a logger: a Logger, a LoggerAdapter, or an object that behaves like one; None for the default."""
    if logger is not None and not (hasattr(logger, "isEnabledFor") and hasattr(logger, "log")):
        raise TypeError(f"logger must be a logging.Logger, a LoggerAdapter or None, not {describe(logger)}")


def check_tls(name: str, value: Any, *others: bool) -> None:
    """Check a TLS context; None and the bools in ``others`` are accepted too."""
    # Do not check the class: neither this module nor those that import it do I/O, so ssl is not imported.
    if value is None or any(value is other for other in others) or hasattr(value, "wrap_bio"):
        return
    raise TypeError(
        f"{name} must be an ssl.SSLContext{''.join(f', {o}' for o in others)} or None, not {describe(value)}"
    )


def check_keywords(function: str, names: Iterable[str], known: Iterable[str], renamed: Mapping[str, str]) -> None:
    """Check the names of keyword arguments that are passed on.

    Args:
        function: The name of the function that received them.
        names: The names received.
        known: The accepted names.
        renamed: What to do instead, for names from early versions of ``websockets``.

    Raises:
        TypeError: If a name is not accepted.
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
    """Check that a value can be called with given arguments.

    Args:
        name: The argument's name.
        value: The value received.
        arguments: The positional arguments it is called with, in words.
        keywords: The keyword arguments it is called with.
        optional: Whether to accept None too.
        never_async: Whether to refuse a coroutine function.
        legacy: The name of the first parameter in early versions of ``websockets``, which passed something
            else.

    Raises:
        TypeError: If it cannot be called with them.
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
    """Check a connection handler: a function that takes the connection and returns an awaitable.

    Args:
        handler: The value received.
        name: The argument's name.
        keywords: Keyword arguments passed to it.
        with_path: Whether it may take the path as a second argument.

    Raises:
        TypeError: If it cannot be a handler. For a function not declared ``async``, this is certain only if it
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
    """Return None if a function accepts such a call or has no known signature; otherwise, its parameters."""
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
    """Return whether a function's result can certainly not be awaited: a generator, or always None."""
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
    """Return whether every return in a function returns None."""
    returned = False
    loaded: object = ...
    for instruction in dis.get_instructions(code):
        if instruction.opname.startswith("RETURN_"):
            if instruction.opname == "RETURN_CONST":
                loaded = instruction.argval
            # A jump to a return may bring a value other than the one loaded just before it.
            elif instruction.is_jump_target:
                return False
            if loaded is not None:
                return False
            returned = True
        loaded = instruction.argval if instruction.opname == "LOAD_CONST" else ...
    return returned
