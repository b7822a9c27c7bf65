"""Text of a peer made harmless where it becomes text for people: log lines, exceptions, terminals. Rank 0.

What a peer sends is kept as it is in attributes. In a log line, its line breaks would forge more lines, its escape
sequences would command the terminal that shows them, and its bidirectional controls would reorder what is read.
"""

from __future__ import annotations

import re
import unicodedata

__all__ = ["SHOWN_CHARS", "escape"]

SHOWN_CHARS = 1024
"""Characters of a text that are shown: more than any text that is meant to be read, and a few lines of a log."""

_HARMFUL_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Controls, formats (bidirectional and zero-width ones), unassigned, private, surrogates, separators of lines."""

_INVISIBLE = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Letters and marks that take no room (Unicode's Default_Ignorable_Code_Point), of other categories."""


def escape(text: str, *, limit: int | None = SHOWN_CHARS, keep: str = "") -> str:
    r"""Return a text with what a reader would not see, or a terminal would obey, spelled out as in a Python string.

    That is ``\t``, ``\n``, ``\r``, ``\xNN``, ``\uNNNN`` or ``\UNNNNNNNN``. Letters of all languages stay. So do
    backslashes: the result is for people, and not for parsers.

    Args:
        text: The text.
        limit: Characters of it that are shown; what is cut off is counted. None for all.
        keep: Characters that stay too.
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
