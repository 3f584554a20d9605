"""Uploads that take their time, stop half way, fail and come back."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

import jobs
from tests.e2e import test_page
from tests.e2e.test_page import expect_sent, expect_status, job, submit, write

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import CDPSession, Page

    from local.system import LocalSystem

browser, visit, visitor = test_page.browser, test_page.visit, test_page.visitor

SOME = bytes(2_000_000)
EXPIRED = "<Error><Code>AccessDenied</Code><Message>Invalid: Policy expired.</Message></Error>"
STORAGE = re.compile(r"^http://[^/]+/[^/]+/?$")
"""Where forms are posted: a bucket's own address."""


@pytest.fixture
def page(visitor: test_page.Visit) -> Page:
    """A fresh visitor's page."""
    return visitor.page


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


@pytest.fixture
def line(page: Page) -> Line:
    """The visitor's line."""
    return Line(page)


def submit_slowly(page: Page, line: Line, file: Path) -> Any:
    """Send a file over a line that takes 20 seconds for 2 MB; return its row."""
    line.throttle(100_000)
    submit(page, [file], "y")
    row = job(page, file.name)
    expect_status(row, "uploading")
    expect(row).to_have_attribute("data-id", re.compile("."))
    return row


def progress(row: Any) -> float:
    value: float = row.locator("progress.sent").evaluate("bar => bar.value")
    return value


def test_a_large_file_shows_how_much_is_sent_how_fast_and_how_long_it_takes(
    page: Page, line: Line, tmp_path: Path
) -> None:
    line.throttle(1_500_000)
    submit(page, [write(tmp_path, "large.txt", bytes(7_500_000))], "end")
    row = job(page, "large.txt")
    expect_status(row, "uploading")
    seen, said = [0.0], ""
    while row.get_attribute("data-status") == "uploading":
        seen.append(progress(row))
        said += row.locator(".meta").inner_text()
    assert seen == sorted(seen)
    assert len({value for value in seen if 0 < value < 1}) >= 3
    assert re.search(r"\d % sent · [\d.]+ MB/s · \d+ s left", said)
    line.throttle()
    expect_sent(row)
    assert row.locator(".stages .time").first.inner_text() != ""


def test_a_cancelled_upload_can_be_sent_after_all(
    visitor: test_page.Visit, page: Page, line: Line, tmp_path: Path
) -> None:
    visitor.expect_problem("net::ERR_ABORTED")
    row = submit_slowly(page, line, write(tmp_path, "second thought.txt", SOME))
    row.get_by_role("button", name="Cancel second thought.txt").click()
    expect_status(row, "cancelled")
    expect(row.locator(".message")).to_have_text("You cancelled this upload.")
    expect(row.locator(".retry")).to_be_focused()
    line.throttle()
    page.keyboard.press("Enter")
    expect_sent(row)


def test_leaving_during_an_upload_asks_first_and_then_says_what_was_lost(
    visitor: test_page.Visit, page: Page, line: Line, tmp_path: Path
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


def test_offline_for_some_seconds_is_said_and_the_upload_follows_by_itself(
    visitor: test_page.Visit, page: Page, line: Line, tmp_path: Path
) -> None:
    visitor.expect_problem("net::ERR_INTERNET_DISCONNECTED")
    line.throttle(offline=True)
    submit(page, [write(tmp_path, "train.txt", b"x")], "y")
    row = job(page, "train.txt")
    for seconds in (1, 2):
        expect(row.locator(".meta")).to_have_text(f"You are offline. Trying again in {seconds} s.")
    line.throttle()
    expect_sent(row)


def test_a_lost_connection_is_said_and_the_upload_starts_again_by_itself(
    visitor: test_page.Visit, page: Page, tmp_path: Path
) -> None:
    visitor.expect_problem("net::ERR_CONNECTION_RESET")
    page.route(STORAGE, lambda route: route.abort("connectionreset"), times=1)
    submit(page, [write(tmp_path, "cable.txt", b"x")], "y")
    row = job(page, "cable.txt")
    expect(row.locator(".meta")).to_have_text("The connection was lost. Trying again in 1 s.")
    expect(page.locator("#status")).to_contain_text("cable.txt: The connection was lost.")
    expect_sent(row)


def test_offline_while_waiting_is_said_and_the_news_come_afterwards(
    visitor: test_page.Visit, page: Page, line: Line, tmp_path: Path
) -> None:
    visitor.expect_problem("net::ERR_INTERNET_DISCONNECTED")
    submit(page, [write(tmp_path, "tunnel.txt", b"x")], "y")
    expect(job(page, "tunnel.txt")).to_have_attribute("data-status", re.compile("PENDING|RUNNING"))
    line.throttle(offline=True)
    expect(page.locator("#notice")).to_contain_text("cannot be reached. Trying again.")
    line.throttle()
    expect_status(job(page, "tunnel.txt"), "SUCCEEDED")
    expect(page.locator("#notice")).to_have_text("")


def test_an_expired_form_is_renewed_without_a_word(
    visitor: test_page.Visit, page: Page, tmp_path: Path
) -> None:
    visitor.expect_problem("403")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    answer = {"Access-Control-Allow-Origin": "*", "Content-Type": "application/xml"}
    page.route(
        STORAGE, lambda route: route.fulfill(status=403, headers=answer, body=EXPIRED), times=1
    )
    submit(page, [write(tmp_path, "lunch.txt", b"x")], "y")
    expect_sent(job(page, "lunch.txt"))
    assert len([url for url in sent if url.endswith("/api/files")]) == 2
    expect(page.locator("#notice")).to_have_text("")
    expect(job(page, "lunch.txt").locator(".message")).to_be_hidden()


def test_a_failed_job_shows_its_reason_and_can_be_tried_again(
    page: Page, line: Line, system: LocalSystem, tmp_path: Path
) -> None:
    row = submit_slowly(page, line, write(tmp_path, "unlucky.txt", SOME))
    table = jobs.JobTable(system.client("dynamodb"), system.deployment.exports["table"])
    failed = row.get_attribute("data-id") or ""
    table.fail_dead_letter(failed, message_id="none", error="<b>The disk</b> is full")
    line.throttle()
    expect_status(row, "FAILED")
    expect(row.locator(".message.error")).to_have_text("<b>The disk</b> is full")
    row.get_by_role("button", name="Try again unlucky.txt").click()
    expect_sent(row)
    assert row.get_attribute("data-id") != failed
    expect(row.locator(".message")).to_be_hidden()
