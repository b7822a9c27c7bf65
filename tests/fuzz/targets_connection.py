"""Targets for a connection without I/O, and for permessage-deflate."""

from __future__ import annotations

import contextlib
import importlib.util
import random
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from . import generate, reference
from .implementations import implementations
from .reference import Event
from .source import Source
from .targets import target
from .targets_codec import check_fault, use_any_kernel

MAX_FINAL_BLOCKS = 256
"""What wsframe allows in one message (RFC 7692 has no limit)."""


def deflate_extension(implementation: SimpleNamespace, options: dict[str, Any], server: bool) -> Any:
    """Make the extension of one end; ``options`` are those of both, as a response has them."""
    deflate = implementation.deflate
    mine, other = ("server", "client") if server else ("client", "server")
    factory = deflate.PerMessageDeflateFactory(
        threshold=options["threshold"], backend=options["backend"], level=options["level"], memory_level=5
    )
    return deflate.PerMessageDeflate(
        factory,
        remote_no_context_takeover=options[f"{other}_no_context_takeover"],
        local_no_context_takeover=options[f"{mine}_no_context_takeover"],
        remote_max_window_bits=options[f"{other}_max_window_bits"],
        local_max_window_bits=options[f"{mine}_max_window_bits"],
    )


def deflate_options(source: Source, plain: bool = False) -> dict[str, Any]:
    """Draw what both ends agreed on, and what is up to one of them; ``plain`` for zlib with its largest window."""
    backends = ["zlib"]
    if not plain:
        others = (("zlib-ng", "zlib_ng"), ("isal", "isal"))
        backends += [name for name, module in others if importlib.util.find_spec(module)]
    bits = (15,) if plain else (15, 12, 9, 10)
    return {
        "threshold": source.choice((0, 64)),
        "backend": source.choice(backends),
        "level": source.choice((1, 0, 3)),
        **{f"{end}_no_context_takeover": source.boolean() for end in ("server", "client")},
        **{f"{end}_max_window_bits": source.choice(bits) for end in ("server", "client")},
    }


def seen(event: Any) -> Event:
    """Write an event of a connection as the reference does."""
    kind = type(event).__name__
    if kind == "Message":
        data = event.data
        assert event.fin
        assert event.payload == (data.encode() if isinstance(data, str) else data)
        if event.lengths is not None:
            assert sum(event.lengths) == len(event.payload), event.lengths
        return Event("text" if isinstance(data, str) else "binary", data)
    if kind == "PingReceived":
        return Event("ping", event.payload)
    if kind == "PongReceived":
        return Event("pong", event.payload)
    if kind == "CloseReceived":
        return Event("close", (event.close.code, event.close.reason))
    assert kind == "Failed", kind
    return Event("failed", int(event.fault.close_code))


class Script:
    """What an application does between reads, drawn once and done to each implementation."""

    def __init__(self, source: Source) -> None:
        self.name = source.choice(
            ("flush", "text", "binary", "fragments", "ping", "pong", "prepared", "utf8", "close", "log")
        )
        self.compress = source.choice((None, True, False))
        self.items: list[Any] = []
        if self.name == "text":
            self.items = [generate.text(source)]
        elif self.name == "utf8":
            self.items = [generate.text(source).encode()]
        elif self.name == "binary":
            self.items = [generate.odd_buffer(source, generate.binary(source, large=source.chance(8)))]
        elif self.name == "fragments":
            self.items = [generate.text(source) for _ in range(source.integer(1, 4))]
            self.is_text = source.boolean()
            self.ping = source.boolean()
        elif self.name in ("ping", "pong"):
            self.items = [generate.odd_buffer(source, source.bytes(0, 9))]
        elif self.name == "prepared":
            self.items = [generate.text(source) if source.boolean() else generate.binary(source)]
        elif self.name == "close":
            self.items = [source.choice((1000, 1001, 3000, 4999, None)), source.choice(("", "bye", "é" * 61))]

    def run(self, implementation: SimpleNamespace, connection: Any) -> list[Event]:
        """Do it; return what the peer is to see of it."""
        name, items = self.name, self.items
        if name == "text":
            connection.send_text(items[0], compress=self.compress)
            return [Event("text", items[0])]
        if name == "utf8":
            connection.send_text(items[0], compress=self.compress)
            return [Event("text", items[0].decode())]
        if name == "binary":
            connection.send_binary(items[0][0], compress=self.compress)
            return [Event("binary", items[0][1])]
        if name == "fragments":
            return self._send_fragments(connection)
        if name in ("ping", "pong"):
            getattr(connection, f"send_{name}")(items[0][0])
            return [Event(name, items[0][1])]
        if name == "prepared":
            connection.send_prepared(implementation.prepared.PreparedMessage(items[0]))
            return [Event("text" if isinstance(items[0], str) else "binary", items[0])]
        if name == "close":
            code, reason = items[0], items[1] if items[0] else ""
            connection.send_close(code, reason)
            return [Event("close", (code or 1005, reason))]
        assert name == "log", name
        connection.frame_log = None if connection.frame_log else lambda way, frame: repr(frame)
        return []

    def _send_fragments(self, connection: Any) -> list[Event]:
        items = [item if self.is_text else item.encode() for item in self.items]
        send = connection.send_text if self.is_text else connection.send_binary
        send(items[0], fin=len(items) == 1, compress=self.compress)
        events = []
        for number, item in enumerate(items[1:], 2):
            if self.ping:
                connection.send_ping(b"between")
                events.append(Event("ping", b"between"))
            connection.send_continuation(item, number == len(items))
        whole = "".join(self.items)
        return [*events, Event("text", whole) if self.is_text else Event("binary", whole.encode())]


