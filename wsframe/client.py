"""What clients make of redirects and of attempts that failed, whatever they connect with (RFC 6455 §7.2.3). Rank 3.

It decides, and waits for nothing: ``asyncio.client`` and ``sync.client`` do.
"""

from __future__ import annotations

import logging
import os
import random
import urllib.parse
from collections.abc import Generator

from wsframe.datastructures import Headers, HeadersLike
from wsframe.exceptions import InvalidMessage, InvalidStatus, InvalidURI, SecurityError
from wsframe.http11 import Request, Response
from wsframe.typing import LoggerLike
from wsframe.uri import WebSocketURI, parse_uri

__all__ = [
    "MAX_REDIRECTS",
    "REFUSAL_BODY_S",
    "backoff",
    "is_same_origin",
    "log_request",
    "log_response",
    "process_exception",
    "redirect_target",
    "without_credentials",
]

REFUSAL_BODY_S = 2.0
"""Seconds to wait for the body of a response that refuses the handshake: what it says above all is its status, and a
body that never ends must not keep anybody from that."""

MAX_REDIRECTS = int(os.environ.get("WEBSOCKETS_MAX_REDIRECTS", "10"))
"""Attempts to follow redirects in a row: more of them are a loop."""

BACKOFF_INITIAL_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_INITIAL_DELAY", "5"))
"""Seconds of which a random part passes before the first new attempt: what RFC 6455 §7.2.3 proposes."""

BACKOFF_MIN_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_MIN_DELAY", "3.1"))
"""Seconds before the second one: about the mean of the first delay and a bit."""

BACKOFF_MAX_DELAY = float(os.environ.get("WEBSOCKETS_BACKOFF_MAX_DELAY", "90.0"))
"""Seconds between attempts, at most: a server that comes back has its clients back soon."""

BACKOFF_FACTOR = float(os.environ.get("WEBSOCKETS_BACKOFF_FACTOR", "1.618"))
"""How much longer each delay is than the one before: eight attempts in the first two minutes."""

_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})
_TRANSIENT_STATUSES = frozenset({500, 502, 503, 504})
_OF_ONE_ORIGIN = frozenset({"authorization", "cookie", "host", "proxy-authorization"})
_WEBSOCKET_SCHEMES = {"http": "ws", "https": "wss"}
_ASCII = bytes(range(0x80)).decode()


def process_exception(exc: Exception) -> Exception | None:
    """Tell whether it makes sense to connect again after an attempt has failed.

    This is the default of the ``process_exception`` option. These are worth another attempt:

    * OSError, of which TimeoutError is one: the network;
    * InvalidMessage because of an EOFError: the connection ended in the middle of the opening handshake;
    * InvalidStatus with HTTP status 500, 502, 503 or 504: the server, or a proxy in front of it, is in trouble.

    Args:
        exc: Why the attempt failed.

    Returns:
        None to try again, or the exception to raise: ``exc``, or another one.
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
    """Generate the delays between attempts to connect: at first a random one, then longer and longer ones.

    This is the default of the ``reconnect_delays`` option. The environment variables
    ``WEBSOCKETS_BACKOFF_INITIAL_DELAY``, ``_MIN_DELAY``, ``_MAX_DELAY`` and ``_FACTOR`` set its defaults, as
    they do for ``websockets``.

    Args:
        initial_delay: Upper bound of the first delay, in seconds; it is random so that clients which lost
            the same server do not come back all at once (RFC 6455 §7.2.3).
        min_delay: The second delay, in seconds.
        max_delay: The longest one, in seconds.
        factor: How much longer each one is than the one before.

    Yields:
        Seconds to wait; there is no end of them.
    """
    yield random.random() * initial_delay
    delay = min_delay
    while True:
        yield min(delay, max_delay)
        if delay < max_delay:
            delay *= factor


def redirect_target(exc: Exception, uri: str, *, sock: bool = False, tied_to: str | None = None) -> str | Exception:
    """Tell where the server wants the client to go instead, if that is acceptable.

    Args:
        exc: Why the attempt failed.
        uri: Where it went to.
        sock: Whether it used a socket of the application's, which is closed now.
        tied_to: What makes sense for this origin only, in words; None if nothing does.

    Returns:
        The new URI, or the exception to raise: ``exc`` if it is no redirect.
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
            # The credentials in a URI are for its origin, wherever that sends the client.
            user_info, found, _ = urllib.parse.urlsplit(uri).netloc.rpartition("@")
            target = target.replace("//", f"//{user_info}{found}", 1)
    except ValueError as invalid:
        return invalid if isinstance(invalid, InvalidURI) else InvalidURI(locations[0], str(invalid))
    if sock:
        return ValueError(f"cannot follow redirect to {target} with a preexisting socket")
    if old.secure and not new.secure:
        return SecurityError(f"cannot follow redirect to non-secure URI {target}")
    if tied_to is not None and not is_same_origin(old, new):
        return ValueError(f"cannot follow cross-origin redirect to {target} with {tied_to}")
    return target


def _resolve(uri: str, location: str) -> str:
    """Turn the value of Location, a URI reference (RFC 9110 §10.2.2), into a WebSocket URI as far as it can be one.

    Raises:
        ValueError: If it is no URI reference.
    """
    raw = location.encode("iso-8859-1")
    try:
        location = raw.decode()
    except UnicodeDecodeError:
        # In no encoding that is known here; so the bytes are encoded as they are.
        location = urllib.parse.quote(raw, safe=_ASCII)
    # A fragment is for the resource that is found in the end, of which a WebSocket URI has none (RFC 6455 §3).
    parts = urllib.parse.urlsplit(urllib.parse.urldefrag(urllib.parse.urljoin(uri, location)).url)
    return parts._replace(scheme=_WEBSOCKET_SCHEMES.get(parts.scheme, parts.scheme)).geturl()


def is_same_origin(one: WebSocketURI, other: WebSocketURI) -> bool:
    """Tell whether scheme, host and port are the same (RFC 6454 §5)."""
    return (one.secure, one.host, one.port) == (other.secure, other.host, other.port)


def without_credentials(headers: HeadersLike) -> Headers:
    """Return headers without those that are meant for one origin only."""
    return Headers((name, value) for name, value in Headers(headers).raw_items() if name.lower() not in _OF_ONE_ORIGIN)


def log_request(logger: LoggerLike, request: Request) -> None:
    """Log a handshake request, if anybody wants to know that much."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("> %s %s %s", request.method, request.path, request.protocol)
        for name, value in request.headers.raw_items():
            logger.debug("> %s: %s", name, value)


def log_response(logger: LoggerLike, response: Response) -> None:
    """Log a handshake response, if anybody wants to know that much."""
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("< HTTP/1.1 %d %s", response.status_code, response.reason_phrase)
        for name, value in response.headers.raw_items():
            logger.debug("< %s: %s", name, value)
        if response.body:
            logger.debug("< [body] (%d bytes)", len(response.body))
