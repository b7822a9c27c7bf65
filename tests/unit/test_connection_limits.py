"""How many fragments a message may have (RFC 6455 §10.4), compressed or not."""

from __future__ import annotations

import pytest

from wsframe import CloseCode, Connection, Failed, Fault, FrameParser, Limits, Message, Role, serialize_frame
from wsframe.exceptions import PayloadTooBig, TooManyFragments
from wsframe.extensions.deflate import PerMessageDeflateFactory

MASK = b"\1\2\3\4"


def fragments(count, **first):
    """Write a message of that many fragments."""
    frames = [serialize_frame(2 if i == 0 else 0, b"ab", fin=i == count - 1, mask=MASK) for i in range(count)]
    return b"".join(frames)


@pytest.mark.parametrize("split", [False, True])
def test_message_with_more_fragments_than_allowed_fails_the_connection(split):
    connection = Connection(Role.SERVER, limits=Limits(max_fragments=3))
    assert connection.limits.max_fragments == 3
    assert [event.data for event in connection.receive_data(fragments(3) * 2)] == [b"ababab"] * 2
    data = fragments(4) + fragments(1)
    pieces = [data[i : i + 1] for i in range(len(data))] if split else [data]
    (event,) = [event for piece in pieces for event in connection.receive_data(piece)]
    assert isinstance(event, Failed)
    assert event.fault is Fault.TOO_MANY_FRAGMENTS
    assert connection.data_to_send()[2:4] == CloseCode.MESSAGE_TOO_BIG.to_bytes(2, "big")
    connection.receive_eof()
    assert isinstance(connection.close_exc.__cause__, TooManyFragments)
    assert connection.close_exc.__cause__.fault is Fault.TOO_MANY_FRAGMENTS


def test_number_of_fragments_may_be_unlimited():
    connection = Connection(Role.SERVER, limits=Limits(max_fragments=None))
    (message,) = connection.receive_data(fragments(70_000))
    assert isinstance(message, Message)
    assert len(message.data) == 140_000


def test_fragments_are_limited_by_default():
    connection = Connection(Role.SERVER)
    empty = serialize_frame(0, b"", fin=False, mask=MASK) * 2**16
    connection.receive_data(serialize_frame(2, b"", fin=False, mask=MASK))
    assert [connection.receive_data(empty) for _ in range(15)] == [[]] * 15
    assert [type(event) for event in connection.receive_data(empty)] == [Failed]


def test_fragments_of_compressed_messages_count_too():
    factory = PerMessageDeflateFactory()
    _, theirs = factory.accept_offer([])
    client = Connection(Role.CLIENT, extensions=[factory.accept_response([])])
    server = Connection(Role.SERVER, limits=Limits(max_fragments=2), extensions=[theirs])
    for count, kind in ((2, Message), (3, Failed)):
        for i in range(count):
            send = client.send_continuation if i else client.send_text
            send("abc", fin=i == count - 1)
        assert [type(event) for event in server.receive_data(client.data_to_send())] == [kind]


@pytest.mark.parametrize("length", [2**62 + 1, 2**63 - 1])
@pytest.mark.parametrize("before", [b"", serialize_frame(2, b"abc", fin=False)])
def test_impossible_length_is_too_big_even_without_limits(length, before):
    """RFC 6455 §10.4."""
    connection = Connection(Role.CLIENT, limits=Limits(max_message_size=None, max_fragment_size=None))
    header = bytes([0x80 if before else 0x82, 127]) + length.to_bytes(8, "big")
    (event,) = connection.receive_data(before + header)
    assert isinstance(event, Failed)
    assert event.fault.close_code == CloseCode.MESSAGE_TOO_BIG
    parser = FrameParser(Role.SERVER)
    (close,) = parser.feed(connection.data_to_send())
    assert close.payload[:2] == CloseCode.MESSAGE_TOO_BIG.to_bytes(2, "big")
    connection.receive_eof()
    cause = connection.close_exc.__cause__
    assert isinstance(cause, PayloadTooBig)
    assert cause.size == length
    assert str(length) in str(cause)
