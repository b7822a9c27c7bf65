"""Extensions under wsproto's API on wsframe's codec, and what differs from wsproto on purpose."""

from __future__ import annotations

import zlib

import pytest
from test_wsproto import MASK, NO_BITS, received

from wsframe import serialize_frame
from wsframe.adapters.wsproto import WSConnection
from wsframe.adapters.wsproto.connection import CLIENT, SERVER, Connection
from wsframe.adapters.wsproto.events import BytesMessage, CloseConnection, Ping, Pong, Request, TextMessage
from wsframe.adapters.wsproto.extensions import SUPPORTED_EXTENSIONS, Extension, PerMessageDeflate
from wsframe.adapters.wsproto.frame_protocol import (
    CloseReason,
    Frame,
    FrameDecoder,
    FrameProtocol,
    MessageDecoder,
    Opcode,
    ParseFailed,
    RsvBits,
)
from wsframe.adapters.wsproto.handshake import client_extensions_handshake, server_extensions_handshake

# Extensions


class Shout(Extension):
    """An extension with RSV3: what a peer sends with it comes in capitals, and ends with a mark."""

    name = "x-shout"

    def __init__(self, refuse=None):
        self.refuse = refuse
        self.seen = []

    def enabled(self):
        return True

    def offer(self):
        return True

    def accept(self, offer):
        return True

    def frame_inbound_header(self, proto, opcode, rsv, payload_length):
        self.seen.append((opcode, rsv, payload_length))
        return self.refuse or RsvBits(False, False, True)

    def frame_inbound_payload_data(self, proto, data):
        return data.upper()

    def frame_inbound_complete(self, proto, fin):
        return b"!" if fin and not self.seen[-1][0].iscontrol() else None

    def frame_outbound(self, proto, opcode, rsv, data, fin):
        return rsv._replace(rsv3=True), data.lower()


def test_third_party_extension():
    server = Connection(SERVER, [Shout()])
    data = serialize_frame(1, b"he", rsv3=True, fin=False, mask=MASK) + serialize_frame(9, b"x", mask=MASK)
    data += serialize_frame(0, b"y", mask=MASK) + serialize_frame(8, b"\x03\xe8bye", mask=MASK)
    assert received(server, data) == [
        TextMessage("HE", True, False),
        Ping(b"X"),
        TextMessage("Y!", True, True),
        CloseConnection(CloseReason.NORMAL_CLOSURE, "BYE"),
    ]


def test_extension_sees_each_header_once_and_parts_of_payloads():
    shout = Shout()
    client = Connection(CLIENT, [shout])
    data = serialize_frame(2, bytes(range(200)), rsv3=True) + serialize_frame(10, b"ab")
    parts = [event for byte in data for event in received(client, bytes([byte]))]
    assert [event.data for event in parts[:-2]] == [bytes([byte]).upper() for byte in range(199)]
    assert parts[-2:] == [BytesMessage(b"\xc7!"), Pong(b"AB")]
    assert shout.seen == [(Opcode.BINARY, RsvBits(False, False, True), 200), (Opcode.PONG, NO_BITS, 2)]


def test_extension_encodes_sent_frames():
    data = Connection(SERVER, [Shout(), PerMessageDeflate()]).send(TextMessage("HELLO"))
    assert data == serialize_frame(1, b"hello", rsv3=True)
    with pytest.raises(ValueError, match="more than 125 bytes"):
        Connection(SERVER, [Shout()]).send(Ping(bytes(126)))


@pytest.mark.parametrize("reason", [CloseReason.MANDATORY_EXT, CloseReason.POLICY_VIOLATION])
def test_extension_fails_the_connection(reason):
    client = Connection(CLIENT, [Shout(refuse=reason)])
    assert [event.code for event in received(client, serialize_frame(1, b"x") * 2)] == [reason]
    assert received(client, serialize_frame(1, b"x")) == []


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (serialize_frame(2, b"", rsv1=True), 1002),
        (serialize_frame(2, b"", rsv2=True), 1002),
        (serialize_frame(2, b"", mask=MASK), 1002),
        (serialize_frame(3, b"") + b"..............", 1002),
        (serialize_frame(8, b"\x03\xe8\xff"), 1007),
        (serialize_frame(8, b"\x00\x00"), 1002),
        (serialize_frame(1, b"\xff"), 1007),
        (serialize_frame(0, b""), 1002),
        (serialize_frame(1, b"", fin=False) + serialize_frame(2, b""), 1002),
        (b"\x82\x7e\x00\x01", 1002),
        (b"\x82\x7f\x80" + bytes(7), 1002),
    ],
)
def test_violation_with_an_extension(data, code):
    client = Connection(CLIENT, [Shout()])
    assert [event.code for event in received(client, data) if isinstance(event, CloseConnection)] == [code]
    assert received(client, data) == []


def test_empty_close_frame_with_an_extension():
    assert received(Connection(CLIENT, [Shout()]), b"\x88\x00") == [CloseConnection(CloseReason.NO_STATUS_RCVD, "")]


