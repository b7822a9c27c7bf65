"""Draw bars of what the suites have measured: ``python -m benchmarks.plot`` writes SVG files to ``docs/``."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Sequence
from html import escape
from typing import Any

HERE = pathlib.Path(__file__).parent
DOCS = HERE.parent / "docs"

WIDTH = 760
LABEL_WIDTH = 220
BAR = 18
GAP = 6
PANEL_HEAD = 34
OURS = "#c2410c"
THEIRS = "#94a3b8"
INK = "#64748b"
"""Readable on white and on black."""


def bars(title: str, panels: Sequence[tuple[str, Sequence[tuple[str, float]]]], note: str) -> str:
    """Draw panels of horizontal bars, shorter is better, each panel on a scale of its own.

    Args:
        title: For people who cannot see the picture.
        panels: Heading and rows of name and figure.
        note: Small print at the bottom.

    Returns:
        SVG.
    """
    parts = []
    y = 8
    for heading, rows in panels:
        parts.append(_text(0, y + 16, heading, weight="bold"))
        y += PANEL_HEAD
        largest = max(figure for _, figure in rows)
        for name, figure in sorted(rows, key=lambda row: row[1]):
            width = (WIDTH - LABEL_WIDTH - 70) * figure / largest
            color = OURS if name.startswith("wsframe") else THEIRS
            parts.append(_text(LABEL_WIDTH - 8, y + 13, name, anchor="end"))
            parts.append(f'<rect x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{color}"/>')
            parts.append(_text(LABEL_WIDTH + width + 6, y + 13, f"{figure:.3g}"))
            y += BAR + GAP
        y += 14
    parts.append(_text(0, y + 8, note, size=11))
    height = y + 18
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'font-family="system-ui, sans-serif" fill="{INK}"><title>{escape(title)}</title>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 13) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-weight="{weight}" font-size="{size}">{escape(text)}</text>'


def _rows(results: Sequence[dict[str, Any]], case: str, loop: str) -> list[tuple[str, float]]:
    return [
        (result["name"], result["cpu_us"]) for result in results if result["case"] == case and result["loop"] == loop
    ]


def main() -> None:
    saved = json.loads((HERE / "results" / "echo.json").read_text())
    about, results = saved["about"], saved["results"]
    panels = [
        (f"{heading}: CPU microseconds per message, shorter is better", _rows(results, case, "uvloop"))
        for heading, case in (
            ("256 B, 1 connection with 64 messages in flight", "256 B, 1 connections, 64 in flight"),
            ("256 B, 100 connections with 1 message in flight", "256 B, 100 connections, 1 in flight"),
        )
    ]
    note = f"Echo servers on uvloop, CPython {about['python']}, {about['time']}; python -m benchmarks measures again."
    DOCS.mkdir(exist_ok=True)
    (DOCS / "speed.svg").write_text(bars("CPU time per message of echo servers", panels, note))
    print(DOCS / "speed.svg")


if __name__ == "__main__":
    main()
