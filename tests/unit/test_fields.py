"""Headers (RFC 9110 §5)."""

from __future__ import annotations

import pytest

from wsframe.exceptions import InvalidHeaderValue
from wsframe.opening.fields import Headers, MultipleValuesError


def test_names_are_looked_up_without_regard_to_case():
    headers = Headers({"Connection": "Upgrade"})
    assert headers["connection"] == headers["CONNECTION"] == "Upgrade"
    assert "cOnnection" in headers
    assert "Upgrade" not in headers
    assert 1 not in headers


def test_absent_header_is_a_key_error():
    headers = Headers()
    with pytest.raises(KeyError):
        headers["Host"]
    with pytest.raises(KeyError):
        del headers["Host"]
    assert headers.get("Host") is None
    assert headers.get_all("Host") == []


def test_assignment_adds_a_line():
    headers = Headers()
    headers["Set-Cookie"] = "a=1"
    headers["set-cookie"] = "b=2"
    assert headers.get_all("Set-Cookie") == ["a=1", "b=2"]
    assert list(headers.raw_items()) == [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]
    assert len(headers) == 1
    assert list(headers) == ["set-cookie"]


def test_several_values_looked_up_as_one_is_an_error():
    headers = Headers([("A", "1"), ("A", "2")])
    with pytest.raises(MultipleValuesError) as info:
        headers["A"]
    assert str(info.value) == "'A'"
    assert isinstance(info.value, LookupError)
    assert str(MultipleValuesError()) == ""


def test_deletion_removes_all_lines():
    headers = Headers([("A", "1"), ("B", "2"), ("a", "3")])
    del headers["A"]
    assert list(headers.raw_items()) == [("B", "2")]
    headers.clear()
    assert headers == Headers()
    assert str(headers) == "\r\n"


def test_headers_are_made_of_mappings_pairs_and_headers():
    expected = [("A", "1"), ("B", "2")]
    assert list(Headers({"A": "1", "B": "2"}).raw_items()) == expected
    assert list(Headers(expected).raw_items()) == expected
    assert list(Headers(Headers(expected)).raw_items()) == expected
    assert list(Headers([("A", "1")], B="2").raw_items()) == expected


def test_copy_and_update_keep_repeated_lines():
    headers = Headers([("A", "1"), ("A", "2")])
    copy = headers.copy()
    copy.update(headers)
    assert headers.get_all("A") == ["1", "2"]
    assert copy.get_all("A") == ["1", "2", "1", "2"]


def test_equality_is_by_name_without_case():
    assert Headers(A="1") == Headers(a="1")
    assert Headers(A="1") != Headers(A="2")
    assert Headers(A="1") != {"A": "1"}
    with pytest.raises(TypeError):
        hash(Headers())


def test_representations():
    headers = Headers([("A", "1"), ("B", "h\xe9")])
    assert str(headers) == "A: 1\r\nB: h\xe9\r\n\r\n"
    assert repr(headers) == "Headers([('A', '1'), ('B', 'h\xe9')])"
    assert headers.serialize() == b"A: 1\r\nB: h\xe9\r\n\r\n"


def test_bytes_beyond_ascii_survive():
    headers = Headers.from_wire([(b"a", b"\xff\xc3\xa9")])
    assert headers["A"] == "\xff\xc3\xa9"
    assert headers.serialize() == b"a: \xff\xc3\xa9\r\n\r\n"


@pytest.mark.parametrize("name", ["", "A b", "A:", "A\r\nB", "\xe9"])
def test_name_that_is_not_a_token_is_refused(name):
    with pytest.raises(InvalidHeaderValue, match="the name is not a token"):
        Headers()[name] = "1"


@pytest.mark.parametrize("value", ["a\r\nB: c", "a\nB: c", "a\rb", "a\0b", "\x0b", "\x1c", "\u20ac"])
def test_value_with_control_characters_is_refused(value):
    """RFC 9110 §5.5: or application data could add lines of its own."""
    for make in (lambda: Headers(A=value), lambda: Headers([("A", value)]), lambda: Headers().update(A=value)):
        with pytest.raises(InvalidHeaderValue) as info:
            make()
        assert isinstance(info.value, ValueError)


def test_value_is_made_a_string():
    headers = Headers()
    headers["Retry-After"] = 5
    assert headers["Retry-After"] == "5"
