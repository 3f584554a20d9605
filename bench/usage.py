"""What the kernel knows of a process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psutil


def cpu_seconds(process: psutil.Process) -> float:
    """Return the CPU seconds of a process and of the children that it waited for."""
    return float(sum(process.cpu_times()[:4]))


def peak_memory(pid: int) -> int:
    """Return the most memory that a process has had, in bytes.

    ``ru_maxrss`` would not do for a child: it begins with what the parent had.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
