"""Servers with a handler for each URL: ``route``.

werkzeug matches the URLs; it is imported when a router is created.
"""

from __future__ import annotations

import http
import inspect
import ssl as ssl_module
import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

from wsframe._checks import check_callable, check_handler, check_optional_str, check_tls, check_type, describe
from wsframe.asyncio.server import Server, ServerConnection, serve
from wsframe.opening.http import Request, Response
from wsframe.typing import PathLike

if TYPE_CHECKING:
    from werkzeug.routing import Map

__all__ = ["Router", "route", "unix_route"]


class Router:
    """Choose a handler by the URL of a request; created by ``route``.

    Args:
        url_map: Rules whose endpoints are handlers.
        server_name: Name of the server as clients see it; the Host header of each request if None.
        url_scheme: ``ws`` or ``wss``, for redirects.

    Raises:
        TypeError: If an argument has the wrong type, or an endpoint cannot handle a connection.
    """

    def __init__(self, url_map: Map, server_name: str | None = None, url_scheme: str = "ws") -> None:
        if not hasattr(url_map, "iter_rules"):
            raise TypeError(f"url_map must be a werkzeug.routing.Map, not {describe(url_map)}")
        check_optional_str("server_name", server_name)
        check_type("url_scheme", url_scheme, str, "a str")
        self.url_map = url_map
        self.server_name = server_name
        self.url_scheme = url_scheme
        for rule in url_map.iter_rules():
            rule.websocket = True
            # A subclass may give endpoints another meaning.
            if type(self) is Router and rule.redirect_to is None and not rule.build_only:
                check_handler(rule.endpoint, f"the endpoint of {rule.rule}", rule.arguments, with_path=False)

    def get_server_name(self, connection: ServerConnection, request: Request) -> str:
        """Return the name of the server as clients see it."""
        # Only HTTP/1.0 allows requests without Host; it cannot carry WebSocket, so any name will do.
        return request.headers.get("Host", "localhost") if self.server_name is None else self.server_name

    def redirect(self, connection: ServerConnection, url: str) -> Response:
        """Return the response for a URL that has moved."""
        response = connection.respond(http.HTTPStatus.FOUND, f"Found at {url}")
        response.headers["Location"] = url
        return response

    def not_found(self, connection: ServerConnection) -> Response:
        """Return the response for a URL that no rule matches."""
        return connection.respond(http.HTTPStatus.NOT_FOUND, "Not Found")

    def route_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Find the handler for a request, and set ``handler`` and ``handler_kwargs`` of the connection.

        Returns:
            None, or the response to send if there is no handler.
        """
        from werkzeug.exceptions import HTTPException, NotFound  # noqa: PLC0415 - see above
        from werkzeug.routing import RequestRedirect  # noqa: PLC0415

        # Not parsed as a URL: "//host" would be one, but is a path here (RFC 9112 §3.2.1).
        path, _, query = request.path.partition("?")
        try:
            adapter = self.url_map.bind(self.get_server_name(connection, request), url_scheme=self.url_scheme)
            handler, kwargs = adapter.match(urllib.parse.unquote(path), query_args=query)
        except RequestRedirect as exc:
            return self.redirect(connection, exc.new_url)
        except NotFound:
            return self.not_found(connection)
        except HTTPException as exc:
            # For example, Host contains an invalid name.
            return connection.respond(exc.code or http.HTTPStatus.BAD_REQUEST, f"{exc.name}\n")
        connection.handler = handler
        connection.handler_kwargs = kwargs
        return None

    async def handler(self, connection: ServerConnection) -> None:
        """Handle a connection."""
        await connection.handler(connection, **connection.handler_kwargs)


def route(
    url_map: Map,
    *args: Any,
    server_name: str | None = None,
    ssl: ssl_module.SSLContext | Literal[True] | None = None,
    create_router: Callable[..., Router] | None = None,
    **kwargs: Any,
) -> Server:
    """Start a WebSocket server with a handler for each URL; requires ``pip install 'wsframe[router]'``.

    Handlers receive the connection, and the values from the URL as keyword arguments::

        from werkzeug.routing import Map, Rule

        async def channel(websocket, number):
            await websocket.send(f"channel {number}")

        async with route(Map([Rule("/channel/<int:number>", endpoint=channel)]), "localhost", 8765):
            await asyncio.Future()

    Rules need not set ``websocket=True``. A URL that no rule matches is answered with status 404; a rule with
    ``redirect_to`` is answered with 302. The ``process_request`` of ``serve``, if any, runs first.

    Args:
        url_map: Rules whose endpoints are handlers.
        args: As in ``serve``: host and port.
        server_name: Name of the server as clients see it; the Host header of each request if None. Required for
            redirects behind a proxy that changes Host.
        ssl: TLS context, or True if a proxy terminates TLS, so that redirects lead to ``wss://``.
        create_router: Creates the router: a subclass of Router, or a function with the same signature.
        kwargs: As in ``serve``.

    Returns:
        The server, to be awaited or used with ``async with``.

    Raises:
        ImportError: If werkzeug is not installed.
        TypeError: If an argument has the wrong type, or an endpoint cannot handle a connection; see also ``serve``.
    """
    try:
        import werkzeug.routing  # noqa: F401, PLC0415
    except ImportError as exc:
        raise ImportError("route() requires werkzeug") from exc
    check_tls("ssl", ssl, True)
    if ssl is not None and ssl is not True:
        kwargs["ssl"] = ssl
    check_callable("create_router", create_router, "url_map", "server_name", "url_scheme", never_async=True)
    router = (create_router or Router)(url_map, server_name, "ws" if ssl is None else "wss")
    first = kwargs.pop("process_request", None)
    check_callable("process_request", first, "connection", "request", legacy="path")

    async def process_request(connection: ServerConnection, request: Request) -> Response | None:
        response = first(connection, request)
        if inspect.isawaitable(response):
            response = await response
        return router.route_request(connection, request) if response is None else response

    return serve(
        router.handler, *args, process_request=router.route_request if first is None else process_request, **kwargs
    )


def unix_route(url_map: Map, path: PathLike | None = None, **kwargs: Any) -> Server:
    """Start a WebSocket server with a handler for each URL that listens on a Unix socket.

    Args:
        url_map: Rules whose endpoints are handlers.
        path: Path of the socket.
        kwargs: As in ``route``, except host and port.
    """
    return route(url_map, unix=True, path=path, **kwargs)
