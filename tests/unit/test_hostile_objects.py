"""None, wrong types, and objects that were never initialized: TypeError or AttributeError, on both implementations.

In C, each of them was once read as if it were what the code expected.
"""

from __future__ import annotations

import copy
import os
import pickle
from types import SimpleNamespace

import pytest
from support import frame

from wsframe.constants import Opcode, Role, State
from wsframe.extensions import Extension
from wsframe.limits import Limits
from wsframe.messages.prepared import PreparedMessage

REFUSED = (TypeError, AttributeError)
NO_BYTES = [None, "text", 5, bytearray(b"x"), memoryview(b"x"), [1], object()]


class Bytes(bytes):
    """As ``numpy.bytes_`` is one."""


class Lying(bytes):
    def __bytes__(self):
        return b"something else"

    def __len__(self):
        return 10**6

    def __getitem__(self, index):
        return b"something else"


# What users construct


@pytest.mark.parametrize("payload", NO_BYTES, ids=repr)
@pytest.mark.parametrize("name", ["Frame", "Message"])
def test_payload_is_bytes(impl, name, payload):
    cls = impl.framing.Frame if name == "Frame" else impl.message.Message
    with pytest.raises(TypeError, match=f"^payload must be bytes, not {type(payload).__name__}$"):
        cls(Opcode.TEXT, payload)


@pytest.mark.parametrize("kind", [Bytes, Lying])
@pytest.mark.parametrize("name", ["Frame", "Message"])
def test_payload_of_a_subclass_becomes_bytes(impl, name, kind):
    cls = impl.framing.Frame if name == "Frame" else impl.message.Message
    made = cls(Opcode.BINARY, kind(b"abc"))
    assert type(made.payload) is bytes
    assert made.payload == b"abc"


@pytest.mark.parametrize("name", ["Frame", "Message"])
def test_uninitialized_objects_raise(impl, name):
    cls = impl.framing.Frame if name == "Frame" else impl.message.Message
    made = cls.__new__(cls)
    other = cls(Opcode.TEXT, b"x")
    for use in (repr, hash, lambda made: made == other, lambda made: made.payload, lambda made: made.data):
        try:
            use(made)
        except (*REFUSED, KeyError):
            pass
    with pytest.raises((TypeError, ValueError)):
        made.__init__(99, b"x")
    with pytest.raises(TypeError):
        made.__init__(Opcode.TEXT, None)


def test_messages_and_frames_are_copied_and_pickled(impl):
    message = impl.message.Message(Opcode.TEXT, b"abc", fin=False, lengths=(1, 2))
    for made in (copy.copy(message), copy.deepcopy(message), pickle.loads(pickle.dumps(message))):
        assert made == message
        assert made.lengths == (1, 2)
    made = impl.framing.Frame(Opcode.PING, b"abc", rsv2=True)
    assert copy.copy(made) == pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    "payload", [b"\xff", b"\xe2\x82", b"a\xc0\x80", b"\xf7\xbf\xbf\xbf", b"\xed\xa0\x80", b"\x80" * 100]
)
def test_text_that_is_not_utf8_is_a_decoding_error(impl, payload):
    with pytest.raises(UnicodeDecodeError):
        _ = impl.message.Message(Opcode.TEXT, payload).data
    assert impl.message.Message(Opcode.BINARY, payload).data == payload


@pytest.mark.parametrize("options", [{"max_message_size": -1}, {"max_fragment_size": 2**63}, {"max_message_size": "1"}])
def test_parser_whose_initialization_failed(impl, options):
    parser = impl.framing.FrameParser.__new__(impl.framing.FrameParser)
    with pytest.raises(REFUSED):
        parser.feed(b"\x81\x80abcd")
    with pytest.raises((TypeError, ValueError)):
        parser.__init__(Role.SERVER, **options)
    with pytest.raises(TypeError, match="has not been called, or has failed"):
        parser.feed(b"\x81\x80abcd")
    parser.__init__(Role.SERVER)
    assert [frame.payload for frame in parser.feed(b"\x81\x81abcd" + bytes([ord("x") ^ ord("a")]))] == [b"x"]
    with pytest.raises((TypeError, ValueError)):
        parser.__init__(Role.SERVER, **options)
    with pytest.raises(TypeError):
        parser.feed(b"\x81\x80abcd")


