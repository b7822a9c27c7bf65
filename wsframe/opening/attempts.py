"""How clients handle redirects and failed attempts to connect, whatever their I/O (RFC 6455 §7.2.3).

This module only decides; ``asyncio.client`` and ``sync.client`` connect and wait.
"""

from __future__ import annotations

import os
import random
import urllib.parse
from collections.abc import Generator, Iterator
from typing import Any, cast

from wsframe._checks import check_type, listed
from wsframe._escape import escape
from wsframe.exceptions import InvalidMessage, InvalidStatus, InvalidURI, SecurityError
from wsframe.opening.fields import Headers, HeadersLike
from wsframe.opening.proxy import parse_proxy
from wsframe.opening.uri import WebSocketURI, parse_uri

__all__ = [
    "MAX_REDIRECTS",
    "REFUSAL_BODY_S",
    "RENAMED",
    "backoff",
    "check_headers",
    "check_proxy",
    "is_same_origin",
    "process_exception",
    "redirect_target",
    "without_credentials",
]

REFUSAL_BODY_S = 2.0
"""Seconds to wait for the body of a response that rejects the handshake: its status matters most, and a body that never
ends must not hold that back."""

MAX_REDIRECTS = int(os.environ.get("WEBSOCKETS_MAX_REDIRECTS", "10"))
"""Maximum number of redirects followed in a row: more count as a loop."""

BACKOFF_INITIAL_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_INITIAL_DELAY", "5"))
"""Upper bound, in seconds, of the random delay before the first new attempt: the proposal of RFC 6455 §7.2.3."""

BACKOFF_MIN_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_MIN_DELAY", "3.1"))
"""Seconds before the second new attempt: a bit more than the mean of the first delay."""

BACKOFF_MAX_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_MAX_DELAY", "90.0"))
"""Maximum seconds between attempts: after an outage, a server has its clients back soon."""

BACKOFF_FACTOR = float(os.environ.get("WEBSOCKETS_BACKOFF_FACTOR", "1.618"))
"""Factor between one delay and the next: eight attempts in the first two minutes."""

_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
_TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
_OF_ONE_ORIGIN = frozenset({"authorization", "cookie", "host", "proxy-authorization"})
_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
_ASCII = bytes(range(0x80)).decode()


RENAMED = {
    "create_protocol": "use create_connection",
    "extra_headers": "use additional_headers",
    "klass": "use create_connection",
    "loop": "the connection runs on the event loop that is running",
    "origins": "use origin",
    "read_limit": "max_queue bounds what waits to be received",
    "timeout": "use open_timeout and close_timeout",
}
"""Arguments from early versions of ``websockets``, or of servers, with their replacements."""


def check_headers(headers: Any) -> HeadersLike | None:
    """Check the option ``additional_headers``; return it in a form that every attempt can reuse.

    Raises:
        TypeError: If it is not a mapping or pairs of str.
        InvalidHeaderValue: (a ValueError) if a name or a value must not be sent.
    """
    if headers is None:
        return None
    if isinstance(headers, (Iterator, str, bytes)):
        headers = listed("additional_headers", headers, "a mapping or an iterable of pairs")
    # This copy is only a check. A caller may change its headers between attempts on purpose.
    Headers(headers)
    return cast(HeadersLike, headers)


def check_proxy(proxy: Any) -> None:
    """Check the option ``proxy``: True, the address of a proxy, or None.

    Raises:
        TypeError: If it is anything else.
        InvalidProxy: If the address is not valid.
    """
    if proxy is not None and not isinstance(proxy, bool):
        check_type("proxy", proxy, str, "a str, True or None")
        if proxy:
            parse_proxy(proxy)


def process_exception(exc: Exception) -> Exception | None:
    """Decide whether to connect again after a failed attempt.

    This is the default of the ``process_exception`` option. These errors are worth another attempt:

    * OSError, including TimeoutError: a network failure;
    * InvalidMessage caused by an EOFError: the connection ended in the middle of the opening handshake;
    * InvalidStatus with HTTP status 500, 502, 503 or 504: the server, or a proxy in front of it, has a problem.

    Args:
        exc: Why the attempt failed.

    Returns:
        None to try again, or the exception to raise, ``exc`` or another.
    """
    transient = (
        isinstance(exc, OSError)
        or (isinstance(exc, InvalidMessage) and isinstance(exc.__cause__, EOFError))
        or (isinstance(exc, InvalidStatus) and exc.response.status_code in _TRANSIENT_STATUSES)
    )
    return None if transient else exc


