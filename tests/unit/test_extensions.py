"""How extensions are agreed on (RFC 6455 §9.1), with some that do nothing."""

from __future__ import annotations

import dataclasses

import pytest

from wsframe import Connection, Message, PreparedMessage, Role
from wsframe.codec import Frame
from wsframe.constants import Opcode
from wsframe.exceptions import NegotiationError
from wsframe.extensions import ClientExtensionFactory, Extension, ExtensionFactory, ServerExtensionFactory
from wsframe.extensions.negotiation import adapt_factory, check_agreed, choose_extensions
from wsframe.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
    extension_factories,
)
from wsframe.opening.grammar import build_extensions, parse_extensions


class Plain(Extension):
    def __init__(self, name, parameters):
        self.name = name
        self.parameters = parameters

    def decode(self, frame, *, max_size=None):
        return frame

    def encode(self, frame, compress=None):
        return frame

    def standalone_key(self, length):
        return None

    def encode_standalone(self, payload):
        return payload

    def standalone_sent(self):
        pass


class Factory(ExtensionFactory):
    """Accepts any parameters but those named here."""

    def __init__(self, name, *unwanted):
        self.name = name
        self.unwanted = unwanted

    def offer(self):
        return [[("a", None)], []]

    def check(self, parameters):
        if {name for name, _ in parameters} & set(self.unwanted):
            raise NegotiationError("unwanted")
        return Plain(self.name, parameters)

    def accept_offer(self, parameters):
        extension = self.check(parameters)
        return [*parameters, ("mine", "1")], extension

    def accept_response(self, parameters):
        return self.check(parameters)


X, Y = Factory("x", "bad"), Factory("y", "bad")

CHOICES = [
    # offers, factories, response
    ([], [X], None),
    (["x"], [], None),
    (["z"], [X], None),
    (["X"], [X], None),
    (["x"], [X], "x; mine=1"),
    (["x; a=2"], [X], "x; a=2; mine=1"),
    (["x; bad"], [X], None),
    (["x; bad, x; b, x; c"], [X], "x; b; mine=1"),
    (["x; bad", "x; b", "x; c"], [X], "x; b; mine=1"),
    (["x; b, x; c"], [X], "x; b; mine=1"),
    (["y, x"], [X, Y], "y; mine=1, x; mine=1"),
    (["y; bad, x, y; b"], [X, Y], "x; mine=1, y; b; mine=1"),
    # A second factory of the same name is an alternative to the first.
    (["x; bad"], [X, Factory("x")], "x; bad; mine=1"),
    (["x"], [X, Factory("x")], "x; mine=1"),
]


@pytest.mark.parametrize(("offers", "factories", "response"), CHOICES)
def test_d3_first_offer_that_can_be_accepted_wins(offers, factories, response):
    """RFC 6455 §9.1; RFC 7692 §5.1."""
    chosen, extensions = choose_extensions(parse_extensions(offers), factories)
    assert build_extensions(chosen) == (response or "")
    assert [extension.name for extension in extensions] == [name for name, _ in chosen]


def test_agreed_extensions_are_in_the_order_of_the_response():
    extensions = check_agreed(parse_extensions(["y; b=1", "x"]), [X, Y])
    assert [(extension.name, extension.parameters) for extension in extensions] == [("y", [("b", "1")]), ("x", [])]
    assert check_agreed([], [X, Y]) == []


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (["z"], r"Unsupported extension: name = z, params = \[\]"),
        (["x, z"], r"Unsupported extension: name = z, params = \[\]"),
        (["X"], r"Unsupported extension: name = X, params = \[\]"),
        (["x, x"], "the server chose an extension twice: x"),
        (["x", "x; a"], "the server chose an extension twice: x"),
        (["x; bad"], "unwanted"),
    ],
)
def test_c4_response_that_cannot_be_accepted_is_an_error(response, message):
    """RFC 6455 §4.1, §9.1."""
    with pytest.raises(NegotiationError, match=f"^{message}$"):
        check_agreed(parse_extensions(response), [X])