@pytest.mark.parametrize("data", [None, "text", 5, object(), [b"x"]], ids=repr)
def test_feed_requires_bytes_like_data(impl, stack, data):
    for feed in (
        impl.framing.FrameParser(Role.SERVER).feed,
        stack.core(Role.SERVER).receive_data,
        impl.utf8.Utf8Validator().feed,
        lambda data: impl.framing.serialize_frame(1, data),
        lambda data: impl.masking.apply_mask(data, b"abcd"),
        lambda data: impl.masking.apply_mask(b"", data),
        lambda data: impl.masking.apply_mask_inplace(data, b"abcd"),
    ):
        with pytest.raises(TypeError):
            feed(data)


@pytest.mark.parametrize(
    "returned", [None, bytearray(4096), "x" * 4096, object()], ids=lambda value: type(value).__name__
)
def test_urandom_must_return_bytes(impl, monkeypatch, returned):
    impl.masking._forget_pool()
    monkeypatch.setattr(os, "urandom", lambda size: returned)
    with pytest.raises(TypeError, match=r"os\.urandom\(\) must return bytes, not "):
        impl.masking.new_masking_key()


@pytest.mark.parametrize("size", [0, 1, 4, 4095, 4097])
def test_urandom_must_return_the_requested_size(impl, stack, monkeypatch, size):
    impl.masking._forget_pool()
    connection = stack.core(Role.CLIENT)
    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", lambda _: bytes(size))
        with pytest.raises(ValueError, match=f"must return 4096 bytes, not {size}"):
            impl.masking.new_masking_key()
        with pytest.raises(ValueError, match="must return 4096 bytes"):
            connection.send_text("x")
    assert connection.data_to_send() == b""
    connection.send_text("y")
    assert len(connection.data_to_send()) == 7


def test_keys_are_fresh_after_urandom_was_replaced(impl, monkeypatch):
    impl.masking._forget_pool()
    with monkeypatch.context() as patch:
        patch.setattr(os, "urandom", lambda size: Bytes(bytes(range(256)) * 16))
        assert impl.masking.new_masking_key() == b"\0\1\2\3"
    impl.masking._forget_pool()
    assert len({impl.masking.new_masking_key() for _ in range(3000)}) > 2990


# The connection without I/O


class Custom(Extension):
    name = "custom"

    def __init__(self, decoded=lambda frame: frame, encoded=lambda frame: frame):
        self.decoded = decoded
        self.encoded = encoded
        self.afresh = 0

    def decode(self, frame, *, max_size=None):
        return self.decoded(frame)

    def encode(self, frame, compress=None):
        return self.encoded(frame)

    def standalone_sent(self):
        self.afresh += 1


NO_FRAMES = [None, b"bytes", "text", 5, SimpleNamespace(payload=None), object()]


@pytest.mark.parametrize("result", NO_FRAMES, ids=lambda value: type(value).__name__)
def test_extension_must_decode_to_a_frame(stack, result):
    connection = stack.core(Role.SERVER, extensions=[Custom(decoded=lambda frame: result)])
    with pytest.raises(TypeError, match=f"an extension must decode to a Frame, not {type(result).__name__}"):
        connection.receive_data(frame(Opcode.BINARY, b"hello"))
    assert connection.failed
    assert connection.receive_data(frame(Opcode.BINARY, b"again")) == []


@pytest.mark.parametrize("result", NO_FRAMES, ids=lambda value: type(value).__name__)
def test_extension_must_encode_to_a_frame(stack, result):
    extension = Custom(encoded=lambda frame: result)
    connection = stack.core(Role.SERVER, extensions=[extension])
    for send in (connection.send_text, connection.send_binary):
        with pytest.raises(TypeError, match=f"an extension must encode to a Frame, not {type(result).__name__}"):
            send("text" if send == connection.send_text else b"hello")
    assert connection.data_to_send() == b""
    assert connection.messages_sent == connection.frames_sent == connection.payload_bytes_sent == 0
    assert extension.afresh == 2