def test_frames_of_a_decoder():
    decoder = FrameDecoder(client=False)
    decoder.receive_bytes(serialize_frame(2, b"abc", mask=MASK)[:-1])
    assert decoder.process_buffer() == Frame(Opcode.BINARY, b"ab", False, True)
    assert decoder.process_buffer() is None
    decoder.receive_bytes(serialize_frame(2, b"abc", mask=MASK)[-1:])
    assert decoder.process_buffer() == Frame(Opcode.CONTINUATION, b"c", True, True)


def test_frames_of_a_protocol():
    protocol = FrameProtocol(True, [])
    protocol.receive_bytes(serialize_frame(1, b"abc") + serialize_frame(9, b"") + serialize_frame(8, b"\x0f\xa0x"))
    assert list(protocol.received_frames()) == [
        Frame(Opcode.TEXT, "abc", True, True),
        Frame(Opcode.PING, b"", True, True),
        Frame(Opcode.CLOSE, (4000, "x"), True, True),
    ]
    protocol = FrameProtocol(True, [])
    protocol.receive_bytes(serialize_frame(1, b"\xff"))
    with pytest.raises(ParseFailed) as caught:
        list(protocol.received_frames())
    assert caught.value.code is CloseReason.INVALID_FRAME_PAYLOAD_DATA
    assert list(protocol.received_frames()) == []


def test_messages_of_a_decoder():
    decoder = MessageDecoder()
    assert decoder.process_frame(Frame(Opcode.TEXT, b"\xe2\x88", False, True)).payload == ""
    assert decoder.process_frame(Frame(Opcode.CONTINUATION, b"\x82", True, True)).payload == "\u2202"
    assert decoder.process_frame(Frame(Opcode.BINARY, b"\xe2", True, True)).payload == b"\xe2"


# permessage-deflate


@pytest.mark.parametrize(
    ("ours", "offer", "answer"),
    [
        ({}, "", ""),
        ({}, "; client_max_window_bits", "client_max_window_bits=15"),
        ({"client_max_window_bits": 11}, "; client_max_window_bits", "client_max_window_bits=11"),
        ({}, "; server_max_window_bits=9; x", "server_max_window_bits=9"),
        ({}, "; client_no_context_takeover", "client_no_context_takeover"),
        ({"server_no_context_takeover": True}, "", "server_no_context_takeover"),
        (
            {"client_no_context_takeover": True},
            "; server_max_window_bits = 10; client_max_window_bits=12; server_no_context_takeover",
            (
                "client_no_context_takeover; server_no_context_takeover; "
                "client_max_window_bits=12; server_max_window_bits=10"
            ),
        ),
        ({}, "; server_max_window_bits=8", None),
        ({}, "; client_max_window_bits=x", None),
    ],
)
def test_accepts_offers(ours, offer, answer):
    extension = PerMessageDeflate(**ours)
    assert extension.accept(PerMessageDeflate.name + offer) == answer
    assert extension.enabled() is (answer is not None)
    expected = answer and f"{PerMessageDeflate.name}; {answer}"
    header = server_extensions_handshake([PerMessageDeflate.name + offer], [PerMessageDeflate(**ours)])
    assert header == (expected if expected is None else (expected or PerMessageDeflate.name).encode())


def test_offer_and_repr_show_the_options():
    extension = PerMessageDeflate(True, 10, True, 9)
    assert extension.offer() == (
        "client_max_window_bits=10; server_max_window_bits=9; client_no_context_takeover; server_no_context_takeover"
    )
    assert repr(extension) == (
        "<PerMessageDeflate client_max_window_bits=10; client_no_context_takeover; "
        "server_max_window_bits=9; server_no_context_takeover>"
    )
    assert repr(PerMessageDeflate()) == "<PerMessageDeflate client_max_window_bits=15; server_max_window_bits=15>"
    assert SUPPORTED_EXTENSIONS["permessage-deflate"] is PerMessageDeflate
    with pytest.raises(ValueError, match="between 9 and 15"):
        extension.client_max_window_bits = 8


def test_negotiates_with_other_extensions():
    class No(Shout):
        def accept(self, offer):
            return False

    assert server_extensions_handshake(["x-shout"], [Shout()]) == b"x-shout"
    assert server_extensions_handshake(["x-shout", "x-other"], [No()]) is None
    shout = Shout()
    assert client_extensions_handshake(["x-shout; a=1"], [PerMessageDeflate(), shout]) == [shout]
    request = WSConnection(CLIENT).send(Request("example.org", "/", extensions=[Shout()]))
    assert b"Sec-WebSocket-Extensions: x-shout\r\n" in request


class Plain(Extension):
    """An extension that does nothing, with the defaults of ``Extension``."""

    name = "x-plain"

    def enabled(self):
        return True

    def offer(self):
        return False


