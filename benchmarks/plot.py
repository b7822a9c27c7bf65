"""Draw bars of what the suites have measured: ``python -m benchmarks.plot`` writes SVG files to ``docs/``."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from html import escape
from typing import Any

from benchmarks.harness import C_SERVER

HERE = pathlib.Path(__file__).parent
DOCS = HERE.parent / "docs"

WIDTH = 760
LABEL_WIDTH = 220
BAR = 18
GAP = 6
PANEL_HEAD = 34
OURS = "#c2410c"
THEIRS = "#94a3b8"
FLOOR = "#86b98f"
INK = "#64748b"
"""Readable on white and on black."""

FLOORS = {"C", C_SERVER, "raw asyncio.Protocol"}
"""What is no WebSocket library, but shows what the system itself costs."""

LOOP = "uvloop"


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
            color = OURS if name.startswith("wsframe") else FLOOR if name in FLOORS else THEIRS
            parts.append(_text(LABEL_WIDTH - 8, y + 13, name, anchor="end"))
            parts.append(f'<rect x="{LABEL_WIDTH}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2" fill="{color}"/>')
            parts.append(_text(LABEL_WIDTH + width + 6, y + 13, number(figure)))
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


def number(value: float) -> str:
    """Write a number with about three digits."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 13) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} font-weight="{weight}" font-size="{size}">{escape(text)}</text>'


def _rows(saved: dict[str, Any], case: str, loop: str, figure: str) -> list[tuple[str, float]]:
    """Take the figures of a case: those on that event loop, or without one."""
    return [
        (result["name"], result[figure])
        for result in saved["results"]
        if result["case"] == case and result.get("loop") in {loop, None}
    ]


@dataclasses.dataclass(frozen=True)
class Plot:
    """A picture.

    Attributes:
        name: The file's.
        suite: Where the figures are from.
        title: For people who cannot see it.
        figure: The figure's name.
        unit: What is above each panel behind its heading.
        panels: Heading and case of each.
        note: What else there is to say.
    """

    name: str
    suite: str
    title: str
    figure: str
    unit: str
    panels: Sequence[tuple[str, str]]
    note: str = "on uvloop, "


PLOTS = [
    Plot(
        "speed",
        "echo",
        "CPU time per message of echo servers",
        "cpu_us",
        "CPU microseconds per message",
        [
            ("256 B, 1 connection with 64 messages in flight", "256 B, c1 p64"),
            ("256 B, 100 connections with 1 message in flight", "256 B, c100 p1"),
        ],
    ),
    Plot(
        "speed-client",
        "client",
        "CPU time of clients per message sent and received",
        "cpu_us",
        "CPU microseconds per message and its echo",
        [("256 B, 1 in flight", "client, 256 B"), ("100 KiB, 1 in flight", "client, 100 KiB")],
    ),
    Plot(
        "speed-broadcast",
        "broadcast",
        "CPU time of servers per message delivered in a broadcast",
        "cpu_us",
        "CPU microseconds per delivery",
        [
            ("64 B to 1,000 connections", "broadcast of 64 B to 1000 connections"),
            ("1 KiB to 1,000 connections", "broadcast of 1 KiB to 1000 connections"),
        ],
    ),
    Plot(
        "speed-memory",
        "memory",
        "Memory of servers per idle connection",
        "opened",
        "KiB per connection",
        [("9,000 idle connections", "9000 connections")],
    ),
    Plot(
        "speed-codec",
        "codec",
        "Time of parsers per frame",
        "ns",
        "nanoseconds per frame",
        [("Parsing 8 B frames", "parse, 8 B"), ("Parsing 64 KiB frames", "parse, 64 KiB")],
        "",
    ),
]


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    for plot in PLOTS:
        path = HERE / "results" / f"{plot.suite}.json"
        if not path.exists():
            print(f"{plot.name}: run the suite {plot.suite} first")
            continue
        saved = json.loads(path.read_text())
        panels = []
        for heading, case in plot.panels:
            rows = _rows(saved, case, LOOP, plot.figure)
            if rows:
                panels.append((f"{heading}: {plot.unit}, shorter is better", rows))
        if not panels:
            print(f"{plot.name}: run all of the suite {plot.suite} first")
            continue
        about = saved["about"]
        note = f"{plot.note}CPython {about['python']}, {about['time']}; python -m benchmarks measures again."
        picture = DOCS / f"{plot.name}.svg"
        picture.write_text(bars(plot.title, panels, note[:1].upper() + note[1:]))
        print(picture)


if __name__ == "__main__":
    main()