def test_response_with_extensions_without_an_offer_is_an_error():
    with pytest.raises(NegotiationError, match="no extensions supported"):
        check_agreed(parse_extensions(["x"]), [])


def test_one_extension_may_be_offered_with_several_factories():
    factories = [Factory("x", "a", "c"), Factory("x", "b", "c")]
    for parameter in ("a", "b"):
        (extension,) = check_agreed(parse_extensions([f"x; {parameter}"]), factories)
        assert extension.parameters == [(parameter, None)]
    with pytest.raises(NegotiationError, match="Unsupported extension: name = x, params = "):
        check_agreed(parse_extensions(["x; c"]), factories)


def test_extension_holds_no_contexts_by_default():
    extension = Plain("x", [])
    assert extension.rsv1 is False
    assert extension.idle_timeout is None
    assert extension.holds_contexts is False
    extension.release_contexts()
    frame = Frame(1)
    assert extension.decode(extension.encode(frame)) is frame


def test_extension_must_be_implemented():
    frame = Frame(Opcode.TEXT)
    extension = Extension()
    for method in (extension.decode, extension.encode):
        with pytest.raises(NotImplementedError):
            method(frame)


# Those of websockets's kind


class Reverse(Extension):
    """Reverses the payload of data frames, and sets RSV1."""

    name = "x-reverse"
    rsv1 = True

    def decode(self, frame, *, max_size=None):
        return dataclasses.replace(frame, data=frame.data[::-1], rsv1=False)

    def encode(self, frame):
        return dataclasses.replace(frame, data=frame.data[::-1], rsv1=frame.opcode is not Opcode.CONTINUATION)

    def __repr__(self):
        return "Reverse()"


class ReverseFactory(ServerExtensionFactory, ClientExtensionFactory):
    name = "x-reverse"

    def process_request_params(self, params, accepted_extensions):
        if params:
            raise NegotiationError("unexpected parameters")
        return (("a", "1"),), Reverse()

    def get_request_params(self):
        return (("b", None),)

    def process_response_params(self, params, accepted_extensions):
        assert params == [("a", "1")]
        return Reverse()


def test_factories_of_websockets_are_adapted():
    factory = adapt_factory(ReverseFactory())
    assert factory.offer() == [[("b", None)]]
    chosen, (theirs,) = choose_extensions(parse_extensions(["x-reverse; b, x-reverse"]), [factory])
    assert chosen == [("x-reverse", [("a", "1")])]
    (ours,) = check_agreed(chosen, [factory])
    assert repr(ours) == repr(theirs) == "Reverse()"
    server = Connection(Role.SERVER, extensions=[theirs])
    client = Connection(Role.CLIENT, extensions=[ours])
    for sender, receiver in ((server, client), (client, server)):
        sender.send_text("abc")
        sender.send_binary(b"a\xff", fin=False)
        sender.send_continuation(b"bc", fin=True)
        sender.send_prepared(PreparedMessage("def"))
        messages = receiver.receive_data(sender.data_to_send())
        assert all(isinstance(message, Message) for message in messages)
        assert [message.data for message in messages] == ["abc", b"a\xffbc", "def"]
    # Such an extension may depend on the previous message.
    prepared = PreparedMessage("abc")
    server.send_prepared(prepared)
    server.send_prepared(prepared)
    assert server.data_to_send() == b"\xc1\x03cba" * 2
    assert client.receive_eof() is None


def test_our_factories_need_no_adapter():
    assert adapt_factory(X) is X


