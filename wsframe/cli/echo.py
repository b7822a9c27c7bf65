"""``wsframe echo``: a server that sends back what it receives, and tells who comes and goes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import ssl
from collections.abc import Callable

from wsframe._escape import escape
from wsframe.asyncio.server import ServerConnection, serve
from wsframe.cli.common import (
    CommandError,
    add_compression_option,
    add_header_option,
    add_loop_option,
    add_max_size_option,
    describe_end,
    describe_os_error,
    format_address,
    load_authorities,
    load_certificate,
    log_to_stderr,
    on_stop_signal,
    parse_seconds,
    run_loop,
)
from wsframe.limits import PING_INTERVAL_S
from wsframe.opening.fields import Headers
from wsframe.opening.http import Request, Response

__all__ = ["EchoConnection", "PingedEchoConnection", "add_parser", "echo", "run"]

logger = logging.getLogger("wsframe.cli")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "echo", help="run an echo server", description="Run an echo server until Ctrl-C or SIGTERM."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=int, default=8765, help="port to listen on; 0 for a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--origin",
        action="append",
        metavar="ORIGIN",
        help="accept only clients with this Origin; 'none' stands for clients without one; may be repeated",
    )
    add_header_option(parser, "header to add to the response; may be repeated")
    parser.add_argument("--subprotocol", action="append", metavar="NAME", help="subprotocol to accept; may be repeated")
    add_compression_option(parser)
    add_max_size_option(parser)
    parser.add_argument(
        "--ping", type=parse_seconds, metavar="SECONDS", help="interval of keepalive pings; log their round-trip times"
    )

    tls = parser.add_argument_group("TLS")
    tls.add_argument("--tls-cert", metavar="FILE", help="certificate chain in PEM format; enables wss://")
    tls.add_argument("--tls-key", metavar="FILE", help="private key, if it is not in the certificate file")
    tls.add_argument(
        "--tls-ca", metavar="FILE", help="accept only clients whose certificate is signed by one in this file"
    )

    add_loop_option(parser)
    parser.add_argument("-v", "--verbose", action="store_true", help="also log messages and handshakes")
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
            logger.info("%s  disconnected without an opening handshake", self.peer)
        else:
            why = bytes(self.response.body).decode().partition("\n")[0]
            logger.info("%s  refused with HTTP %d: %s", self.peer, self.response.status_code, escape(why))


class PingedEchoConnection(EchoConnection):
    """A connection that logs how long pings take, too."""

    def _on_pong(self, payload: bytes) -> None:
        logger.info("%s  ping answered in %.1f ms", self.peer, self.latency * 1000)


async def echo(websocket: ServerConnection) -> None:
    """Send back each message."""
    assert isinstance(websocket, EchoConnection)
    assert websocket.request is not None
    subprotocol = "" if websocket.subprotocol is None else f", subprotocol {escape(websocket.subprotocol)}"
    logger.info("%s  open, path %s%s", websocket.peer, escape(websocket.request.path), subprotocol)
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
    tls = _tls_context(options)
    try:
        headers = Headers(options.header or ())
    except ValueError as exc:
        raise CommandError(str(exc)) from exc
    origins = options.origin and [None if origin == "none" else origin for origin in options.origin]

    def process_response(_connection: ServerConnection, _request: Request, response: Response) -> None:
        response.headers.update(headers)

    try:
        server = await serve(
            echo,
            options.host,
            options.port,
            origins=origins,
            subprotocols=options.subprotocol,
            compression=options.compression,
            process_response=process_response,
            max_size=options.max_size,
            ping_interval=options.ping or PING_INTERVAL_S,
            create_connection=PingedEchoConnection if options.ping else EchoConnection,
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


def _tls_context(options: argparse.Namespace) -> ssl.SSLContext | None:
    if options.tls_cert is None and options.tls_ca is not None:
        raise CommandError("--tls-ca needs --tls-cert")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, options.tls_cert, options.tls_key)
    if options.tls_ca is not None:
        load_authorities(context, options.tls_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return None if options.tls_cert is None else context