def connect(source: Source, server: bool) -> Iterable[str]:
    use_any_kernel(source)
    options = deflate_options(source, plain=True) if source.boolean() else None
    peer = "client" if server else "server"
    takeover = options is None or not options[f"{peer}_no_context_takeover"]
    sizes = (2**20, None, 0, 10, 126, 1000, 65_536)
    limits = {
        "max_message_size": source.choice(sizes),
        "max_fragment_size": source.choice((None, *sizes)),
        "max_fragments": source.choice((2**20, None, 1, 3)),
    }
    deflater = generate.Deflater(takeover) if options is not None else None
    stream = generate.stream(source, server, deflater, large=source.chance(8))
    ends = generate.cuts(source, len(stream), most=6)
    rules = reference.Rules(
        server,
        limits["max_message_size"],
        limits["max_fragment_size"],
        options is not None,
        max_fragments=limits["max_fragments"],
    )
    known = [
        reference.receive(stream[:end], rules, takeover=takeover, max_final_blocks=MAX_FINAL_BLOCKS) for end in ends
    ]
    # What comes after a message with an open end depends on whether that was noticed.
    doubtful = [number for number, one in enumerate(known) if one.bad is not None and "open end" in one.bad.kinds]
    known = known[: doubtful[0]] if doubtful else known
    ends = ends[: len(known)]
    scripts = [[Script(source) for _ in range(source.integer(0, 2))] for _ in ends]
    released = source.boolean()
    states = []
    for implementation in implementations():
        extensions = [] if options is None else [deflate_extension(implementation, options, server)]
        role = implementation.constants.Role.SERVER if server else implementation.constants.Role.CLIENT
        connection = implementation.connection.SansIOConnection(
            role, limits=implementation.limits.Limits(**limits), extensions=extensions
        )
        check = Check(implementation, connection, extensions[0] if released and extensions else None)
        for piece, outcome, doings in zip(generate.pieces(stream, ends), known, scripts, strict=True):
            check.receive(piece, outcome)
            for script in doings:
                check.do(script)
        check.flush()
        sending = options is None or not options[f"{'server' if server else 'client'}_no_context_takeover"]
        check.compare_output(reference.Rules(not server, rsv1=options is not None), sending)
        states.append(check.state())
    assert states == states[:1] * len(states), states
    if not known:
        return
    yield f"{options is not None} {limits['max_fragments']} bad {known[-1].bad and sorted(known[-1].bad.kinds)}"
    yield f"close {known[-1].close is not None} {len(ends) > 1}"
    yield from (f"event {event.kind}" for event in known[-1].events)
    yield from (f"did {script.name} {script.compress}" for doings in scripts for script in doings)