def both_ends(*, with_another, **parameters):
    """Open a compressed connection, on one end or on both beside another extension."""
    ends = []
    for role in (CLIENT, SERVER):
        deflate = PerMessageDeflate(**parameters)
        deflate.finalize("permessage-deflate")
        ends.append(Connection(role, [deflate, Plain()] if with_another else [deflate]))
    return ends


def test_extension_that_does_nothing():
    plain = Plain()
    assert plain.accept("x-plain") is None
    assert plain.finalize("x-plain") is None
    assert not Extension.enabled(plain)
    assert b"Extensions" not in WSConnection(CLIENT).send(Request("example.org", "/", extensions=[plain]))
    assert received(Connection(CLIENT, [plain]), serialize_frame(1, b"x")) == [TextMessage("x")]


@pytest.mark.parametrize("with_another", [False, True])
@pytest.mark.parametrize("no_context_takeover", [False, True])
@pytest.mark.parametrize("client_sends", [False, True])
def test_compresses(with_another, no_context_takeover, client_sends):
    side = "client" if client_sends else "server"
    ends = both_ends(with_another=with_another, **{f"{side}_no_context_takeover": no_context_takeover})
    sender, receiver = ends if client_sends else reversed(ends)
    payload = bytes(range(100))
    sizes = []
    for _ in range(2):
        data = sender.send(BytesMessage(payload))
        sizes.append(len(data))
        assert received(receiver, data) == [BytesMessage(payload)]
    assert (sizes[0] == sizes[1]) is no_context_takeover
    data = sender.send(TextMessage("a" * 99, message_finished=False)) + sender.send(Ping(b"p"))
    data += sender.send(TextMessage("b" * 99, message_finished=True)) + sender.send(BytesMessage(b""))
    events = received(receiver, data)
    assert "".join(event.data for event in events if isinstance(event, TextMessage)) == "a" * 99 + "b" * 99
    assert events[1] == Ping(b"p")
    assert events[-1] == BytesMessage(b"")


@pytest.mark.parametrize("with_another", [False, True])
def test_uncompressed_message_despite_negotiated_compression(with_another):
    client, _ = both_ends(with_another=with_another)
    data = serialize_frame(1, b"a", fin=False) + serialize_frame(9, b"") + serialize_frame(0, b"b")
    assert received(client, data) == [TextMessage("a", True, False), Ping(b""), TextMessage("b")]


def raw_deflate(data):
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize("with_another", [False, True])
@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\xff\xff", 1007), (raw_deflate(b"\xff"), 1007), (raw_deflate(b"abcabc")[:3], 1007)],
)
def test_invalid_compressed_message_is_an_error(with_another, payload, code):
    client, _ = both_ends(with_another=with_another)
    events = received(client, serialize_frame(1, payload, rsv1=True))
    assert [event.code for event in events] == [code]
    assert received(client, serialize_frame(1, b"x")) == []


@pytest.mark.parametrize("with_another", [False, True])
def test_compressed_message_without_bytes_is_empty(with_another):
    client, _ = both_ends(with_another=with_another)
    compressed = zlib.compressobj(wbits=-15)
    payload = (compressed.compress(b"x" * 9) + compressed.flush(zlib.Z_SYNC_FLUSH))[:-4]
    data = serialize_frame(2, b"", rsv1=True) + serialize_frame(2, payload, rsv1=True)
    assert received(client, data) == [BytesMessage(b""), BytesMessage(b"x" * 9)]


@pytest.mark.parametrize("opcode", [0, 9])
def test_misplaced_rsv1_is_an_error(opcode):
    client, _ = both_ends(with_another=True)
    data = serialize_frame(2, b"", fin=False) + serialize_frame(opcode, b"", rsv1=True)
    assert [getattr(event, "code", None) for event in received(client, data)] == [None, 1002]


# What differs from wsproto on purpose


def test_bad_gateway_is_a_close_code():
    assert received(Connection(CLIENT), serialize_frame(8, b"\x03\xf6")) == [CloseConnection(1014, "")]


def test_control_frame_between_compressed_fragments():
    client, _ = both_ends(with_another=True)
    compressor = zlib.compressobj(wbits=-15)
    payload = (compressor.compress(b"x" * 100) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
    data = serialize_frame(1, payload[:3], fin=False, rsv1=True) + serialize_frame(9, b"")
    events = received(client, data + serialize_frame(0, payload[3:]))
    assert "".join(event.data for event in events if isinstance(event, TextMessage)) == "x" * 100


def test_message_with_a_final_block():
    client, _ = both_ends(with_another=False)
    final = raw_deflate(b"hello")
    data = serialize_frame(1, final, rsv1=True) + serialize_frame(1, final, rsv1=True)
    assert received(client, data) == [TextMessage("hello"), TextMessage("hello")]


def test_short_messages_are_not_compressed():
    _, server = both_ends(with_another=False)
    assert server.send(TextMessage("short")) == serialize_frame(1, b"short")
