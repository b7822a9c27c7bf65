"""Grammar of the header fields that the opening handshake uses (RFC 6455 §4.3, §9.1; RFC 9110 §5.6).

Every function reads its input once, left to right, so none takes more than linear time.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Iterable, Sequence

from wsframe._checks import check_type, describe, listed
from wsframe.exceptions import InvalidHeaderFormat, InvalidHeaderValue
from wsframe.extensions.base import ExtensionOffer

__all__ = [
    "bracket_host",
    "build_extensions",
    "build_host",
    "check_subprotocols",
    "check_value",
    "is_host",
    "is_token",
    "is_valid_value",
    "parse_extensions",
    "parse_tokens",
]

_TOKEN_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DELETE_TOKEN_CHARS = dict.fromkeys(map(ord, _TOKEN_CHARS))
_DELETE_VALUE_CHARS = dict.fromkeys([0x09, *range(0x20, 0x7F), *range(0x80, 0x100)])


def is_token(text: str) -> bool:
    """Return whether a text is a token (RFC 9110 §5.6.2)."""
    return bool(text) and not text.translate(_DELETE_TOKEN_CHARS)


def is_valid_value(value: str) -> bool:
    """Return whether a text is a valid header value: ISO-8859-1, no controls except tabs (RFC 9110 §5.5)."""
    return not value.translate(_DELETE_VALUE_CHARS)


def check_subprotocols(subprotocols: Iterable[str] | None) -> list[str] | None:
    """Check the application's subprotocols and return them as a list; None stays None.

    Raises:
        TypeError: If it is a single string, or not a sequence of strings.
        ValueError: If one of them is not a token (RFC 6455 §4.1).
    """
    if subprotocols is None:
        return None
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols must be a list, not a str")
    subprotocols = listed("subprotocols", subprotocols, "a list of str or None")
    for subprotocol in subprotocols:
        if not isinstance(subprotocol, str):
            raise TypeError(f"a subprotocol must be a string, not {type(subprotocol).__name__}")
        if not is_token(subprotocol):
            raise ValueError(f"{describe(subprotocol)} is not a valid subprotocol")
    return subprotocols


def check_value(argument: str, name: str, value: str | None) -> None:
    """Check an argument that is the value of a header, or None for no header.

    Args:
        argument: The argument's name.
        name: The header's name.
        value: The value received.

    Raises:
        TypeError: If it is not a str.
        InvalidHeaderValue: (a ValueError) if it is not valid in a header.
    """
    if value is not None:
        check_type(argument, value, str, "a str or None")
        if not is_valid_value(value):
            raise InvalidHeaderValue(name, value)


def parse_tokens(values: Sequence[str], name: str) -> list[str]:
    """Parse a header that is a comma-separated list of tokens (RFC 9110 §5.6.1), such as Connection.

    Args:
        values: The values of all lines with that header.
        name: The header's name, for the error.

    Returns:
        The tokens, in order; none if there is no such header.

    Raises:
        InvalidHeaderFormat: If an element is not a token.
    """
    tokens = []
    for value in values:
        pos = 0
        for element in value.split(","):
            token = element.strip(" \t")
            # A token, optionally with a version as in "Upgrade: HTTP/2.0" (RFC 9110 §7.8); empty elements are ignored.
            if token and not all(is_token(part) for part in token.split("/", 1)):
                raise InvalidHeaderFormat(name, "expected a token", value, pos)
            if token:
                tokens.append(token)
            pos += len(element) + 1
    return tokens


def parse_extensions(values: Sequence[str]) -> list[ExtensionOffer]:
    """Parse Sec-WebSocket-Extensions (RFC 6455 §9.1).

    Args:
        values: The values of all lines with that header.

    Returns:
        Each extension's name and parameters, in order. The value is None for a parameter without one; a quoted
        value is equivalent to the token in it.

    Raises:
        InvalidHeaderFormat: If a value does not follow the grammar.
    """
    extensions: list[ExtensionOffer] = []
    for value in values:
        pos = 0
        while pos < len(value):
            pos = _skip_space(value, pos)
            if value[pos : pos + 1] in (",", ""):
                pos += 1
                continue
            name, pos = _take_token(value, pos)
            parameters: list[tuple[str, str | None]] = []
            while value[pos : pos + 1] == ";":
                parameter, pos = _take_token(value, _skip_space(value, pos + 1))
                argument = None
                if value[pos : pos + 1] == "=":
                    pos = _skip_space(value, pos + 1)
                    take = _take_quoted if value[pos : pos + 1] == '"' else _take_token
                    argument, pos = take(value, pos)
                parameters.append((parameter, argument))
            extensions.append((name, parameters))
            if value[pos : pos + 1] not in (",", ""):
                raise InvalidHeaderFormat("Sec-WebSocket-Extensions", "expected a comma", value, pos)
            pos += 1
    return extensions


def build_extensions(extensions: Sequence[ExtensionOffer]) -> str:
    """Build the value of Sec-WebSocket-Extensions (RFC 6455 §9.1)."""
    return ", ".join(
        "; ".join([name, *(key if value is None else f"{key}={value}" for key, value in parameters)])
        for name, parameters in extensions
    )


def build_host(host: str, port: int, secure: bool) -> str:
    """Build the value of Host (RFC 6455 §4.1), without the port if it is the scheme's default."""
    host = bracket_host(host)
    return host if port == (443 if secure else 80) else f"{host}:{port}"