class Check:
    """One connection, and what is known of it."""

    def __init__(self, implementation: SimpleNamespace, connection: Any, extension: Any) -> None:
        self._implementation = implementation
        self._connection = connection
        self._extension = extension
        self._events: list[Event] = []
        self._sent: list[Event] = []
        self._output = b""
        self._answer: Event | None = None
        self._closed = False

    def receive(self, piece: bytes, outcome: reference.Outcome) -> None:
        if self._extension is not None:
            # Releasing contexts of an idle connection changes nothing.
            self._extension.release_contexts()
        expected = outcome.events[len(self._events) :]
        if self._failed_by_close(expected):
            return
        events = [seen(event) for event in self._connection.receive_data(piece)]
        where = (self._implementation.name, events, expected)
        if any(event.kind == "failed" for event in expected):
            check_fault(self._connection.fault, outcome.bad, where)
        assert events == expected, where
        self._events += events
        for event in events:
            if event.kind == "ping" and not self._closed:
                self._sent.append(Event("pong", event.value))
            elif event.kind in ("close", "failed") and not self._closed:
                self._answer = event

    def _failed_by_close(self, expected: list[Event]) -> bool:
        # A connection that has failed looks at nothing any more: nor does the reference.
        return self._connection.failed and not expected

    def do(self, script: Script) -> None:
        if script.name == "flush":
            self.flush()
            return
        try:
            sent = script.run(self._implementation, self._connection)
        except self._implementation.exceptions.InvalidState:
            assert self._closed, (self._implementation.name, script.name)
            return
        assert not self._closed or not sent, (self._implementation.name, script.name)
        self._sent += sent
        if script.name == "close" and sent:
            self._closed = True
            self._answer = None

    def flush(self) -> None:
        unsent = self._connection.unsent_bytes
        data = self._connection.data_to_send()
        if self._answer is not None:
            self._sent.append(self._answer)
            self._answer = None
            self._closed = True
        else:
            assert len(data) == unsent, self._implementation.name
        self._output += data
        assert self._connection.bytes_sent == len(self._output), self._implementation.name

    def compare_output(self, rules: reference.Rules, takeover: bool) -> None:
        received = reference.receive(self._output, rules, takeover=takeover)
        assert received.bad is None, (self._implementation.name, received.bad)
        assert len(received.events) == len(self._sent), (self._implementation.name, received.events, self._sent)
        for got, sent in zip(received.events, self._sent, strict=True):
            if sent.kind == "failed":
                assert got.kind == "close", (self._implementation.name, got, sent)
                assert got.value[0] == sent.value, (self._implementation.name, got, sent)  # type: ignore[index]
            else:
                assert got == sent, (self._implementation.name, got, sent)

    def state(self) -> object:
        """What both implementations must agree on in addition to what the reference computes."""
        connection = self._connection
        counters = [
            getattr(connection, f"{what}_{way}")
            for what in ("bytes", "frames", "messages", "payload_bytes")
            for way in ("received", "sent")
        ]
        fault = connection.fault and connection.fault.name
        return connection.state.name, connection.failed, fault, counters, repr(connection.close_sent)


@target("connection-server")
def connect_as_server(source: Source) -> Iterable[str]:
    return list(connect(source, server=True))


@target("connection-client")
def connect_as_client(source: Source) -> Iterable[str]:
    return list(connect(source, server=False))


# permessage-deflate


@target("deflate")
def deflate(source: Source) -> Iterable[str]:
    """Both directions of the extension, with each backend and all parameters; contexts are released in between."""
    options = deflate_options(source)
    words = [f"{options['backend']} {options['level']}"]
    server = source.boolean()
    mine, other = ("server", "client") if server else ("client", "server")
    takeover = not options[f"{mine}_no_context_takeover"]
    deflater = generate.Deflater(not options[f"{other}_no_context_takeover"], options[f"{other}_max_window_bits"])
    inflating = reference.Inflater(not options[f"{other}_no_context_takeover"], MAX_FINAL_BLOCKS)
    # Of damaged data, other backends and smaller windows may give out more or less before they notice.
    damage = options["backend"] == "zlib" and options[f"{other}_max_window_bits"] == 15 and source.chance(3)
    sent = [sending(source) for _ in range(source.integer(0, 3))]
    received = [receiving(source, deflater, damage) for _ in range(source.integer(0, 3))]
    order = source.integer(0, 255)
    release = source.integer(0, 255)
    expected = [expect(inflating, *one) for one in received]
    for implementation in implementations():
        extension = deflate_extension(implementation, options, server)
        reading = reference.Inflater(takeover)
        queue: list[Any] = [("send", one) for one in sent]
        queue += [("receive", (one, known)) for one, known in zip(received, expected, strict=True)]
        # The order within each direction is kept.
        ways = [way for way, _ in queue]
        random.Random(order).shuffle(ways)
        lines = {way: [one for kind, one in queue if kind == way] for way in ("send", "receive")}
        with contextlib.suppress(Failed):
            for number, way in enumerate(ways):
                if release >> (number % 8) & 1:
                    extension.release_contexts()
                    assert not extension.holds_contexts
                if way == "send":
                    words += send_compressed(implementation, extension, reading, *lines[way].pop(0))
                else:
                    one, known = lines[way].pop(0)
                    words += receive_compressed(implementation, extension, *one, known)
    return words


class Failed(Exception):
    """The connection has failed, as it should."""


