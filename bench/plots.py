"""Plots that read on white and on black, and whose bytes depend on the figures alone."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from bench.results import write_in_one_step

if TYPE_CHECKING:
    from collections.abc import Mapping

INK = "#7a7a7a"
"""Text and axes: a grey with a contrast above 4 on white and on a dark page."""
COLOURS = ("#d4691e", "#3f86d8", "#2e9e63", "#b061c4")
"""One for each thing that is compared; ours are the later ones. Above 3 on both."""
MARKERS = ("s", "^", "o", "D")
"""Beside the colours, for those who see few of them."""

BESIDE = {"textcoords": "offset points", "xytext": (4, 4), "fontsize": 8}
"""Where a point's own label stands."""

NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))

STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "addendum",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": INK,
    "grid.alpha": 0.25,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.minor.bottom": False,
    "ytick.minor.left": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
}


def figure(columns: int = 1, *, height: float = 3.2, sharey: bool = False) -> tuple[Figure, Any]:
    """Return a figure in the project's style, and its axes (an array, if several)."""
    mpl.rcParams.update(STYLE)
    made = Figure(figsize=(8.5, height), layout="constrained")
    return made, made.subplots(1, columns, sharey=sharey)


def line(number: int) -> dict[str, Any]:
    """Return how the line of the so-maniest thing that is compared looks."""
    return {
        "color": COLOURS[number],
        "marker": MARKERS[number],
        "markersize": 4,
        "linewidth": 1.5,
    }


def label(axis: Any, ticks: Mapping[float, str]) -> None:
    """Give an axis these ticks and no others."""
    axis.set_ticks(list(ticks), labels=list(ticks.values()))
    axis.set_minor_locator(NullLocator())


def write(figures: Mapping[str, Figure], folder: Path) -> None:
    """Write each figure as ``performance-NAME.svg``."""
    for name, made in figures.items():
        write_in_one_step(folder / f"performance-{name}.svg", svg(made))


def svg(made: Figure) -> str:
    """Return a figure as SVG, the same text for the same figures."""
    drawn = io.StringIO()
    with mpl.rc_context(STYLE):
        made.savefig(drawn, format="svg", transparent=True, metadata=NO_METADATA)
    # Any sans-serif font will do, and not every reader has the one that was measured with.
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "sans-serif", drawn.getvalue())
    return "\n".join(line.strip() for line in text.splitlines()) + "\n"
