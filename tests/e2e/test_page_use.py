"""The page for everybody: by keyboard, by mouse, by link, on a phone, in the dark, read aloud."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import FilePayload, ViewportSize, expect

import jobs
from tests.e2e.browsing import choose, expect_sent, expect_status, job, submit, write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from local.system import LocalSystem
    from tests.e2e.browsing import Line, Visit
    from tests.e2e.person import Person

AXE = resources.files("axe_playwright_python").joinpath("axe.min.js").read_text()
PHONE = ViewportSize(width=320, height=640)
DESKTOP = ViewportSize(width=1280, height=720)
FINGER = 44
"""Pixels: https://www.w3.org/WAI/WCAG22/Understanding/target-size-enhanced.html"""

LONG_NAME = f"{'a-very-long-name-without-a-space' * 5}.txt"
TOO_LONG_NAME = f"{'é' * 126}.txt"
"""256 bytes, which only the API counts."""

SMALL = """least => [...document.querySelectorAll("a, button, .drop, textarea")]
  .map(part => [part.outerHTML, part.getBoundingClientRect()])
  .filter(([, { width, height }]) => width && Math.min(width, height) < least)
  .map(([html]) => html)"""


def find_faults(page: Page) -> list[str]:
    """Return what axe has against the page as it is now."""
    found = page.evaluate("() => axe.run()")
    return [
        f"{fault['id']}: {fault['help']}: {node['html']}"
        for fault in found["violations"]
        for node in fault["nodes"]
    ]


