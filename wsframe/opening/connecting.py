"""What ``connect`` does with its options and between its attempts, whatever its I/O (RFC 6455 §4.1, §7.2.3).

The class here keeps the state that ``asyncio.client`` and ``sync.client`` share; ``attempts`` decides.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from wsframe._checks import check_callable, check_logger
from wsframe._escape import escape
from wsframe.constants import Role, State
from wsframe.extensions.base import AnyExtensionFactory
from wsframe.extensions.deflate import PerMessageDeflateFactory
from wsframe.extensions.permessage_deflate import extension_factories
from wsframe.limits import Limits
from wsframe.messages.connection import SansIOConnection
from wsframe.opening.attempts import check_headers, check_proxy, is_same_origin, redirect_target, without_credentials
from wsframe.opening.custom_fields import check_custom_headers
from wsframe.opening.fields import HeadersLike
from wsframe.opening.grammar import check_subprotocols, check_value
from wsframe.opening.handshake import ClientHandshake
from wsframe.opening.uri import WebSocketURI, parse_uri
from wsframe.typing import LoggerLike

__all__ = ["Connecting"]


class Connecting:
    """The options of ``connect`` that do not depend on its I/O, and the URI of the current attempt."""

    def __init__(
        self,
        uri: str,
        additional_headers: HeadersLike | None,
        user_agent_header: str | None,
        proxy: str | Literal[True] | None,
        process_exception: Callable[[Exception], Exception | None],
        reconnect_delays: Callable[[], Iterator[float]],
        logger: LoggerLike | None,
    ) -> None:
        self.uri = uri
        self.ws_uri: WebSocketURI = parse_uri(uri)
        check_value("user_agent_header", "User-Agent", user_agent_header)
        self.user_agent_header = user_agent_header
        check_proxy(proxy)
        self.proxy = proxy
        check_callable("process_exception", process_exception, "exc", optional=False, never_async=True)
        self.process_exception = process_exception
        check_callable("reconnect_delays", reconnect_delays, optional=False, never_async=True)
        self.reconnect_delays = reconnect_delays
        check_logger(logger)
        self.logger = logger or logging.getLogger("wsframe.client")
        self.additional_headers = check_headers(additional_headers)
        check_custom_headers(self.additional_headers or ())
        # The URI before redirects.
        self._before_redirects: tuple[str, WebSocketURI] | None = None

    def _set_handshake(
        self,
        origin: str | None,
        subprotocols: Sequence[str] | None,
        extensions: Sequence[AnyExtensionFactory] | None,
        compression: str | PerMessageDeflateFactory | None,
        limits: Limits,
    ) -> None:
        check_value("origin", "Origin", origin)
        self._limits = limits
        self._handshake_options: dict[str, Any] = {
            "origin": origin,
            "subprotocols": check_subprotocols(subprotocols),
            "extensions": extension_factories(extensions, compression),
            "limits": limits,
        }

    def _new_protocol(self, uri: WebSocketURI) -> SansIOConnection:
        protocol = SansIOConnection(Role.CLIENT, state=State.CONNECTING, limits=self._limits)
        protocol.uri = uri
        return protocol

    def _prepare(self, connection: Any, uri: WebSocketURI) -> None:
        """Give a new connection what constructors written for ``websockets`` do not accept as arguments."""
        connection.log_to(self.logger)
        connection.opening = ClientHandshake(uri, **self._handshake_options)

    # Redirects

    def _ties(self) -> tuple[bool, str | None]:
        """Return the arguments ``sock`` and ``tied_to`` of ``redirect_target``."""
        raise NotImplementedError

    def process_redirect(self, exc: Exception) -> Exception | str:
        """Return the URI to connect to instead after a failed attempt.

        Override this to follow no redirects, or other ones.

        Args:
            exc: Why the attempt failed.

        Returns:
            The new URI, or the exception to raise: ``exc`` if it is not a redirect.
        """
        sock, tied_to = self._ties()
        return redirect_target(exc, self.uri, sock=sock, tied_to=tied_to)

    def _undo_redirects(self) -> None:
        """Return to the URI before redirects.

        RFC 9110 §15.4: a redirect applies to one attempt. Keeping a permanent redirect is optional; we do not, since
        its target may disappear first.
        """
        if self._before_redirects is not None:
            self.uri, self.ws_uri = self._before_redirects
            self._before_redirects = None

    def _follow(self, exc: Exception, headers: HeadersLike | None) -> HeadersLike | None:
        """Move on to the target of a redirect; return the headers for it.

        Raises:
            Exception: ``exc`` if it is not a redirect, or why the redirect cannot be followed.
        """
        target = self.process_redirect(exc)
        if target is exc:
            raise exc
        if isinstance(target, Exception):
            raise target from exc
        if self._before_redirects is None:
            self._before_redirects = self.uri, self.ws_uri
        new = parse_uri(target)
        if not is_same_origin(self.ws_uri, new):
            headers = without_credentials(headers or ())
        self.uri, self.ws_uri = target, new
        return headers

    # Reconnecting

    def _next_delay(self, exc: Exception, delays: Iterator[float] | None) -> tuple[float, Iterator[float]]:
        """Decide what follows a failed attempt.

        Args:
            exc: Why the attempt failed.
            delays: The delays of this series of failed attempts; None after the first one.

        Returns:
            Seconds to wait before the next attempt, and the delays that are left.

        Raises:
            Exception: What ``process_exception`` returns or raises.
        """
        try:
            error = self.process_exception(exc)
        except Exception as raised:
            error = raised
        if error is exc:
            raise exc
        if error is not None:
            raise error from exc
        if delays is None:
            delays = iter(self.reconnect_delays())
        delay = next(delays)
        reason = traceback.format_exception_only(exc)[0].strip()
        self.logger.info("connect failed; reconnecting in %.1f seconds: %s", delay, escape(reason))
        return delay, delays