def backoff(
    initial_delay: float = BACKOFF_INITIAL_DELAY,
    min_delay: float = BACKOFF_MIN_DELAY,
    max_delay: float = BACKOFF_MAX_DELAY,
    factor: float = BACKOFF_FACTOR,
) -> Generator[float, None, None]:
    """Generate the delays between attempts to connect: first a random one, then increasing ones.

    This is the default of the ``reconnect_delays`` option. The environment variables
    ``WEBSOCKETS_BACKOFF_INITIAL_DELAY``, ``_MIN_DELAY``, ``_MAX_DELAY`` and ``_FACTOR`` set its defaults, as
    they do for ``websockets``.

    Args:
        initial_delay: Upper bound of the first delay, in seconds; the delay is random so that clients that lost
            the same server do not reconnect all at once (RFC 6455 §7.2.3).
        min_delay: The second delay, in seconds.
        max_delay: The longest delay, in seconds.
        factor: The factor between one delay and the next.

    Yields:
        Seconds to wait, without end.
    """
    yield random.random() * initial_delay
    delay = min_delay
    while True:
        yield min(delay, max_delay)
        if delay < max_delay:
            delay *= factor


def redirect_target(exc: Exception, uri: str, *, sock: bool = False, tied_to: str | None = None) -> str | Exception:
    """Return the target of the server's redirect, if it is acceptable.

    Args:
        exc: Why the attempt failed.
        uri: The URI of that attempt.
        sock: Whether it used a socket supplied by the application, which is closed now.
        tied_to: In words, what makes sense only for this origin; None if nothing does.

    Returns:
        The new URI, or the exception to raise: ``exc`` if it is not a redirect.
    """
    if not isinstance(exc, InvalidStatus) or exc.response.status_code not in _REDIRECTS:
        return exc
    locations: list[str] = exc.response.headers.get_all("Location")
    if len(locations) != 1:
        return exc
    old = parse_uri(uri)
    try:
        target = _resolve(uri, locations[0])
        new = parse_uri(target)
        if new.username is None and is_same_origin(old, new):
            # The credentials in a URI apply to its whole origin, so a redirect within the origin keeps them.
            user_info, found, _ = urllib.parse.urlsplit(uri).netloc.rpartition("@")
            target = target.replace("//", f"//{user_info}{found}", 1)
    except ValueError as invalid:
        return invalid if isinstance(invalid, InvalidURI) else InvalidURI(locations[0], str(invalid))
    if sock:
        return ValueError(f"cannot follow redirect to {escape(target)} with a preexisting socket")
    if old.secure and not new.secure:
        return SecurityError(f"cannot follow redirect to non-secure URI {target}")
    if tied_to is not None and not is_same_origin(old, new):
        return ValueError(f"cannot follow cross-origin redirect to {escape(target)} with {tied_to}")
    return target


def _resolve(uri: str, location: str) -> str:
    """Convert the value of Location, a URI reference (RFC 9110 §10.2.2), to a WebSocket URI as far as possible.

    Raises:
        ValueError: If it is not a URI reference.
    """
    raw = location.encode("iso-8859-1")
    try:
        location = raw.decode()
    except UnicodeDecodeError:
        # The encoding is unknown, so percent-encode the bytes as they are.
        location = urllib.parse.quote(raw, safe=_ASCII)
    # Drop the fragment: it is for the resource finally retrieved, and WebSocket URIs have none (RFC 6455 §3).
    parts = urllib.parse.urlsplit(urllib.parse.urldefrag(urllib.parse.urljoin(uri, location)).url)
    return parts._replace(scheme=_WEBSOCKET_SCHEMES.get(parts.scheme, parts.scheme)).geturl()


def is_same_origin(one: WebSocketURI, other: WebSocketURI) -> bool:
    """Return whether scheme, host and port are the same (RFC 6454 §5)."""
    return (one.secure, one.host, one.port) == (other.secure, other.host, other.port)


def without_credentials(headers: HeadersLike) -> Headers:
    """Return the headers without those meant for only one origin."""
    return Headers((name, value) for name, value in Headers(headers).raw_items() if name.lower() not in _OF_ONE_ORIGIN)
