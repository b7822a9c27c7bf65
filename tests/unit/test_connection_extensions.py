"""Compressed messages on a connection without I/O (RFC 7692 §6, §7). Rows D8 to D12 of the matrix."""

from __future__ import annotations

import random

import pytest
from support import both_roles, frame, sent_close

from wsframe import (
    Connection,
    Failed,
    Fault,
    Limits,
    Message,
    Opcode,
    PayloadTooBig,
    PerMessageDeflateFactory,
    PingReceived,
    ProtocolError,
    Role,
    State,
)


def deflate(**options):
    """Agree on permessage-deflate; return the server's end and the client's."""
    factory = PerMessageDeflateFactory(**options)
    (offer,) = factory.offer()
    response, extension = factory.accept_offer(offer)
    return extension, factory.accept_response(response)


def compressed_pair(**options):
    server, client = deflate(**options)
    return Connection(Role.SERVER, extensions=[server]), Connection(Role.CLIENT, extensions=[client])


def pass_on(sender, receiver):
    return receiver.receive_data(sender.data_to_send())


def test_messages_are_compressed_both_ways():
    server, client = compressed_pair()
    for sender, receiver in ((server, client), (client, server)):
        for compress, size in ((None, 40), (None, 40), (True, 40), (False, 1006)):
            sender.send_text("abcd" * 250, compress=compress)
            wire = sender.data_to_send()
            assert len(wire) <= size + 2 + 4
            assert receiver.receive_data(wire) == [Message(Opcode.TEXT, b"abcd" * 250)]
        sender.send_binary(memoryview(bytes(1000))[::2])
        assert pass_on(sender, receiver) == [Message(Opcode.BINARY, bytes(500))]


def test_compress_is_for_the_whole_fragmented_message():
    server, client = compressed_pair()
    for compress, rsv1 in ((None, True), (True, True), (False, False)):
        server.send_text("ab", fin=False, compress=compress)
        server.send_continuation("cd", fin=False)
        server.send_ping()
        server.send_continuation("", fin=True)
        wire = server.data_to_send()
        assert bool(wire[0] & 0x40) is rsv1
        assert client.receive_data(wire) == [PingReceived(b""), Message(Opcode.TEXT, b"abcd")]
    # The next message starts without context.
    server.send_text("x" * 100)
    assert server.data_to_send()[0] & 0x40


def test_compress_without_an_extension_changes_nothing():
    server = Connection(Role.SERVER)
    server.send_text("x" * 100, compress=True)
    assert server.data_to_send() == frame(Opcode.TEXT, b"x" * 100, to=Role.CLIENT)


def test_extensions_agreed_on_while_connecting_are_used():
    server, client = deflate()
    connection = Connection(Role.SERVER, state=State.CONNECTING)
    connection.open(extensions=[server])
    peer = Connection(Role.CLIENT, extensions=[client])
    peer.send_text("x" * 1000)
    assert pass_on(peer, connection) == [Message(Opcode.TEXT, b"x" * 1000)]
    assert connection.extensions == [server]


@both_roles
@pytest.mark.parametrize(("opcode", "behind"), [(0, b""), (8, b""), (9, b"a"), (10, b"")])
def test_d8_rsv1_on_a_continuation_or_a_control_frame_fails_the_connection(role, opcode, behind):
    """RFC 7692 §6.1, §6."""
    connection = Connection(role, extensions=[deflate()[role is Role.CLIENT]])
    connection.receive_data(frame(Opcode.TEXT, b"\x00", to=role, fin=False, rsv1=True))
    assert connection.receive_data(frame(opcode, behind, to=role, rsv1=True)) == [Failed(Fault.RSV1_SET)]
    assert sent_close(connection)[:2] == b"\x03\xea"


@both_roles
@pytest.mark.parametrize("bit", ["rsv2", "rsv3"])
def test_f1_other_reserved_bits_stay_faults(role, bit):
    """RFC 6455 §5.2."""
    connection = Connection(role, extensions=[deflate()[role is Role.CLIENT]])
    (failed,) = connection.receive_data(frame(Opcode.TEXT, b"\x00", to=role, rsv1=True, **{bit: True}))
    assert failed.fault.close_code == 1002


