"""websockets: frames of its sans-IO protocol, and the path of a message through its asyncio connections.

``Protocol`` parses with ``FrameParser`` and writes with ``serialize_frame``. All its connections use it, as do projects
built on it (sanic, uvicorn's ``--ws websockets-sansio``). asyncio connections also resume the task that waits in
``recv()`` within the read that delivers its message, and join everything sent within a read into one write.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Generator
from typing import Any

import websockets.asyncio.messages
from websockets.asyncio.connection import Connection
from websockets.asyncio.messages import Assembler
from websockets.exceptions import NegotiationError, PayloadTooBig, ProtocolError
from websockets.extensions import ClientExtensionFactory, Extension, ServerExtensionFactory
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import CloseCode, Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

import wsframe
from wsframe import Fault, FrameParser, PerMessageDeflateFactory, Role, new_masking_key, serialize_frame
from wsframe.hosting import Cork, Waiter, escape, read_moderately

__all__ = ["DeflateFactory", "replacements"]

OPCODES = [Opcode(value) if value in iter(Opcode) else None for value in range(16)]
"""The members of websockets' enumeration by value; None where RFC 6455 §5.2 reserves the opcode."""

TEXT, BINARY = Opcode.TEXT, Opcode.BINARY


def replacements() -> list[tuple[object, str, object]]:
    """Return the replacements that ``wsframe.patch`` makes."""
    return [
        (Protocol, "parse", parse),
        (Protocol, "send_frame", send_frame),
        (Protocol, "send_text", send_text),
        (Protocol, "send_binary", send_binary),
        (websockets.asyncio.messages, "SimpleQueue", Queue),
        (Assembler, "get", get),
        # Counts what is sent while a read is being handled; None before the first read.
        (Connection, "cork", None),
        (Connection, "connection_made", connection_made),
        (Connection, "data_received", data_received),
        (Connection, "send_data", send_data),
        (Connection, "send", send),
    ]


_parse = Protocol.parse
_send_text = Protocol.send_text
_send_binary = Protocol.send_binary
_get = Assembler.get
_connection_made = Connection.connection_made
_send = Connection.send
_send_data = Connection.send_data
# Releases before 17.4 have another name for it, and pass the cause to the code that raises.
_set_connection_exc = getattr(Connection, "set_connection_exc", None) or Connection.set_recv_exc

# The sans-IO protocol


def parse(self: Any) -> Generator[None, None, None]:
    """Stand in for ``Protocol.parse``: take frames from what ``self.reader`` has received."""
    reader = self.reader
    while not reader.buffer and not reader.eof:
        yield
    # Extensions have been negotiated only now.
    own = any(type(extension) not in (PerMessageDeflate, Deflate) for extension in self.extensions)
    yield from _parse(self) if own else _parse_frames(self)


def _parse_frames(self: Any) -> Generator[None, None, None]:
    reader = self.reader
    parser = FrameParser(
        Role.CLIENT if self.side is CLIENT else Role.SERVER,
        max_message_size=self.max_message_size,
        max_fragment_size=self.max_fragment_size,
        rsv1=bool(self.extensions),
    )
    try:
        while True:
            if reader.buffer:
                data, reader.buffer = reader.buffer, bytearray()
                for frame in parser.feed(data):
                    _receive(self, frame)
                if parser.fault is not None:
                    raise _exception(self, parser.fault)
            elif reader.eof:
                raise EOFError("stream ends within a frame" if parser.pending_bytes else "unexpected end of stream")
            else:
                yield
    except PayloadTooBig as exc:
        _fail(self, CloseCode.MESSAGE_TOO_BIG, str(exc), exc)
    except EOFError as exc:
        _fail(self, CloseCode.ABNORMAL_CLOSURE, str(exc), exc)
    except ProtocolError as exc:
        code = CloseCode.PROTOCOL_ERROR if parser.fault is None else CloseCode(parser.fault.close_code)
        _fail(self, code, str(exc), exc)
    except Exception as exc:
        self.logger.error("parser failed", exc_info=True)
        _fail(self, CloseCode.INTERNAL_ERROR, "", exc)
    yield


def _receive(self: Any, frame: Any) -> None:
    opcode = OPCODES[frame.opcode]
    received = Frame(opcode, frame.payload, frame.fin, frame.rsv1)
    for extension in self.extensions:
        received = extension.decode(received, max_size=_room(self))
    if self.debug:
        self.logger.debug("< %s", escape(str(received)))
    if received.fin and (opcode is TEXT or opcode is BINARY):
        self.events.append(received)
    else:
        self.recv_frame(received)


def _room(self: Any) -> int | None:
    """Return the maximum size in bytes of the next frame of a message."""
    room: int | None = self.max_message_size
    if room is not None and self.current_size is not None:
        room -= self.current_size
    if self.max_fragment_size is not None:
        room = self.max_fragment_size if room is None else min(room, self.max_fragment_size)
    return room


