"""Temporary folders are gone with us, or at the next start."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from local.scratch import remove_tree, scratch_folder

ROOT = Path(__file__).resolve().parents[2]
HOLDER = """
import sys
from local.scratch import scratch_folder
with scratch_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_folder_lasts_as_long_as_its_block(temporary: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o711
    assert not folder.exists()


def leave_closed_folders(folder: Path) -> None:
    """Make what ``mkdir -p d/e; touch d/e/f; chmod 000 d/e d`` makes, and a way out."""
    inner = folder / "d" / "e"
    inner.mkdir(parents=True)
    (inner / "f").touch()
    (inner / "out").symlink_to("/")
    inner.chmod(0)
    inner.parent.chmod(0)


def test_closed_folders_are_removed_too(home: Path) -> None:
    leave_closed_folders(home / "root")
    remove_tree(home / "root")
    assert list(home.iterdir()) == []


def test_closed_folders_of_killed_runs_are_swept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(home))
    leave_closed_folders(home / "addendum-local-1")
    (home / "addendum-local-1" / "lock").touch()
    with scratch_folder() as folder:
        assert list(home.iterdir()) == [folder]


def test_what_cannot_be_removed_stops_no_start_and_no_end(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "rmdir", refuse)
    old = temporary / "addendum-local-1"
    old.mkdir()
    (old / "lock").touch()
    with scratch_folder() as folder:
        assert old.is_dir()
    assert folder.is_dir()


def test_only_folders_of_killed_runs_are_swept(temporary: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        theirs = Path(holder.stdout.readline().strip())
        with scratch_folder():
            assert theirs.is_dir()
        holder.kill()
    assert theirs.is_dir()
    with scratch_folder():
        assert not theirs.exists()
