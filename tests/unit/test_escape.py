"""Text from a peer, escaped for log lines, exceptions and terminals."""

from __future__ import annotations

import sys
import unicodedata

import hostile
import pytest

from wsframe import exceptions
from wsframe._escape import SHOWN_CHARS, escape


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("plain text, 'quoted' \\n", "plain text, 'quoted' \\n"),
        ("Ærø 日本語 العربية ไทย हिन्दी 🐍", "Ærø 日本語 العربية ไทย हिन्दी 🐍"),
        ("a\u3000b\xa0c", "a\u3000b\xa0c"),
        ("a\r\n\tb", "a\\r\\n\\tb"),
        ("\x00\x1b\x7f\x85\x9b\xad", "\\x00\\x1b\\x7f\\x85\\x9b\\xad"),
        ("\u200b\u200e\u202e\u2066\u2028\u2029\ufeff", "\\u200b\\u200e\\u202e\\u2066\\u2028\\u2029\\ufeff"),
        ("\u115f\u3164\ufe0f\u034f", "\\u115f\\u3164\\ufe0f\\u034f"),
        ("\ud800", "\\ud800"),
        ("\ue000", "\\ue000"),
        ("\U000e0041\U000e0100", "\\U000e0041\\U000e0100"),
    ],
)
def test_invisible_and_control_characters_are_escaped(text, shown):
    assert escape(text) == shown


def test_no_harmful_code_point_is_shown():
    for code in range(sys.maxunicode + 1):
        char = chr(code)
        shown = escape(char)
        if unicodedata.category(char)[0] in "LN" and shown != char:
            # Fillers: letters without width.
            assert "FILLER" in unicodedata.name(char), hex(code)
        if shown == char:
            assert unicodedata.category(char) not in ("Cc", "Cf", "Zl", "Zp", "Cs"), hex(code)
        else:
            assert shown.isascii()
            assert shown.isprintable()


def test_truncation_reports_the_omitted_length():
    assert escape("a" * SHOWN_CHARS) == "a" * SHOWN_CHARS
    assert escape("a" * (SHOWN_CHARS + 3)) == "a" * SHOWN_CHARS + "... (3 more characters)"
    assert escape("\n" * 5, limit=2) == "\\n\\n... (3 more characters)"
    assert escape("é" * 5000, limit=None) == "é" * 5000


def test_keep_option_leaves_characters_unescaped():
    assert escape("a\nb\rc", keep="\n") == "a\nb\\rc"


HOSTILE = hostile.REASON + "x" * SHOWN_CHARS
CLOSE = exceptions.Close(4000, HOSTILE)
ARGUMENTS = {
    "ConnectionClosed": (CLOSE, CLOSE, True),
    "ConnectionClosedError": (CLOSE, None),
    "ConnectionClosedOK": (None, CLOSE),
    "DuplicateParameter": (HOSTILE,),
    "InvalidHeader": (HOSTILE, HOSTILE),
    "InvalidHeaderFormat": (HOSTILE, HOSTILE, HOSTILE, 1),
    "InvalidHeaderValue": (HOSTILE, ""),
    "InvalidUpgrade": (HOSTILE,),
    "InvalidParameterValue": (HOSTILE, HOSTILE),
    "InvalidProxy": (HOSTILE, HOSTILE),
    "InvalidProxyStatus": None,
    "InvalidStatus": None,
    "InvalidURI": (HOSTILE, HOSTILE),
}
NAMES = [name for name in exceptions.__all__ if name not in ("Close", "Fault")]


@pytest.mark.parametrize("name", NAMES)
def test_the_text_of_an_exception_is_harmless_and_bounded(name):
    arguments = ARGUMENTS.get(name, (HOSTILE,))
    if arguments is None:
        # They show only the number of a response.
        return
    exc = getattr(exceptions, name)(*arguments)
    hostile.assert_harmless_exception(exc)
    assert "more characters)" in str(exc)
    assert "\\n2026-01-01 WARNING root\\r\\x1b[2J" in str(exc)


@pytest.mark.parametrize("value", [None, ""])
def test_parameters_without_a_value(value):
    hostile.assert_harmless_exception(exceptions.InvalidParameterValue(HOSTILE, value))


def test_attributes_keep_the_original_text():
    assert exceptions.ConnectionClosedError(CLOSE, None).rcvd.reason == HOSTILE
    assert exceptions.InvalidHeader("X", HOSTILE).value == HOSTILE
    assert exceptions.InvalidURI(HOSTILE, "").uri == HOSTILE
    assert exceptions.ProtocolError(HOSTILE).args[0] == HOSTILE
