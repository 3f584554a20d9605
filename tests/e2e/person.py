"""A person with files, as the system sees one: HTTP to the front, a form POST to S3, patience."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

FINAL = ("SUCCEEDED", "FAILED")
PATIENCE_SECONDS = 90.0
PAUSE_SECONDS = 0.25
"""Between two looks: each costs the system work that it then has no time for."""


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Return the condition's first true value; fail after ``seconds``."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(PAUSE_SECONDS)


@dataclass(frozen=True)
class Person:
    """Uses the system at ``url`` and knows nothing else of it."""

    url: str

    def record(self, text: str = " more", name: str = "a.txt", **more: Any) -> Any:
        """Record a file; return the API's answer."""
        body = {"file_name": name, "input_text": text, **more}
        return requests.post(f"{self.url}/api/files", json=body, timeout=30)

    def upload(self, form: dict[str, Any], content: bytes, **changes: str) -> Any:
        """Post the form with a file, as a browser does; return S3's answer."""
        return requests.post(
            form["url"],
            data={**form["fields"], **changes},
            files={"file": ("whatever", content)},
            timeout=60,
        )

    def submit(self, content: bytes, text: str = " more", name: str = "a.txt") -> str:
        """Record and upload; return the id."""
        answer = self.record(text, name, file_size=len(content))
        assert answer.status_code == 201, answer.text
        uploaded = self.upload(answer.json()["upload"], content)
        assert uploaded.status_code == 204, uploaded.text
        job_id: str = answer.json()["id"]
        return job_id

    def look(self, job_id: str) -> dict[str, Any]:
        """Return what the API shows of a file."""
        answer = requests.get(f"{self.url}/api/files/{job_id}", timeout=30)
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def wait(self, job_id: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """Return the file once it is finished."""

        def finished() -> dict[str, Any] | None:
            shown = self.look(job_id)
            return shown if shown["status"] in FINAL else None

        done: dict[str, Any] = until(finished, f"{job_id} to finish", seconds)
        return done

    def wait_for_all(self, ids: Iterable[str], seconds: float = PATIENCE_SECONDS) -> list[Any]:
        """Return the files once all are finished."""
        return [self.wait(job_id, seconds) for job_id in ids]

    def download(self, shown: dict[str, Any]) -> Any:
        """Follow the download link of a finished file."""
        assert shown["status"] == "SUCCEEDED", shown
        return requests.get(shown["download_url"], timeout=60)
