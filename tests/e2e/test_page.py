"""The page in a real browser, against the whole system.

No page may print to the console, break its own security policy, or send a request that
fails, unless the test says so: the ``visit`` fixture looks.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect, sync_playwright

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from local.system import LocalSystem

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DONE_MILLISECONDS = 60_000


def chromium() -> str | None:
    """Return the path of a Chromium that the system has."""
    return shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, or none: then the tests are skipped, but not in CI."""
    if chromium() is None:
        assert not os.environ.get("CI"), "CI must not skip the browser tests: install chromium"
        pytest.skip("no chromium on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        yield browser
        browser.close()


class Visit:
    """A visitor's page, and everything on it that went wrong."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.expected: list[str] = []
        self.problems: list[str] = []
        self._closed = False
        page.on("console", lambda message: self._note(f"console: {message.text}"))
        page.on("pageerror", lambda error: self._note(f"error: {error}"))
        page.on("requestfailed", self._note_failure)
        page.on("response", self._note_status)

    def expect_problem(self, text: str) -> None:
        """Declare that problems with this text will come; it is wrong if none does."""
        self.expected.append(text)

    def close(self) -> None:
        """Leave; that requests break off now is nobody's fault."""
        self._closed = True
        self.page.context.close()

    def check(self) -> None:
        """Hold what went wrong against what the test declared."""
        seen = [text for text in self.expected if any(text in line for line in self.problems)]
        assert seen == self.expected
        known = [line for line in self.problems if any(text in line for text in self.expected)]
        assert self.problems == known

    def _note(self, problem: str) -> None:
        if not self._closed:
            self.problems.append(problem)

    def _note_failure(self, request: Any) -> None:
        # A link that turns out to be a download ends as an aborted navigation.
        if not (request.is_navigation_request() and request.failure == "net::ERR_ABORTED"):
            self._note(f"failed: {request.url}: {request.failure}")

    def _note_status(self, response: Any) -> None:
        if response.status >= 400:
            self._note(f"{response.status}: {response.url}")


@pytest.fixture
def visit(browser: Browser, system: LocalSystem) -> Iterator[Callable[..., Visit]]:
    """Opens the page as somebody who has not been there; takes what comes after its address."""
    visits: list[Visit] = []

    def open_page(rest: str = "", **options: Any) -> Visit:
        context = browser.new_context(accept_downloads=True, **options)
        context.set_default_timeout(20_000)
        visits.append(Visit(context.new_page()))
        visits[-1].page.goto(f"{system.url}/{rest}")
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


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def submit(page: Page, files: list[Path], text: str) -> None:
    page.set_input_files("#file", [str(path) for path in files])
    page.fill("#text", text)
    page.click("#submit")


def job(page: Page, name: str) -> Any:
    return page.locator("li.job").filter(has_text=name)


def expect_status(row: Any, status: str) -> None:
    expect(row).to_have_attribute("data-status", status, timeout=DONE_MILLISECONDS)


def expect_sent(row: Any) -> None:
    """Expect the upload to be through; the result is for other tests to wait for."""
    sent = re.compile("PENDING|RUNNING|SUCCEEDED")
    expect(row).to_have_attribute("data-status", sent, timeout=DONE_MILLISECONDS)


def test_a_visitor_gets_the_file_back_with_the_text_appended(page: Page, tmp_path: Path) -> None:
    name = "naïve résumé 文件 100%.txt"
    submit(page, [write(tmp_path, name, b"first line\n")], "second line")
    done = job(page, name)
    expect_status(done, "SUCCEEDED")
    with page.expect_download() as download:
        done.locator("a.download").click()
    assert download.value.suggested_filename == name
    assert download.value.path().read_bytes() == b"first line\nsecond line"


def test_ten_files_at_once_all_come_back(page: Page, tmp_path: Path) -> None:
    files = [write(tmp_path, f"file {n}.txt", b"%d" % n) for n in range(10)]
    submit(page, files, "x")
    for path in files:
        expect_status(job(page, path.name), "SUCCEEDED")


def test_the_list_survives_a_reload(page: Page, tmp_path: Path) -> None:
    submit(page, [write(tmp_path, "kept.txt", b"x")], "y")
    expect_status(job(page, "kept.txt"), "SUCCEEDED")
    page.reload()
    expect_status(job(page, "kept.txt"), "SUCCEEDED")


def test_script_looking_names_and_texts_are_only_ever_text(page: Page, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>.txt"
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    submit(page, [write(tmp_path, name, b"<script>alert(2)</script>")], "<b>bold</b>")
    done = job(page, name)
    expect_status(done, "SUCCEEDED")
    assert page.locator("li.job img, li.job b, li.job script").count() == 0


def test_the_page_comes_with_the_headers_that_protect_it(page: Page, system: LocalSystem) -> None:
    answer = page.request.get(system.url)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
