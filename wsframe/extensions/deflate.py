"""permessage-deflate: compressed messages (RFC 7692 §7).

zlib compresses messages, or zlib-ng or ISA-L where installed. Messages from a peer are inflated up to the message
limit and not a byte further.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Hashable
from typing import Any

from wsframe._checks import check_bool, check_count, check_seconds, check_type, describe
from wsframe._escape import escape
from wsframe.codec import Frame
from wsframe.constants import Opcode
from wsframe.exceptions import (
    DuplicateParameter,
    Fault,
    InvalidParameterName,
    InvalidParameterValue,
    NegotiationError,
    PayloadTooBig,
    ProtocolError,
)
from wsframe.extensions.base import Extension, ExtensionFactory, Parameters

__all__ = ["BACKENDS", "PerMessageDeflate", "PerMessageDeflateFactory", "compression_factories", "load_backend"]

BACKENDS = {"zlib": "zlib", "zlib-ng": "zlib_ng.zlib_ng", "isal": "isal.isal_zlib"}
"""Modules with the interface of ``zlib``, by the name of the distribution that contains them."""

END_OF_MESSAGE = b"\x00\x00\xff\xff" + b"\x00\x00\x00\xff\xff"
"""The end of an empty block, which a peer does not send (RFC 7692 §7.2.1), and a second one, to detect a message that
does not end there."""

END_OF_STREAM = b"\x00\x00\xff\xff" + b"\x03\x00"
"""The end of an empty block, and an empty final block, for a stream that ends here."""

MAX_FINAL_BLOCKS = 256
"""Maximum number of blocks with BFINAL set in a message. Each needs a new decompressor (RFC 7692 §7.2.3.4), so a chain
of empty ones, 2 bytes each, would be a cheap attack; no compressor makes more than one per flush."""

PIECE_SIZE = 4096
"""Bytes fed to a decompressor at a time after a final block; small, since unused bytes are copied."""


def load_backend(name: str) -> Any:
    """Import a compression backend.

    Args:
        name: ``zlib``, ``zlib-ng`` or ``isal``.

    Raises:
        TypeError: If the name is not a str.
        ValueError: If the name is anything else.
        ImportError: If the distribution is not installed.
    """
    check_type("backend", name, str, "a str")
    if name not in BACKENDS:
        raise ValueError(f"unknown compression backend {name!r}: it is one of {', '.join(BACKENDS)}")
    try:
        return importlib.import_module(BACKENDS[name])
    except ImportError as exc:
        raise ImportError(f"the compression backend {name!r} needs the distribution {name}: {exc}") from exc


class PerMessageDeflate(Extension):
    """permessage-deflate as negotiated for one connection.

    Compressor and decompressor are created on first use, and may be released at any time between messages: our
    compressor starts afresh, which is always legal, and the last window of the peer's stream is kept.

    Args:
        factory: The options.
        remote_no_context_takeover: Whether the peer compresses each message by itself.
        local_no_context_takeover: Whether we compress each message by itself.
        remote_max_window_bits: Size of the peer's window, as a power of 2 from 8 to 15.
        local_max_window_bits: Size of our window, likewise; with 8 we do not compress, since zlib cannot.

    Raises:
        TypeError: If ``factory`` is not a PerMessageDeflateFactory, or a size is not an int.
        ValueError: If a size is out of range.
    """

    __slots__ = (
        "_compressor",
        "_decoding",
        "_decompressor",
        "_encoding",
        "_factory",
        "_final_blocks",
        "_mid_message",
        "_window",
        "_window_size",
        "_zlib",
        "busy",
        "idle_timeout",
        "local_max_window_bits",
        "local_no_context_takeover",
        "remote_max_window_bits",
        "remote_no_context_takeover",
    )

    name = "permessage-deflate"
    rsv1 = True

    def __init__(
        self,
        factory: PerMessageDeflateFactory,
        *,
        remote_no_context_takeover: bool,
        local_no_context_takeover: bool,
        remote_max_window_bits: int,
        local_max_window_bits: int,
    ) -> None:
        check_type("factory", factory, PerMessageDeflateFactory, "a PerMessageDeflateFactory")
        check_count("remote_max_window_bits", remote_max_window_bits, low=8, high=15, optional=False)
        check_count("local_max_window_bits", local_max_window_bits, low=8, high=15, optional=False)
        self.remote_no_context_takeover = remote_no_context_takeover
        self.local_no_context_takeover = local_no_context_takeover
        self.remote_max_window_bits = remote_max_window_bits
        self.local_max_window_bits = local_max_window_bits
        self.idle_timeout = factory.idle_timeout
        self.busy = False
        self._factory = factory
        self._zlib = load_backend(factory.backend)
        self._compressor: Any = None
        self._decompressor: Any = None
        # The end of the peer's data, uncompressed, and how much of it a new decompressor starts with.
        self._window = bytearray()
        self._window_size = 1 << remote_max_window_bits
        self._decoding = False
        self._encoding = False
        # Whether a fragmented message is being decoded; its decompressor cannot be released.
        self._mid_message = False
        self._final_blocks = 0

    def __repr__(self) -> str:
        return (
            f"PerMessageDeflate(remote_no_context_takeover={self.remote_no_context_takeover}, "
            f"local_no_context_takeover={self.local_no_context_takeover}, "
            f"remote_max_window_bits={self.remote_max_window_bits}, "
            f"local_max_window_bits={self.local_max_window_bits})"
        )

    # Receiving

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """See ``Extension.decode``; RSV1 of a message's first frame marks it as compressed (RFC 7692 §6)."""
        opcode = frame.opcode
        if opcode is not Opcode.CONTINUATION:
            if opcode >= Opcode.CLOSE:
                return frame
            self._decoding = frame.rsv1
            self._final_blocks = 0
        if not self._decoding:
            return frame
        self.busy = True
        fin = frame.fin
        try:
            payload = self._inflate(frame.payload, fin, max_size)
        except self._zlib.error as exc:
            raise ProtocolError(f"{Fault.INVALID_DEFLATE.text}: {exc}", Fault.INVALID_DEFLATE) from exc
        self._mid_message = not fin
        return Frame(opcode, payload, fin)

    def _inflate(self, data: bytes, fin: bool, max_size: int | None) -> bytes:
        decompressor = self._decompressor
        if decompressor is None:
            # The fragments so far end with a final block: nothing has to follow it, not even an empty block.
            if self._mid_message and not data:
                return b""
            decompressor = self._decompressor = self._new_decompressor()
        # Room for one byte more than allowed shows that the limit is exceeded; 0 would mean no limit.
        room = 0 if max_size is None else max_size + 1
        output: bytes = decompressor.decompress(data, room)
        if decompressor.eof:
            output = self._inflate_behind_final_block(data, output, room)
            decompressor = self._decompressor
        if room and len(output) >= room:
            raise PayloadTooBig(Fault.MESSAGE_TOO_BIG.text, fault=Fault.MESSAGE_TOO_BIG)
        if fin:
            # A peer may end the message with a final block, without an empty block after it.
            if decompressor is not None:
                self._end_message(decompressor)
            if self.remote_no_context_takeover:
                self._decompressor = None
                self._window.clear()
                return output
        # Even without context takeover, data after a final block within the message still refers to data before it.
        window = self._window
        size = self._window_size
        if len(output) < size:
            window += output
            # Trim occasionally, not for each message.
            if len(window) > 2 * size:
                del window[:-size]
        else:
            window[:] = output[-size:]
        return output

    def _end_message(self, decompressor: Any) -> None:
        """Feed the end of the message's last block, which must be empty (RFC 7692 §7.2.2).

        Within any other block, these bytes are nearly always invalid, or produce output.
        """
        if self.remote_no_context_takeover:
            complete = not decompressor.decompress(END_OF_STREAM, 1) and decompressor.eof
        else:
            complete = not decompressor.decompress(END_OF_MESSAGE, 1)
            if decompressor.eof:
                self._decompressor = None
        if not complete:
            raise ProtocolError(f"{Fault.INVALID_DEFLATE.text}: it ends within a block", Fault.INVALID_DEFLATE)

    def _inflate_behind_final_block(self, data: bytes, output: bytes, room: int) -> bytes:
        """Continue after a block with BFINAL set, which ends zlib's stream but not the message (RFC 7692 §7.2.3.4)."""
        outputs = bytearray(output)
        end = len(data)
        pos = end - len(self._decompressor.unused_data)
        history = bytes(self._window)
        while self._decompressor.eof:
            self._final_blocks += 1
            if self._final_blocks > MAX_FINAL_BLOCKS:
                raise ProtocolError(Fault.TOO_MANY_FINAL_BLOCKS.text, Fault.TOO_MANY_FINAL_BLOCKS)
            if pos == end:
                self._decompressor = None
                break
            size = self._window_size
            window = bytes(outputs[-size:])
            if len(window) < size:
                window = (history + window)[-size:]
            self._decompressor = self._new_decompressor(window)
            while pos < end and not self._decompressor.eof and not (room and len(outputs) >= room):
                piece = data[pos : pos + PIECE_SIZE]
                outputs += self._decompressor.decompress(piece, room - len(outputs) if room else 0)
                pos += len(piece) - len(self._decompressor.unused_data)
        return bytes(outputs)

    def _new_decompressor(self, window: bytes | bytearray | None = None) -> Any:
        # A window larger than the peer's is harmless, and not every backend supports the smallest.
        wbits = -max(9, self.remote_max_window_bits)
        if window is None:
            window = self._window[-self._window_size :]
        return self._zlib.decompressobj(wbits, zdict=bytes(window)) if window else self._zlib.decompressobj(wbits)

    # Sending

    def encode(self, frame: Frame, compress: bool | None = None) -> Frame:
        """See ``Extension.encode``; by default, messages below the threshold are not compressed."""
        opcode = frame.opcode
        fin = frame.fin
        payload = frame.payload
        is_first = opcode is not Opcode.CONTINUATION
        if is_first:
            if opcode >= Opcode.CLOSE:
                return frame
            self._encoding = self.compresses(len(payload), fin, compress)
        if not self._encoding:
            return frame
        self.busy = True
        compressor = self._compressor
        if compressor is None:
            compressor = self._new_compressor()
        # Drop the compressor until it has succeeded: after a failure, the next frame starts afresh.
        self._compressor = None
        data = compressor.compress(payload) + compressor.flush(self._zlib.Z_SYNC_FLUSH)
        if fin:
            # RFC 7692 §7.2.1: the end of the empty block is not sent.
            data = data[:-4]
        encoded = Frame(opcode, data, fin, is_first)
        if not (fin and self.local_no_context_takeover):
            self._compressor = compressor
        return encoded

    def compresses(self, length: int, fin: bool = True, compress: bool | None = None) -> bool:
        """Return whether a message is compressed, given the length of its first frame in bytes."""
        if self.local_max_window_bits == 8 or compress is False:
            return False
        return compress is True or not fin or length >= self._factory.threshold

    def standalone_key(self, length: int) -> Hashable | None:
        """See ``Extension.standalone_key``: backend, level, memory level and window."""
        if not self.compresses(length):
            return None
        factory = self._factory
        return factory.backend, factory.level, factory.memory_level, self.local_max_window_bits

    def encode_standalone(self, payload: bytes) -> bytes:
        """See ``Extension.encode_standalone``."""
        compressor = self._new_compressor()
        data: bytes = compressor.compress(payload) + compressor.flush(self._zlib.Z_SYNC_FLUSH)
        return data[:-4]

    def standalone_sent(self) -> None:
        """See ``Extension.standalone_sent``: our compressor's window no longer matches the peer's."""
        self._compressor = None

    def _new_compressor(self) -> Any:
        factory = self._factory
        return self._zlib.compressobj(
            factory.level, self._zlib.DEFLATED, -self.local_max_window_bits, factory.memory_level
        )

    # Idle connections

    @property
    def holds_contexts(self) -> bool:
        """See ``Extension.holds_contexts``: whether there is a compressor or a decompressor."""
        return self._compressor is not None or self._decompressor is not None

    def release_contexts(self) -> None:
        """See ``Extension.release_contexts``."""
        # Legal even within a message of ours: a fresh compressor refers to nothing that the peer has received of it.
        self._compressor = None
        if not self._mid_message:
            self._decompressor = None
            self._window = bytearray(self._window[-self._window_size :])


