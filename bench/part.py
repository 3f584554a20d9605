"""What a part of the benchmark is: a module with these names."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.figure import Figure

    Tell = Callable[[float, str], None]
    """Moves the progress bar: what is done of the part, from 0 to 1, and what it does now."""

    Result = dict[str, Any]
    """What a part measured, as JSON can hold it."""

PARTS = ("fleet", "warm", "large", "handlers", "end_to_end")
"""The parts, in the order in which they run and are told of."""


@dataclass(frozen=True)
class Goal:
    """One goal, and whether the figures meet it."""

    measure: str
    goal: str
    got: str
    met: bool
    why: str = ""
    """What stands beside it: why it is missed, or how far the goal holds."""


class Part(Protocol):
    """One comparison. Only :meth:`measure` does anything; the others tell of its result.

    Modules import matplotlib within ``figures`` only: the text is made without it.
    """

    NAME: str
    """Its key in ``results.json``, and the word that ``make bench PARTS=`` takes."""
    TITLE: str

    def measure(self, tell: Tell) -> Result:
        """Measure, and return what came of it."""

    def goals(self, result: Result) -> list[Goal]:
        """Return the goals that this part decides."""

    def rows(self, result: Result) -> list[list[str]]:
        """Return the table for the terminal, its first row the headings."""

    def section(self, result: Result) -> str:
        """Return its Markdown below the heading: claims beside the command that shows them."""

    def figures(self, result: Result) -> dict[str, Figure]:
        """Return the plots by name; each becomes ``docs/performance-NAME.svg``."""


def load(name: str) -> Part:
    """Import a part."""
    return cast("Part", importlib.import_module(f"bench.{name}"))
