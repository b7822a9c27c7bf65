"""Negotiation of extensions (RFC 6455 §9.1).

``ExtensionFactory`` is the interface. Factories written for ``websockets``, ``ServerExtensionFactory`` and
``ClientExtensionFactory``, are accepted too; they and the extensions that they create are adapted.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from wsframe._checks import describe, listed
from wsframe.codec import Frame
from wsframe.constants import Opcode
from wsframe.exceptions import NegotiationError
from wsframe.extensions.base import (
    AnyExtensionFactory,
    Extension,
    ExtensionFactory,
    ExtensionOffer,
    Parameters,
)

__all__ = ["adapt_factory", "check_agreed", "check_factories", "choose_extensions"]


def check_factories(factories: Iterable[ExtensionFactory]) -> list[ExtensionFactory]:
    """Check the extension factories that a handshake may use; return them as a list.

    Raises:
        TypeError: If one is not a factory, but an extension that was already negotiated, for example.
    """
    factories = listed("extensions", factories, "a list of factories")
    for factory in factories:
        if not isinstance(factory, ExtensionFactory):
            raise TypeError(f"extensions must have factories of extensions, not {describe(factory)}")
    return factories


def adapt_factory(factory: AnyExtensionFactory) -> ExtensionFactory:
    """Return a factory with the interface that handshakes use.

    Raises:
        TypeError: If it is a factory of neither our kind nor that of ``websockets``.
    """
    if isinstance(factory, ExtensionFactory):
        return factory
    is_adaptable = hasattr(factory, "process_request_params") or hasattr(factory, "get_request_params")
    if isinstance(factory, type) or not (is_adaptable and hasattr(factory, "name")):
        raise TypeError(f"extensions must have factories of extensions, not {describe(factory)}")
    return _AdaptedFactory(factory)


class _AdaptedFactory(ExtensionFactory):
    """Adapter for a ``websockets`` factory of either role."""

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
    """A frame with the attributes that ``websockets`` extensions read, and may replace."""

    opcode: Opcode
    data: bytes
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False


class _AdaptedExtension(Extension):
    """Adapter for a ``websockets`` extension, whose ``encode`` takes only a frame."""

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
) -> tuple[list[ExtensionOffer], list[Extension]]:
    """Choose among a client's offers: for each extension, the first acceptable one (RFC 6455 §9.1).

    Returns:
        The extensions for the response header, with their parameters, and the extension objects.
    """
    chosen: dict[str, tuple[Parameters, Extension]] = {}
    for name, parameters in offers:
        for factory in factories:
            if factory.name == name and name not in chosen:
                try:
                    chosen[name] = factory.accept_offer(parameters)
                except NegotiationError:
                    continue
    response = [(name, parameters) for name, (parameters, _) in chosen.items()]
    return response, [extension for _, extension in chosen.values()]


def check_agreed(response: Sequence[ExtensionOffer], factories: Sequence[ExtensionFactory]) -> list[Extension]:
    """Check the server's choice of extensions (RFC 6455 §4.1, step 5 of the response).

    Raises:
        NegotiationError: If an extension was not offered, appears twice, or has unacceptable parameters.
    """
    if response and not factories:
        raise NegotiationError("no extensions supported")
    extensions: dict[str, Extension] = {}
    for name, parameters in response:
        offered = [factory for factory in factories if factory.name == name]
        if name in extensions:
            raise NegotiationError(f"the server chose an extension twice: {name}")
        if len(offered) == 1:
            # Its exception says what is wrong with the parameters.
            extensions[name] = offered[0].accept_response(parameters)
        else:
            extensions[name] = _first_accepting(offered, name, parameters)
    return list(extensions.values())


def _first_accepting(factories: Sequence[ExtensionFactory], name: str, parameters: Parameters) -> Extension:
    for factory in factories:
        with contextlib.suppress(NegotiationError):
            return factory.accept_response(parameters)
    raise NegotiationError(f"Unsupported extension: name = {name}, params = {parameters}")
