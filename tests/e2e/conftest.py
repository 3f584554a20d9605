"""The whole system, started once for all tests here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from local.system import LocalSystem
from tests.e2e.person import Person

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILE_BYTES = 20_000_000


@pytest.fixture(scope="session")
def system() -> Iterator[LocalSystem]:
    """The system with a small limit; the rest is as it is shipped."""
    config = {"addendum:max_file_bytes": MAX_FILE_BYTES}
    with LocalSystem(config=config) as running:
        yield running


@pytest.fixture
def person(system: LocalSystem) -> Person:
    """Somebody who uses it."""
    return Person(system.url)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a system in one process, which starts it once."""
    for item in items:
        if "tests/e2e" in item.nodeid and "test_large" not in item.nodeid:
            item.add_marker(pytest.mark.xdist_group("system"))
