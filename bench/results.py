"""What was measured, when, and on what kind of machine: ``bench/results.json``."""

from __future__ import annotations

import json
import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.part import Result

PATH = Path(__file__).with_name("results.json")


def load(path: Path = PATH) -> dict[str, Any]:
    """Return all results by part, each with ``machine`` and ``result``."""
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def merge(name: str, result: Result, *, seconds: float, path: Path = PATH) -> None:
    """Put one part's result in the place of its last one, in one step."""
    everything = load(path)
    everything[name] = {"machine": {**machine(), "seconds": round(seconds)}, "result": result}
    write_in_one_step(path, json.dumps(everything, indent=1, sort_keys=True) + "\n")


def machine() -> dict[str, Any]:
    """Return what a reader needs to know of this machine, and nothing that names it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }


def write_in_one_step(path: Path, text: str) -> None:
    """Write a file so that whoever reads it finds the old text or the new one."""
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    draft.replace(path)
