"""permessage-deflate factories with the same arguments as in ``websockets`` (RFC 7692 §7.1).

``wsframe.PerMessageDeflateFactory`` has more options and cheaper defaults.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from wsframe._checks import check_bool, check_type, listed
from wsframe.exceptions import NegotiationError
from wsframe.extensions.base import AnyExtensionFactory, Extension, ExtensionFactory, Parameters
from wsframe.extensions.deflate import PerMessageDeflate, PerMessageDeflateFactory, compression_factories
from wsframe.extensions.negotiation import adapt_factory

__all__ = [
    "ClientPerMessageDeflateFactory",
    "PerMessageDeflate",
    "ServerPerMessageDeflateFactory",
    "extension_factories",
]


class ServerPerMessageDeflateFactory(PerMessageDeflateFactory):
    """Options of permessage-deflate for a server.

    Args:
        server_no_context_takeover: The server compresses each message by itself.
        client_no_context_takeover: The client compresses each message by itself.
        server_max_window_bits: Size of the server's window, as a power of 2 from 9 to 15; 15 if None.
        client_max_window_bits: Size of the client's window, from 8 to 15, if the client lets us choose; 15
            if None.
        compress_settings: ``level`` and ``memLevel`` of ``zlib.compressobj``.
        require_client_max_window_bits: Whether to decline compression if the client does not let us choose.

    Raises:
        TypeError: If an option has a wrong type.
        ValueError: If an option is out of range.
    """

    require_client_max_window_bits: bool

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | None = None,
        compress_settings: Mapping[str, Any] | None = None,
        require_client_max_window_bits: bool = False,
    ) -> None:
        check_bool("require_client_max_window_bits", require_client_max_window_bits)
        if server_max_window_bits == 8:
            raise ValueError("server_max_window_bits must be between 9 and 15: zlib cannot compress with 8")
        if require_client_max_window_bits and client_max_window_bits is None:
            raise ValueError("require_client_max_window_bits needs client_max_window_bits")
        super().__init__(
            server_max_window_bits=15 if server_max_window_bits is None else server_max_window_bits,
            client_max_window_bits=15 if client_max_window_bits is None else client_max_window_bits,
            server_no_context_takeover=server_no_context_takeover,
            client_no_context_takeover=client_no_context_takeover,
            **_zlib_options(compress_settings),
        )
        object.__setattr__(self, "require_client_max_window_bits", require_client_max_window_bits)

    def accept_offer(self, parameters: Parameters) -> tuple[Parameters, Extension]:
        """Accept or decline a client's offer."""
        if self.require_client_max_window_bits and "client_max_window_bits" not in dict(parameters):
            raise NegotiationError("the client does not let us choose client_max_window_bits")
        return super().accept_offer(parameters)


class ClientPerMessageDeflateFactory(PerMessageDeflateFactory):
    """Options of permessage-deflate for a client.

    Args:
        server_no_context_takeover: Ask the server to compress each message by itself.
        client_no_context_takeover: The client compresses each message by itself.
        server_max_window_bits: Largest window that the server may use, as a power of 2 from 8 to 15; None to
            leave it to the server.
        client_max_window_bits: Size of the client's window, from 9 to 15; True to let the server choose,
            None not to.
        compress_settings: ``level`` and ``memLevel`` of ``zlib.compressobj``.

    Raises:
        TypeError: If an option has a wrong type.
        ValueError: If an option is out of range.
    """

    offers_client_max_window_bits: bool

    def __init__(
        self,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
        client_max_window_bits: int | bool | None = True,
        compress_settings: Mapping[str, Any] | None = None,
    ) -> None:
        chosen = None if client_max_window_bits is True else client_max_window_bits
        if chosen is False:
            raise ValueError("client_max_window_bits must be between 9 and 15, True or None, not False")
        if chosen == 8:
            raise ValueError("client_max_window_bits must be between 9 and 15: zlib cannot compress with 8")
        super().__init__(
            server_max_window_bits=server_max_window_bits,
            client_max_window_bits=chosen,
            server_no_context_takeover=server_no_context_takeover,
            client_no_context_takeover=client_no_context_takeover,
            **_zlib_options(compress_settings),
        )
        object.__setattr__(self, "offers_client_max_window_bits", client_max_window_bits is not None)

    def offer(self) -> list[Parameters]:
        """Return the client's offers."""
        (parameters,) = super().offer()
        if not self.offers_client_max_window_bits:
            parameters.remove(("client_max_window_bits", None))
        return [parameters]

    def accept_response(self, parameters: Parameters) -> Extension:
        """Check a server's response (RFC 7692 §7.1.2.2: it must not choose what was not offered)."""
        if not self.offers_client_max_window_bits and "client_max_window_bits" in dict(parameters):
            raise NegotiationError("the server chose client_max_window_bits, which was not offered")
        return super().accept_response(parameters)


def _zlib_options(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Convert ``zlib.compressobj`` arguments, with its defaults, to our options; compress messages of any length."""
    if settings is not None:
        check_type("compress_settings", settings, Mapping, "a mapping or None")
    options = {"level": -1, "memLevel": 8, **(settings or {})}
    if set(options) != {"level", "memLevel"}:
        raise ValueError("compress_settings may have level and memLevel, and windows are arguments of their own")
    return {"level": options["level"], "memory_level": options["memLevel"], "threshold": 0}


def extension_factories(
    extensions: Sequence[AnyExtensionFactory] | None, compression: str | PerMessageDeflateFactory | None
) -> list[ExtensionFactory]:
    """Convert the options ``extensions`` and ``compression`` to the extension factories to negotiate.

    Args:
        extensions: Our factories or those of ``websockets``, or None.
        compression: As for ``compression_factories``; permessage-deflate in ``extensions`` takes precedence.

    Raises:
        TypeError: If ``extensions`` is anything else.
        ValueError: If ``compression`` is anything else.
    """
    given = () if extensions is None else listed("extensions", extensions, "a list of factories or None")
    factories = [adapt_factory(factory) for factory in given]
    names = {factory.name for factory in factories}
    return factories + [factory for factory in compression_factories(compression) if factory.name not in names]
