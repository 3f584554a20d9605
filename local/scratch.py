"""A temporary folder that is gone with us, or at the next start at the latest."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
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
            shutil.rmtree(folder)


def _sweep() -> None:
    """Delete the folders of runs that were killed."""
    for lock_file in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(FileNotFoundError, BlockingIOError):  # another sweeps; it lives
            if lock_file.stat().st_uid != os.getuid():
                continue
            with lock_file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(lock_file.parent)
