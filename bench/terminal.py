"""A part in the terminal: its progress, then its table and its goals."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from bench import results

if TYPE_CHECKING:
    from bench.part import Goal, Part

CONSOLE = Console()


def run(part: Part) -> None:
    """Measure one part, keep its result and show it."""
    columns = [
        TextColumn("{task.fields[part]}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    ]
    began = time.monotonic()
    with Progress(*columns, console=CONSOLE, transient=True) as progress:
        bar = progress.add_task("", total=1.0, part=part.TITLE)
        result = part.measure(
            lambda done, doing: progress.update(bar, completed=done, description=doing)
        )
    results.merge(part.NAME, result, seconds=time.monotonic() - began)
    CONSOLE.print(_table(part.TITLE, part.rows(result)))
    CONSOLE.print(_goals(part.goals(result)))


def _table(title: str, rows: list[list[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if number else "left", no_wrap=True)
    for row in rows[1:]:
        table.add_row(*row)
    return table


def _goals(goals: list[Goal]) -> Table:
    table = Table("goal", "wanted", "measured", "")
    for goal in goals:
        table.add_row(goal.measure, goal.goal, goal.got, "met" if goal.met else "missed")
    return table
