"""The page for everybody: by keyboard, by link, on a phone, in the dark, read aloud."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import ViewportSize, expect

import jobs
from tests.e2e import test_page
from tests.e2e.test_page import expect_sent, expect_status, job, submit, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from local.system import LocalSystem
    from tests.e2e.person import Person

browser, visit, visitor = test_page.browser, test_page.visit, test_page.visitor
page = test_page.page

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
PHONE = ViewportSize(width=320, height=640)
DESKTOP = ViewportSize(width=1280, height=720)
LONG_NAME = f"{'a-very-long-name-without-a-space' * 5}.txt"


def find_faults(page: Page) -> list[str]:
    """Return what axe has against the page as it is now."""
    found = page.evaluate("() => axe.run()")
    return [
        f"{fault['id']}: {fault['help']}: {node['html']}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]


def audit(page: Page) -> None:
    """Look at this state wide and light, then narrow and dark."""
    page.evaluate(AXE)
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size(PHONE)
    assert find_faults(page) == [], "dark, 320 px"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(DESKTOP)
    assert find_faults(page) == [], "light, 1280 px"


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus; a keyboard user gives up sometime too."""
    for _ in range(15):
        if page.locator(f"{selector}:focus").count():
            return
        page.keyboard.press("Tab")
    pytest.fail(f"no way to {selector} by Tab")


def test_axe_finds_nothing_from_the_empty_page_to_the_result(page: Page, tmp_path: Path) -> None:
    expect(page.locator("#file-rule")).to_contain_text("up to")
    audit(page)
    files = [write(tmp_path, name, b"") for name in ("bad.exe", LONG_NAME)]
    submit(page, files[:1], "e" * 102_401)
    expect(page.locator("#alert")).not_to_be_empty()
    page.set_input_files("#file", str(files[1]))
    page.click("#submit")
    expect(page.locator("#alert")).to_contain_text("too long")
    audit(page)
    page.fill("#text", "the end")
    page.click("#submit")
    row = job(page, LONG_NAME)
    expect_status(row, "SUCCEEDED")
    row.locator(".peek").click()
    expect(row.locator(".preview mark")).to_have_text("the end")
    audit(page)
    row.locator("a.name").click()
    expect(page.locator("#job-title")).to_have_text(LONG_NAME)
    audit(page)


def test_axe_finds_nothing_while_uploads_run_wait_or_are_cancelled(
    page: Page, tmp_path: Path
) -> None:
    session = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 100_000}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", slow)
    files = [write(tmp_path, f"{n}.txt", bytes(5_000_000)) for n in range(5)]
    submit(page, files, "y")
    expect(page.locator("li.job[data-status=uploading]")).to_have_count(3)
    page.locator("li.job[data-status=queued] .cancel").first.click()
    expect(page.locator("li.job[data-status=cancelled]")).to_have_count(1)
    expect(page.locator("li.job[data-status=queued]")).to_have_count(1)
    audit(page)


def test_axe_finds_nothing_on_a_waiting_and_a_failed_job(
    visit: Callable[..., test_page.Visit], person: Person, system: LocalSystem
) -> None:
    job_id = person.record("text", "never sent.txt").json()["id"]
    page = visit(f"#{job_id}").page
    expect_status(job(page, "never sent.txt"), "PENDING")
    audit(page)
    table = jobs.JobTable(system.client("dynamodb"), system.deployment.exports["table"])
    table.fail_dead_letter(job_id, message_id="none", error="The script failed.\nOut of ink.")
    expect_status(job(page, "never sent.txt"), "FAILED")
    expect(page.locator(".message.error")).to_have_text("The script failed.\nOut of ink.")
    audit(page)


def test_a_link_shows_one_job_to_somebody_else(
    visit: Callable[..., test_page.Visit], person: Person
) -> None:
    job_id = person.submit(b"first\n", "second", "shared.txt")
    person.wait(job_id)
    page = visit(f"#{job_id}").page
    expect(page.locator("body")).to_have_attribute("data-view", "job")
    expect(page.locator("#job-title")).to_have_text("shared.txt")
    expect(page).to_have_title(re.compile("^shared.txt"))
    expect(page.locator(".preview pre")).to_contain_text("second")
    expect(page.locator("#compose")).to_be_hidden()
    with page.expect_download() as download:
        page.locator("a.download").click()
    assert download.value.path().read_bytes() == b"first\nsecond"
    page.click("#back a")
    expect(page.locator("#compose")).to_be_visible()
    expect(page.locator("li.job")).to_have_count(0)  # it is not this visitor's


def test_a_link_to_nothing_says_so(visit: Callable[..., test_page.Visit]) -> None:
    page = visit(f"#{'x' * 22}").page
    expect(page.locator("#job-title")).to_contain_text("There is no such file.")


def test_everything_works_by_keyboard_and_the_focus_is_never_lost(
    page: Page, tmp_path: Path
) -> None:
    tab_to(page, "#file")
    page.set_input_files("#file", str(write(tmp_path, "typed.txt", b"first\n")))
    tab_to(page, "#text")
    page.keyboard.type("second")
    tab_to(page, "#submit")
    page.keyboard.press("Enter")
    expect_status(job(page, "typed.txt"), "SUCCEEDED")
    expect(page.locator("#status")).to_contain_text("typed.txt: done")  # read aloud
    expect(page.locator("#submit")).to_be_focused()
    tab_to(page, "li.job .peek")
    page.keyboard.press("Enter")
    expect(page.locator(".preview mark")).to_have_text("second")
    expect(page.locator(".peek")).to_have_attribute("aria-expanded", "true")
    tab_to(page, "li.job a.download")
    with page.expect_download():
        page.keyboard.press("Enter")
    tab_to(page, "li.job .remove")
    page.keyboard.press("Enter")
    expect(page.locator("#file")).to_be_focused()
    expect(page.locator("li.job")).to_have_count(0)


def test_a_removed_job_stays_removed_and_the_others_stay(page: Page, tmp_path: Path) -> None:
    submit(page, [write(tmp_path, name, b"x") for name in ("kept.txt", "gone.txt")], "y")
    for name in ("kept.txt", "gone.txt"):
        expect_sent(job(page, name))
    page.get_by_role("button", name="Remove from the list gone.txt").click()
    expect(page.get_by_role("button", name="Remove from the list kept.txt")).to_be_focused()
    page.reload()
    expect(job(page, "kept.txt")).to_be_visible()
    expect(page.locator("li.job")).to_have_count(1)
