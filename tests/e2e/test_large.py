"""A large file: its progress is true, it passes, and the worker's memory stays flat."""

from __future__ import annotations

import hashlib
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psutil
from playwright.sync_api import expect

from bench.backstage import workers
from tests.e2e.browsing import expect_sent, expect_status, job, seen, submit, watch

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Page

    from local.system import LocalSystem

MEGABYTE = 1_000_000
MEGABYTES = 200
MEMORY_LIMIT = 150 * MEGABYTE


class Memory:
    """The most memory that any worker process had, in bytes."""

    def __init__(self, system: LocalSystem) -> None:
        self.peak = 0
        self._system = system
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            for machine in self._system.host.machines():
                self._measure(machine.pid)

    def _measure(self, pid: int) -> None:
        for worker in workers(pid):
            with suppress(psutil.NoSuchProcess):
                self.peak = max(self.peak, worker.memory_info().rss)


def make(path: Path) -> Any:
    """Write 200 MB of blocks that all differ; return their digest, ready for more."""
    digest, rest = hashlib.sha256(), os.urandom(MEGABYTE - 8)
    with path.open("wb") as file:
        for number in range(MEGABYTES):
            block = number.to_bytes(8, "big") + rest
            digest.update(block)
            file.write(block)
    return digest


def digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def test_200_megabytes_show_true_progress_and_come_back_whole(
    page: Page, system: LocalSystem, tmp_path: Path
) -> None:
    digest = make(tmp_path / "large.txt")
    watch(page, "progress.sent")
    with Memory(system) as memory:
        submit(page, [tmp_path / "large.txt"], " more")
        row = job(page, "large.txt")
        expect_sent(row)
        expect_status(row, "SUCCEEDED")
    values = seen(page)
    assert values == sorted(values)
    assert len([value for value in values if 0 < value < 1]) >= 3
    assert values[-1] == 1
    assert 20 * MEGABYTE < memory.peak < MEMORY_LIMIT
    row.locator(".peek").click()
    expect(row.locator(".preview mark")).to_have_text(" more")
    with page.expect_download() as download:
        row.locator("a.download").click()
    digest.update(b" more")
    assert digest_of(download.value.path()) == digest.hexdigest()