@both_roles
@pytest.mark.parametrize(
    ("payload", "opcode", "code"),
    [
        (b"\x06", Opcode.BINARY, 1007),
        (b"\x03\x00" * 300, Opcode.BINARY, 1008),
        (bytes.fromhex("000100feffff00"), Opcode.TEXT, 1007),
    ],
)
def test_d11_message_that_cannot_be_decoded_fails_the_connection(role, payload, opcode, code):
    connection = Connection(role, extensions=[deflate()[role is Role.CLIENT]])
    wire = frame(Opcode.TEXT, b"before", to=role) + frame(opcode, payload, to=role, rsv1=True)
    before, failed = connection.receive_data(wire + frame(Opcode.TEXT, b"behind", to=role))
    assert before == Message(Opcode.TEXT, b"before")
    assert failed.fault is connection.fault
    assert failed.fault.close_code == code
    assert sent_close(connection)[:2] == code.to_bytes(2, "big")
    assert connection.receive_data(frame(Opcode.TEXT, b"behind", to=role)) == []
    connection.receive_eof()
    assert isinstance(connection.close_exc.__cause__, UnicodeDecodeError if opcode is Opcode.TEXT else ProtocolError)


def test_d12_message_over_the_limit_fails_the_connection():
    for limits, fault in (
        (Limits(max_message_size=999), Fault.MESSAGE_TOO_BIG),
        (Limits(max_fragment_size=999), Fault.FRAGMENT_TOO_BIG),
    ):
        server, client = deflate()
        connection = Connection(Role.SERVER, limits=limits, extensions=[server])
        peer = Connection(Role.CLIENT, extensions=[client])
        peer.send_binary(bytes(999))
        assert pass_on(peer, connection) == [Message(Opcode.BINARY, bytes(999))]
        peer.send_binary(bytes(1000))
        assert pass_on(peer, connection) == [Failed(fault)]
        assert sent_close(connection)[:2] == b"\x03\xf1"
        connection.receive_eof()
        assert isinstance(connection.close_exc.__cause__, PayloadTooBig)


def test_incompressible_message_at_the_limit_is_accepted():
    data = random.Random(1).randbytes(1000)
    server, client = deflate()
    connection = Connection(Role.SERVER, limits=Limits(max_message_size=1000), extensions=[server])
    peer = Connection(Role.CLIENT, extensions=[client])
    peer.send_binary(data)
    wire = peer.data_to_send()
    assert len(wire) - 8 > 1000
    assert connection.receive_data(wire) == [Message(Opcode.BINARY, data)]


def test_incompressible_tiny_fragments_at_the_limit_are_accepted(backend):
    """RFC 7692 §7.2.1: each fragment of one byte ends with a flush, and has seven when it is compressed."""
    server, client = deflate(backend=backend)
    connection = Connection(Role.SERVER, limits=Limits(max_message_size=1000, max_fragment_size=1), extensions=[server])
    peer = Connection(Role.CLIENT, extensions=[client])
    for size in (1000, 1001):
        peer.send_binary(b"0", fin=False)
        for i in range(1, size):
            peer.send_continuation(b"%d" % (i % 10), fin=i == size - 1)
        wire = peer.data_to_send()
        assert len(wire) > size * 10
        expected = Message(Opcode.BINARY, b"0123456789" * 100) if size == 1000 else Failed(Fault.MESSAGE_TOO_BIG)
        assert connection.receive_data(wire) == [expected]


@pytest.mark.parametrize("data", [5, None, ["a"], 1.5])
def test_wrong_type_is_a_type_error_and_starts_no_message(data):
    for connection in (Connection(Role.SERVER), *compressed_pair()):
        for fin in (True, False):
            with pytest.raises(TypeError):
                connection.send_binary(data, fin=fin)
        assert connection.data_to_send() == b""
        connection.send_binary(b"a" * 100)
        with pytest.raises(ProtocolError):
            connection.send_continuation(b"b", fin=True)
