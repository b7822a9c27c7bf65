"""Grammar of the header fields that the opening handshake uses (RFC 6455 §4.3, §9.1)."""

from __future__ import annotations

import pytest

from wsframe.exceptions import InvalidHeaderFormat, InvalidHeaderValue
from wsframe.opening.grammar import (
    build_basic_authorization,
    build_extensions,
    build_host,
    check_subprotocols,
    is_token,
    is_valid_value,
    parse_basic_authorization,
    parse_extensions,
    parse_tokens,
)


@pytest.mark.parametrize("text", ["a", "Sec-WebSocket-Key", "!#$%&'*+-.^_`|~09azAZ"])
def test_token_characters_make_a_token(text):
    assert is_token(text)


@pytest.mark.parametrize("char", list('"(),/:;<=>?@[\\]{} \t\r\n\0\x7f\xe9\u0130'))
def test_separators_controls_and_non_ascii_make_no_token(char):
    assert not is_token(char)
    assert not is_token(f"a{char}b")


def test_empty_text_is_no_token():
    assert not is_token("")


@pytest.mark.parametrize("value", ["", "a b", "a\tb", "h\xe9", "\x85", "\xff"])
def test_text_and_tabs_make_a_value(value):
    assert is_valid_value(value)


@pytest.mark.parametrize("char", ["\0", "\r", "\n", "\x0b", "\x0c", "\x1c", "\x7f", "\u0100", "\u20ac"])
def test_control_characters_and_others_than_latin1_make_no_value(char):
    assert not is_valid_value(f"a{char}b")


def test_subprotocols_are_tokens():
    """RFC 6455 §4.1: the elements of Sec-WebSocket-Protocol are tokens."""
    check_subprotocols([])
    check_subprotocols(("chat", "v2.chat.example"))
    for bad in ("", "a,b", "a b", "a\r\nX: y", "\xe9"):
        with pytest.raises(ValueError, match="is not a valid subprotocol"):
            check_subprotocols(["chat", bad])


def test_subprotocols_as_one_string_are_refused():
    with pytest.raises(TypeError, match="must be a list"):
        check_subprotocols("chat")


def test_subprotocol_that_is_not_a_string_is_refused():
    with pytest.raises(TypeError, match="must be a string, not bytes"):
        check_subprotocols([b"chat"])


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ([], []),
        ([""], []),
        (["upgrade"], ["upgrade"]),
        (["keep-alive, Upgrade"], ["keep-alive", "Upgrade"]),
        (["keep-alive,\tUpgrade ", "x"], ["keep-alive", "Upgrade", "x"]),
        ([", ,a,,b,"], ["a", "b"]),
        (["h2c, HTTP/2.0, websocket"], ["h2c", "HTTP/2.0", "websocket"]),
    ],
)
def test_list_of_tokens_is_parsed(values, tokens):
    """RFC 9110 §5.6.1: empty elements are ignored, lines are joined."""
    assert parse_tokens(values, "Connection") == tokens


@pytest.mark.parametrize(
    ("value", "pos"), [("a b", 0), ("ok, a;b", 3), ("a/", 0), ("/a", 0), ("a/b/c", 0), ('"a"', 0), ("\xe9", 0)]
)
def test_list_element_that_is_not_a_token_is_refused(value, pos):
    with pytest.raises(InvalidHeaderFormat) as info:
        parse_tokens([value], "Upgrade")
    assert info.value.name == "Upgrade"
    assert str(info.value) == f"invalid Upgrade header: expected a token at {pos} in {value}"


@pytest.mark.parametrize(
    ("values", "extensions"),
    [
        ([], []),
        (["", " , ,"], []),
        (["foo"], [("foo", [])]),
        (["foo, bar"], [("foo", []), ("bar", [])]),
        (["foo", "bar"], [("foo", []), ("bar", [])]),
        (["foo; a; b=1"], [("foo", [("a", None), ("b", "1")])]),
        ([" foo ;a ; b = 1 ,bar;c "], [("foo", [("a", None), ("b", "1")]), ("bar", [("c", None)])]),
        (['foo; a="10"'], [("foo", [("a", "10")])]),
        (['foo; a="1\\0", bar'], [("foo", [("a", "10")]), ("bar", [])]),
        (["foo; a; a=1"], [("foo", [("a", None), ("a", "1")])]),
    ],
)
def test_extensions_are_parsed(values, extensions):
    """RFC 6455 §9.1: names, parameters, and quoted values that are the same as tokens."""
    assert parse_extensions(values) == extensions


@pytest.mark.parametrize(
    "value",
    ["foo bar", "foo;", "foo; =1", "foo; a=", "foo; a=,", 'foo; a="', 'foo; a="b', 'foo; a="b\\', 'foo; a=""']
    + ['foo; a="b c"', 'foo; a="b"c', "foo=1", ";a", "=", "\xe9", "foo; \xe9", "foo; a=\xe9", "(x)", 'foo; a="\\"'],
)
def test_extensions_that_do_not_follow_the_grammar_are_refused(value):
    """RFC 6455 §9.1: the grammar; whatever comes, there is no other exception."""
    with pytest.raises(InvalidHeaderFormat, match="invalid Sec-WebSocket-Extensions header"):
        parse_extensions([value])


def test_extensions_are_written():
    written = build_extensions([("foo", [("a", None), ("b", "1")]), ("bar", [])])
    assert written == "foo; a; b=1, bar"
    assert parse_extensions([written]) == [("foo", [("a", None), ("b", "1")]), ("bar", [])]


@pytest.mark.parametrize("unit", [",", " ", "a,", "a;", 'a;b="', '"', "\\", 'a;b="\\', ";", "=", "\xe9"])
def test_long_headers_take_linear_time(unit):
    """RFC 6455 §10.4: quadratic time would exceed the timeout; 1 MiB takes a second."""
    value = unit * (1024 * 1024 // len(unit))
    for parse in (lambda: parse_tokens([value], "Upgrade"), lambda: parse_extensions([value])):
        try:
            parse()
        except InvalidHeaderFormat:
            continue


@pytest.mark.parametrize(
    ("host", "port", "secure", "value"),
    [
        ("example.com", 80, False, "example.com"),
        ("example.com", 443, True, "example.com"),
        ("example.com", 443, False, "example.com:443"),
        ("example.com", 8080, False, "example.com:8080"),
        ("::1", 80, False, "[::1]"),
        ("::1", 8080, True, "[::1]:8080"),
        ("fe80::1%eth0", 80, False, "[fe80::1]"),
        ("fe80::1%1", 8080, False, "[fe80::1]:8080"),
    ],
)
def test_host_has_the_port_unless_it_is_the_default(host, port, secure, value):
    """RFC 6455 §4.1, step 4 of the request's requirements."""
    assert build_host(host, port, secure) == value


def test_basic_authorization_is_written_and_read():
    value = build_basic_authorization("Aladdin", "open sesame")
    assert value == "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
    assert parse_basic_authorization(value) == ("Aladdin", "open sesame")
    assert parse_basic_authorization("basic  QTo6") == ("A", ":")


def test_user_name_with_a_colon_is_refused():
    """RFC 7617 §2: the first colon ends the user name."""
    with pytest.raises(ValueError, match="colon"):
        build_basic_authorization("a:b", "c")


@pytest.mark.parametrize("value", ["", "Basic", "Digest QTpi", "Basic !", "Basic QQ==", "Basic \xe9", "Basic /w=="])
def test_basic_authorization_that_cannot_be_read_is_refused(value):
    with pytest.raises(InvalidHeaderValue):
        parse_basic_authorization(value)