def _exception(self: Any, fault: Fault) -> Any:
    if fault.close_code != CloseCode.MESSAGE_TOO_BIG:
        return ProtocolError(fault.text)
    exc = PayloadTooBig(None, _room(self))
    exc.set_current_size(self.current_size)
    return exc


def _fail(self: Any, code: int, reason: str, exc: Exception) -> None:
    self.fail(code, reason)
    self.parser_exc = exc


def send_text(self: Any, data: Any, fin: bool = True) -> None:
    """Stand in for ``Protocol.send_text``."""
    if not _send_whole(self, TEXT, data, fin):
        _send_text(self, data, fin)


def send_binary(self: Any, data: Any, fin: bool = True) -> None:
    """Stand in for ``Protocol.send_binary``."""
    if not _send_whole(self, BINARY, data, fin):
        _send_binary(self, data, fin)


def _send_whole(self: Any, opcode: int, data: Any, fin: bool) -> bool:
    """Send a message if it is of the common kind; return whether it was."""
    if self._state is not OPEN or not fin or self.expect_continuation_frame or self.extensions or self.debug:
        return False
    mask = new_masking_key() if self.side is CLIENT else None
    self.writes.append(serialize_frame(opcode, data, mask=mask))
    return True


def send_frame(self: Any, frame: Any) -> None:
    """Stand in for ``Protocol.send_frame``."""
    if self.debug:
        self.logger.debug("> %s", escape(str(frame)))
    frame.check()
    for extension in self.extensions:
        frame = extension.encode(frame)
    mask = new_masking_key() if self.side is CLIENT else None
    bits = {"rsv1": frame.rsv1, "rsv2": frame.rsv2, "rsv3": frame.rsv3}
    self.writes.append(serialize_frame(frame.opcode, frame.data, fin=frame.fin, mask=mask, **bits))


# Compression


class DeflateFactory(ServerExtensionFactory, ClientExtensionFactory):
    """wsframe's permessage-deflate (RFC 7692) for connections of websockets, patched or not.

    Pass it to ``serve`` or ``connect``, and disable their own::

        factory = DeflateFactory(wsframe.PerMessageDeflateFactory(backend="isal"))
        serve(handler, ..., extensions=[factory], compression=None)

    Args:
        factory: The options; the default ones if None. ``idle_timeout`` has no effect here.

    Raises:
        TypeError: If ``factory`` has another type.
    """

    name = PerMessageDeflateFactory.name

    def __init__(self, factory: PerMessageDeflateFactory | None = None) -> None:
        if factory is None:
            factory = PerMessageDeflateFactory()
        if not isinstance(factory, PerMessageDeflateFactory):
            raise TypeError(f"factory must be a PerMessageDeflateFactory or None, not {type(factory).__name__}")
        self._factory = factory

    def get_request_params(self) -> Any:
        """See ``ClientExtensionFactory``."""
        return self._factory.offer()[0]

    def process_response_params(self, params: Any, accepted_extensions: Any) -> Any:
        """See ``ClientExtensionFactory``."""
        self._check_first(accepted_extensions)
        try:
            return Deflate(self._factory.accept_response(list(params)))
        except wsframe.NegotiationError as exc:
            raise NegotiationError(str(exc)) from exc

    def process_request_params(self, params: Any, accepted_extensions: Any) -> Any:
        """See ``ServerExtensionFactory``."""
        self._check_first(accepted_extensions)
        try:
            response, extension = self._factory.accept_offer(list(params))
        except wsframe.NegotiationError as exc:
            raise NegotiationError(str(exc)) from exc
        return response, Deflate(extension)

    def _check_first(self, accepted_extensions: Any) -> None:
        if any(extension.name == self.name for extension in accepted_extensions):
            raise NegotiationError(f"received duplicate {self.name}")


class Deflate(Extension):
    """permessage-deflate as negotiated for one connection."""

    name = PerMessageDeflateFactory.name

    def __init__(self, extension: Any) -> None:
        self._extension = extension

    def __repr__(self) -> str:
        return repr(self._extension)

    def decode(self, frame: Any, *, max_size: int | None = None) -> Any:
        """See ``Extension.decode`` of websockets."""
        received = _to_frame(frame, frame.rsv1, frame.rsv2, frame.rsv3)
        try:
            decoded = self._extension.decode(received, max_size=max_size)
        except wsframe.PayloadTooBig as exc:
            raise PayloadTooBig(None, max_size) from exc
        except wsframe.ProtocolError as exc:
            raise ProtocolError(str(exc)) from exc
        return Frame(frame.opcode, decoded.payload, frame.fin, decoded.rsv1, frame.rsv2, frame.rsv3)

    def encode(self, frame: Any) -> Any:
        """See ``Extension.encode`` of websockets."""
        encoded = self._extension.encode(_to_frame(frame))
        return Frame(frame.opcode, encoded.payload, frame.fin, encoded.rsv1, frame.rsv2, frame.rsv3)


