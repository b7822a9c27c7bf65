"""The options that ``serve``, ``connect``, ``sync.connect`` and ``WebSocketProtocol`` share, described once."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from typing import TypeVar

__all__ = ["describe_client_options", "describe_options"]

T = TypeVar("T", bound=Callable[..., object])

# For each option its type, its default, and what it means, with the unit and the reason for the default.
_COMMON = {
    "compression": (
        "str | PerMessageDeflateFactory | None",
        '"deflate"',
        (
            '``"deflate"`` for permessage-deflate (RFC 7692), a ``PerMessageDeflateFactory`` to change its '
            "defaults, or None to disable compression. Enabled by default because most messages are repetitive "
            "text; short messages are not compressed."
        ),
    ),
    "open_timeout": (
        "float | None",
        "10",
        (
            "Seconds allowed for the opening handshake, including TLS and, for a client, TCP; None for no limit. "
            "10 seconds allow several round trips on a slow mobile network, and give an attacker little time."
        ),
    ),
    "ping_interval": (
        "float | None",
        "20",
        (
            "Seconds between keepalive pings; None disables them. 20 seconds is less than the 30 to 60 after "
            "which proxies drop idle connections."
        ),
    ),
    "ping_timeout": (
        "float | None",
        "20",
        (
            "Seconds to wait for a sign of life after a ping; None for no limit. Within 20 seconds, TCP has "
            "retransmitted a lost segment several times."
        ),
    ),
    "close_timeout": (
        "float | None",
        "10",
        (
            "Seconds allowed for the closing handshake before TCP is aborted; None for no limit. 10, for the same "
            "reasons as ``open_timeout``."
        ),
    ),
    "max_size": (
        "int | tuple[int | None, int | None] | None",
        "2**20",
        (
            "Bytes allowed in a message after decompression, or a pair with the bytes allowed in a message and in "
            "a fragment; None for no limit. With 1 MiB, which comparable libraries allow, thousands of "
            "connections fit into memory."
        ),
    ),
    "limits": (
        "Limits | None",
        "None",
        (
            "All other limits on the memory and work that a peer can cause; None for the defaults of ``Limits``, "
            "which gives the reason for each."
        ),
    ),
    "max_queue": (
        "int | tuple[int | None, int | None] | None",
        "16",
        (
            "Messages that may wait to be received before reading pauses, or a pair that also sets the number at "
            "which reading resumes (a quarter by default); None for no limit. 16 messages keep a task busy while "
            "more arrive."
        ),
    ),
    "write_limit": (
        "int | tuple[int, int | None]",
        "2**15",
        (
            "Bytes in the write buffer above which ``send`` waits, or a pair that also sets the bytes below which "
            "it continues (a quarter by default). 32 KiB is more than most connections carry in a round trip."
        ),
    ),
}
_CLIENTS = {
    "origin": (
        "str | None",
        "None",
        "Value of the Origin header, for servers that require one. Programs other than browsers have no origin.",
    ),
    "extensions": (
        "Sequence[AnyExtensionFactory] | None",
        "None",
        (
            "Factories of extensions to offer in addition to compression, in the order in which they encode; a "
            "permessage-deflate factory among them replaces ``compression``."
        ),
    ),
    "subprotocols": (
        "Sequence[str] | None",
        "None",
        "Subprotocols to offer, in order of preference. None by default, since applications define their own.",
    ),
    "additional_headers": (
        "HeadersLike | None",
        "None",
        (
            "Headers to add to the request at each attempt. Host, Origin, User-Agent and Authorization override "
            "ours; headers of the handshake itself are refused."
        ),
    ),
    "user_agent_header": (
        "str | None",
        "USER_AGENT",
        (
            "Value of the User-Agent header; None omits it. The default gives the versions of Python and wsframe, "
            "for the server's logs."
        ),
    ),
    "proxy": (
        "str | Literal[True] | None",
        "True",
        (
            "True to use the proxy set in environment variables or system settings, if any, as other programs do; "
            "the address of a proxy, such as ``http://``, ``https://`` or ``socks5h://``; None to connect "
            "directly."
        ),
    ),
    "logger": (
        "LoggerLike | None",
        "None",
        "Logger to use; ``wsframe.client`` if None.",
    ),
    "create_connection": (
        "Callable[..., ClientConnection] | None",
        "None",
        (
            "Creates the connection: a subclass of ClientConnection or a function with the same signature; "
            "ClientConnection if None."
        ),
    ),
}

_LINE_WIDTH = 120
_PLACEHOLDER = re.compile(r"^( *)\{(\w+(?:, \w+)*)\}$", re.MULTILINE)


def describe_options(owner: T) -> T:
    """Complete a docstring: a line ``{name, name}`` becomes the descriptions of these options."""
    return _describe(owner, _COMMON)


def describe_client_options(owner: T) -> T:
    """Complete the docstring of something that connects."""
    return _describe(owner, {**_COMMON, **_CLIENTS})


def _describe(owner: T, options: Mapping[str, tuple[str, str, str]]) -> T:
    def describe(match: re.Match[str]) -> str:
        return "\n".join(_entry(name, *options[name], indent=match[1]) for name in match[2].split(", "))

    # Without docstrings, there is nothing to complete.
    if owner.__doc__:
        owner.__doc__ = _PLACEHOLDER.sub(describe, owner.__doc__)
    return owner


def _entry(name: str, kind: str, default: str, text: str, indent: str) -> str:
    return textwrap.fill(
        f"{name} ({kind}, default {default}): {text}",
        _LINE_WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
