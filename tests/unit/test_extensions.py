"""How extensions are agreed on (RFC 6455 §9.1), with some that do nothing."""

from __future__ import annotations

import pytest

from wsframe.exceptions import NegotiationError
from wsframe.extensions import Extension, ExtensionFactory, check_agreed, choose_extensions
from wsframe.framing import Frame
from wsframe.headers import parse_extensions


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
    # A second factory of one name stands in for the first.
    (["x; bad"], [X, Factory("x")], "x; bad; mine=1"),
    (["x"], [X, Factory("x")], "x; mine=1"),
]


@pytest.mark.parametrize(("offers", "factories", "response"), CHOICES)
def test_d3_first_offer_that_can_be_accepted_wins(offers, factories, response):
    """RFC 6455 §9.1; RFC 7692 §5.1."""
    header, extensions = choose_extensions(parse_extensions(offers), factories)
    assert header == response
    names = [] if header is None else [name for name, _ in parse_extensions([header])]
    assert [extension.name for extension in extensions] == names


def test_agreed_extensions_are_in_the_order_of_the_response():
    extensions = check_agreed(parse_extensions(["y; b=1", "x"]), [X, Y])
    assert [(extension.name, extension.parameters) for extension in extensions] == [("y", [("b", "1")]), ("x", [])]
    assert check_agreed([], [X, Y]) == []


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (["z"], "the server chose an extension that was not offered: z"),
        (["x, z"], "the server chose an extension that was not offered: z"),
        (["X"], "the server chose an extension that was not offered: X"),
        (["x, x"], "the server chose an extension twice: x"),
        (["x", "x; a"], "the server chose an extension twice: x"),
        (["x; bad"], "unwanted"),
    ],
)
def test_c4_response_that_cannot_be_accepted_is_an_error(response, message):
    """RFC 6455 §4.1, §9.1."""
    with pytest.raises(NegotiationError, match=f"^{message}$"):
        check_agreed(parse_extensions(response), [X])


def test_nothing_was_offered():
    with pytest.raises(NegotiationError, match="not offered"):
        check_agreed(parse_extensions(["x"]), [])


def test_extension_holds_nothing_by_default():
    extension = Plain("x", [])
    assert extension.rsv1 is False
    assert extension.idle_timeout is None
    assert extension.holds_contexts is False
    extension.release_contexts()
    frame = Frame(1)
    assert extension.decode(extension.encode(frame)) is frame
