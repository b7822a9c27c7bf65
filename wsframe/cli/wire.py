"""Bytes as they are on the wire: a relay that records them, and what they mean (RFC 6455 §5.2)."""

from __future__ import annotations

import asyncio
import dataclasses
from types import TracebackType
from typing import TYPE_CHECKING

from wsframe.codec import Frame, FrameParser
from wsframe.constants import Role

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Relay", "WireFrame", "split_frames"]


@dataclasses.dataclass(frozen=True)
class WireFrame:
    """One frame as it is on the wire, field by field.

    Attributes:
        header: FIN, reserved bits, opcode, MASK bit and payload length: 2, 4 or 10 bytes.
        masking_key: 4 bytes, or none.
        payload: The payload as it is on the wire, masked if there is a key.
        frame: What a ``FrameParser`` makes of it.
    """

    header: bytes
    masking_key: bytes
    payload: bytes
    frame: Frame


def split_frames(data: bytes, parser: FrameParser) -> tuple[list[WireFrame], bytes]:
    """Cut a stream into frames.

    Args:
        data: Bytes that begin with a frame.
        parser: Reads this stream, and has read what came before; it has found no fault.

    Returns:
        The frames, and the beginning of one that is not complete.
    """
    frames = []
    while len(data) >= 2:
        length = data[1] & 0x7F
        header_size = 2 + {126: 2, 127: 8}.get(length, 0)
        key_size = 4 if data[1] & 0x80 else 0
        if length >= 126:
            length = int.from_bytes(data[2:header_size], "big")
        size = header_size + key_size + length
        if len(data) < size:
            break
        (frame,) = parser.feed(data[:size])
        frames.append(
            WireFrame(data[:header_size], data[header_size : size - length], data[size - length : size], frame)
        )
        data = data[size:]
    return frames, data


class Relay:
    """Stands between one client and a server, passes on what they send, and keeps a copy.

    Args:
        host: Where the server is.
        port: Where the server is.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._done: asyncio.Future[None] | None = None
        self._streams = dict.fromkeys(Role, b"")
        self._heads: dict[Role, bytes | None] = dict.fromkeys(Role)
        # A server's parser reads what the client sends.
        self._parsers = {sender: FrameParser(Role(1 - sender)) for sender in Role}
        self._frames: list[tuple[Role, WireFrame]] = []

    async def __aenter__(self) -> Self:
        self._done = asyncio.get_running_loop().create_future()
        self._server = await asyncio.start_server(self._serve, self._target[0], 0)
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        """The port that the client connects to."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def head(self, sender: Role) -> bytes:
        """Return the HTTP head that one side began with."""
        return self._heads[sender] or b""

    def take_frames(self) -> list[tuple[Role, WireFrame]]:
        """Return who sent which frames since the last call, in the order in which they passed."""
        frames, self._frames = self._frames, []
        return frames

    async def wait_done(self) -> None:
        """Wait until both sides have closed their TCP connections."""
        assert self._done is not None
        await self._done

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self._done is not None
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
            await asyncio.gather(
                self._pass_on(Role.CLIENT, reader, server_writer), self._pass_on(Role.SERVER, server_reader, writer)
            )
        except OSError:
            # Both ends see for themselves that the connection is gone.
            writer.close()
        finally:
            self._done.set_result(None)

    async def _pass_on(self, sender: Role, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            writer.write(data)
            self._record(sender, data)
        writer.close()
        await writer.wait_closed()

    def _record(self, sender: Role, data: bytes) -> None:
        data = self._streams[sender] + data
        if self._heads[sender] is None:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                self._streams[sender] = data
                return
            self._heads[sender], data = head, rest
        frames, self._streams[sender] = split_frames(data, self._parsers[sender])
        self._frames += [(sender, frame) for frame in frames]