def test_text_that_an_extension_alters_is_checked_without_rsv1(impl, stack):
    """The parser has seen other bytes than the application gets."""
    for payload in (b"\xff", b"\xc3", b"x" * 63 + b"\xf0\xc2"):
        other = impl.framing.Frame(Opcode.TEXT, payload)
        connection = stack.core(Role.SERVER, extensions=[Custom(decoded=lambda frame, other=other: other)])
        (event,) = connection.receive_data(frame(Opcode.TEXT, b"valid"))
        assert event.fault.close_code == 1007


def test_text_that_an_extension_alters_in_fragments(impl, stack):
    pieces = iter([b"\xe2\x82", b"\xac", b"\xe2", b"x"])
    decoded = Custom(decoded=lambda frame: impl.framing.Frame(frame.opcode, next(pieces), frame.fin))
    connection = stack.core(Role.SERVER, extensions=[decoded])
    data = frame(Opcode.TEXT, b"a", fin=False) + frame(Opcode.CONTINUATION, b"b")
    (message,) = connection.receive_data(data)
    assert message.data == "\u20ac"
    (event,) = connection.receive_data(data)
    assert event.fault.close_code == 1007


def test_extensions_attribute_takes_sequences_only(stack):
    connection = stack.core(Role.SERVER, extensions=iter([Custom()]))
    assert [extension.name for extension in connection.extensions] == ["custom"]
    for wrong in (None, 5):
        with pytest.raises(TypeError):
            connection.extensions = wrong
    with pytest.raises(REFUSED):
        del connection.extensions
    connection.extensions = ()
    connection.send_binary(b"x")
    assert connection.data_to_send() == b"\x82\x01x"


@pytest.mark.parametrize("broken", [None, "text", [], 5, bytearray(b"x")], ids=repr)
@pytest.mark.parametrize("attribute", ["payload", "plain_frame", "opcode"])
def test_prepared_message_that_was_tampered_with(stack, attribute, broken):
    for role in Role:
        connection = stack.core(role, limits=Limits())
        message = PreparedMessage(b"abc")
        if (attribute, broken) in (("plain_frame", None), ("opcode", 5)):
            continue
        setattr(message, attribute, broken)
        try:
            connection.send_prepared(message)
        except (TypeError, AttributeError, ValueError):
            assert connection.data_to_send() == b""
            assert connection.frames_sent == connection.messages_sent == connection.payload_bytes_sent == 0
        connection.send_binary(b"x")
        assert (
            stack.core(Role.SERVER if role is Role.CLIENT else Role.CLIENT)
            .receive_data(connection.data_to_send())[-1]
            .data
            == b"x"
        )


@pytest.mark.parametrize(
    "message", [None, b"bytes", "text", SimpleNamespace(plain_frame=b"\x82\x00", payload=None, opcode=2)]
)
def test_prepared_message_of_another_type(stack, message):
    connection = stack.core(Role.SERVER)
    with pytest.raises(REFUSED):
        connection.send_prepared(message)
    assert connection.data_to_send() == b""


def test_joined_fragments_must_be_messages(impl, stack):
    connection = stack.core(Role.SERVER)
    message = impl.message.Message(Opcode.TEXT, b"a", fin=False)
    for wrong in (None, b"a", SimpleNamespace(fin=False, payload=b"a"), impl.framing.Frame(Opcode.TEXT, b"a")):
        for fragments in ([message, wrong], [wrong], [message, wrong, message], [wrong, message]):
            with pytest.raises(TypeError, match=f"fragments must be Messages, not {type(wrong).__name__}"):
                connection.join_message(fragments)
    with pytest.raises(TypeError):
        connection.join_message(None)


