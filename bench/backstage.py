"""The system from behind its API: records and uploads jobs, and sees what becomes of them."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

import psutil

import jobs
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from local.system import LocalSystem
    from local.vm import Host

PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.02
_READ_AT_ONCE = 100


class Lost(Exception):
    """A job did not succeed, or not in time."""


class Backstage:
    """Uses a running system as the account's root user, so that the API has no part in it."""

    def __init__(self, system: LocalSystem) -> None:
        made = system.deployment.exports
        self.system = system
        self.bucket: str = made["data_bucket"]
        self.table_name: str = made["table"]
        self.queue_url: str = made["queue_url"]
        self.table = jobs.JobTable(system.client("dynamodb"), self.table_name)
        self._s3 = system.client("s3")

    def record(self, text: str) -> jobs.Job:
        """Record a job, as the API does."""
        return self.table.record(
            bucket=self.bucket, file_name="a.txt", input_text=text, retention_days=1
        )

    def put(self, path: str, content: bytes) -> None:
        """Put an object at a ``bucket/key`` path; the input of a job starts the job."""
        bucket, key = jobs.split_path(path)
        self._s3.put_object(Bucket=bucket, Key=key, Body=content)

    def get(self, path: str) -> bytes:
        """Return the object at a ``bucket/key`` path."""
        bucket, key = jobs.split_path(path)
        content: bytes = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def submit(self, content: bytes, text: str) -> str:
        """Record and upload one job; return its id."""
        job = self.record(text)
        self.put(job.input_file_path, content)
        return job.id

    def submit_many(self, count: int, content: bytes, text: str) -> list[str]:
        """Record and upload jobs, some at once; return their ids."""
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(lambda _: self.submit(content, text), range(count)))

    def wait(self, ids: Sequence[str], *, every: float = POLL_SECONDS) -> list[jobs.Job]:
        """Return the jobs as soon as all have succeeded.

        :param every: seconds between two looks, each of which the emulator has to answer.
        :raises Lost: if one fails, or is not done in time.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        done: dict[str, jobs.Job] = {}
        while len(done) < len(ids):
            if time.monotonic() > deadline:
                raise Lost(f"{len(ids) - len(done)} of {len(ids)} jobs are not done")
            waiting = [job_id for job_id in ids if job_id not in done][:_READ_AT_ONCE]
            done.update(_succeeded(self.table.get_many(waiting)))
            time.sleep(every)
        return [done[job_id] for job_id in ids]

    def boot(self) -> psutil.Process:
        """Have a job done, so that a machine is up; return its worker's process."""
        self.wait([self.submit(b"first", "")])
        return worker_process(self.system.host)


def _succeeded(found: Iterable[jobs.Job]) -> dict[str, jobs.Job]:
    finished = {job.id: job for job in found if job.finished}
    for job in finished.values():
        if job.status != jobs.SUCCEEDED:
            raise Lost(f"job {job.id}: {job.error}")
    return finished


def finished_at(job: jobs.Job) -> float:
    """Return when the machine recorded a job's end, in seconds since the epoch."""
    return datetime.fromisoformat(job.finished_at or "").timestamp()


def worker_process(host: Host) -> psutil.Process:
    """Return the worker's process on the one machine that runs."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        found[:] = [one for machine in host.machines() for one in workers(machine.pid)]
        return bool(found)

    wait_until(is_there, seconds=60, what="the start of a worker")
    (only,) = found
    return only


def workers(pid: int) -> list[psutil.Process]:
    """Return the workers below a process. What a job starts is below a worker itself."""
    try:
        below = psutil.Process(pid).children(recursive=True)
        return [one for one in below if one.cmdline()[1:2] and "worker.py" in one.cmdline()[1]]
    except psutil.NoSuchProcess:
        return []


def root_environment(system: LocalSystem, folder: Path) -> dict[str, str]:
    """Return what an ``aws`` command needs to use the emulator as the root user.

    That spares it the metadata service and the emulator the check of a policy.
    """
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_ENDPOINT_URL": system.account.url,
        "AWS_DEFAULT_REGION": system.account.region,
        "AWS_ACCESS_KEY_ID": system.account.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": system.account.credentials.secret_access_key,
    }
