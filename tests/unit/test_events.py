"""What a connection tells its user."""

from __future__ import annotations

import dataclasses

import pytest

from wsframe.constants import Opcode
from wsframe.events import CloseReceived, Failed, Message, PingReceived, PongReceived
from wsframe.exceptions import Close, Fault


def test_text_is_str_and_binary_is_bytes():
    """RFC 6455 §5.6."""
    assert Message(Opcode.TEXT, b"h\xc3\xa9").data == "h\xe9"
    assert Message(Opcode.BINARY, b"h\xc3\xa9").data == b"h\xc3\xa9"


@pytest.mark.parametrize(
    "event",
    [
        Message(Opcode.TEXT, b""),
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
