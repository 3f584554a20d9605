"""Uploads that take their time, stop half way, fail and come back.

What lasts only for a moment is held: by a line that lets almost nothing through, by a clock that
stands still, by a job that waits for its order to go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.e2e.browsing import (
    Line,
    disturb_once,
    expect_sent,
    expect_status,
    job,
    seen,
    submit,
    watch,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from playwright.sync_api import Page

    from tests.e2e.browsing import Visit

SOME = bytes(2_000_000)
SLOW = 20_000
"""Bytes a second: 100 seconds for some."""

EXPIRED = "<Error><Code>AccessDenied</Code><Message>Invalid: Policy expired.</Message></Error>"


@pytest.fixture
def stopped(visit: Callable[..., Visit]) -> Visit:
    """A visitor whose clock moves only when the test moves it."""
    return visit(stopped=True)


def submit_slowly(page: Page, line: Line, file: Path) -> Any:
    """Send a file over a line that hardly moves; return its row."""
    line.throttle(SLOW)
    submit(page, [file], "y")
    row = job(page, file.name)
    expect_status(row, "uploading")
    expect(row).to_have_attribute("data-id", re.compile("."))
    return row


def test_a_long_upload_shows_how_much_is_sent_how_fast_and_how_long_it_takes(
    stopped: Visit, tmp_path: Path
) -> None:
    page, line = stopped.page, Line(stopped.page)
    row = submit_slowly(page, line, write(tmp_path, "long.txt", SOME))
    expect(row.locator(".meta")).to_have_text(re.compile(r"^1.9 MB · [1-9]\d? % sent$"))
    page.clock.run_for(4000)
    said = re.compile(r"\d % sent · [\d.]+ KB/s · (\d+ min )?\d+ s left$")
    expect(row.locator(".meta")).to_have_text(said)
    expect(row.locator(".stages [aria-current=step]")).to_have_text("Uploading 4 s")
    line.throttle()
    expect_sent(row)


def test_a_cancelled_upload_can_be_sent_after_all(
    visitor: Visit, page: Page, line: Line, tmp_path: Path
) -> None:
    visitor.expect_problem("net::ERR_ABORTED")
    row = submit_slowly(page, line, write(tmp_path, "second thought.txt", SOME))
    row.get_by_role("button", name="Cancel second thought.txt").click()
    expect_status(row, "cancelled")
    expect(row.locator(".meta")).to_contain_text("cancelled")
    expect(row.locator(".retry")).to_be_focused()
    line.throttle()
    page.keyboard.press("Enter")
    expect_sent(row)


def test_leaving_during_an_upload_asks_first_and_then_says_what_was_lost(
    visitor: Visit, page: Page, line: Line, tmp_path: Path
) -> None:
    visitor.expect_problem("net::ERR_ABORTED")
    row = submit_slowly(page, line, write(tmp_path, "half.txt", SOME))
    with page.expect_event("dialog") as asked:
        page.once("dialog", lambda dialog: dialog.dismiss())
        page.evaluate("void setTimeout(() => location.reload())")
    assert asked.value.type == "beforeunload"
    expect_status(row, "uploading")
    page.once("dialog", lambda dialog: dialog.accept())
    page.reload()
    expect_status(row, "error")
    expect(row.locator(".message.error")).to_contain_text("did not finish")
    expect(row.locator(".retry")).to_be_hidden()


def test_offline_is_said_and_the_upload_follows_when_the_network_is_back(
    stopped: Visit, tmp_path: Path
) -> None:
    stopped.expect_problem("net::ERR_INTERNET_DISCONNECTED")
    page, line = stopped.page, Line(stopped.page)
    line.throttle(offline=True)
    submit(page, [write(tmp_path, "train.txt")], "y")
    row = job(page, "train.txt")
    expect(row.locator(".meta")).to_have_text("You are offline. Trying again in 1 s.")
    page.clock.run_for(1000)
    expect(row.locator(".meta")).to_have_text("You are offline. Trying again in 2 s.")
    line.throttle()
    expect_sent(row)  # at once: the clock has not moved


def test_a_lost_connection_is_said_and_the_upload_starts_again_by_itself(
    stopped: Visit, tmp_path: Path
) -> None:
    stopped.expect_problem("net::ERR_CONNECTION_RESET")
    page = stopped.page
    disturb_once(page, lambda route: route.abort("connectionreset"))
    submit(page, [write(tmp_path, "cable.txt")], "y")
    row = job(page, "cable.txt")
    expect(row.locator(".meta")).to_have_text("The connection was lost. Trying again in 1 s.")
    page.clock.run_for(1000)
    expect(page.locator("#status")).to_contain_text("cable.txt: The connection was lost.")
    expect_sent(row)


def test_offline_while_waiting_is_said_and_the_news_come_afterwards(
    visitor: Visit, page: Page, line: Line, order: Path, tmp_path: Path
) -> None:
    visitor.expect_problem("net::ERR_INTERNET_DISCONNECTED")
    submit(page, [write(tmp_path, "tunnel.txt")], str(order))
    expect_status(job(page, "tunnel.txt"), "RUNNING")
    line.throttle(offline=True)
    expect(page.locator("#notice")).to_contain_text("cannot be reached. Trying again.")
    line.throttle()
    expect(page.locator("#notice")).to_have_text("")
    order.rmdir()
    expect_status(job(page, "tunnel.txt"), "SUCCEEDED")


def test_an_expired_form_is_renewed_without_a_word(
    visitor: Visit, page: Page, tmp_path: Path
) -> None:
    visitor.expect_problem("403")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    answer = {"Access-Control-Allow-Origin": "*", "Content-Type": "application/xml"}
    disturb_once(page, lambda route: route.fulfill(status=403, headers=answer, body=EXPIRED))
    watch(page, "#notice:not(:empty), .message:not(:empty)")
    submit(page, [write(tmp_path, "lunch.txt")], "y")
    expect_sent(job(page, "lunch.txt"))
    assert len([url for url in sent if url.endswith("/api/files")]) == 2
    assert seen(page) == []


def test_a_failed_job_says_why_and_can_be_tried_again(
    page: Page, order: Path, tmp_path: Path
) -> None:
    (order / "error").write_text("The <b>printer</b> is out of ink.\n")
    submit(page, [write(tmp_path, "unlucky.txt")], str(order))
    row = job(page, "unlucky.txt")
    expect_status(row, "FAILED")
    said = "the script exited with 1: The <b>printer</b> is out of ink."
    expect(row.locator(".message.error")).to_have_text(said)
    failed = row.get_attribute("data-id")
    (order / "error").unlink()
    order.rmdir()
    row.get_by_role("button", name="Try again unlucky.txt").click()
    expect_status(row, "SUCCEEDED")
    assert row.get_attribute("data-id") != failed
    expect(row.locator(".message")).to_have_text("")
