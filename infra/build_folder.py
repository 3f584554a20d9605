"""Build products: made in a folder of one's own, then moved to where all look for them."""

from __future__ import annotations

from pathlib import Path


def move_into_place(source: Path, target: Path) -> None:
    """Move a finished folder to its place, unless another run was faster.

    A folder's name says what it was made from, so theirs holds the same.
    """
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise
