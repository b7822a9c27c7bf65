"""One message to many connections."""

from __future__ import annotations

import builtins
import sys
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING

from wsframe._checks import check_bool, describe
from wsframe.asyncio.connection import Connection
from wsframe.constants import State
from wsframe.exceptions import ConcurrencyError
from wsframe.messages.prepared import PreparedMessage

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["broadcast"]


def broadcast(
    connections: Iterable[Connection],
    message: str | Buffer | PreparedMessage,
    *,
    text: bool | None = None,
    raise_exceptions: bool = False,
) -> None:
    """Send a message on many connections without waiting for any of them.

    The message is serialized and compressed once for each kind of connection. Connections that are not open
    are skipped. There is no backpressure: data that slow peers do not read accumulates in the write buffers
    up to ``Limits.max_send_buffer``, or until keepalive drops the connection.

    Args:
        connections: Connections to send it on.
        message: A str for a text message, a bytes-like object for a binary one, or a prepared message.
        text: True to send bytes, which must be UTF-8, as text, and False to send a str as binary.
        raise_exceptions: True to raise the errors of individual connections at the end, as an ExceptionGroup;
            otherwise they are logged. Requires Python 3.11.

    Raises:
        TypeError: If ``message`` is none of these, or if ``connections`` contains anything else.
        RuntimeError: If called from a thread other than that of the connections' event loop.
        ValueError: If ``raise_exceptions`` is True on Python 3.10.
    """
    check_bool("raise_exceptions", raise_exceptions)
    if raise_exceptions and sys.version_info < (3, 11):
        raise ValueError("raise_exceptions needs Python 3.11")
    prepared = message if isinstance(message, PreparedMessage) else PreparedMessage(message, text)
    errors: list[Exception] = []
    if not isinstance(connections, Iterable):
        raise TypeError(f"connections must be an iterable of connections, not {describe(connections)}")
    thread_is_checked = False
    for connection in connections:
        try:
            state, push = connection.state, connection.push
        except AttributeError:
            raise TypeError(f"connections must have connections of asyncio, not {describe(connection)}") from None
        if state is not State.OPEN:
            continue
        if not thread_is_checked:
            connection._check_thread()
            thread_is_checked = True
        try:
            push(prepared)
        except ConcurrencyError as exc:
            if raise_exceptions:
                errors.append(exc)
            else:
                connection.logger.warning("skipped broadcast: %s", exc)
        except Exception as exc:
            if raise_exceptions:
                error = RuntimeError("failed to write message")
                error.__cause__ = exc
                errors.append(error)
            else:
                reason = traceback.format_exception_only(type(exc), exc)[0].strip()
                connection.logger.warning("skipped broadcast: failed to write message: %s", reason)
    if errors:
        group: type[Exception] = getattr(builtins, "ExceptionGroup")  # noqa: B009 - unknown to 3.10
        raise group("skipped broadcast", errors)
