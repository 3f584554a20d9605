"""The page in a real browser, against the whole system.

No page may print to the console, break its own security policy, or send a request that
fails, unless the test says so: the ``visit`` fixture looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT
from tests.e2e.browsing import expect_status, job, submit, write

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from local.system import LocalSystem

MAX_PAGE_BYTES = 40_000


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
    submit(page, [write(tmp_path, "kept.txt")], "y")
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


def test_the_whole_page_weighs_no_more_than_a_picture() -> None:
    files = (ROOT / "static_site").iterdir()
    assert sum(path.stat().st_size for path in files) < MAX_PAGE_BYTES
