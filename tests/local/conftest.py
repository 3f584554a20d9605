"""What the tests of the laptop share: an emulator, and a way to await things."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import psutil
import pytest

from local.emulator import Emulator
from local.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.account import Account


NOBODY = 65534


def names_below(pid: int) -> list[str]:
    """Return the sorted names of all that descends from a process and lives long enough."""
    names = []
    for process in psutil.Process(pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(process.name())
    return sorted(names)


@pytest.fixture
def home(open_folder: Path) -> Iterator[Path]:
    """A folder of an ordinary user, who we are meanwhile: nothing is closed to root."""
    user = os.getuid() or NOBODY
    os.chown(open_folder, user, -1)
    os.seteuid(user)
    yield open_folder
    os.seteuid(os.getuid())


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    """An AWS account in an emulator that all tests here share."""
    with scratch_folder() as scratch:
        emulator = Emulator(scratch, "us-east-1")
        try:
            yield emulator.account
        finally:
            emulator.stop()