def bracket_host(host: str) -> str:
    """Format a name or an address for URIs and Host: IPv6 in brackets (RFC 3986 §3.2.2), without a zone.

    A zone is meaningless to the peer: it names an interface of this machine (RFC 4007 §11.2).
    """
    return f"[{host.partition('%')[0]}]" if ":" in host else host


def is_host(value: str) -> bool:
    """Return whether a text is a valid value of Host (RFC 9112 §3.2): a host, and optionally a port.

    RFC 3986 §3.2.2 allows a comma in names, and no zone after an IPv6 address. Here it is the other way round: a comma
    indicates that some software joined two Host lines, and some clients do send the zone.
    """
    match = _HOST.fullmatch(value)
    if match is None:
        return False
    address, port = match["address"], match["port"] or ""
    if address is not None:
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            return False
    # A port may have leading zeros (RFC 3986 §3.2.3), so its length says nothing about its value.
    digits = port.lstrip("0")
    return len(digits) <= 5 and int(digits or "0") <= 65535


_HOST = re.compile(
    r"(?:\[(?:(?P<address>[0-9A-Fa-f:.]+)(?:%[\w.~%-]+)?|[vV][0-9A-Fa-f]+\.[\w.~!$&'()*+,;=:-]+)\]"
    r"|(?:[\w.~!$&'()*+;=-]|%[0-9A-Fa-f]{2})+)"
    r"(?::(?P<port>[0-9]*))?",
    re.ASCII,
)
"""An IP literal or a name, and a port (RFC 3986 §3.2.2, §3.2.3)."""


def build_basic_authorization(username: str, password: str) -> str:
    """Build the value of Authorization for HTTP Basic authentication (RFC 7617 §2).

    Raises:
        ValueError: If the user name has a colon.
    """
    if ":" in username:
        raise ValueError("a user name must not contain a colon")
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def parse_basic_authorization(value: str) -> tuple[str, str]:
    """Parse the user name and the password in Authorization (RFC 7617 §2).

    Raises:
        InvalidHeaderValue: If the scheme is not Basic, or the credentials cannot be decoded.
    """
    scheme, _, credentials = value.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError("another scheme")
        decoded = base64.b64decode(credentials.strip(" ").encode("ascii"), validate=True).decode()
        username, password = decoded.split(":", 1)
    except (ValueError, binascii.Error) as exc:
        raise InvalidHeaderValue("Authorization", value) from exc
    return username, password


def _skip_space(value: str, pos: int) -> int:
    while value[pos : pos + 1] in (" ", "\t"):
        pos += 1
    return pos


def _take_token(value: str, pos: int) -> tuple[str, int]:
    """Read a token; return it, and the position after it and the whitespace that follows."""
    end = pos
    while end < len(value) and value[end] in _TOKEN_CHARS:
        end += 1
    if end == pos:
        raise InvalidHeaderFormat("Sec-WebSocket-Extensions", "expected a token", value, pos)
    return value[pos:end], _skip_space(value, end)


def _take_quoted(value: str, pos: int) -> tuple[str, int]:
    """Read a quoted string, which must contain a token when unquoted (RFC 6455 §9.1)."""
    chars = []
    end = pos + 1
    while end < len(value) and value[end] != '"':
        end += value[end] == "\\"
        chars.append(value[end : end + 1])
        end += 1
    text = "".join(chars)
    if end >= len(value) or not is_token(text):
        raise InvalidHeaderFormat("Sec-WebSocket-Extensions", "expected a quoted token", value, pos)
    return text, _skip_space(value, end + 1)
