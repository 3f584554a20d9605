"""Makes the pictures of the page in ``docs/``: ``python -m tests.e2e.screenshots``.

They show the real page on the real system, so they are made, never drawn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from playwright.sync_api import sync_playwright

from local.system import LocalSystem
from tests.conftest import ROOT
from tests.e2e.browsing import QUIET, chromium, expect_status, submit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOCS = ROOT / "docs"
DESKTOP = {"width": 960, "height": 760}
PHONE = {"width": 320, "height": 640}


def visit(browser: Browser, url: str, **options: Any) -> Page:
    """Open the page as somebody who has not been there."""
    page = browser.new_context(device_scale_factor=2, **options).new_page()
    page.goto(url)
    return page


def fill(page: Page, folder: Path) -> None:
    """Send two files and wait for both results."""
    for name, content in (("minutes.txt", b"Present: Ada, Grace\n"), ("notes.txt", b"Day one\n")):
        (folder / name).write_bytes(content)
    submit(page, [folder / "minutes.txt", folder / "notes.txt"], "Approved on 22 November.\n")
    for row in page.locator("li.job").all():
        expect_status(row, "SUCCEEDED")
    page.wait_for_load_state("networkidle")


def main() -> None:
    """Take every picture."""
    with (
        LocalSystem() as system,
        sync_playwright() as playwright,
        tempfile.TemporaryDirectory() as folder,
    ):
        browser = playwright.chromium.launch(executable_path=chromium(), args=QUIET)
        for scheme in ("light", "dark"):
            page = visit(browser, system.url, viewport=DESKTOP, color_scheme=scheme)
            page.screenshot(path=DOCS / f"page-empty-{scheme}.png")
            fill(page, Path(folder))
            page.screenshot(path=DOCS / f"page-done-{scheme}.png", full_page=True)
        page = visit(browser, system.url, viewport=PHONE)
        fill(page, Path(folder))
        page.screenshot(path=DOCS / "page-phone.png", full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
