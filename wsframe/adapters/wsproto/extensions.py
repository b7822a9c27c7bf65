"""Extensions, with wsproto's names: permessage-deflate (RFC 7692).

A connection whose only extension is ``PerMessageDeflate`` compresses with ``wsframe.PerMessageDeflate``. The
``frame_...`` methods serve all other cases: third-party extensions, and combinations with them.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wsframe import Frame, PerMessageDeflate as Codec, PerMessageDeflateFactory, ProtocolError
from wsframe.adapters.wsproto.wire import CloseReason, Opcode, RsvBits

if TYPE_CHECKING:
    from wsframe.adapters.wsproto.frame_protocol import FrameDecoder, FrameProtocol

__all__ = ["SUPPORTED_EXTENSIONS", "Extension", "PerMessageDeflate", "new_codec"]


class Extension(ABC):
    """An extension: its part in the handshake, and its effect on frames.

    Attributes:
        name: Its registered name.
    """

    name: str

    def enabled(self) -> bool:
        """Return whether the extension was negotiated."""
        return False

    @abstractmethod
    def offer(self) -> bool | str:
        """Return parameters for a client's offer, or whether to offer it."""

    def accept(self, offer: str) -> bool | str | None:
        """Check a client's offer; return parameters for the response, or whether it is accepted."""
        return None

    def finalize(self, offer: str) -> None:  # noqa: B027 - nothing to process by default
        """Process a server's response."""

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Check a frame's header; return the reserved bits that have a meaning, or the reason for a failure."""
        return RsvBits(False, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Decode a part of a frame's payload, or return the reason for a failure."""
        return data

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """Return the data that follows the payload of a complete frame, or the reason for a failure."""
        return None

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """Encode a frame to be sent; return reserved bits and payload."""
        return rsv, data


def _window_bits(side: str) -> Any:
    name = f"{side}_max_window_bits"

    def get(extension: PerMessageDeflate) -> int:
        return extension._window_bits[name]

    def set_(extension: PerMessageDeflate, value: int) -> None:
        extension._set_window_bits(name, value)

    return property(get, set_, doc=f"Size of the {side}'s window, as a power of 2.")


class PerMessageDeflate(Extension):
    """permessage-deflate: the parameters to offer or accept, and then the negotiated ones (RFC 7692 §7.1).

    Args:
        client_no_context_takeover: Whether the client compresses each message separately.
        client_max_window_bits: Size of the client's window, as a power of 2 from 9 to 15; None for 15.
        server_no_context_takeover: Whether the server compresses each message separately.
        server_max_window_bits: Size of the server's window, as a power of 2 from 9 to 15; None for 15.

    Raises:
        ValueError: If a size is out of range.
    """

    name = "permessage-deflate"

    DEFAULT_CLIENT_MAX_WINDOW_BITS = 15
    DEFAULT_SERVER_MAX_WINDOW_BITS = 15

    def __init__(
        self,
        client_no_context_takeover: bool = False,
        client_max_window_bits: int | None = None,
        server_no_context_takeover: bool = False,
        server_max_window_bits: int | None = None,
    ) -> None:
        self.client_no_context_takeover = client_no_context_takeover
        self.server_no_context_takeover = server_no_context_takeover
        self._window_bits = {
            "client_max_window_bits": self.DEFAULT_CLIENT_MAX_WINDOW_BITS,
            "server_max_window_bits": self.DEFAULT_SERVER_MAX_WINDOW_BITS,
        }
        if client_max_window_bits is not None:
            self.client_max_window_bits = client_max_window_bits
        if server_max_window_bits is not None:
            self.server_max_window_bits = server_max_window_bits
        self._enabled = False
        self._compressor: Any = None
        self._decompressor: Any = None
        # Whether the frame being received may be compressed; whether its message is compressed, None between messages.
        self._inbound_is_compressible: bool | None = None
        self._inbound_compressed: bool | None = None

    client_max_window_bits = _window_bits("client")
    server_max_window_bits = _window_bits("server")

    def _set_window_bits(self, name: str, value: int) -> None:
        # zlib cannot compress with a window of 2**8 bytes.
        if not 9 <= value <= 15:
            raise ValueError(f"{name} must be between 9 and 15, not {value}")
        self._window_bits[name] = value

    def __repr__(self) -> str:
        parameters = [f"client_max_window_bits={self.client_max_window_bits}"]
        if self.client_no_context_takeover:
            parameters.append("client_no_context_takeover")
        parameters.append(f"server_max_window_bits={self.server_max_window_bits}")
        if self.server_no_context_takeover:
            parameters.append("server_no_context_takeover")
        return f"<PerMessageDeflate {'; '.join(parameters)}>"

    # The handshake

    def enabled(self) -> bool:
        """Return whether the extension was negotiated."""
        return self._enabled

    def offer(self) -> bool | str:
        """Return parameters for a client's offer."""
        return "; ".join([*_build_window_bits(self._window_bits), *self._no_context_takeovers()])

    def finalize(self, offer: str) -> None:
        """Process a server's response.

        Raises:
            ValueError: If a window size is not valid.
        """
        for name, bits in self._take_over(offer):
            self._set_window_bits(name, bits)
        self._enabled = True

    def accept(self, offer: str) -> bool | str | None:
        """Check a client's offer; return parameters for the response, or None if it is declined."""
        try:
            agreed = dict(self._take_over(offer))
            for name, bits in agreed.items():
                self._set_window_bits(name, bits)
        except ValueError:
            return None
        self._enabled = True
        return "; ".join([*self._no_context_takeovers(), *_build_window_bits(agreed)])

    def _take_over(self, offer: str) -> list[tuple[str, int]]:
        """Apply the flags of an offer or a response; return its window sizes, or ours where it has none."""
        sizes = []
        for parameter in offer.split(";")[1:]:
            name, _, value = (part.strip() for part in parameter.partition("="))
            if name == "client_no_context_takeover":
                self.client_no_context_takeover = True
            elif name == "server_no_context_takeover":
                self.server_no_context_takeover = True
            elif name in self._window_bits:
                sizes.append((name, int(value) if value else self._window_bits[name]))
        return sizes

    def _no_context_takeovers(self) -> list[str]:
        names = ("client_no_context_takeover", "server_no_context_takeover")
        return [name for name in names if getattr(self, name)]

    # Frames, in combination with other extensions

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """Check a frame's header: RSV1 belongs on the first frame of a message (RFC 7692 §6)."""
        is_data = opcode < Opcode.CLOSE
        if rsv.rsv1 and not (is_data and opcode != Opcode.CONTINUATION):
            return CloseReason.PROTOCOL_ERROR
        self._inbound_is_compressible = is_data
        if is_data and self._inbound_compressed is None:
            self._inbound_compressed = rsv.rsv1
            if rsv.rsv1 and self._decompressor is None:
                self._decompressor = _Inflater(new_codec(self, proto.client))
        return RsvBits(True, False, False)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Decompress a part of a payload."""
        if not (self._inbound_compressed and self._inbound_is_compressible):
            return data
        try:
            return bytes(self._decompressor.decompress(data))
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """End a message; return the rest of it from the decompressor."""
        if not (fin and self._inbound_is_compressible):
            return None
        compressed, self._inbound_compressed = self._inbound_compressed, None
        if not compressed:
            return None
        try:
            data = bytes(self._decompressor.flush())
        except zlib.error:
            return CloseReason.INVALID_FRAME_PAYLOAD_DATA
        if self.server_no_context_takeover if proto.client else self.client_no_context_takeover:
            self._decompressor = None
        return data

    def frame_outbound(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, data: bytes, fin: bool
    ) -> tuple[RsvBits, bytes]:
        """Compress a frame's payload (RFC 7692 §7.2.1)."""
        if opcode >= Opcode.CLOSE:
            return rsv, data
        if opcode != Opcode.CONTINUATION:
            rsv = rsv._replace(rsv1=True)
        if self._compressor is None:
            bits = self.client_max_window_bits if proto.client else self.server_max_window_bits
            self._compressor = zlib.compressobj(_FACTORY.level, zlib.DEFLATED, -bits, _FACTORY.memory_level)
        data = self._compressor.compress(data)
        if fin:
            data = (data + self._compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            if self.client_no_context_takeover if proto.client else self.server_no_context_takeover:
                self._compressor = None
        return rsv, data


class _Inflater:
    """``wsframe.PerMessageDeflate`` with the methods of zlib's decompressor; ``flush`` ends a message."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self._opcode = Opcode.BINARY

    def decompress(self, data: bytes, fin: bool = False) -> bytes:
        if not (data or fin):
            return b""
        frame = Frame(self._opcode, bytes(data), fin, self._opcode is Opcode.BINARY)
        self._opcode = Opcode.BINARY if fin else Opcode.CONTINUATION
        try:
            return self._codec.decode(frame).payload
        except ProtocolError as exc:
            raise zlib.error(str(exc)) from exc

    def flush(self) -> bytes:
        # A compressed message without any bytes: see MessageReader.
        return b"" if self._opcode is Opcode.BINARY else self.decompress(b"", True)


def new_codec(extension: PerMessageDeflate, client: bool) -> Codec:
    """Create the codec that compresses and decompresses the messages of a connection.

    Args:
        extension: The negotiated extension: this module's ``PerMessageDeflate``, or wsproto's.
        client: Whether this end is the client.
    """
    sides = {
        "server": (extension.server_no_context_takeover, extension.server_max_window_bits),
        "client": (extension.client_no_context_takeover, extension.client_max_window_bits),
    }
    local, remote = sides["client" if client else "server"], sides["server" if client else "client"]
    return Codec(
        _FACTORY,
        remote_no_context_takeover=remote[0],
        local_no_context_takeover=local[0],
        remote_max_window_bits=remote[1],
        local_max_window_bits=local[1],
    )


def _build_window_bits(sizes: Mapping[str, int]) -> list[str]:
    return [f"{name}={sizes[name]}" for name in ("client_max_window_bits", "server_max_window_bits") if name in sizes]


_FACTORY = PerMessageDeflateFactory()

SUPPORTED_EXTENSIONS = {PerMessageDeflate.name: PerMessageDeflate}
"""Extensions by name."""
