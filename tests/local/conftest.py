"""What the tests of the laptop share: an emulator, and a way to await things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.emulator import Emulator
from local.scratch import scratch_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.account import Account


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    """An AWS account in an emulator that all tests here share."""
    with scratch_folder() as scratch:
        emulator = Emulator(scratch, "us-east-1")
        try:
            yield emulator.account
        finally:
            emulator.stop()