def _to_frame(frame: Any, *rsv: bool) -> wsframe.Frame:
    return wsframe.Frame(int(frame.opcode), bytes(memoryview(frame.data)), frame.fin, *rsv)


# Connections of asyncio


class Queue:
    """Like ``SimpleQueue``, except for the time at which ``get`` is resumed."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.get_waiter: Waiter | None = None
        self.queue: collections.deque[Any] = collections.deque()
        # While true, the code that has set it will wake the waiting task.
        self.held = False
        self._aborted = False

    def __len__(self) -> int:
        return len(self.queue)

    def put(self, item: Any) -> None:
        """Put an item into the queue."""
        self.queue.append(item)
        if self.get_waiter is not None and not self.held:
            self.get_waiter.wake_soon()

    async def get(self, block: bool = True) -> Any:
        """Remove and return an item from the queue, waiting if necessary."""
        if not self.queue and block:
            await self.wait()
        if not self.queue:
            raise EOFError("stream of frames ended")
        return self.queue.popleft()

    async def wait(self) -> None:
        """Wait until something is put into the queue, or it is closed."""
        self.get_waiter = Waiter(self.loop)
        try:
            if not self._aborted:
                await self.get_waiter
        finally:
            self.get_waiter = None

    def put_back(self, items: Any) -> None:
        """Put back items at the front of the queue."""
        self.queue.extendleft(reversed(items))

    # The name in releases before 17.3.
    reset = put_back

    def abort(self) -> None:
        """Close the queue, raising EOFError in get() if necessary."""
        self._aborted = True
        if self.get_waiter is not None:
            self.get_waiter.wake_soon()


async def get(self: Any, decode: bool | None = None) -> str | bytes:
    """Stand in for ``Assembler.get``."""
    frames = self.frames
    if not self.get_in_progress and type(frames) is Queue:
        if not frames.queue and not self.closed:
            self.get_in_progress = True
            try:
                await frames.wait()
            finally:
                self.get_in_progress = False
        if frames.queue and frames.queue[0].fin:
            frame = frames.queue.popleft()
            self.maybe_resume()
            data = bytes(frame.data)
            return data.decode() if decode or (decode is None and frame.opcode is TEXT) else data
    message: str | bytes = await _get(self, decode)
    return message


def connection_made(self: Any, transport: Any) -> None:
    """Stand in for ``Connection.connection_made``."""
    read_moderately(transport)
    _connection_made(self, transport)


def data_received(self: Any, data: bytes) -> None:
    """Stand in for ``Connection.data_received``: data sent in the meantime is written at its end."""
    protocol = self.protocol
    protocol.receive_data(data)
    queue = self.recv_messages.frames
    cork = self.cork
    if cork is None:
        cork = self.cork = Cork(self.transport.write)
    cork.hold()
    queue.held = True
    try:
        for event in protocol.events_received():
            self.process_event(event)
        queue.held = False
        if queue.get_waiter is not None and queue.queue and type(queue) is Queue:
            queue.get_waiter.wake()
    finally:
        queue.held = False
        cork.release()
        # Also if the application is interrupted.
        try:
            self.send_data()
        except Exception as exc:
            _set_connection_exc(self, exc)
    if protocol.close_expected() and self.close_deadline is None and self.close_timeout is not None:
        self.close_deadline = self.loop.time() + self.close_timeout


def send_data(self: Any) -> None:
    """Stand in for ``Connection.send_data``: one write for everything."""
    writes = self.protocol.writes
    if not writes:
        return
    # An empty last piece stands for the end of the stream.
    if writes[-1]:
        self.protocol.writes = []
        self.transport.write(writes[0] if len(writes) == 1 else b"".join(writes))
    else:
        self.protocol.writes = [*filter(None, [b"".join(writes)]), b""]
        _send_data(self)


async def send(self: Any, message: Any, *, text: bool | None = None) -> None:
    """Stand in for ``Connection.send``."""
    is_text = isinstance(message, str)
    whole = is_text or isinstance(message, (bytes, bytearray, memoryview))
    if self.send_in_progress is not None or self.protocol.state is not OPEN or not whole:
        await _send(self, message, text=text)
        return
    data = message.encode() if is_text else message
    if is_text if text is None else text:
        self.protocol.send_text(data)
    else:
        self.protocol.send_binary(data)
    # Add the minimum header size of 2 bytes, so that an empty message counts too.
    if self.cork is not None and not self.paused and self.cork.keeps(2 + len(data)):
        return
    try:
        self.send_data()
        await self.drain()
        return
    except Exception as exc:
        _set_connection_exc(self, exc)
        self.transport.abort()
        cause = exc
    await asyncio.shield(self.connection_lost_waiter)
    closed = self.protocol.close_exc
    closed.__cause__ = getattr(self, "connection_exc", cause)
    raise closed
