"""The interface of an extension to a handshake and to a connection (RFC 6455 §9)."""

from __future__ import annotations

import abc
from collections.abc import Hashable, Sequence
from typing import Any, TypeAlias

from wsframe.codec import Frame
from wsframe.constants import Opcode
from wsframe.typing import ExtensionParameter

__all__ = [
    "AnyExtensionFactory",
    "ClientExtensionFactory",
    "Extension",
    "ExtensionFactory",
    "ExtensionOffer",
    "Parameters",
    "ServerExtensionFactory",
]

Parameters = list[tuple[str, "str | None"]]
"""An extension's parameters, in order; the value is None for a parameter without one."""

ExtensionOffer: TypeAlias = tuple[str, Parameters]
"""An extension's name and its parameters, in order."""


class Extension:
    """An extension as negotiated for one connection.

    Subclasses implement ``decode`` and ``encode``, as in ``websockets``. There, ``encode`` takes only the frame; such
    an extension may ignore ``compress``.

    Attributes:
        name: The registered name of the extension.
        rsv1: Whether the extension gives RSV1 a meaning.
        idle_timeout: Seconds without messages after which ``release_contexts`` should be called; None for never.
        busy: Set when a message is encoded or decoded; cleared by the code that enforces ``idle_timeout``.
    """

    name: str
    rsv1: bool = False
    idle_timeout: float | None = None
    busy: bool = False

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Decode a received frame.

        Args:
            frame: Any frame; control frames are returned as they are.
            max_size: Maximum size of the decoded payload, in bytes.

        Raises:
            ProtocolError: If the payload cannot be decoded; PayloadTooBig if it exceeds the limit, which is
                detected before more memory is spent. The exception's ``fault`` says which.
        """
        raise NotImplementedError

    def encode(self, frame: Frame, compress: bool | None = None) -> Frame:
        """Encode a frame to be sent.

        Args:
            frame: Any frame; control frames are returned as they are.
            compress: For the first frame of a message: whether to compress it; None lets the extension
                decide.
        """
        raise NotImplementedError

    def standalone_key(self, length: int) -> Hashable | None:
        """Return a key for everything that affects the bytes of a message encoded without reference to others.

        Args:
            length: Size of the message, in bytes.

        Returns:
            Equal keys for extensions whose ``encode_standalone`` produces the same bytes; None if such a
            message is not encoded at all.
        """
        # The encoding is unknown, so no two messages count as the same.
        return object()

    def encode_standalone(self, payload: bytes) -> bytes:
        """Encode a message without reference to others."""
        return bytes(self.encode(Frame(Opcode.BINARY, payload)).payload)

    def standalone_sent(self) -> None:
        """Record that the peer receives a message that did not go through ``encode``."""

    @property
    def holds_contexts(self) -> bool:
        """Whether there is memory to release while the connection is idle."""
        return False

    def release_contexts(self) -> None:
        """Release that memory, without any effect on the stream."""


class ExtensionFactory(abc.ABC):
    """The interface of an extension to a handshake.

    Attributes:
        name: The registered name.
    """

    name: str

    @abc.abstractmethod
    def offer(self) -> list[Parameters]:
        """Return the client's offers, in order of preference (RFC 6455 §9.1)."""

    @abc.abstractmethod
    def accept_offer(self, parameters: Parameters) -> tuple[Parameters, Extension]:
        """Accept or decline a client's offer.

        Returns:
            The parameters for the response, and the extension.

        Raises:
            NegotiationError: If the offer must be declined.
        """

    @abc.abstractmethod
    def accept_response(self, parameters: Parameters) -> Extension:
        """Check a server's response.

        Raises:
            NegotiationError: If the connection must be failed.
        """


class ServerExtensionFactory:
    """The interface of an extension to a server's handshake, as in ``websockets``.

    Attributes:
        name: The registered name.
    """

    name: str

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Any]
    ) -> tuple[list[ExtensionParameter], Any]:
        """Accept or decline a client's offer.

        Args:
            params: The parameters offered.
            accepted_extensions: The extensions accepted before this one.

        Returns:
            The parameters for the response, and the extension.

        Raises:
            NegotiationError: If the offer must be declined.
        """
        raise NotImplementedError


class ClientExtensionFactory:
    """The interface of an extension to a client's handshake, as in ``websockets``.

    Attributes:
        name: The registered name.
    """

    name: str

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        """Return the parameters to offer."""
        raise NotImplementedError

    def process_response_params(self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Any]) -> Any:
        """Check a server's response.

        Args:
            params: The parameters of the response.
            accepted_extensions: The extensions accepted before this one.

        Returns:
            The extension.

        Raises:
            NegotiationError: If the connection must be failed.
        """
        raise NotImplementedError


AnyExtensionFactory: TypeAlias = ExtensionFactory | ServerExtensionFactory | ClientExtensionFactory
"""Accepted by servers and clients in ``extensions``."""
