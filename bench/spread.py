"""Medians with their spread: what a comparison on a noisy machine is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Spread = dict[str, float]
    """``median``, ``low`` and ``high`` (the quartiles), and over how many values."""


def spread(values: Sequence[float]) -> Spread:
    """Return the median of some values, and between what the middle half of them lies."""
    low, median, high = (percentile(values, share) for share in (0.25, 0.5, 0.75))
    return {"median": median, "low": low, "high": high, "values": len(values)}


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which this share of all lies, between two if need be."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    before = int(place)
    after = min(before + 1, len(ordered) - 1)
    found = ordered[before] + (ordered[after] - ordered[before]) * (place - before)
    return float(f"{found:.5g}")


def ratios(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of ratios, each of two things measured one after the other."""
    return spread([one / other for one, other in zip(above, below, strict=True)])


def told(found: Spread, unit: str = "", *, scale: float = 1) -> str:
    """Return a spread as ``12.3 ms (11.9 to 13.1)``."""
    middle, low, high = (found[name] * scale for name in ("median", "low", "high"))
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    return f"{middle:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"
