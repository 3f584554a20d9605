"""Uploads at once, from an HTTP client to what ``make run`` starts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psutil
import urllib3

import jobs
from bench import ROOT
from bench.markdown import table
from bench.part import Goal
from bench.spread import percentile
from bench.usage import cpu_seconds
from local.child import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.figure import Figure

    from bench.part import Result, Tell

NAME = "end_to_end"
TITLE = "From end to end"

ALONE = 20
BURSTS = (50, 500)
THREADS = 16
"""Uploads that the client has under way at once."""
POLL_SECONDS = 0.5
PATIENCE_SECONDS = 150

_PARTS = {
    "ministack": "the emulator",
    "worker.py": "the machines",
    "chalice": "the API",
    "local": "the rest",
}
"""Whose CPU it is, by a word of the command line; the first that fits."""


@dataclass(frozen=True)
class Sent:
    """One upload: what must come of it, and when it was complete (epoch seconds)."""

    id: str
    content: bytes
    uploaded_at: float


class Client:
    """Somebody with many files. Speaks HTTP to the system and knows nothing else of it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = urllib3.PoolManager(maxsize=THREADS, timeout=60, retries=False)

    def send(self, number: int) -> Sent:
        """Record and upload one file of about a kilobyte."""
        text = f"text {number}"
        content = b"line of file %d\n" % number * 60
        body = {"file_name": "a.txt", "input_text": text, "file_size": len(content)}
        answer = self._http.request("POST", f"{self._url}/api/files", json=body)
        assert answer.status == 201, answer.data
        recorded = answer.json()
        form = recorded["upload"]
        fields = {**form["fields"], "file": ("a.txt", content)}
        uploaded = self._http.request("POST", form["url"], fields=fields)
        assert uploaded.status == 204, uploaded.data
        return Sent(recorded["id"], content + text.encode(), time.time())

    def look(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Ask for some files, as the page does."""
        answer = self._http.request("GET", f"{self._url}/api/files?ids={','.join(ids)}")
        assert answer.status == 200, answer.data
        found: list[dict[str, Any]] = answer.json()["files"]
        return found

    def download(self, url: str) -> bytes:
        """Follow a download link."""
        return self._http.request("GET", url).data


def measure(tell: Tell) -> Result:
    """One file on a system at rest, some alone, then many at once."""
    tell(0, "make run")
    with _running() as (url, pid):
        client = Client(url)
        tell(0.1, "the first file, which boots a machine")
        first = _batch(client, 1, pid)
        tell(0.15, f"{ALONE} files, one after the other")
        alone = [_batch(client, 1, pid) for _ in range(ALONE)]
        bursts = {}
        for count in BURSTS:
            tell(0.2, f"{count} files at once")
            bursts[str(count)] = _told(_batch(client, count, pid))
    return {"first": _told(first), "alone": _told(_together(alone)), "bursts": bursts}


@contextlib.contextmanager
def _running() -> Iterator[tuple[str, int]]:
    """Run the system as ``make run`` does; yield its address and its process id."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "local"],
        cwd=ROOT,
        env={**os.environ, "PORT": str(port)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        ready = any(line.startswith("Ready") for line in process.stdout)
        assert ready, "the system did not start"
        # The narrator would wait for a reader.
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(60)


@dataclass(frozen=True)
class Batch:
    """Some files, how long each took, and what went wrong."""

    seconds: list[float]
    whole: float
    """From the first request to the last result."""
    uploading: float
    lost: int
    wrong: int
    cpu: dict[str, float]


def _batch(client: Client, count: int, pid: int) -> Batch:
    before, began = _cpu_seconds(pid), time.time()
    with ThreadPoolExecutor(THREADS) as pool:
        sent = list(pool.map(client.send, range(count)))
        uploading = time.time() - began
        found = _wait(client, [one.id for one in sent])
        cpu = _cpu_seconds(pid)
        pairs = [(one, found[one.id]) for one in sent if _succeeded(found.get(one.id))]
        right = list(pool.map(lambda pair: _is_right(client, *pair), pairs))
    finished = [(one, _epoch(shown["finished_at"])) for one, shown in pairs]
    return Batch(
        seconds=[at - one.uploaded_at for one, at in finished],
        whole=max((at for _, at in finished), default=began) - began,
        uploading=uploading,
        lost=count - len(pairs),
        wrong=right.count(False),
        cpu={name: round(cpu[name] - before.get(name, 0), 2) for name in cpu},
    )


def _wait(client: Client, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Ask until all are finished or patience ends; return those that are, by id."""
    finished: dict[str, dict[str, Any]] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(finished) < len(ids) and time.monotonic() < deadline:
        waiting = [job_id for job_id in ids if job_id not in finished][: jobs.MAX_IDS]
        shown = client.look(waiting)
        done = [one for one in shown if one["status"] in (jobs.SUCCEEDED, jobs.FAILED)]
        finished.update({one["id"]: one for one in done})
        if len(done) < len(waiting):
            time.sleep(POLL_SECONDS)
    return finished


def _succeeded(shown: dict[str, Any] | None) -> bool:
    return shown is not None and shown["status"] == jobs.SUCCEEDED


def _is_right(client: Client, sent: Sent, shown: dict[str, Any]) -> bool:
    return client.download(shown["download_url"]) == sent.content


def _epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def _cpu_seconds(pid: int) -> dict[str, float]:
    """Return the CPU seconds of the system's living processes, by part."""
    found = dict.fromkeys(_PARTS.values(), 0.0)
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            name = next((part for word, part in _PARTS.items() if word in command), "the rest")
            found[name] += cpu_seconds(process)
    return found


def _together(batches: Sequence[Batch]) -> Batch:
    return Batch(
        seconds=[seconds for one in batches for seconds in one.seconds],
        whole=sum(one.whole for one in batches),
        uploading=sum(one.uploading for one in batches),
        lost=sum(one.lost for one in batches),
        wrong=sum(one.wrong for one in batches),
        cpu={name: sum(one.cpu[name] for one in batches) for name in batches[0].cpu},
    )


def _told(batch: Batch) -> dict[str, Any]:
    ordered = batch.seconds or [0.0]
    return {
        "files": len(batch.seconds) + batch.lost,
        "p50": percentile(ordered, 0.5),
        "p99": percentile(ordered, 0.99),
        "whole": round(batch.whole, 2),
        "uploading": round(batch.uploading, 2),
        "lost": batch.lost,
        "wrong": batch.wrong,
        "cpu": {name: round(seconds, 2) for name, seconds in batch.cpu.items()},
        "shares": [percentile(ordered, share / 20) for share in range(21)],
    }


# --- what is told of it --------------------------------------------------------------


def _scenes(result: Result) -> dict[str, dict[str, Any]]:
    bursts = {f"{count} at once": result["bursts"][str(count)] for count in BURSTS}
    return {
        "the first, with no machine": result["first"],
        "one alone": result["alone"],
        **bursts,
    }


def goals(result: Result) -> list[Goal]:
    """Return what is decided by the whole system."""
    scenes = _scenes(result).values()
    files, lost, wrong = (sum(one[name] for one in scenes) for name in ("files", "lost", "wrong"))
    p50 = result["alone"]["p50"]
    return [
        Goal(
            "`make run`, uploads at once: lost, or with a wrong byte",
            "none",
            f"{lost + wrong} of {files}",
            lost + wrong == 0,
        ),
        Goal(
            "`make run`, p50 from upload to SUCCEEDED with a machine up",
            "≤ 0.5 s",
            f"{p50:.2f} s",
            p50 <= 0.5,
        ),
    ]


def rows(result: Result) -> list[list[str]]:
    """Return what came of each scene."""
    heading = ["files", "p50", "p99", "all uploaded after", "all done after", "lost", "wrong"]
    return [heading, *(_row(name, one) for name, one in _scenes(result).items())]


def _row(name: str, found: dict[str, Any]) -> list[str]:
    alone = "at once" not in name
    whole = [f"{found[moment]:.1f} s" for moment in ("uploading", "whole")]
    return [
        name,
        f"{found['p50']:.2f} s",
        f"{found['p99']:.2f} s",
        *(["", ""] if alone else whole),
        str(found["lost"]),
        str(found["wrong"]),
    ]


def section(result: Result) -> str:
    """Return what the figures say."""
    most = result["bursts"][str(BURSTS[-1])]
    cpu = [["where", "CPU milliseconds for a file"]]
    cpu += [[name, f"{1000 * spent / most['files']:.0f}"] for name, spent in most["cpu"].items()]
    rate = most["files"] / most["whole"]
    return f"""\
`python -m local`, as `make run` starts it, with the defaults: two machines, 10 waiting jobs for
each more. A client with {THREADS} connections records each file, posts it with the form it was
given, asks for the statuses as the page does, and at the end downloads every result and compares
its bytes. Seconds are those from S3's answer to the upload, by the client's clock, to the record's
`finished_at`, by the machine's: here both are the same clock, and polling adds nothing.

{table(rows(result))}

The first file waits for a machine to boot, which takes EC2 10 to 30 s longer. Among many at once a
file waits for those before it: {most["files"]} files go through at {rate:.0f} a second, from the
first request to the last result. What bounds them is this machine's cores, which do all of this
for each file:

{table(cpu)}
"""


def figures(result: Result) -> dict[str, Figure]:
    """Return which share of the files was done after how long."""
    from bench.plots import COLOURS, figure

    made, axes = figure(height=2.6)
    scenes = {name: one for name, one in _scenes(result).items() if one["files"] > 1}
    for (name, found), colour in zip(scenes.items(), COLOURS, strict=False):
        shares = [5 * step for step in range(len(found["shares"]))]
        axes.plot(found["shares"], shares, color=colour, label=name)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("seconds from the end of the upload to SUCCEEDED")
    axes.set_ylabel("% of the files")
    axes.legend()
    return {"end-to-end": made}
