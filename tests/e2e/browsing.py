"""What the tests of the page do in a browser."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

from playwright.sync_api import Route, expect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from playwright.sync_api import CDPSession, Page

QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MILLISECONDS = 60_000
"""For every expectation: a test that passes never waits so long, however slow its machine."""

STORAGE = re.compile(r"^http://[^/]+/[^/]+/?$")
"""Where forms are posted: a bucket's own address."""

FORGET = "if (!sessionStorage.visited) { localStorage.clear(); sessionStorage.visited = 1; }"
"""At the first load in a tab: nothing is left of those who were here before."""

WATCH = """selector => {
  window.seen = [];
  new MutationObserver(() => {
    for (const part of document.querySelectorAll(selector)) {
      const now = part.value ?? part.textContent;
      if (window.seen.at(-1) !== now) window.seen.push(now);
    }
  }).observe(document.body, { subtree: true, childList: true, attributes: true });
}"""

expect.set_options(timeout=PATIENCE_MILLISECONDS)


def chromium() -> str | None:
    """Return the path of a Chromium that the system has."""
    return shutil.which("chromium") or shutil.which("google-chrome")


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
        self.page.close()

    def check(self) -> None:
        """Hold what went wrong against what the test declared."""
        for text in self.expected:
            assert any(text in problem for problem in self.problems), f"no {text}"
        for problem in self.problems:
            assert any(text in problem for text in self.expected), problem

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


class Line:
    """The visitor's line to the network, as fast as a test wants it."""

    def __init__(self, page: Page) -> None:
        self._session: CDPSession = page.context.new_cdp_session(page)
        self._session.send("Network.enable")

    def throttle(self, upload: int = -1, *, offline: bool = False) -> None:
        """Let through so many bytes a second; -1 for all that come."""
        conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1}
        self._session.send(
            "Network.emulateNetworkConditions", {**conditions, "uploadThroughput": upload}
        )


def disturb_once(page: Page, disturb: Callable[[Route], None]) -> None:
    """Let a disturbance answer the first form that is posted; the storage answers the others.

    Not ``times=1``: a request that leaves just when Playwright stops to intercept is never told of.
    """
    first = iter([disturb])
    page.route(STORAGE, lambda route: next(first, Route.continue_)(route))


def write(folder: Path, name: str, content: bytes = b"x") -> Path:
    """Make a file to choose."""
    path = folder / name
    path.write_bytes(content)
    return path


def choose(page: Page, files: Iterable[Path]) -> None:
    """Choose files, as the system's dialog does."""
    page.set_input_files("#file", [str(path) for path in files])


def submit(page: Page, files: Iterable[Path], text: str) -> None:
    """Choose files, type a text, send."""
    choose(page, files)
    page.fill("#text", text)
    page.click("#submit")


def job(page: Page, name: str) -> Any:
    """Return the row of a file."""
    return page.locator("li.job").filter(has_text=name)


def expect_status(row: Any, status: str) -> None:
    """Wait for a status, one that stays until the test or the visitor does something."""
    expect(row).to_have_attribute("data-status", status)


def expect_sent(row: Any) -> None:
    """Expect the upload to be through; the result is for other tests to wait for."""
    expect(row).to_have_attribute("data-status", re.compile("PENDING|RUNNING|SUCCEEDED"))


def watch(page: Page, selector: str) -> None:
    """Record from now on what a part of the page shows, however shortly."""
    page.evaluate(WATCH, selector)


def seen(page: Page) -> list[Any]:
    """Return what the watched part has shown, in order: texts, or a bar's values."""
    shown: list[Any] = page.evaluate("() => window.seen")
    return shown
