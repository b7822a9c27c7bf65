"""Server metrics in the OpenMetrics 1.0 text format, for Prometheus and others to scrape."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from wsframe._checks import check_callable, check_type
from wsframe.asyncio.server import ProcessRequest, Server, ServerConnection
from wsframe.opening.http import Request, Response

if TYPE_CHECKING:
    from typing import Any

__all__ = ["CONTENT_TYPE", "metrics_endpoint", "openmetrics"]

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""Value of the Content-Type header of a response with metrics."""

_COUNTERS = {
    "frames_received": "Frames that came, control frames too.",
    "frames_sent": "Frames that were sent, control frames too.",
    "messages_received": "Messages that came.",
    "messages_sent": "Messages that were sent.",
    "bytes_received": "Bytes of the frames that came.",
    "bytes_sent": "Bytes of the frames that were sent.",
    "payload_bytes_received": "Bytes of the messages that came, decompressed.",
    "payload_bytes_sent": "Bytes of the messages that were sent, before compression.",
    "pings_sent": "Pings that were sent.",
    "pongs_received": "Pongs that came.",
}
_GAUGES = {
    "queue_depth": "Messages that wait to be received.",
    "buffered_bytes": "Bytes that wait in the write buffers.",
}


def openmetrics(server: Server, prefix: str = "wsframe") -> str:
    """Return the metrics of a server in the text format of OpenMetrics.

    Counters include connections that are closed.

    Args:
        server: The server.
        prefix: Prefix for the names of the metrics.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``prefix`` is not valid at the start of a name.
    """
    check_type("server", server, Server, "a Server, as serve returns it")
    _check_prefix(prefix)
    stats = server.stats
    lines: list[str] = []

    def add(name: str, kind: str, help_text: str, value: float) -> None:
        lines.append(f"# TYPE {prefix}_{name} {kind}")
        lines.append(f"# HELP {prefix}_{name} {help_text}")
        lines.append(f"{prefix}_{name}{'_total' if kind == 'counter' else ''} {value}")

    add("connections", "gauge", "Connections that are open.", len(server.connections))
    add("connections_opened", "counter", "Opening handshakes that succeeded.", server.connections_opened)
    for name, help_text in _COUNTERS.items():
        add(name, "counter", help_text, getattr(stats, name))
    for name, help_text in _GAUGES.items():
        add(name, "gauge", help_text, getattr(stats, name))
    add("latency_max_seconds", "gauge", "Longest round-trip time of a ping, of the last on each.", stats.latency)
    return "\n".join([*lines, "# EOF", ""])


def metrics_endpoint(
    path: str = "/metrics", process_request: ProcessRequest | None = None, prefix: str = "wsframe"
) -> Callable[[ServerConnection, Request], Awaitable[Response | None]]:
    """Return a ``process_request`` for ``serve`` that answers requests for metrics.

    It answers every client: do not use it on a public port.

    Args:
        path: Path of the metrics.
        process_request: Called with all other requests.
        prefix: Prefix for the names of the metrics.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If ``path`` is not a path, or ``prefix`` is not valid at the start of a name.
    """
    check_type("path", path, str, "a str")
    if not path.startswith("/"):
        raise ValueError(f"path must begin with a slash, not {path!r}")
    check_callable("process_request", process_request, "connection", "request", legacy="path")
    _check_prefix(prefix)

    async def process(connection: ServerConnection, request: Request) -> Response | None:
        if request.path.partition("?")[0] == path:
            response = connection.respond(200, openmetrics(connection.server, prefix))
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = CONTENT_TYPE
            return response
        result: Any = None if process_request is None else process_request(connection, request)
        if inspect.isawaitable(result):
            result = await result
        return result  # type: ignore[no-any-return]

    return process


def _check_prefix(prefix: str) -> None:
    check_type("prefix", prefix, str, "a str")
    if re.fullmatch("[a-zA-Z_:][a-zA-Z0-9_:]*", prefix) is None:
        raise ValueError(f"prefix must be letters, digits and underscores, not {prefix!r}")