@dataclasses.dataclass(frozen=True)
class PerMessageDeflateFactory(ExtensionFactory):
    """Options of permessage-deflate, for the ``compression`` argument of servers and clients.

    The defaults cost 40 KiB on a connection that has just sent and received, and 4 KiB on an idle one. They
    compress JSON to within a few per cent of the largest window's result.

    Attributes:
        server_max_window_bits: Size of the server's window, as a power of 2 from 8 to 15. A server uses no
            larger one; with 8 it declines all offers, since zlib cannot compress with 8. A client requests
            this size unless it is None. None: 12 for a server, no request for a client.
        client_max_window_bits: Likewise for the client's window; a server requests it from clients that allow it.
        server_no_context_takeover: The server compresses each message by itself: less memory, more bytes.
        client_no_context_takeover: The client compresses each message by itself.
        level: Compression level: 1 to 9, to 3 with isal; -1 for the backend's default. 1: on messages of a
            few KiB, the higher ones take up to 3 times as long for 1 to 5 % fewer bytes.
        memory_level: Memory of the compressor, 1 to 9. 5: 16 KiB, enough for blocks of 2,048 symbols.
        threshold: Bytes below which a message is not compressed. 64: below, there is little to gain, and a
            flush costs 5 bytes.
        idle_timeout: Seconds without messages after which compressor and decompressor are released; None
            for never. 10: shorter than the pauses of chats and tickers, whose memory adds up.
        backend: ``zlib``, ``zlib-ng`` or ``isal``; the latter two are separate distributions.

    Raises:
        TypeError: If an option has a wrong type.
        ValueError: If an option is out of range.
        ImportError: If the backend is not installed.
    """

    server_max_window_bits: int | None = None
    client_max_window_bits: int | None = None
    server_no_context_takeover: bool = False
    client_no_context_takeover: bool = False
    level: int = 1
    memory_level: int = 5
    threshold: int = 64
    idle_timeout: float | None = 10.0
    backend: str = "zlib"

    name = "permessage-deflate"

    def __post_init__(self) -> None:
        for name in ("server_max_window_bits", "client_max_window_bits"):
            check_count(name, getattr(self, name), low=8, high=15)
        for name in ("server_no_context_takeover", "client_no_context_takeover"):
            check_bool(name, getattr(self, name))
        backend = load_backend(self.backend)
        check_count("threshold", self.threshold, optional=False)
        check_seconds("idle_timeout", self.idle_timeout, positive=True)
        check_type("level", self.level, int, "an int")
        if not -1 <= self.level <= (3 if self.backend == "isal" else 9):
            raise ValueError(f"level {self.level} is out of the range of {self.backend}")
        check_count("memory_level", self.memory_level, low=1, high=9, optional=False)
        if self.level == -1:
            object.__setattr__(self, "level", backend.Z_DEFAULT_COMPRESSION)

    def offer(self) -> list[Parameters]:
        """Return the client's offers."""
        parameters: Parameters = []
        if self.server_no_context_takeover:
            parameters.append(("server_no_context_takeover", None))
        if self.client_no_context_takeover:
            parameters.append(("client_no_context_takeover", None))
        if self.server_max_window_bits is not None:
            parameters.append(("server_max_window_bits", str(self.server_max_window_bits)))
        bits = self.client_max_window_bits
        parameters.append(("client_max_window_bits", None if bits is None else str(bits)))
        return [parameters]

    def accept_offer(self, parameters: Parameters) -> tuple[Parameters, Extension]:
        """Accept or decline a client's offer (RFC 7692 §7.1)."""
        offered = _parse_parameters(parameters, is_offer=True)
        response: Parameters = []
        server_no_context_takeover = self.server_no_context_takeover or "server_no_context_takeover" in offered
        if server_no_context_takeover:
            response.append(("server_no_context_takeover", None))
        client_no_context_takeover = self.client_no_context_takeover or "client_no_context_takeover" in offered
        if client_no_context_takeover:
            response.append(("client_no_context_takeover", None))
        # RFC 7692 §7.1.2.1: use at most what the client asks for, and say so; a response may say so unasked.
        server_bits = min(self.server_max_window_bits or DEFAULT_WINDOW_BITS, offered.get("server_max_window_bits", 15))
        if server_bits == 8:
            raise NegotiationError("zlib cannot compress with a window of 256 bytes")
        if server_bits < 15 or "server_max_window_bits" in offered:
            response.append(("server_max_window_bits", str(server_bits)))
        # RFC 7692 §7.1.2.2: a client that does not offer it must not be asked.
        client_bits = 15
        if "client_max_window_bits" in offered:
            client_bits = min(self.client_max_window_bits or DEFAULT_WINDOW_BITS, offered["client_max_window_bits"])
            if client_bits < 15:
                response.append(("client_max_window_bits", str(client_bits)))
        return response, PerMessageDeflate(
            self,
            remote_no_context_takeover=client_no_context_takeover,
            local_no_context_takeover=server_no_context_takeover,
            remote_max_window_bits=client_bits,
            local_max_window_bits=server_bits,
        )

    def accept_response(self, parameters: Parameters) -> Extension:
        """Check a server's response (RFC 7692 §7.1)."""
        agreed = _parse_parameters(parameters, is_offer=False)
        if self.server_no_context_takeover and "server_no_context_takeover" not in agreed:
            raise NegotiationError("the server does not agree to server_no_context_takeover")
        server_bits = agreed.get("server_max_window_bits", 15)
        if server_bits > (self.server_max_window_bits or 15):
            raise NegotiationError("the server does not agree to server_max_window_bits")
        client_bits = agreed.get("client_max_window_bits", 15)
        if client_bits > (self.client_max_window_bits or 15) and "client_max_window_bits" in agreed:
            raise NegotiationError("the server allows more than the offered client_max_window_bits")
        return PerMessageDeflate(
            self,
            remote_no_context_takeover="server_no_context_takeover" in agreed,
            local_no_context_takeover=self.client_no_context_takeover or "client_no_context_takeover" in agreed,
            remote_max_window_bits=server_bits,
            # A window smaller than negotiated is always legal, and saves memory.
            local_max_window_bits=min(client_bits, self.client_max_window_bits or DEFAULT_WINDOW_BITS),
        )


