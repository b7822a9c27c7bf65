"""What wsframe is to reach: how many times less than a peer something may cost, in the same run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

LOOPS = ("asyncio", "uvloop")


@dataclasses.dataclass(frozen=True)
class Goal:
    """A figure of ours against one of somebody else's.

    Attributes:
        case: The case in which ours was measured.
        ours: Who.
        loop: On which event loop; None without one.
        theirs: Against whom; the best of them counts. Empty if the goal is a figure.
        factor: How many times theirs ours goes into, at least; below 1 we may cost more. Or the figure itself.
        their_case: The case in which theirs was measured, if it is another one.
        their_loop: Their event loop, if it is another one; an empty string if they have none.
    """

    case: str
    ours: str
    loop: str | None
    theirs: tuple[str, ...]
    factor: float
    their_case: str | None = None
    their_loop: str | None = None


def both_loops(case: str, ours: str, theirs: str | tuple[str, ...], factor: float) -> list[Goal]:
    """Make a goal for each event loop, against peers on the same one."""
    peers = (theirs,) if isinstance(theirs, str) else theirs
    return [Goal(case, ours, loop, peers, factor) for loop in LOOPS]


def judge(goals: Sequence[Goal], results: Sequence[dict[str, Any]], figure: str) -> list[dict[str, Any]]:
    """Compare figures with goals; goals whose figures were not measured are left out.

    Args:
        goals: The goals.
        results: What was measured; ``case``, ``name`` and ``loop`` tell what.
        figure: The name of the figure.

    Returns:
        For each goal its case, ours, loop, theirs, ratio, goal, and whether it is reached.
    """
    figures = {(result["case"], result["name"], result.get("loop")): result[figure] for result in results}
    verdicts = []
    for goal in goals:
        ours = figures.get((goal.case, goal.ours, goal.loop))
        if ours is None:
            continue
        verdict: dict[str, Any] = {"case": goal.case, "ours": goal.ours, "loop": goal.loop}
        if goal.theirs:
            their_case = goal.case if goal.their_case is None else goal.their_case
            their_loop = goal.loop if goal.their_loop is None else goal.their_loop or None
            found = [(figures.get((their_case, name, their_loop)), name) for name in goal.theirs]
            measured = [(value, name) for value, name in found if value is not None]
            if not measured:
                continue
            value, name = min(measured)
            against = name if name != goal.ours else their_case.rpartition(", ")[2]
            ratio = value / ours
            verdict |= {"theirs": against, "ratio": ratio, "goal": goal.factor, "reached": ratio >= goal.factor}
        else:
            verdict |= {"theirs": "", "ratio": ours, "goal": goal.factor, "reached": ours <= goal.factor}
        verdicts.append(verdict)
    return verdicts


def print_goals(verdicts: Sequence[dict[str, Any]]) -> None:
    """Print how figures compare: 3.0 is three times better, 1/3.0 three times worse."""
    if not verdicts:
        return
    several = len({verdict["case"] for verdict in verdicts}) > 1
    print(f"\n  {'compared':32} {'with':34} {'ratio':>8} {'goal':>8}")
    case = ""
    for verdict in verdicts:
        if several and verdict["case"] != case:
            case = verdict["case"]
            print(case)
        show = ratio_name if verdict["theirs"] else "{:.1f}".format
        ours = contender_name(verdict["ours"], verdict["loop"])
        ratio, goal = show(verdict["ratio"]), show(verdict["goal"])
        missed = "" if verdict["reached"] else "  not reached"
        print(f"  {ours:32} {verdict['theirs']:34} {ratio:>8} {goal:>8}{missed}", flush=True)


def ratio_name(value: float) -> str:
    """Write a ratio: 1/3 is three times worse."""
    text = f"{value:.2f}" if value >= 1 else f"1/{1 / value:.2f}"
    return text.rstrip("0").removesuffix(".")


def contender_name(name: str, loop: str | None) -> str:
    """Write who it is, and on which event loop."""
    return name if loop is None else f"{name} ({loop})"
