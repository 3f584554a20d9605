"""A thread that does one thing again and again, and does not hide why it ended."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Loop:
    """Calls ``step`` every ``seconds`` in a thread of its own.

    An exception ends the loop and is kept in ``error``, where its owner looks for it.
    """

    def __init__(self, name: str, step: Callable[[], None], seconds: float) -> None:
        self.name = name
        self.error: Exception | None = None
        self._step = step
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def cancel(self) -> None:
        """Begin no further step, and keep no error of the one that runs."""
        self._stopping.set()

    def stop(self) -> None:
        """Wait for the step that runs, if any, and end."""
        self.cancel()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._step()
                self._stopping.wait(self._seconds)
        except Exception as error:  # noqa: BLE001  its owner shows it
            if not self._stopping.is_set():
                self.error = error
