"""Prepared messages, and any mix of them with ordinary ones: decoded by our connection, and by zlib alone."""

from __future__ import annotations

import json
import random
import zlib

import pytest
from hypothesis import given, settings, strategies as st

from wsframe import Connection, InvalidState, Message, Opcode, PreparedMessage, ProtocolError, Role
from wsframe.extensions.deflate import PerMessageDeflate, PerMessageDeflateFactory
from wsframe.messages import prepared as prepared_module

CLIENT, SERVER = Role.CLIENT, Role.SERVER


def deflate(backend="zlib", *, bits=15, takeover=True, **options):
    return PerMessageDeflate(
        PerMessageDeflateFactory(backend=backend, **options),
        remote_no_context_takeover=not takeover,
        local_no_context_takeover=not takeover,
        remote_max_window_bits=bits,
        local_max_window_bits=bits,
    )


def unmask(payload, key):
    return bytes(byte ^ key[i & 3] for i, byte in enumerate(payload))


class Receiver:
    """Parses frames and inflates messages in the simplest way; shares nothing with the package."""

    def __init__(self, role, bits, takeover):
        self.masked = role is SERVER
        self.bits = bits
        self.takeover = takeover
        self.inflater = None
        self.parts = []
        self.first = 0

    def receive(self, data):
        messages = []
        while data:
            first, second = data[:2]
            length, start = second & 127, 2
            if length > 125:
                start += 2 if length == 126 else 8
                length = int.from_bytes(data[2:start], "big")
            key = data[start : start + 4] if self.masked else bytes(4)
            assert second >> 7 == self.masked
            start += 4 * self.masked
            payload = unmask(data[start : start + length], key)
            data = data[start + length :]
            if first & 8:
                continue
            if first & 15:
                assert not self.parts
                self.first = first
            else:
                # RFC 7692 §6.1: RSV1 is on the first frame only.
                assert not first & 0x40
            self.parts.append(payload)
            if first & 0x80:
                messages.append((self.first & 15, self.inflate(b"".join(self.parts))))
                self.parts = []
        return messages

    def inflate(self, payload):
        if not self.first & 0x40:
            return payload
        if self.inflater is None or not self.takeover:
            self.inflater = zlib.decompressobj(-self.bits)
        output = self.inflater.decompress(payload + b"\x00\x00\xff\xff")
        assert not self.inflater.eof
        return output


RANDOM = random.Random(3).randbytes(20_000)
ITEMS = [json.dumps({"id": i, "method": "ticker", "params": ["EUR", "USD", i * i]}) for i in range(2000)]
JSON = "".join(ITEMS)
# Around the threshold of 64, the frame's lengths, and the windows.
SIZES = [0, 1, 63, 64, 65, 120, 126, 300, 513, 1500, 4096, 4097, 9000]
TEXTS = st.tuples(st.sampled_from(SIZES), st.integers(0, 300)).map(lambda pair: JSON[pair[1] :][: pair[0]])
BYTES = st.tuples(st.sampled_from(SIZES), st.integers(0, 3)).map(lambda pair: RANDOM[pair[1] :][: pair[0]])
DATA = st.one_of(TEXTS, BYTES, st.text(max_size=80), st.just("x" * 20_000))
COMPRESS = st.sampled_from([None, None, True, False])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("message"), DATA, COMPRESS, st.just([])),
        st.tuples(st.just("message"), DATA, COMPRESS, st.lists(st.integers(0, 200), min_size=1, max_size=3)),
        st.tuples(st.just("prepared"), DATA),
        # The same object again, which must still be right for the connection.
        st.tuples(st.just("again"), st.integers(0, 9)),
        st.tuples(st.just("release"), st.sampled_from(["sender", "receiver", "both"])),
        st.tuples(st.just("ping")),
    ),
    max_size=25,
)


def send_in_fragments(sender, data, compress, cuts):
    """Send a message, perhaps in fragments, with pings and releases of contexts between them."""
    ends = sorted(min(cut, len(data)) for cut in cuts)
    pieces = [data[begin:end] for begin, end in zip([0, *ends], [*ends, len(data)], strict=True)]
    send = sender.send_text if isinstance(data, str) else sender.send_binary
    send(pieces[0], fin=len(pieces) == 1, compress=compress)
    for number, piece in enumerate(pieces[1:], 2):
        sender.send_ping(b"between")
        if number % 2:
            for extension in sender.extensions:
                extension.release_contexts()
        sender.send_continuation(piece, fin=number == len(pieces))


def encoded(data):
    return (1, data.encode()) if isinstance(data, str) else (2, data)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("takeover", [True, False], ids=["takeover", "no takeover"])
