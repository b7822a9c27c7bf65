"""``python -m benchmarks.report`` writes what the suites have measured into ``docs/performance.md``."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.goals import LOOPS, contender_name, ratio_name
from benchmarks.plot import DOCS, HERE, PLOTS, number

PAGE = DOCS / "performance.md"
HEADING = "## Figures\n"

Row = dict[str, Any]


def _name(result: Row) -> str:
    return contender_name(result["name"], result.get("loop"))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Make a table whose first columns are words, and the others figures."""
    rule = ["---" if column < words else "---:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(line) + " |" for line in (head, rule, *rows)) + "\n"


def by_case(results: Sequence[Row], figure: str) -> str:
    """Make a table with a line for each contender and a column for each case."""
    cases = list(dict.fromkeys(result["case"] for result in results))
    names = list(dict.fromkeys(_name(result) for result in results))
    figures = {(_name(result), result["case"]): result[figure] for result in results}
    rows = [
        [name, *(number(figures[name, case]) if (name, case) in figures else "" for case in cases)] for name in names
    ]
    return _table(["", *cases], rows)


def by_figure(results: Sequence[Row], figures: Sequence[tuple[str, str]]) -> str:
    """Make a table with a line for each contender and a column for each figure."""
    rows = [[_name(result), *(number(result[figure]) for figure, _ in figures)] for result in results]
    return _table(["", *(head for _, head in figures)], rows)


def _grouped(results: Sequence[Row], key: Callable[[Row], str], table: Callable[[list[Row]], str]) -> str:
    """Make a table for each group of results."""
    groups: dict[str, list[Row]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return "\n".join(f"{name}:\n\n{table(group)}" for name, group in groups.items())


def codec(results: Sequence[Row]) -> str:
    """Make a table for each kind of work."""
    split = [result["case"].partition(", ") for result in results]
    named = [result | {"kind": kind, "case": rest} for result, (kind, _, rest) in zip(results, split, strict=True)]
    return _grouped(named, lambda result: str(result["kind"]), lambda group: by_case(group, "ns"))


def memory(results: Sequence[Row]) -> str:
    """Make a table for each kind of connections."""
    columns = [("opened", "opened"), ("used", "after a message"), ("idle", "idle"), ("left", "left after closing")]
    return _grouped(results, lambda result: str(result["case"]), lambda group: by_figure(group, columns))


def imports(results: Sequence[Row]) -> str:
    """Make a table for each thing that is imported."""
    figures = [("cpu_ms", "CPU ms"), ("kib", "KiB"), ("modules", "modules")]
    return _grouped(results, lambda result: str(result["case"]), lambda group: by_figure(group, figures))


SECTIONS: list[tuple[str, str, Callable[[Sequence[Row]], str]]] = [
    ("echo", "Echo server, CPU µs per message", lambda results: by_case(results, "cpu_us")),
    ("echo", "Echo server, latency at 99 per cent, µs", lambda results: by_case(results, "p99_us")),
    ("text", "Text, CPU µs per message", lambda results: by_case(results, "cpu_us")),
    ("client", "Client, CPU µs per message and its echo", lambda results: by_case(results, "cpu_us")),
    ("broadcast", "Broadcast, CPU µs per delivery", lambda results: by_case(results, "cpu_us")),
    (
        "handshakes",
        "Handshakes",
        lambda results: by_figure(results, [("rate", "per second"), ("cpu_us", "CPU µs of the server")]),
    ),
    ("tls", "Echo over TLS, CPU µs per message", lambda results: by_case(results, "cpu_us")),
    ("deflate", "Echo with compression, CPU µs per message", lambda results: by_case(results, "cpu_us")),
    ("memory", "Memory, KiB per connection", memory),
    ("codec", "Codec, ns per call or frame", codec),
    ("imports", "Import, beyond an interpreter that does nothing", imports),
]


def goals_table(verdicts: Sequence[Row]) -> str:
    """Make a table of goals with the ratios on each event loop."""
    loops: list[str | None] = [loop for loop in LOOPS if any(verdict["loop"] == loop for verdict in verdicts)]
    loops = loops or [None]
    lines: dict[tuple[str, str, str], dict[str | None, tuple[str, str]]] = {}
    for verdict in verdicts:
        show = ratio_name if verdict["theirs"] else "{:.1f} KiB".format
        shown = show(verdict["ratio"]) + ("" if verdict["reached"] else ", not reached")
        line = lines.setdefault((verdict["case"], verdict["ours"], verdict["theirs"]), {})
        line[verdict["loop"]] = (show(verdict["goal"]), shown)
    rows = []
    for names, line in lines.items():
        goals = " or ".join(dict.fromkeys(goal for goal, _ in line.values()))
        rows.append([*names, goals, *(line.get(loop, ("", ""))[1] for loop in loops)])
    return _table(["case", "wsframe", "against", "goal", *(loop or "ratio" for loop in loops)], rows, 3)


def main() -> None:
    parts: list[str] = []
    shown: set[str] = set()
    for suite, title, show in SECTIONS:
        path = HERE / "results" / f"{suite}.json"
        if not path.exists():
            print(f"{title}: run the suite {suite} first")
            continue
        saved = json.loads(path.read_text())
        if not saved["results"]:
            continue
        about = saved["about"]
        if not parts:
            packages = ", ".join(f"{name} {version}" for name, version in about["packages"].items())
            parts.append(f"{about['time']}, {about['processor']}, CPython {about['python']}; {packages}.\n")
        pictures = [
            f"![{plot.title}]({plot.name}.svg)\n\n"
            for plot in PLOTS
            if plot.suite == suite and suite not in shown and (PAGE.parent / f"{plot.name}.svg").exists()
        ]
        parts.append(f"### {title}\n\n{''.join(pictures)}{show(saved['results'])}")
        if saved["goals"] and suite not in shown:
            parts.append(goals_table(saved["goals"]))
        shown.add(suite)
    text = PAGE.read_text().partition(HEADING)[0]
    PAGE.write_text(text.rstrip() + f"\n\n{HEADING}\n" + "\n".join(parts))
    print(PAGE)


if __name__ == "__main__":
    main()
