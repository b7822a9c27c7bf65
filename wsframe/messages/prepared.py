"""Messages serialized and compressed once, and sent to many peers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from wsframe._checks import check_bool, describe
from wsframe.codec import new_masking_key, serialize_frame
from wsframe.constants import Opcode, Role
from wsframe.extensions.base import Extension

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["PreparedMessage"]


class PreparedMessage:
    """A message to send on many connections, encoded once for each kind of connection.

    Connections are of the same kind if they negotiated the same compression. Where compression refers back to
    earlier messages, a prepared message does not, and the message after it starts afresh. So preparing pays off
    from the second connection of a kind on.

    Args:
        data: A str for a text message, a bytes-like object for a binary one.
        text: True to send bytes, which must be UTF-8, as text; False to send a str as binary.

    Attributes:
        opcode: ``Opcode.TEXT`` or ``Opcode.BINARY``.
        payload: The message as bytes.
        plain_frame: The frame that servers send without extensions, once a server has sent it; None before.

    Raises:
        TypeError: If ``data`` is neither, or ``text`` is not a bool.
    """

    __slots__ = ("_frames", "_payloads", "opcode", "payload", "plain_frame")

    def __init__(self, data: str | Buffer, text: bool | None = None) -> None:
        if not isinstance(data, (str, bytes, bytearray, memoryview)):
            raise TypeError(f"data must be str or bytes-like, not {describe(data)}")
        check_bool("text", text, optional=True)
        if text is None:
            text = isinstance(data, str)
        self.opcode = Opcode.TEXT if text else Opcode.BINARY
        self.payload = data.encode() if isinstance(data, str) else bytes(memoryview(data))
        self.plain_frame: bytes | None = None
        self._payloads: dict[Any, bytes] = {}
        self._frames: dict[Any, bytes] = {}

    def serialize(self, role: Role, extensions: Sequence[Extension]) -> bytes:
        """Return the frame for a connection, which must send it as its next frame.

        Args:
            role: The sender's role: a client masks the frame, so only the compression is shared.
            extensions: The negotiated extensions, which record that the message was sent.
        """
        key: Any = None
        if extensions:
            keys = [extension.standalone_key(len(self.payload)) for extension in extensions]
            if keys != [None] * len(keys):
                key = tuple(keys)
        payload = self.payload if key is None else self._encoded(key, extensions)
        rsv1 = key is not None and any(
            part is not None and extension.rsv1 for part, extension in zip(key, extensions, strict=True)
        )
        if role is Role.CLIENT:
            return serialize_frame(self.opcode, payload, rsv1=rsv1, mask=new_masking_key())
        frame = self._frames.get(key)
        if frame is None:
            frame = self._frames[key] = serialize_frame(self.opcode, payload, rsv1=rsv1)
            if key is None:
                self.plain_frame = frame
        return frame

    def _encoded(self, key: tuple[Any, ...], extensions: Sequence[Extension]) -> bytes:
        payload = self._payloads.get(key)
        if payload is None:
            payload = self.payload
            for part, extension in zip(key, extensions, strict=True):
                if part is not None:
                    payload = extension.encode_standalone(payload)
            self._payloads[key] = payload
        for part, extension in zip(key, extensions, strict=True):
            if part is not None:
                extension.standalone_sent()
        return payload
