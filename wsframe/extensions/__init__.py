"""Extensions and how they are agreed on (RFC 6455 §9). Rank 3.

There is one extension that anybody uses, permessage-deflate, in ``deflate``. This module says what an
extension is to a handshake and to a connection, and knows nothing of what it does.

``ExtensionFactory`` is the interface here. Factories and extensions written for the ``websockets`` library,
``ServerExtensionFactory``, ``ClientExtensionFactory`` and what they make, are taken too, and adapted.
"""

from __future__ import annotations

import abc
import contextlib
import dataclasses
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeAlias

from wsframe._checks import describe, listed
from wsframe.constants import Opcode
from wsframe.exceptions import NegotiationError
from wsframe.framing import Frame
from wsframe.headers import ExtensionOffer, build_extensions
from wsframe.typing import ExtensionParameter

__all__ = [
    "AnyExtensionFactory",
    "ClientExtensionFactory",
    "Extension",
    "ExtensionFactory",
    "Parameters",
    "ServerExtensionFactory",
    "adapt_factory",
    "check_agreed",
    "check_factories",
    "choose_extensions",
]

Parameters = list[tuple[str, "str | None"]]
"""An extension's parameters, in order; one without a value has None."""


class Extension:
    """An extension of one connection, as agreed on.

    Subclasses implement ``decode`` and ``encode``, as in ``websockets``, where ``encode`` takes nothing but the
    frame; such a one may decline to be told ``compress``.

    Attributes:
        name: Its registered name.
        rsv1: Whether it gives RSV1 a meaning.
        idle_timeout: Seconds without messages after which ``release_contexts`` should be called; None for never.
        busy: Set when a message is encoded or decoded; whoever watches over ``idle_timeout`` clears it.
    """

    name: str
    rsv1: bool = False
    idle_timeout: float | None = None
    busy: bool = False

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """Decode a frame that was received.

        Args:
            frame: Any frame; control frames are returned as they are.
            max_size: Bytes that the payload may have when decoded.

        Raises:
            ProtocolError: If the payload cannot be decoded; PayloadTooBig if it exceeds the limit, found
                out before more memory is spent. The exception's ``fault`` tells which.
        """
        raise NotImplementedError

    def encode(self, frame: Frame, compress: bool | None = None) -> Frame:
        """Encode a frame to be sent.

        Args:
            frame: Any frame; control frames are returned as they are.
            compress: For the first frame of a message: whether to compress it; None leaves it to the
                extension.
        """
        raise NotImplementedError

    def standalone_key(self, length: int) -> Hashable | None:
        """Tell what the bytes of a message depend on that is encoded without reference to others.

        Args:
            length: Bytes of the message.

        Returns:
            Equal keys for extensions whose ``encode_standalone`` gives the same bytes; None if such a
            message is not encoded at all.
        """
        # Nothing is known of what it does, so no two messages are the same.
        return object()

    def encode_standalone(self, payload: bytes) -> bytes:
        """Encode a message without reference to others."""
        return bytes(self.encode(Frame(Opcode.BINARY, payload)).payload)

    def standalone_sent(self) -> None:
        """Take note that the peer receives a message that ``encode`` has not seen."""

    @property
    def holds_contexts(self) -> bool:
        """Whether there is memory to give up while the connection is idle."""
        return False

    def release_contexts(self) -> None:
        """Give that memory up; the stream goes on as if nothing had happened."""


class ExtensionFactory(abc.ABC):
    """What a handshake knows of an extension.

    Attributes:
        name: The registered name.
    """

    name: str

    @abc.abstractmethod
    def offer(self) -> list[Parameters]:
        """Return what a client offers, the preferred one first (RFC 6455 §9.1)."""

    @abc.abstractmethod
    def accept_offer(self, parameters: Parameters) -> tuple[Parameters, Extension]:
        """Judge a client's offer.

        Returns:
            The parameters for the response, and the extension.

        Raises:
            NegotiationError: If the offer must be declined.
        """

    @abc.abstractmethod
    def accept_response(self, parameters: Parameters) -> Extension:
        """Judge a server's response.

        Raises:
            NegotiationError: If the connection must be failed.
        """


class ServerExtensionFactory:
    """What a server's handshake knows of an extension, as in ``websockets``.

    Attributes:
        name: The registered name.
    """

    name: str

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Any]
    ) -> tuple[list[ExtensionParameter], Any]:
        """Judge a client's offer.

        Args:
            params: The parameters offered.
            accepted_extensions: The extensions agreed on before.

        Returns:
            The parameters for the response, and the extension.

        Raises:
            NegotiationError: If the offer must be declined.
        """
        raise NotImplementedError


class ClientExtensionFactory:
    """What a client's handshake knows of an extension, as in ``websockets``.

    Attributes:
        name: The registered name.
    """

    name: str

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        """Return the parameters to offer."""
        raise NotImplementedError

    def process_response_params(self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Any]) -> Any:
        """Judge a server's response.

        Args:
            params: The parameters of the response.
            accepted_extensions: The extensions agreed on before.

        Returns:
            The extension.

        Raises:
            NegotiationError: If the connection must be failed.
        """
        raise NotImplementedError


