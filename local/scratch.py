"""A temporary folder that is gone with us, or at the next start at the latest."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PREFIX = "addendum-local-"
_LOCK = "lock"


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Yield a new folder that other users can pass through, but not list.

    Its lock is ours while we live: a run that was killed leaves its folder unlocked.
    """
    _sweep()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    folder.chmod(0o711)
    with (folder / f"{_LOCK}.new").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (folder / f"{_LOCK}.new").rename(folder / _LOCK)
        try:
            yield folder
        finally:
            remove_tree(folder)


def remove_tree(folder: Path) -> None:
    """Delete a folder of ours, even if a script has left folders in it closed to everybody.

    What cannot be deleted all the same stays: a temporary file is no reason to stop.
    """
    with contextlib.suppress(OSError):  # what we may not open, somebody else has made
        folder.chmod(stat.S_IRWXU)
        for parent, names, _ in os.walk(folder):  # parents first, so each opens the next
            for child in (Path(parent, name) for name in names):
                if not child.is_symlink():
                    child.chmod(stat.S_IRWXU)
    shutil.rmtree(folder, ignore_errors=True)


def _sweep() -> None:
    """Delete the folders of runs that were killed."""
    for lock_file in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # another sweeps; it lives
            if lock_file.stat().st_uid != os.geteuid():
                continue
            with lock_file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove_tree(lock_file.parent)
