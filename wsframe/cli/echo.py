"""``wsframe echo``: a server that sends back what it receives, and tells who comes and goes. Rank 6."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable

from wsframe.asyncio.server import ServerConnection, serve
from wsframe.cli.common import (
    CommandError,
    add_loop_option,
    add_max_size_option,
    describe_end,
    describe_os_error,
    format_address,
    log_to_stderr,
    on_stop_signal,
    run_loop,
)

__all__ = ["EchoConnection", "add_parser", "echo", "run"]

logger = logging.getLogger("wsframe.cli")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "echo", help="run an echo server", description="Run an echo server until Ctrl-C or SIGTERM."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8765, help="port to listen on; 0 for a free one (%(default)s)")
    parser.add_argument("--tls-cert", metavar="FILE", help="certificate chain in PEM format: listen for wss://")
    parser.add_argument("--tls-key", metavar="FILE", help="private key, where it is not in the same file")
    parser.add_argument(
        "--origin",
        action="append",
        metavar="ORIGIN",
        help="accept only clients with this Origin; 'none' is those without one; may be repeated",
    )
    parser.add_argument("--subprotocol", action="append", metavar="NAME", help="subprotocol to accept; may be repeated")
    add_max_size_option(parser)
    add_loop_option(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="log messages and handshakes too")
    parser.set_defaults(run=run)


class EchoConnection(ServerConnection):
    """A connection that logs how it ends.

    Attributes:
        peer: The client's address.
        messages: Messages that were received.
    """

    messages = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # TLS forgets it at the end.
        self.peer = format_address(self.remote_address)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self.was_open:
            end = describe_end(self.close_exc, "client")
            logger.info("%s  %s; %d message%s", self.peer, end, self.messages, "" if self.messages == 1 else "s")
        elif self.response is None:
            logger.info("%s  gone without an opening handshake", self.peer)
        else:
            why = bytes(self.response.body).decode().partition("\n")[0]
            logger.info("%s  refused with HTTP %d: %s", self.peer, self.response.status_code, why)


async def echo(websocket: ServerConnection) -> None:
    """Send back each message."""
    assert isinstance(websocket, EchoConnection)
    assert websocket.request is not None
    subprotocol = "" if websocket.subprotocol is None else f", subprotocol {websocket.subprotocol}"
    logger.info("%s  open, path %s%s", websocket.peer, websocket.request.path, subprotocol)
    async for message in websocket:
        websocket.messages += 1
        if logger.isEnabledFor(logging.DEBUG):
            kind, unit = ("text", "characters") if isinstance(message, str) else ("binary", "bytes")
            logger.debug("%s  %s, %d %s: %.60r", websocket.peer, kind, len(message), unit, message[:60])
        await websocket.send(message)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    with log_to_stderr(options.verbose):
        try:
            return run_loop(lambda: _serve(options), options.loop)
        except KeyboardInterrupt:
            # Windows: the server was closed all the same, by cancellation.
            return 0


async def _serve(options: argparse.Namespace) -> int:
    tls = _tls_context(options.tls_cert, options.tls_key)
    origins = options.origin and [None if origin == "none" else origin for origin in options.origin]
    try:
        server = await serve(
            echo,
            options.host,
            options.port,
            origins=origins,
            subprotocols=options.subprotocol,
            max_size=options.max_size,
            create_connection=EchoConnection,
            ssl=tls,
        )
    except (OSError, OverflowError, ValueError) as exc:
        why = describe_os_error(exc) if isinstance(exc, OSError) else str(exc)
        raise CommandError(f"cannot listen on {format_address((options.host, options.port))}: {why}") from exc
    async with server:
        for sock in server.sockets:
            address = format_address(sock.getsockname())
            logger.info("listening on %s://%s (Ctrl-C to stop)", "ws" if tls is None else "wss", address)
        await _stopped(lambda: logger.info("stopping; %d open", len(server.connections)))
    return 0


async def _stopped(announce: Callable[[], None]) -> None:
    stop = asyncio.Event()
    with on_stop_signal(stop.set), contextlib.suppress(asyncio.CancelledError):
        await stop.wait()
    announce()


def _tls_context(cert: str | None, key: str | None) -> ssl.SSLContext | None:
    if cert is None:
        if key is not None:
            raise CommandError("--tls-key needs --tls-cert")
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as exc:
        raise CommandError(f"cannot use the certificate {cert}: {exc.strerror or exc}") from exc
    return context
