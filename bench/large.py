"""Large files: the worker against ``aws s3 cp`` down, append, ``aws s3 cp`` up."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jobs
from bench.backstage import Backstage, finished_at, root_environment
from bench.markdown import table
from bench.part import Goal
from bench.spread import ratios, spread, told
from bench.usage import cpu_seconds, peak_memory
from local.system import LocalSystem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psutil
    from matplotlib.figure import Figure

    from bench.part import Result, Tell

NAME = "large"
TITLE = "Large files"

MEBIBYTE = 2**20
SIZES = {"1 MiB": (1, 6), "100 MiB": (100, 4), "1 GiB": (1024, 3)}
"""Each with its mebibytes and its rounds."""
LARGEST = "1 GiB"

CONFIG = {"addendum:max_instances": 1, "addendum:idle_seconds": 600}
TEXT = "and a line more"
LOOK_SECONDS = 0.2
"""Rarely enough to leave the emulator to the worker."""
SCRIPT = Path(__file__).with_name("bash_append.sh")
MEMORY_GOAL = 150 * MEBIBYTE


def measure(tell: Tell) -> Result:
    """Let both handle the same objects, in turns."""
    tell(0, "starting the system")
    found = {}
    with LocalSystem(config=CONFIG) as system, tempfile.TemporaryDirectory() as folder:
        backstage = Backstage(system)
        worker = backstage.boot()
        done = 0.05
        for name, (mebibytes, rounds) in SIZES.items():
            tell(done, f"{name}, {rounds} rounds")
            found[name] = _size(backstage, worker, Path(folder), mebibytes, rounds)
            done += 0.05 + 0.7 * mebibytes / 1024
    return {"sizes": found}


def _size(
    backstage: Backstage, worker: psutil.Process, folder: Path, mebibytes: int, rounds: int
) -> dict[str, Any]:
    job = Again(backstage, mebibytes, folder)
    measured = [(_ours(job, worker), _theirs(job, backstage.system, folder)) for _ in range(rounds)]
    job.forget()
    return {
        "bytes": mebibytes * MEBIBYTE,
        "ratio": ratios(
            *([one["seconds"] for one in side] for side in zip(*measured, strict=True))
        ),
        "ours": _side([ours for ours, _ in measured]),
        "theirs": _side([theirs for _, theirs in measured]),
    }


class Again:
    """One large input, and the job for it, which can be done again and again."""

    def __init__(self, backstage: Backstage, mebibytes: int, folder: Path) -> None:
        self._backstage = backstage
        self._s3 = backstage.system.client("s3")
        self._dynamodb = backstage.system.client("dynamodb")
        job = backstage.record(TEXT)
        self._key = {"id": {"S": job.id}}
        answer = self._dynamodb.delete_item(
            TableName=backstage.table_name, Key=self._key, ReturnValues="ALL_OLD"
        )
        self._record = answer["Attributes"]
        self.id = job.id
        self.input = job.input_file_path
        self.size = mebibytes * MEBIBYTE
        # Without a record, the worker drops the message that the upload sends.
        self._upload = self._put(folder / "made")

    def _put(self, path: Path) -> jobs.Upload:
        block = os.urandom(MEBIBYTE)
        with path.open("wb") as file:
            for number in range(self.size // MEBIBYTE):
                file.write(number.to_bytes(8, "big") + block[8:])
        bucket, key = jobs.split_path(self.input)
        self._s3.upload_file(str(path), bucket, key)
        path.unlink()
        etag = self._s3.head_object(Bucket=bucket, Key=key)["ETag"].strip('"')
        return jobs.Upload(self.id, bucket, key, etag, self.size)

    def start(self) -> None:
        """Put the record back and announce the upload, as S3 does."""
        backstage = self._backstage
        self._dynamodb.put_item(TableName=backstage.table_name, Item=self._record)
        backstage.system.client("sqs").send_message(
            QueueUrl=backstage.queue_url, MessageBody=jobs.announcement(self._upload)
        )

    def check_and_delete(self, path: str) -> None:
        """Check an output's size and its end, and free the emulator's memory of it."""
        bucket, key = jobs.split_path(path)
        answer = self._s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={self.size - 8}-")
        assert answer["Body"].read()[8:] == TEXT.encode()
        assert answer["ContentRange"].endswith(f"/{self.size + len(TEXT)}")
        self._s3.delete_object(Bucket=bucket, Key=key)

    def forget(self) -> None:
        """Delete the input."""
        bucket, key = jobs.split_path(self.input)
        self._s3.delete_object(Bucket=bucket, Key=key)

    def wait(self) -> jobs.Job:
        """Return the job when it has succeeded."""
        (done,) = self._backstage.wait([self.id], every=LOOK_SECONDS)
        return done


def _ours(job: Again, worker: psutil.Process) -> dict[str, float]:
    _forget_peak(worker.pid)
    before = _used(worker)
    began = time.time()
    job.start()
    done = job.wait()
    after = _used(worker)
    job.check_and_delete(done.output_file_path or "")
    return {
        "seconds": finished_at(done) - began,
        "cpu": after["cpu"] - before["cpu"],
        "written": after["written"] - before["written"],
        "memory": peak_memory(worker.pid),
    }


def _theirs(job: Again, system: LocalSystem, home: Path) -> dict[str, float]:
    target = f"{job.input.partition('/')[0]}/bash-output/{job.id}"
    began = time.monotonic()
    process = subprocess.Popen(
        [str(SCRIPT), f"s3://{job.input}", TEXT, f"s3://{target}"],
        env=root_environment(system, home),
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    job.check_and_delete(target)
    return {
        "seconds": seconds,
        "cpu": usage.ru_utime + usage.ru_stime,
        "written": usage.ru_oublock * 512,
        "memory": usage.ru_maxrss * 1024,
    }


# --- what the kernel knows of a process ----------------------------------------------


def _used(process: psutil.Process) -> dict[str, float]:
    """Return what a process and the children that it waited for have used so far."""
    return {"cpu": cpu_seconds(process), "written": process.io_counters().write_bytes}


def _forget_peak(pid: int) -> None:
    """Set the peak of a process's memory to what it has now.

    https://man7.org/linux/man-pages/man5/proc_pid_clear_refs.5.html
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _side(measured: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    return {name: spread([one[name] for one in measured]) for name in measured[0]}


# --- what is told of it --------------------------------------------------------------


def goals(result: Result) -> list[Goal]:
    """Return what is decided by 1 GiB."""
    found = result["sizes"][LARGEST]
    ratio, memory = found["ratio"], found["ours"]["memory"]["high"]
    copies = _copies(found, "ours")
    return [
        Goal(
            "1 GiB, against `aws s3 cp`",
            "not slower",
            f"{told(ratio)} times its seconds",
            ratio["median"] <= 1,
            "the script copies its input, which costs time where files cannot share blocks",
        ),
        Goal(
            "the same: the worker's memory",
            "< 150 MB",
            f"{memory / 1e6:.0f} MB",
            memory < MEMORY_GOAL,
        ),
        Goal(
            "the same: written to disk",
            "input, output, at most one copy",
            f"{copies:.2f} times the file",
            copies < 3.05,
        ),
    ]


def _copies(found: Mapping[str, Any], side: str) -> float:
    return float(found[side]["written"]["high"] / found["bytes"])


def rows(result: Result) -> list[list[str]]:
    """Return the comparison."""
    heading = ["", "aws s3 cp", "Addendum", "Addendum / aws s3 cp", "memory", "written / file"]
    return [heading, *(_row(name, result["sizes"][name]) for name in SIZES)]


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    ours, theirs = found["ours"], found["theirs"]
    megabytes = [f"{side['memory']['high'] / 1e6:.0f}" for side in (theirs, ours)]
    return [
        name,
        told(theirs["seconds"], " s"),
        told(ours["seconds"], " s"),
        told(found["ratio"]),
        f"{' / '.join(megabytes)} MB",
        f"{_copies(found, 'theirs'):.1f} / {_copies(found, 'ours'):.1f}",
    ]


def section(result: Result) -> str:
    """Return what the figures say."""
    found = result["sizes"][LARGEST]
    cpu = [found[side]["cpu"]["median"] for side in ("ours", "theirs")]
    return f"""\
The same object again and again through the worker and through
[three lines of bash](../bench/bash_append.sh): `aws s3 cp` down, append, `aws s3 cp` up, in turns.
The worker's seconds begin with the message and end with the record's `finished_at`, so they hold
the claim, the script as a process and the record, which the bash lines are spared; they hold no
start of Python. Memory and bytes written are the kernel's figures for the process
(`VmHWM`, `write_bytes`; `ru_maxrss`, `ru_oublock`), the script's included.

{table(rows(result))}

Both move parts of 8 MiB, 10 at once. With 4 the worker was as quick on a quiet machine and slower
on a busy one, for the same memory. That stays flat whatever the size: what waits to be written
is a queue of 64 pieces of 256 KiB. For the largest file the worker uses
{cpu[0]:.1f} s of CPU and `aws` {cpu[1]:.1f} s; what is left of the seconds is the emulator, one
process that takes in each part, checks its signature, and joins them.

The worker writes the input and the output, nothing else: the script's copy is the output. `aws`
writes one file and appends to it in place. Where the file system can share blocks, as XFS does on
Amazon Linux 2023, the script's `cp --reflink` writes nothing either; here it copies.
"""


def figures(result: Result) -> dict[str, Figure]:
    """Return seconds by size."""
    from bench.plots import COLOURS, MARKERS, figure

    made, axes = figure(height=2.6)
    sizes = list(SIZES)
    for number, side, label in ((0, "theirs", "aws s3 cp"), (1, "ours", "Addendum")):
        seconds = [result["sizes"][size][side]["seconds"]["median"] for size in sizes]
        axes.plot(sizes, seconds, color=COLOURS[number], marker=MARKERS[number], label=label)
    axes.set_yscale("log")
    axes.set_ylabel("seconds for a file")
    axes.legend()
    return {"large": made}