AnyExtensionFactory: TypeAlias = ExtensionFactory | ServerExtensionFactory | ClientExtensionFactory
"""What servers and clients take in ``extensions``."""


def check_factories(factories: Iterable[ExtensionFactory]) -> list[ExtensionFactory]:
    """Return the extensions that a handshake may use as a list.

    Raises:
        TypeError: If there is something else among them: an extension that is agreed on already, say.
    """
    factories = listed("extensions", factories, "a list of factories")
    for factory in factories:
        if not isinstance(factory, ExtensionFactory):
            raise TypeError(f"extensions must have factories of extensions, not {describe(factory)}")
    return factories


def adapt_factory(factory: AnyExtensionFactory) -> ExtensionFactory:
    """Return a factory with the interface that handshakes use.

    Raises:
        TypeError: If it is none, neither ours nor of ``websockets``'s kind.
    """
    if isinstance(factory, ExtensionFactory):
        return factory
    is_adaptable = hasattr(factory, "process_request_params") or hasattr(factory, "get_request_params")
    if isinstance(factory, type) or not (is_adaptable and hasattr(factory, "name")):
        raise TypeError(f"extensions must have factories of extensions, not {describe(factory)}")
    return _AdaptedFactory(factory)


class _AdaptedFactory(ExtensionFactory):
    """A factory of ``websockets``'s kind, of either role."""

    def __init__(self, factory: Any) -> None:
        self.name = factory.name
        self._factory = factory

    def offer(self) -> list[Parameters]:
        return [list(self._factory.get_request_params())]

    def accept_offer(self, parameters: Parameters) -> tuple[Parameters, Extension]:
        response, extension = self._factory.process_request_params(parameters, [])
        return list(response), _AdaptedExtension(extension)

    def accept_response(self, parameters: Parameters) -> Extension:
        return _AdaptedExtension(self._factory.process_response_params(parameters, []))


@dataclasses.dataclass
class _AdaptedFrame:
    """A frame with the attributes that extensions of ``websockets``'s kind know, and can replace."""

    opcode: Opcode
    data: bytes
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False


class _AdaptedExtension(Extension):
    """An extension of ``websockets``'s kind: its ``encode`` takes nothing but a frame."""

    def __init__(self, extension: Any) -> None:
        self.name = extension.name
        self.rsv1 = getattr(extension, "rsv1", False)
        self.extension = extension

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        return _from_adapted(self.extension.decode(_to_adapted(frame), max_size=max_size))

    def encode(self, frame: Frame, compress: bool | None = None) -> Frame:
        return _from_adapted(self.extension.encode(_to_adapted(frame)))

    def __repr__(self) -> str:
        return repr(self.extension)


def _to_adapted(frame: Frame) -> _AdaptedFrame:
    return _AdaptedFrame(frame.opcode, frame.payload, frame.fin, frame.rsv1, frame.rsv2, frame.rsv3)


def _from_adapted(frame: Any) -> Frame:
    data = frame.payload if isinstance(frame, Frame) else frame.data
    return Frame(frame.opcode, bytes(data), frame.fin, frame.rsv1, frame.rsv2, frame.rsv3)


def choose_extensions(
    offers: Sequence[ExtensionOffer], factories: Sequence[ExtensionFactory]
) -> tuple[str | None, list[Extension]]:
    """Choose among a client's offers: of each extension, the first that can be accepted (RFC 6455 §9.1).

    Returns:
        The value of Sec-WebSocket-Extensions for the response, None for none, and the extensions.
    """
    chosen: dict[str, tuple[Parameters, Extension]] = {}
    for name, parameters in offers:
        for factory in factories:
            if factory.name == name and name not in chosen:
                try:
                    chosen[name] = factory.accept_offer(parameters)
                except NegotiationError:
                    continue
    if not chosen:
        return None, []
    header = build_extensions([(name, parameters) for name, (parameters, _) in chosen.items()])
    return header, [extension for _, extension in chosen.values()]


def check_agreed(response: Sequence[ExtensionOffer], factories: Sequence[ExtensionFactory]) -> list[Extension]:
    """Check what a server has chosen (RFC 6455 §4.1, step 5 of the response).

    Raises:
        NegotiationError: If it was not offered, is there twice, or has parameters that cannot be accepted.
    """
    if response and not factories:
        raise NegotiationError("no extensions supported")
    extensions: dict[str, Extension] = {}
    for name, parameters in response:
        offered = [factory for factory in factories if factory.name == name]
        if name in extensions:
            raise NegotiationError(f"the server chose an extension twice: {name}")
        if len(offered) == 1:
            # It tells what is wrong with the parameters.
            extensions[name] = offered[0].accept_response(parameters)
        else:
            extensions[name] = _first_accepting(offered, name, parameters)
    return list(extensions.values())


def _first_accepting(factories: Sequence[ExtensionFactory], name: str, parameters: Parameters) -> Extension:
    for factory in factories:
        with contextlib.suppress(NegotiationError):
            return factory.accept_response(parameters)
    raise NegotiationError(f"Unsupported extension: name = {name}, params = {parameters}")
