"""What the page says before it sends anything, and what of it stays on the page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import FilePayload, expect

from tests.e2e.browsing import choose, expect_sent, expect_status, job, submit, write
from tests.e2e.conftest import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.e2e.browsing import Visit

MAX_TEXT_BYTES = 100 * 1024


@pytest.fixture
def page(visitor: Visit) -> Iterator[Page]:
    """A page that must not send anything but questions."""
    sent: list[str] = []
    visitor.page.on("request", lambda request: sent.append(request.method))
    yield visitor.page
    assert "POST" not in sent


def say(page: Page, message: str | re.Pattern[str]) -> Any:
    return expect(page.locator("#alert")).to_contain_text(message)


def test_the_limits_are_said_before_anything_is_chosen(page: Page) -> None:
    expect(page.locator("#file-rule")).to_contain_text(re.compile(r"\.txt.* up to 200 MB each"))
    accepted = page.locator("#file").get_attribute("accept") or ""
    assert ".txt" in accepted.split(",")


def test_a_file_of_another_type_is_refused(page: Page, tmp_path: Path) -> None:
    submit(page, [write(tmp_path, "x.exe")], "y")
    expect(page.locator("#chosen li .note.error")).to_contain_text(re.compile(r"Only .*\.txt"))
    say(page, "Choose at least one file.")


def test_a_file_over_the_limit_is_refused(page: Page, tmp_path: Path) -> None:
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    submit(page, [tmp_path / "huge.txt"], "y")
    expect(page.locator("#chosen li .note.error")).to_have_text("Larger than 200 MB.")
    say(page, "Choose at least one file.")


def test_nothing_chosen_is_said_and_the_text_stays(page: Page) -> None:
    page.fill("#text", "typed for an hour")
    page.press("#text", "Control+Enter")
    say(page, "Choose at least one file.")
    expect(page.locator("#file")).to_be_focused()
    expect(page.locator("#text")).to_have_value("typed for an hour")


def test_a_text_over_the_limit_is_refused_and_counted(page: Page, tmp_path: Path) -> None:
    # Two bytes a letter: the limit counts bytes, as the record does.
    submit(page, [write(tmp_path, "a.txt")], "é" * (MAX_TEXT_BYTES // 2 + 1))
    say(page, "The text is 2 bytes too long.")
    expect(page.locator("#counter")).to_have_class("error")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#chosen li")).to_have_count(1)


def test_half_an_emoji_is_refused(page: Page, tmp_path: Path) -> None:
    choose(page, [write(tmp_path, "a.txt")])
    page.locator("#text").evaluate("field => { field.value = 'smile \\ud83d' }")
    page.click("#submit")
    say(page, "broken character")
    expect(page.locator("#text")).to_be_focused()


def test_an_unwanted_file_is_taken_back_by_its_button(page: Page, tmp_path: Path) -> None:
    choose(page, [write(tmp_path, name, b"") for name in ("one.txt", "two.txt")])
    expect(page.locator("#submit")).to_have_text("Append to 2 files")
    expect(page.locator("#chosen li .note.warning")).to_have_count(2)
    page.get_by_role("button", name="Do not send one.txt").click()
    expect(page.get_by_role("button", name="Do not send two.txt")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#chosen")).to_be_hidden()
    expect(page.locator("#file")).to_be_focused()


def test_good_files_go_and_bad_ones_stay(visitor: Visit, tmp_path: Path) -> None:
    files = [write(tmp_path, name) for name in ("bad.exe", "good.txt")]
    submit(visitor.page, files, "y")
    expect_sent(job(visitor.page, "good.txt"))
    expect(visitor.page.locator("#chosen li")).to_have_count(1)
    expect(visitor.page.locator("#text")).to_have_value("y")


def test_what_only_the_api_refuses_is_said_in_its_row(visitor: Visit, tmp_path: Path) -> None:
    visitor.expect_problem("400")
    name = f"{'é' * 126}.txt"  # 256 bytes, but only 130 letters, which some disks allow
    chosen = FilePayload(name=name, mimeType="text/plain", buffer=b"x")
    visitor.page.set_input_files("#file", chosen)
    visitor.page.click("#submit")
    refused = visitor.page.locator("li.job")
    expect_status(refused, "error")
    expect(refused.locator(".message.error")).to_contain_text("255")
    expect(refused.locator(".retry")).to_be_hidden()
    expect(refused.locator(".remove")).to_be_visible()