def audit(page: Page) -> None:
    """Look at this state narrow and light, then wide and dark."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE)
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="light")
    assert find_faults(page) == [], "light, 320 px"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.evaluate(SMALL, FINGER) == []
    page.set_viewport_size(DESKTOP)
    page.emulate_media(color_scheme="dark")
    assert find_faults(page) == [], "dark, 1280 px"


def tab_to(page: Page, selector: str) -> None:
    """Press Tab until the element has the focus; a keyboard user gives up sometime too."""
    for _ in range(15):
        if page.locator(f"{selector}:focus").count():
            return
        page.keyboard.press("Tab")
    pytest.fail(f"no way to {selector} by Tab")


def drop(page: Page, selector: str, *files: Path, **item: str) -> None:
    """Drop files, or one item of another kind, in the middle of an element, as a mouse does."""
    page.locator(selector).scroll_into_view_if_needed()
    box = page.locator(selector).bounding_box()
    assert box is not None
    place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    names = [str(file) for file in files]
    data = {"items": [item] if item else [], "files": names, "dragOperationsMask": 1}
    session = page.context.new_cdp_session(page)
    for kind in ("dragEnter", "dragOver", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "data": data, **place})


def test_axe_finds_nothing_from_the_empty_page_to_the_result(
    page: Page, order: Path, tmp_path: Path
) -> None:
    expect(page.locator("#file-rule")).to_contain_text("up to")
    audit(page)
    choose(page, [write(tmp_path, name, b"") for name in ("bad.exe", LONG_NAME)])
    page.fill("#text", "e" * 102_401)
    page.click("#submit")
    expect(page.locator("#alert")).to_contain_text("too long")
    audit(page)
    page.fill("#text", str(order))
    page.click("#submit")
    row = job(page, LONG_NAME)
    expect_status(row, "RUNNING")
    audit(page)
    order.rmdir()
    expect_status(row, "SUCCEEDED")
    row.locator(".peek").click()
    expect(row.locator(".preview mark")).to_have_text(str(order))
    audit(page)
    row.locator("a.name").click()
    expect(page.locator("#job-title")).to_have_text(LONG_NAME)
    audit(page)


def test_axe_finds_nothing_while_uploads_run_wait_are_cancelled_or_refused(
    visitor: Visit, page: Page, line: Line, tmp_path: Path
) -> None:
    visitor.expect_problem("400")
    name = FilePayload(name=TOO_LONG_NAME, mimeType="text/plain", buffer=b"x")
    page.set_input_files("#file", name)
    page.click("#submit")
    expect_status(page.locator("li.job"), "error")
    line.throttle(100_000)
    submit(page, [write(tmp_path, f"{n}.txt", bytes(5_000_000)) for n in range(5)], "y")
    expect(page.locator("li.job[data-status=uploading]")).to_have_count(3)
    page.locator("li.job[data-status=queued] .cancel").first.click()
    expect(page.locator("li.job[data-status=cancelled]")).to_have_count(1)
    expect(page.locator("li.job[data-status=queued]")).to_have_count(1)
    audit(page)


def test_axe_finds_nothing_on_a_waiting_and_a_failed_job(
    visit: Callable[..., Visit], person: Person, system: LocalSystem
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


def test_nothing_moves_for_those_who_asked_for_that(
    visit: Callable[..., Visit], person: Person
) -> None:
    page = visit(f"#{person.record('text', 'still.txt').json()['id']}").page
    expect_status(job(page, "still.txt"), "PENDING")
    assert moving(page) == 1
    page.emulate_media(reduced_motion="reduce")
    assert moving(page) == 0


def moving(page: Page) -> int:
    """Return how many animations and transitions run."""
    running: int = page.evaluate("() => document.getAnimations().length")
    return running


def test_files_may_be_dropped_anywhere_and_nothing_else_can_take_the_page_away(
    page: Page, tmp_path: Path
) -> None:
    address, chosen = page.url, page.locator("#chosen li")
    drop(page, ".drop", write(tmp_path, "one.txt"), write(tmp_path, "two.txt"))
    expect(chosen).to_have_count(2)
    drop(page, "header", write(tmp_path, "beside.txt"))
    expect(chosen).to_have_count(3)
    (tmp_path / "folder.txt").mkdir()
    drop(page, ".drop", tmp_path / "folder.txt")
    expect(chosen.last.locator(".error")).to_contain_text("This is a folder.")
    drop(page, "#text", mimeType="text/plain", data="dropped")
    expect(page.locator("#text")).to_have_value("dropped")
    drop(page, ".drop", mimeType="text/plain", data="a text")
    expect(page.locator("#alert")).to_have_text("Only files can be dropped here.")
    page.click("#submit")
    for name in ("one.txt", "two.txt", "beside.txt"):
        expect_sent(job(page, name))
    drop(page, "header", mimeType="text/uri-list", data="http://127.0.0.1/")
    expect(page.locator("#alert")).to_have_text("Only files can be dropped here.")
    assert [one.url for one in page.context.pages] == [address]


def test_a_link_shows_one_job_to_somebody_else(visit: Callable[..., Visit], person: Person) -> None:
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


def test_a_link_to_nothing_says_so(visit: Callable[..., Visit]) -> None:
    page = visit(f"#{'x' * 22}").page
    expect(page.locator("#job-title")).to_contain_text("There is no such file.")


def test_everything_works_by_keyboard_and_the_focus_is_never_lost(
    page: Page, tmp_path: Path
) -> None:
    tab_to(page, "#file")
    choose(page, [write(tmp_path, "typed.txt", b"first\n")])
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


def test_a_preview_marks_nothing_where_a_script_did_not_append(page: Page, tmp_path: Path) -> None:
    submit(page, [write(tmp_path, "swapped.txt", b"input")], "-text")
    row = job(page, "swapped.txt")
    expect_status(row, "SUCCEEDED")
    headers = {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Expose-Headers": "Content-Range",
        "Content-Range": "bytes 0-9/10",
    }
    page.route(
        re.compile("/output/"),
        lambda route: route.fulfill(status=206, headers=headers, body="-textINPUT"),
    )
    row.locator(".peek").click()
    expect(row.locator(".preview pre")).to_have_text("-textINPUT")
    expect(row.locator(".preview mark")).to_be_empty()


def test_a_removed_job_stays_removed_and_the_others_stay(page: Page, tmp_path: Path) -> None:
    submit(page, [write(tmp_path, name) for name in ("kept.txt", "gone.txt")], "y")
    for name in ("kept.txt", "gone.txt"):
        expect_status(job(page, name), "SUCCEEDED")  # or the reload breaks a question off
    page.get_by_role("button", name="Remove from the list gone.txt").click()
    expect(page.get_by_role("button", name="Remove from the list kept.txt")).to_be_focused()
    page.reload()
    expect(job(page, "kept.txt")).to_be_visible()
    expect(page.locator("li.job")).to_have_count(1)
