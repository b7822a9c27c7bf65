"""WebSocket URIs (RFC 6455 §3), and the targets of requests (RFC 9112 §3.2)."""

from __future__ import annotations

import dataclasses
import re
import urllib.parse

from wsframe._checks import check_type
from wsframe.exceptions import InvalidURI
from wsframe.opening.grammar import is_host

__all__ = ["Credentials", "WebSocketURI", "parse_uri", "split_target"]


class Credentials:
    """The user name and password of an address, decoded, or None."""

    username: str | None
    password: str | None

    @property
    def user_info(self) -> tuple[str, str] | None:
        """User name and password, or None."""
        if self.username is None or self.password is None:
            return None
        return self.username, self.password


@dataclasses.dataclass(frozen=True)
class WebSocketURI(Credentials):
    """A parsed WebSocket URI.

    Attributes:
        secure: Whether the scheme is ``wss``.
        host: Name or address, in lower case; the zone of an IPv6 address follows a plain "%".
        port: 80 or 443 if the URI has none.
        path: May be empty.
        query: May be empty.
        username: User name in the URI, decoded, or None.
        password: Password in the URI, decoded, or None.
    """

    secure: bool
    host: str
    port: int
    path: str
    query: str
    username: str | None = None
    password: str | None = None

    @property
    def resource_name(self) -> str:
        """Path and query, as in the request line (RFC 6455 §3)."""
        return (self.path or "/") + (f"?{self.query}" if self.query else "")


def parse_uri(uri: str) -> WebSocketURI:
    """Parse a WebSocket URI; one with non-ASCII characters is treated as an IRI (RFC 3987).

    Raises:
        TypeError: If it is not a str.
        InvalidURI: If the scheme is not ws or wss, there is no host, or there is a fragment, a user name
            without a password, a space, a control character or a port out of range.
    """
    check_type("uri", uri, str, "a str")
    if any(char <= " " or char == "\x7f" for char in uri):
        raise InvalidURI(uri, "there are spaces or control characters")
    try:
        parsed = urllib.parse.urlsplit(uri)
        host, port = parsed.hostname, parsed.port
    except ValueError as exc:
        raise InvalidURI(uri, str(exc)) from exc
    if parsed.scheme not in ("ws", "wss"):
        raise InvalidURI(uri, "scheme isn't ws or wss")
    if not host:
        raise InvalidURI(uri, "hostname isn't provided")
    # RFC 6455 §3: fragment identifiers are meaningless and must not be used.
    if "#" in uri:
        raise InvalidURI(uri, "fragment identifier is meaningless")
    username, password = parsed.username, parsed.password
    if username is not None:
        if password is None:
            raise InvalidURI(uri, "username provided without password")
        username = urllib.parse.unquote(username)
        password = urllib.parse.unquote(password)
    path, query = parsed.path, parsed.query
    if not uri.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError as exc:
            raise InvalidURI(uri, "hostname cannot be encoded") from exc
        path = urllib.parse.quote(path, safe=_DELIMITERS)
        query = urllib.parse.quote(query, safe=_DELIMITERS)
    if ":" in host:
        # Both spellings of a zone occur (RFC 6874 §2, §3); address resolution requires the plain "%".
        host = _ENCODED_ZONE.sub("%", host)
    secure = parsed.scheme == "wss"
    return WebSocketURI(secure, host, port or (443 if secure else 80), path, query, username, password)


_DELIMITERS = ":/?#[]@!$&'()*+,;=%"
"""Characters kept unchanged when an IRI is converted to a URI (RFC 3987 §3.1)."""

_ENCODED_ZONE = re.compile("%25(?=.)")


def split_target(target: str) -> tuple[str | None, str]:
    """Split the target of a request that is not for a proxy (RFC 9112 §3.2).

    Args:
        target: The target, without spaces and control characters. In origin-form, it is a path with an optional query;
            in absolute-form, an ``http``, ``https``, ``ws`` or ``wss`` URI.

    Returns:
        The host and port of the absolute-form, unchanged, or None; and the path with its query, which begins with a
        slash.

    Raises:
        ValueError: If it is in neither form, or has a fragment, which must not be sent.
    """
    if "#" in target:
        raise ValueError("the request target has a fragment")
    if target.startswith("/"):
        # RFC 9112 §3.2.1: all of it is path and query, even if it begins with "//".
        return None, target
    match = _ABSOLUTE_FORM.fullmatch(target)
    if match is None:
        raise ValueError("the request target is neither in origin-form nor in absolute-form")
    # RFC 9110 §4.2.4: user information is an error; it is refused here, since a host has no "@".
    if not is_host(match["authority"]):
        raise ValueError("the request target has no valid host")
    resource = match["resource"]
    return match["authority"], resource if resource.startswith("/") else f"/{resource}"


_ABSOLUTE_FORM = re.compile(r"(?:https?|wss?)://(?P<authority>[^/?]*)(?P<resource>.*)", re.IGNORECASE)