def test_text_joined_from_fragments_of_the_user_is_decoded_strictly(impl, stack):
    connection = stack.core(Role.SERVER)
    first, last = (impl.message.Message(Opcode.TEXT, b"\xff", fin=fin) for fin in (False, True))
    with pytest.raises(UnicodeDecodeError):
        _ = connection.join_message([first, last]).data
    assert connection.join_message([first]) is None
    connection.receive_data(frame(Opcode.TEXT, b"a", fin=False))
    (message,) = connection.receive_data(frame(Opcode.CONTINUATION, b"b"))
    with pytest.raises(UnicodeDecodeError):
        _ = message.data


def test_fragment_that_cuts_a_character_is_a_decoding_error(stack):
    connection = stack.core(Role.SERVER)
    connection.stream_message()
    euro = "\u20ac".encode()
    first, last = connection.receive_data(
        frame(Opcode.TEXT, euro[:2], fin=False) + frame(Opcode.CONTINUATION, euro[2:])
    )
    for message in (first, last):
        with pytest.raises(UnicodeDecodeError):
            _ = message.data
    assert first.payload + last.payload == euro


def test_uninitialized_core_raises(impl):
    core = impl.messenger.Messenger.__new__(impl.messenger.Messenger)
    message = PreparedMessage(b"x")
    for use in (
        lambda: core.receive_data(b"\x82\x00"),
        lambda: core.send_text("x"),
        lambda: core.send_binary(b"x"),
        lambda: core.send_prepared(message),
        lambda: core._send(Opcode.TEXT, b"x"),
    ):
        with pytest.raises((*REFUSED, RuntimeError, Exception)):
            use()
    for use in (core.data_to_send, core.stream_message, core._discard_output, lambda: core.unsent_bytes):
        try:
            use()
        except AttributeError:
            assert impl.name == "py"


@pytest.mark.parametrize("kind", [Bytes, Lying])
@pytest.mark.parametrize("size", [5, 5000, 100_000])
@pytest.mark.parametrize("role", Role)
def test_subclasses_of_bytes_are_sent(stack, kind, size, role):
    data = kind(b"x" * size)
    for extensions in ([], [Custom()]):
        connection = stack.core(role, limits=Limits(), extensions=extensions)
        connection.send_binary(data)
        connection.send_text(data)
        connection.send_binary(data, fin=False)
        connection.send_continuation(data, fin=True)
        connection.send_prepared(PreparedMessage(data))
        if size == 5:
            connection.send_ping(data)
        peer = stack.core(Role.SERVER if role is Role.CLIENT else Role.CLIENT, limits=Limits(max_message_size=None))
        received = peer.receive_data(connection.data_to_send())
        assert {event.payload for event in received} == {b"x" * size, b"x" * 2 * size}


# Streams


@pytest.mark.parametrize("protocol", [None, 5, b"x", object()], ids=repr)
def test_streams_require_a_connection(impl, protocol):
    for make in (
        lambda: impl.stream.Stream(protocol, 1),
        lambda: impl.stream.CallbackStream(protocol, 1),
        lambda: impl.queue.QueueStream(protocol, 1, 1, 1),
    ):
        with pytest.raises(TypeError, match=f"protocol must be a Connection, not {type(protocol).__name__}"):
            make()


@pytest.mark.parametrize("name", ["Stream", "CallbackStream", "QueueStream", "Waiter"])
def test_uninitialized_streams_raise(impl, name):
    cls = getattr(impl.stream, name, None) or getattr(impl.queue, name)
    made = cls.__new__(cls)
    for use in (
        lambda: made.get_buffer(-1),
        lambda: made.buffer_updated(5),
        lambda: made.buffer_updated(10**9),
        lambda: made.pause_reading(),
        lambda: made.resume_reading(),
        lambda: made._flush(),
        lambda: made._flush_joined(5),
        lambda: made._take_reads(),
        lambda: made._detach(),
        lambda: made._receive(b"\x82\x00"),
        lambda: made.send("x"),
        lambda: made.push(PreparedMessage("x")),
        lambda: made.queue_depth,
        lambda: made._give_back(),
        lambda: made.state,
        lambda: made.wake(),
        lambda: made.cancel(),
        lambda: made.result(),
    ):
        try:
            result = use()
        except Exception:
            continue
        if hasattr(result, "close"):
            # Not awaited.
            result.close()
    assert State.CLOSED