def compression_factories(compression: str | PerMessageDeflateFactory | None) -> list[ExtensionFactory]:
    """Convert a ``compression`` option to the extension factories to negotiate.

    Args:
        compression: ``"deflate"`` for permessage-deflate with default options, a factory for other options,
            or None for no compression.

    Raises:
        ValueError: If it is anything else.
    """
    if compression is None:
        return []
    if compression == "deflate":
        return [PerMessageDeflateFactory()]
    if isinstance(compression, PerMessageDeflateFactory):
        return [compression]
    raise ValueError(f"unsupported compression: {_spell(compression)}; expected 'deflate', a factory or None")


def _spell(compression: object) -> str:
    return escape(compression) if isinstance(compression, str) else describe(compression)


DEFAULT_WINDOW_BITS = 12
"""A window of 4 KiB: it covers the repetitions in most JSON messages, and is 8 times smaller than the largest."""


def _parse_parameters(parameters: Parameters, is_offer: bool) -> dict[str, int]:
    """Check parameters (RFC 7692 §7.1); return those present, with their window bits, 15 if without a value."""
    parsed: dict[str, int] = {}
    for name, value in parameters:
        if name in parsed:
            raise DuplicateParameter(name)
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                raise InvalidParameterValue(name, value)
            parsed[name] = 15
        elif name == "client_max_window_bits" and value is None and is_offer:
            parsed[name] = 15
        elif name in ("server_max_window_bits", "client_max_window_bits"):
            # Reject leading zeros, and whatever int() accepts besides digits.
            if value not in _WINDOW_BITS:
                raise InvalidParameterValue(name, value)
            parsed[name] = _WINDOW_BITS[value]
        else:
            raise InvalidParameterName(name)
    return parsed


_WINDOW_BITS = {str(bits): bits for bits in range(8, 16)}
