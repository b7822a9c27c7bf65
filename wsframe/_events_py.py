"""Messages as events, in Python. Rank 1. Twin of ``src/_events_c.pyx``; the contract is in ``events``."""

from __future__ import annotations

import dataclasses

from wsframe.constants import Opcode

__all__ = ["Message"]


@dataclasses.dataclass(frozen=True)
class Message:
    """A whole message (RFC 6455 §5.6).

    Attributes:
        opcode: ``Opcode.TEXT`` or ``Opcode.BINARY``.
        payload: The bytes of all its fragments; valid UTF-8 if it is text.

    Raises:
        ValueError: If ``opcode`` is another one.
    """

    opcode: Opcode
    payload: bytes

    def __post_init__(self) -> None:
        if self.opcode not in (Opcode.TEXT, Opcode.BINARY):
            raise ValueError("a message is text or binary")

    @property
    def data(self) -> str | bytes:
        """The message as the application wants it: text as str, binary as bytes."""
        return self.payload.decode() if self.opcode is Opcode.TEXT else self.payload
