"""Events that a connection reports."""

from __future__ import annotations

import dataclasses

import pytest

from wsframe.constants import Opcode
from wsframe.exceptions import Close, Fault
from wsframe.messages.events import CloseReceived, Failed, PingReceived, PongReceived


def test_text_is_str_and_binary_is_bytes(impl):
    """RFC 6455 §5.6."""
    assert impl.message.Message(Opcode.TEXT, b"h\xc3\xa9").data == "h\xe9"
    assert impl.message.Message(Opcode.BINARY, b"h\xc3\xa9").data == b"h\xc3\xa9"


@pytest.mark.parametrize("opcode", [Opcode.CONTINUATION, Opcode.CLOSE, Opcode.PING, 3])
def test_message_is_text_or_binary(impl, opcode):
    with pytest.raises(ValueError, match="a message is text or binary"):
        impl.message.Message(opcode, b"")


def test_messages_are_values(impl):
    message = impl.message.Message(Opcode.TEXT, b"a")
    same, other, binary = (
        impl.message.Message(opcode, payload)
        for opcode, payload in ((Opcode.TEXT, b"a"), (Opcode.TEXT, b"b"), (Opcode.BINARY, b"a"))
    )
    assert message == same
    assert hash(message) == hash(same)
    assert message not in (other, binary, (Opcode.TEXT, b"a"))
    assert repr(message) == "Message(opcode=<Opcode.TEXT: 1>, payload=b'a', fin=True)"
    assert message == impl.message.Message(Opcode.TEXT, b"a", lengths=(1,))
    assert message != impl.message.Message(Opcode.TEXT, b"a", fin=False)
    match message:
        case impl.message.Message(opcode, payload):
            assert (opcode, payload) == (Opcode.TEXT, b"a")
    with pytest.raises(AttributeError):
        message.payload = b""


@pytest.mark.parametrize(
    "event",
    [
        PingReceived(b""),
        PongReceived(b""),
        CloseReceived(Close(1000)),
        Failed(Fault.RSV1_SET),
    ],
)
def test_events_are_values(event):
    assert event == dataclasses.replace(event)
    assert hash(event) == hash(dataclasses.replace(event))
    name = dataclasses.fields(event)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, name, None)
