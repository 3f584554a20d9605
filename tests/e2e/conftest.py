"""The whole system and a browser, each started once for all tests here."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from local.system import LocalSystem
from tests.conftest import ROOT
from tests.e2e.browsing import FORGET, PATIENCE_MILLISECONDS, QUIET, Line, Visit, chromium
from tests.e2e.person import Person

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, BrowserContext, Page

MAX_FILE_BYTES = 210_000_000
SCRIPTS = (ROOT / "tests/e2e/told.sh", ROOT / "ec2_userdata/append.sh")


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    """The system with a small limit and a script that can be told to wait or fail."""
    script = tmp_path_factory.mktemp("script") / "told.sh"
    script.write_text("".join(part.read_text() for part in SCRIPTS))
    config = {"addendum:max_file_bytes": MAX_FILE_BYTES, "addendum:script": str(script)}
    with LocalSystem(config=config) as running:
        yield running


@pytest.fixture
def person(system: LocalSystem) -> Person:
    """Somebody who uses it."""
    return Person(system.url)


@pytest.fixture
def order(open_folder: Path) -> Path:
    """A folder that a job waits for if its text names it; see ``told.sh``."""
    folder = open_folder / "order"
    folder.mkdir()
    return folder


# Not for the session: Playwright's event loop must be gone before another package's tests run.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium, or none: then the tests are skipped, but not in CI."""
    if chromium() is None:
        assert not os.environ.get("CI"), "CI must not skip the browser tests: install chromium"
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def visitors(browser: Browser) -> BrowserContext:
    """Where visits take place: a context for each would cost a second of CPU each."""
    return browser.new_context()


@pytest.fixture
def visit(
    system: LocalSystem, browser: Browser, visitors: BrowserContext
) -> Iterator[Callable[..., Visit]]:
    """Opens the page as somebody who has not been there; takes what comes after its address."""
    visits: list[Visit] = []

    def open_page(rest: str = "", *, stopped: bool = False) -> Visit:
        context = browser.new_context() if stopped else visitors  # a clock is its context's
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.add_init_script(FORGET)
        visits.append(Visit(page))
        if stopped:
            page.clock.install()
        page.goto(f"{system.url}/{rest}")
        expect(page.locator("#file-rule")).not_to_be_empty()  # nothing is under way now
        if stopped:
            page.clock.pause_at(datetime.now(UTC) + timedelta(hours=1))
        return visits[-1]

    yield open_page
    for visit in visits:
        visit.close()
    for visit in visits:
        visit.check()


@pytest.fixture
def visitor(visit: Callable[..., Visit]) -> Visit:
    """A fresh visitor, for tests where something goes wrong on purpose."""
    return visit()


@pytest.fixture
def page(visitor: Visit) -> Page:
    """A fresh visitor's page."""
    return visitor.page


@pytest.fixture
def line(page: Page) -> Line:
    """The visitor's line."""
    return Line(page)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a system in one process, which starts it once."""
    for item in items:
        if "tests/e2e" in item.nodeid:
            group = "page" if "browser" in getattr(item, "fixturenames", ()) else "system"
            item.add_marker(pytest.mark.xdist_group(group))