def test_extension_may_return_our_frames():
    class Same(Extension):
        name = "x-same"

        def decode(self, frame, *, max_size=None):
            return Frame(frame.opcode, frame.data, frame.fin)

        def encode(self, frame):
            return Frame(frame.opcode, frame.data, frame.fin)

    class SameFactory(ServerExtensionFactory):
        name = "x-same"

        def process_request_params(self, params, accepted_extensions):
            return [], Same()

    _, (extension,) = choose_extensions(parse_extensions(["x-same"]), [adapt_factory(SameFactory())])
    assert not extension.rsv1
    connection = Connection(Role.SERVER, extensions=[extension])
    connection.send_text("abc")
    connection.send_prepared(PreparedMessage("abc"))
    assert connection.data_to_send() == b"\x81\x03abc" * 2


def test_factories_of_websockets_must_be_implemented():
    for method in (
        ServerExtensionFactory().process_request_params,
        ClientExtensionFactory().process_response_params,
    ):
        with pytest.raises(NotImplementedError):
            method([], [])
    with pytest.raises(NotImplementedError):
        ClientExtensionFactory().get_request_params()


# permessage-deflate with the arguments of websockets


def test_extensions_come_before_compression():
    assert [factory.name for factory in extension_factories([X], "deflate")] == ["x", "permessage-deflate"]
    assert extension_factories(None, None) == []
    mine = ServerPerMessageDeflateFactory()
    assert extension_factories([mine], "deflate") == [mine]
    with pytest.raises(ValueError, match="unsupported compression"):
        extension_factories([mine], "gzip")


def test_zlib_settings():
    for factory in (ServerPerMessageDeflateFactory, ClientPerMessageDeflateFactory):
        made = factory(compress_settings={"level": 3, "memLevel": 4})
        assert (made.level, made.memory_level, made.threshold) == (3, 4, 0)
        made = factory()
        assert (made.level, made.memory_level) == (-1, 8)
        with pytest.raises(ValueError, match="compress_settings"):
            factory(compress_settings={"wbits": -15})


def test_server_may_insist_on_the_window_of_the_client():
    factory = ServerPerMessageDeflateFactory(client_max_window_bits=10, require_client_max_window_bits=True)
    with pytest.raises(NegotiationError, match="does not let us choose"):
        factory.accept_offer([])
    response, extension = factory.accept_offer([("client_max_window_bits", None)])
    assert response == [("client_max_window_bits", "10")]
    assert isinstance(extension, PerMessageDeflate)
    with pytest.raises(ValueError, match="needs client_max_window_bits"):
        ServerPerMessageDeflateFactory(require_client_max_window_bits=True)


@pytest.mark.parametrize(
    ("option", "offer"),
    [
        ({}, [("client_max_window_bits", None)]),
        ({"client_max_window_bits": 10}, [("client_max_window_bits", "10")]),
        ({"client_max_window_bits": None}, []),
        ({"client_max_window_bits": None, "server_max_window_bits": 9}, [("server_max_window_bits", "9")]),
    ],
)
def test_offers_of_a_client(option, offer):
    assert ClientPerMessageDeflateFactory(**option).offer() == [offer]


def test_window_bits_that_were_not_offered_are_refused():
    factory = ClientPerMessageDeflateFactory(client_max_window_bits=None)
    assert isinstance(factory.accept_response([]), PerMessageDeflate)
    with pytest.raises(NegotiationError, match="was not offered"):
        factory.accept_response([("client_max_window_bits", "10")])


@pytest.mark.parametrize(
    ("factory", "option"),
    [
        (ServerPerMessageDeflateFactory, {"server_max_window_bits": 8}),
        (ServerPerMessageDeflateFactory, {"client_max_window_bits": 16}),
        (ClientPerMessageDeflateFactory, {"client_max_window_bits": 8}),
        (ClientPerMessageDeflateFactory, {"client_max_window_bits": False}),
        (ClientPerMessageDeflateFactory, {"server_max_window_bits": 7}),
    ],
)
def test_window_bits_out_of_range_are_refused(factory, option):
    with pytest.raises(ValueError, match="max_window_bits must be between"):
        factory(**option)
