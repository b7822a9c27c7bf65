"""Escaping of text from a peer for display to people: log lines, exceptions, terminals.

Attributes keep what a peer sends unchanged. In a log line, its line breaks would forge more lines, its escape
sequences would control the terminal that shows them, and its bidirectional controls would reorder what is read.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["SHOWN_CHARS", "escape"]

SHOWN_CHARS = 1024
"""Characters shown of a text: more than any text meant to be read has, and only a few lines of a log."""

_HARMFUL_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Controls, formats (bidirectional and zero-width), unassigned, private use, surrogates, line separators."""

_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Letters and marks that take no space (Unicode's Default_Ignorable_Code_Point), in other categories."""


def escape(text: str, *, limit: int | None = SHOWN_CHARS, keep: str = "") -> str:
    r"""Escape what a reader would not see, or a terminal would obey, as in a Python string.

    Escapes are ``\t``, ``\n``, ``\r``, ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``. Letters of all languages stay as they
    are. So do backslashes: the result is for people, not for parsers.

    Args:
        text: The text.
        limit: Number of characters to show; the number cut off is appended. None to show all.
        keep: Further characters not to escape.
    """
    cut = 0 if limit is None else max(0, len(text) - limit)
    if cut:
        text = text[:limit]
    if not (text.isascii() and text.isprintable()):
        text = "".join(char if char in keep or _is_harmless(char) else _spell(char) for char in text)
    return f"{text}... ({cut} more characters)" if cut else text


def _is_harmless(char: str) -> bool:
    return unicodedata.category(char) not in _HARMFUL_CATEGORIES and _INVISIBLE.match(char) is None


def _spell(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
