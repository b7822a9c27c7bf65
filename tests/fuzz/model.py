"""A model of a client and a server over a pipe: nothing is lost, doubled, reordered or delivered after a Close frame.

It does what it is told, by hypothesis' rules or by a target, and compares what arrives with what was sent. The two ends
may be of different implementations.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .reference import Event
from .targets_connection import deflate_extension

ENDS = ("client", "server")


class End:
    """One end: the connection, what it is known to have sent, and what it has received."""

    def __init__(self, implementation: SimpleNamespace, name: str, deflate: dict[str, Any] | None) -> None:
        self.implementation = implementation
        server = name == "server"
        role = implementation.constants.Role.SERVER if server else implementation.constants.Role.CLIENT
        extensions = [] if deflate is None else [deflate_extension(implementation, deflate, server)]
        self.extensions = extensions
        self.connection = implementation.connection.SansIOConnection(role, extensions=extensions)
        # Bytes on their way to the other end, and what they are.
        self.pipe = bytearray()
        self.sent: list[Event] = []
        self.received: list[Event] = []
        # Whether it has sent a Close frame, and whether that is in the pipe.
        self.closed = self.silent = False
        # The Close frame that leaves with the next write.
        self.answer: Event | None = None
        # What has been sent of a fragmented message.
        self.fragments: list[str] | None = None
        # A Ping that is answered once Pongs are not held any more.
        self.held: bytes | None = None
        # What has come by the fragment of a message.
        self.parts: list[Any] | None = None


class Pipe:
    """A client and a server, with a separate byte stream for each direction."""

    def __init__(self, client: SimpleNamespace, server: SimpleNamespace, deflate: dict[str, Any] | None = None) -> None:
        self.ends = {"client": End(client, "client", deflate), "server": End(server, "server", deflate)}
        self._count = 0

    def _other(self, name: str) -> End:
        return self.ends[ENDS[1 - ENDS.index(name)]]

    # Sending

    def text(self, size: int) -> str:
        """Make a text that there has not been, with characters of each size."""
        self._count += 1
        return (f"{self._count}é€\U0001f600" + "abé" * (size // 3))[: max(size, 8)]

    def _call(self, end: End, method: str, *arguments: Any, **options: Any) -> bool:
        """Call a method that sends; return whether it did, which it must unless the connection is closing."""
        try:
            getattr(end.connection, method)(*arguments, **options)
        except end.implementation.exceptions.InvalidState:
            assert end.closed, (method, arguments)
            return False
        assert not end.closed, (method, arguments)
        return True

    def send(self, name: str, size: int, binary: bool, compress: bool | None) -> None:
        end = self.ends[name]
        if end.fragments is not None:
            return
        text = self.text(size)
        if binary:
            if self._call(end, "send_binary", text.encode(), compress=compress):
                end.sent.append(Event("binary", text.encode()))
        elif self._call(end, "send_text", text, compress=compress):
            end.sent.append(Event("text", text))

    def send_prepared(self, name: str, size: int) -> None:
        end = self.ends[name]
        if end.fragments is None:
            text = self.text(size)
            if self._call(end, "send_prepared", end.implementation.prepared.PreparedMessage(text)):
                end.sent.append(Event("text", text))

    def send_fragment(self, name: str, size: int, last: bool, compress: bool | None) -> None:
        """Begin a fragmented message, or go on with it."""
        end = self.ends[name]
        text = self.text(size)
        if end.fragments is None:
            if not self._call(end, "send_text", text, fin=last, compress=compress):
                return
            end.fragments = [text]
        else:
            # The UTF-8 of a character may be cut by the end of a fragment; here, str are sent, so it is not.
            if not self._call(end, "send_continuation", text, last):
                return
            end.fragments.append(text)
        if last:
            end.sent.append(Event("text", "".join(end.fragments)))
            end.fragments = None

    def interrupt(self, name: str) -> None:
        """A message cannot begin inside of another one."""
        end = self.ends[name]
        if end.fragments is not None and not end.closed:
            try:
                end.connection.send_text("no")
            except end.implementation.exceptions.ProtocolError:
                return
            raise AssertionError("a message inside of a fragmented one")

    def control(self, name: str, kind: str, payload: bytes) -> None:
        end = self.ends[name]
        if self._call(end, f"send_{kind}", payload):
            end.sent.append(Event(kind, payload))

    def close(self, name: str, code: int | None, reason: str) -> None:
        end = self.ends[name]
        if self._call(end, "send_close", code, reason):
            end.sent.append(Event("close", (code or 1005, reason)))
            end.closed = True
            end.answer = None

    def hold_pongs(self, name: str, hold: bool) -> None:
        end = self.ends[name]
        end.connection.hold_pongs = hold
        if not hold and end.held is not None:
            if not end.closed:
                end.sent.append(Event("pong", end.held))
            end.held = None

    def release(self, name: str) -> None:
        """Release what an idle connection does not need."""
        for extension in self.ends[name].extensions:
            extension.release_contexts()

    def flush(self, name: str) -> None:
        end = self.ends[name]
        data = end.connection.data_to_send()
        # RFC 6455 §5.5.1: an endpoint sends nothing after its Close frame.
        assert not (data and end.silent), (name, data)
        end.pipe += data
        if end.answer is not None:
            end.sent.append(end.answer)
            end.answer = None
            end.closed = True
        end.silent = end.closed

    def exchange(self, name: str) -> None:
        """Have everything that an end has sent arrive."""
        self.flush(name)
        self.deliver(ENDS[1 - ENDS.index(name)], 1 << 30)

    # Receiving

    def deliver(self, name: str, size: int) -> None:
        """Have an end read so many bytes."""
        end, source = self.ends[name], self._other(name)
        piece = bytes(source.pipe[:size])
        del source.pipe[:size]
        for event in end.connection.receive_data(piece):
            self._take(end, event)

    def _take(self, end: End, event: Any) -> None:
        assert not (end.received and end.received[-1].kind == "close"), ("after a Close frame", event)
        kind = type(event).__name__
        if kind == "Message":
            if end.parts is not None and (end.parts or not event.fin):
                end.parts.append(event)
                if not event.fin:
                    return
                payload = b"".join(part.payload for part in end.parts)
                end.parts = None
                self._note(end, Event("text", payload.decode()))
                return
            end.parts = None
            assert event.fin, "a fragment that nobody has asked for"
            data = event.data
            self._note(end, Event("text" if isinstance(data, str) else "binary", data))
        elif kind == "PingReceived":
            self._note(end, Event("ping", event.payload))
            if end.connection.hold_pongs:
                end.held = event.payload
            elif not end.closed:
                end.sent.append(Event("pong", event.payload))
        elif kind == "PongReceived":
            self._note(end, Event("pong", event.payload))
        elif kind == "CloseReceived":
            close = Event("close", (event.close.code, event.close.reason))
            self._note(end, close)
            if not end.closed:
                end.answer = close
        else:
            raise AssertionError(f"neither end has done anything wrong: {event}")

    def _note(self, end: End, event: Event) -> None:
        """What comes is the next of what the other end has sent."""
        name = next(name for name, one in self.ends.items() if one is end)
        sent = self._other(name).sent
        number = len(end.received)
        assert number < len(sent), (name, "nobody has sent", event)
        assert event == sent[number], (name, event, sent[number])
        end.received.append(event)

    def stream(self, name: str) -> None:
        """Have the next message in fragments handed out by the fragment."""
        end = self.ends[name]
        if end.parts is None:
            part = end.connection.stream_message()
            end.parts = [] if part is None else [part]

    def join(self, name: str) -> None:
        """Have it handed out whole after all."""
        end = self.ends[name]
        if end.parts is not None:
            assert end.connection.join_message(end.parts) is None, "it has not come to its end"
            end.parts = None

    # The end

    def finish(self) -> None:
        """Let everything arrive, and check that it does."""
        for end in self.ends.values():
            end.connection.hold_pongs = False
            if end.held is not None and not end.closed:
                end.sent.append(Event("pong", end.held))
            end.held = None
        for name in ENDS:
            self.join(name)
        for _ in range(4):
            for name in ENDS:
                self.flush(name)
            for name in ENDS:
                self.deliver(name, 1 << 30)
        for name in ENDS:
            end, sent = self.ends[name], self._other(name).sent
            assert end.received == sent, (name, end.received, sent)
            assert end.connection.fault is None
            assert end.connection.unsent_bytes == 0
            counted = sum(event.kind in ("text", "binary") for event in sent)
            assert end.connection.messages_received == counted, (name, end.connection.messages_received, sent)
            end.connection.receive_eof()
            closes = [event.value for event in end.received if event.kind == "close"]
            expected = closes[0] if closes else (1006, "")
            assert (end.connection.close_code, end.connection.close_reason) == expected, (name, expected)