def test_any_mix_of_prepared_and_ordinary_messages_is_decoded(backend, role, takeover):
    @settings(max_examples=100, deadline=None)
    @given(steps=STEPS, bits=st.integers(9, 15), threshold=st.sampled_from([0, 64, 300]))
    def check(steps, bits, threshold):
        def extension():
            return deflate(backend, bits=bits, takeover=takeover, threshold=threshold)

        other = CLIENT if role is SERVER else SERVER
        sender, receiver = Connection(role, extensions=[extension()]), Connection(other, extensions=[extension()])
        # The same prepared messages go to connections of other kinds meanwhile.
        wider = deflate(backend, bits=15, level=2)
        bystanders = [Connection(SERVER, extensions=[wider]), Connection(CLIENT)]
        independent = Receiver(other, bits, takeover)
        prepared = []
        for what, *arguments in steps:
            expected = []
            if what == "message":
                send_in_fragments(sender, *arguments)
                expected.append(encoded(arguments[0]))
            elif what == "ping":
                sender.send_ping(b"?")
            elif what == "release":
                for connection in (sender, receiver):
                    if arguments[0] in ("both", "sender" if connection is sender else "receiver"):
                        connection.extensions[0].release_contexts()
            else:
                if what == "prepared":
                    prepared.append((arguments[0], PreparedMessage(arguments[0])))
                if prepared:
                    data, message = prepared[arguments[0] % len(prepared) if what == "again" else -1]
                    for bystander in bystanders:
                        bystander.send_prepared(message)
                    sender.send_prepared(message)
                    expected.append(encoded(data))
            wire = sender.data_to_send()
            assert independent.receive(wire) == expected
            events = [event for event in receiver.receive_data(wire) if isinstance(event, Message)]
            assert [(event.opcode, event.payload) for event in events] == expected
        assert receiver.fault is None

    check()


# What it is


def test_str_is_sent_as_text_and_bytes_as_binary():
    assert (PreparedMessage("h\xe9").opcode, PreparedMessage("h\xe9").payload) == (Opcode.TEXT, b"h\xc3\xa9")
    for data in (b"\xff", bytearray(b"\xff"), memoryview(b"\xff")):
        assert (PreparedMessage(data).opcode, PreparedMessage(data).payload) == (Opcode.BINARY, b"\xff")
    assert PreparedMessage(b"a", text=True).opcode is Opcode.TEXT
    assert PreparedMessage("\xe9", text=False).opcode is Opcode.BINARY
    assert PreparedMessage("\xe9", text=False).payload == b"\xc3\xa9"


@pytest.mark.parametrize("data", [None, 1, ["a"], {"a": 1}])
def test_other_data_is_a_type_error(data):
    with pytest.raises(TypeError, match="data must be str or bytes-like, not "):
        PreparedMessage(data)


def test_buffer_that_changes_later_is_not_sent():
    data = bytearray(b"before")
    message = PreparedMessage(data)
    data[:] = b"behind"
    assert message.payload == b"before"


def test_frame_is_made_once_for_each_kind_of_connection(monkeypatch):
    serialized, compressed = [], []
    serialize, standalone = prepared_module.serialize_frame, PerMessageDeflate.encode_standalone

    def count_frames(*arguments, **options):
        serialized.append(arguments)
        return serialize(*arguments, **options)

    def count_compressions(self, payload):
        compressed.append(payload)
        return standalone(self, payload)

    monkeypatch.setattr(prepared_module, "serialize_frame", count_frames)
    monkeypatch.setattr(PerMessageDeflate, "encode_standalone", count_compressions)
    kinds = [list, lambda: [deflate(bits=15)], lambda: [deflate(bits=10)], lambda: [deflate(threshold=10**6)]]
    # Long enough to make a difference between the windows.
    message = PreparedMessage(JSON[:3000] * 2)
    servers = [Connection(SERVER, extensions=kind()) for kind in kinds for _ in range(3)]
    for server in servers:
        server.send_prepared(message)
    wires = [server.data_to_send() for server in servers]
    # The one whose threshold is too high sends what the one without compression sends.
    assert len(serialized) == 3
    assert len(compressed) == 2
    assert len(set(wires)) == 3
    # Clients mask each frame with its own key (RFC 6455 §5.3), but compress once.
    clients = [Connection(CLIENT, extensions=[deflate(bits=15)]) for _ in range(3)]
    for client in clients:
        client.send_prepared(message)
    assert len({client.data_to_send() for client in clients}) == 3
    assert len(serialized) == 6
    assert len(compressed) == 2


def test_next_message_refers_only_to_the_peers_window():
    sender = Connection(SERVER, extensions=[deflate()])
    receiver = Receiver(CLIENT, 15, takeover=True)
    for message in (JSON[:500], JSON[:500]):
        sender.send_text(message)
    sender.send_prepared(PreparedMessage(RANDOM))
    sender.send_text(JSON[:500])
    sender.send_text(JSON[:500])
    expected = [encoded(data) for data in (JSON[:500], JSON[:500], RANDOM, JSON[:500], JSON[:500])]
    assert receiver.receive(sender.data_to_send()) == expected


def test_uncompressed_message_keeps_the_context():
    sender = Connection(SERVER, extensions=[deflate()])
    sender.send_text(JSON[:500])
    sender.send_prepared(PreparedMessage("short"))
    sender.data_to_send()
    sender.send_text(JSON[:500])
    assert len(sender.data_to_send()) < 30


def test_prepared_message_does_not_interrupt_a_fragmented_one():
    """RFC 6455 §5.4."""
    sender = Connection(SERVER)
    sender.send_text("a", fin=False)
    with pytest.raises(ProtocolError):
        sender.send_prepared(PreparedMessage("b"))
    sender.send_continuation("c", fin=True)
    sender.send_prepared(PreparedMessage("b"))
    sender.send_close(1000)
    with pytest.raises(InvalidState):
        sender.send_prepared(PreparedMessage("d"))
    assert sender.data_to_send() == b"\x01\x01a\x80\x01c\x81\x01b\x88\x02\x03\xe8"


def test_several_extensions():
    """An extension that leaves the message alone does not hide one that compresses it."""
    sender = Connection(SERVER, extensions=[deflate(threshold=10**6), deflate()])
    sender.send_prepared(PreparedMessage(JSON[:500]))
    assert Receiver(CLIENT, 15, takeover=True).receive(sender.data_to_send()) == [encoded(JSON[:500])]