def sending(source: Source) -> tuple[list[bytes], bool | None, bool]:
    payloads = [generate.binary(source, large=source.chance(8)) for _ in range(source.integer(1, 3))]
    return payloads, source.choice((None, True, False)), source.chance(4)


def receiving(source: Source, deflater: generate.Deflater, damage: bool) -> tuple[list[bytes], int | None]:
    deflater.begin()
    payload = generate.binary(source, large=source.chance(8))
    middle = source.integer(0, len(payload))
    data = deflater.block(source, payload[:middle], last=False) if source.boolean() else b""
    data += deflater.block(source, payload[middle:] if data else payload, last=True)
    if damage:
        data = generate.flipped(source, data)
    ends = sorted(source.integer(0, len(data)) for _ in range(source.integer(0, 3))) + [len(data)]
    return generate.pieces(data, ends), source.choice(
        (None, None, 2**20, len(payload), max(0, len(payload) - 1), 0, 10)
    )


def expect(inflater: reference.Inflater, fragments: list[bytes], limit: int | None) -> list[bytes | reference.Bad]:
    """What comes of each fragment of a message; the last one may be what is wrong with it."""
    inflater.begin()
    outputs: list[bytes | reference.Bad] = []
    room = limit
    for number, fragment in enumerate(fragments):
        try:
            output = inflater.inflate(fragment, room)
            if number == len(fragments) - 1:
                inflater.finish()
        except reference.Bad as bad:
            return [*outputs, bad]
        outputs.append(output)
        if room is not None:
            room -= len(output)
    return outputs


def receive_compressed(
    implementation: SimpleNamespace, extension: Any, fragments: list[bytes], limit: int | None, known: list[Any]
) -> list[str]:
    opcode = implementation.constants.Opcode
    room = limit
    output = b""
    for number, (fragment, wanted) in enumerate(zip(fragments, known, strict=False)):
        fin = number == len(fragments) - 1
        frame = implementation.codec.Frame(
            opcode.CONTINUATION if number else opcode.BINARY, fragment, fin, rsv1=not number
        )
        where = (implementation.name, number, fragment, wanted)
        try:
            decoded = extension.decode(frame, max_size=room)
        except implementation.exceptions.PayloadTooBig as exc:
            assert isinstance(wanted, reference.Bad), where
            assert "message too big" in wanted.kinds, (where, exc)
            raise Failed from exc
        except implementation.exceptions.ProtocolError as exc:
            assert isinstance(wanted, reference.Bad), (where, exc)
            check_fault(exc.fault, wanted, where)
            raise Failed from exc
        if isinstance(wanted, reference.Bad):
            # Other backends may give out what is too much with the next fragment.
            late = extension._factory.backend != "zlib" and not fin and wanted.close_code == 1009
            assert late or "open end" in wanted.kinds, (where, decoded)
            raise Failed
        assert (decoded.opcode, decoded.fin, decoded.rsv1) == (frame.opcode, fin, False), where
        output += decoded.payload
        # Other backends may give out the end of a fragment with the next one.
        if extension._factory.backend == "zlib":
            assert decoded.payload == wanted, (where, decoded.payload)
        if room is not None:
            room -= len(decoded.payload)
    assert output == b"".join(known), (implementation.name, output, known)
    return [f"received {len(fragments)} {limit is None}"]


def send_compressed(
    implementation: SimpleNamespace,
    extension: Any,
    reading: reference.Inflater,
    payloads: list[bytes],
    compress: bool | None,
    standalone: bool,
) -> list[str]:
    opcode = implementation.constants.Opcode
    whole = b"".join(payloads)
    if standalone and extension.standalone_key(len(whole)) is not None:
        data = extension.encode_standalone(whole)
        extension.standalone_sent()
        reading.begin()
        assert reading.inflate(data) == whole, implementation.name
        reading.finish()
        return ["sent standalone"]
    output, rsv1 = b"", False
    reading.begin()
    for number, payload in enumerate(payloads):
        fin = number == len(payloads) - 1
        frame = implementation.codec.Frame(opcode.CONTINUATION if number else opcode.BINARY, payload, fin)
        encoded = extension.encode(frame, compress)
        assert (encoded.opcode, encoded.fin) == (frame.opcode, fin), implementation.name
        assert not (number and encoded.rsv1), implementation.name
        rsv1 = encoded.rsv1 if not number else rsv1
        output += reading.inflate(encoded.payload) if rsv1 else encoded.payload
    if rsv1:
        reading.finish()
    assert output == whole, (implementation.name, output, whole)
    return [f"sent {len(payloads)} {rsv1} {compress}"]
