"""``docs/performance.md``, made from ``results.json`` and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import part, results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.part import Goal, Part

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/performance.md"


def write() -> None:
    """Write the page and its plots."""
    # The page alone is made without matplotlib, for the test that compares it.
    from bench import plots

    measured = results.load()
    results.write_in_one_step(PAGE, page(measured))
    for name in _names(measured):
        plots.write(part.load(name).figures(measured[name]["result"]), PAGE.parent)


def page(measured: Mapping[str, Any]) -> str:
    """Return the page that these results give."""
    told = [(part.load(name), measured[name]) for name in _names(measured)]
    goals = [goal for one, found in told for goal in one.goals(found["result"])]
    sections = [_section(one, found) for one, found in told]
    return "\n\n".join([INTRODUCTION, _goals(goals), *sections, LIMITS]) + "\n"


def table(rows: list[list[str]]) -> str:
    """Return rows as a Markdown table, the first one its headings."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _names(measured: Mapping[str, Any]) -> list[str]:
    return [name for name in part.PARTS if name in measured]


def _goals(goals: list[Goal]) -> str:
    rows = [["goal", "wanted", "measured", ""]]
    rows += [[one.measure, one.goal, one.got, _verdict(one)] for one in goals]
    return f"## Goals\n\n{table(rows)}"


def _verdict(goal: Goal) -> str:
    return "met" if goal.met else f"missed: {goal.why}"


def _section(one: Part, found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    measured = (
        f"`make bench PARTS={one.NAME}`, {machine['date']}: {machine['seconds']} s on"
        f" {machine['cores']} cores ({machine['architecture']}), {machine['memory_gib']} GiB,"
        f" Python {machine['python']}."
    )
    return f"## {one.TITLE}\n\n{measured}\n\n{one.section(found['result']).strip()}"


INTRODUCTION = """# Performance"""

LIMITS = """## What these figures cannot say about AWS"""
