"""HTTP Basic authentication for servers (RFC 7617)."""

from __future__ import annotations

import hmac
import http
import inspect
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from wsframe._checks import check_callable, check_type
from wsframe.exceptions import InvalidHeader
from wsframe.opening.grammar import check_value, parse_basic_authorization
from wsframe.opening.http import Request, Response

if TYPE_CHECKING:
    from wsframe.asyncio.server import ServerConnection

__all__ = ["basic_auth"]


def basic_auth(
    realm: str = "",
    credentials: tuple[str, str] | Iterable[tuple[str, str]] | None = None,
    check_credentials: Callable[[str, str], Awaitable[bool] | bool] | None = None,
) -> Callable[[ServerConnection, Request], Awaitable[Response | None]]:
    """Return a ``process_request`` that requires HTTP Basic authentication (RFC 7617).

    The user name becomes the connection's ``username``.

    Args:
        realm: What the password protects; ASCII.
        credentials: A pair of user name and password, or an iterable of such pairs.
        check_credentials: Function or coroutine function, instead of ``credentials``, that returns whether a user
            name and password are correct.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If both or neither of ``credentials`` and ``check_credentials`` are given, or if the realm is not
            valid in a header.
    """
    check_type("realm", realm, str, "a str")
    check_value("realm", "WWW-Authenticate", realm)
    check_callable("check_credentials", check_credentials, "username", "password")
    if (credentials is None) == (check_credentials is None):
        raise ValueError("provide either credentials or check_credentials")
    check = check_credentials or _password_check(credentials)

    async def process_request(connection: ServerConnection, request: Request) -> Response | None:
        try:
            username, password = parse_basic_authorization(request.headers["Authorization"])
        except KeyError:
            problem = "Missing credentials\n"
        except (InvalidHeader, LookupError):
            problem = "Unsupported credentials\n"
        else:
            right = check(username, password)
            if inspect.isawaitable(right):
                right = await right
            if right:
                connection.username = username
                return None
            problem = "Invalid credentials\n"
        response = connection.respond(http.HTTPStatus.UNAUTHORIZED, problem)
        escaped = realm.replace("\\", "\\\\").replace('"', '\\"')
        response.headers["WWW-Authenticate"] = f'Basic realm="{escaped}", charset="UTF-8"'
        return response

    return process_request


def _password_check(credentials: Any) -> Callable[[str, str], bool]:
    def is_pair(value: Any) -> bool:
        return isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(part, str) for part in value)

    try:
        pairs = [credentials] if is_pair(credentials) else list(credentials)
    except TypeError:
        pairs = [None]
    if not all(map(is_pair, pairs)):
        raise TypeError(f"invalid credentials argument: {credentials!r}")
    passwords = {username: password.encode() for username, password in pairs}

    def check(username: str, password: str) -> bool:
        # Constant time for every password, so that it cannot be guessed letter by letter.
        right = hmac.compare_digest(passwords.get(username, b""), password.encode())
        return right and username in passwords

    return check
