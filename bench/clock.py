"""Simulated time: what is to happen, in order."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """Jumps from one event to the next. Events of the same moment keep their order."""

    def __init__(self) -> None:
        self.now = 0.0
        self._numbers = itertools.count()
        self._events: list[tuple[float, int, Callable[..., None], tuple[object, ...]]] = []

    def after(self, seconds: float, do: Callable[..., None], *arguments: object) -> None:
        """Call ``do`` so many seconds from now."""
        heapq.heappush(self._events, (self.now + seconds, next(self._numbers), do, arguments))

    def run(self) -> None:
        """Let everything happen."""
        while self._events:
            self.now, _, do, arguments = heapq.heappop(self._events)
            do(*arguments)
