"""Tells in the terminal what happens to each job and each virtual machine.

It learns of changes from the table's stream, and of uploads by listing ``input/`` as
long as there are jobs that wait for theirs.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import jobs
from local.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.account import Account
    from local.vm import Host

_STEP_SECONDS = 0.5
_UPLOAD_SECONDS = jobs.FORM_SECONDS + 600
"""A form lives for five minutes; an upload that began in time may take longer."""

_SHORT = 8
_MAX_CHARACTERS = 60
_ID_CHUNK = 100


class Narrator:
    """Writes one line for each thing that happens.

    :param write: takes a finished line.
    """

    def __init__(
        self,
        account: Account,
        host: Host,
        *,
        table: str,
        bucket: str,
        write: Callable[[str], None],
    ) -> None:
        self._dynamodb = account.client("dynamodb")
        self._streams = account.client("dynamodbstreams")
        self._s3 = account.client("s3")
        self._jobs = jobs.JobTable(self._dynamodb, table)
        self._host = host
        self._bucket = bucket
        self._write = write
        self._iterators = self._open_stream(table)
        self._known: dict[str, jobs.Job] = {}
        self._awaiting_upload: dict[str, float] = {}
        self._machines: set[str] = set()
        self.loop = Loop("the narrator", self.step, _STEP_SECONDS)

    def start(self) -> None:
        """Begin to tell."""
        self.loop.start()

    def stop(self) -> None:
        """Fall silent."""
        self.loop.stop()

    def step(self) -> None:
        """Tell what has happened since the last step."""
        changed = list(dict.fromkeys(self._changed_ids()))
        for start in range(0, len(changed), _ID_CHUNK):
            for job in self._jobs.get_many(changed[start : start + _ID_CHUNK]):
                self._tell_of_job(job)
        self._forget_lost_uploads()
        if self._awaiting_upload:
            self._tell_of_uploads()
        self._tell_of_machines()

    def _open_stream(self, table: str) -> list[str]:
        arn = self._dynamodb.describe_table(TableName=table)["Table"]["LatestStreamArn"]
        shards = self._streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        return [
            self._streams.get_shard_iterator(
                StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for shard in shards
        ]

    def _changed_ids(self) -> Iterator[str]:
        for index, iterator in enumerate(self._iterators):
            answer = self._streams.get_records(ShardIterator=iterator)
            self._iterators[index] = answer["NextShardIterator"]
            for record in answer["Records"]:
                yield record["dynamodb"]["Keys"]["id"]["S"]

    def _tell_of_job(self, job: jobs.Job) -> None:
        before = self._known.get(job.id)
        self._known[job.id] = job
        if before is None:
            self._tell(f"job {_short(job.id)}", "recorded", printable(job.file_name))
            self._awaiting_upload[job.id] = time.monotonic() + _UPLOAD_SECONDS
        if job.status != jobs.PENDING:
            self._tell_of_upload(job.id)
        if before is None or (before.status, before.attempts) != (job.status, job.attempts):
            for what, detail in _news(job, before):
                self._tell(f"job {_short(job.id)}", what, detail)

    def _forget_lost_uploads(self) -> None:
        """Stop looking for uploads whose form must have expired."""
        now = time.monotonic()
        self._awaiting_upload = {
            job_id: until for job_id, until in self._awaiting_upload.items() if until > now
        }

    def _tell_of_uploads(self) -> None:
        pages = self._s3.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=jobs.INPUT_PREFIX):
            for entry in page.get("Contents", []):
                self._tell_of_upload(entry["Key"].split("/")[1])

    def _tell_of_upload(self, job_id: str) -> None:
        if job_id in self._awaiting_upload:
            del self._awaiting_upload[job_id]
            self._tell(f"job {_short(job_id)}", "uploaded", "")

    def _tell_of_machines(self) -> None:
        running = {machine.instance_id for machine in self._host.machines()}
        for instance_id in sorted(running - self._machines):
            self._tell(f"vm  {short_instance(instance_id)}", "launched", "")
        for instance_id in sorted(self._machines - running):
            self._tell(f"vm  {short_instance(instance_id)}", "gone", "")
        self._machines = running

    def _tell(self, who: str, what: str, detail: str) -> None:
        clock = time.strftime("%H:%M:%S")
        self._write(f"{clock}  {who:<14}  {what:<9}  {detail}".rstrip())


def _news(job: jobs.Job, before: jobs.Job | None) -> Iterator[tuple[str, str]]:
    """Yield what to say of a job that has changed, and the detail."""
    if job.attempts > (before.attempts if before else 0):  # it may have ended since
        attempt = f", attempt {job.attempts}" if job.attempts > 1 else ""
        yield "running", f"on {short_instance(job.instance_id or '')}{attempt}"
    if job.status == jobs.SUCCEEDED:
        yield "succeeded", ""
    elif job.status == jobs.FAILED:
        yield "failed", printable(job.error or "")
    elif job.status == jobs.PENDING and before is not None:
        yield "waits", printable(job.error or "for another machine")


def _short(job_id: str) -> str:
    return job_id[:_SHORT]


def short_instance(instance_id: str) -> str:
    """Return the beginning of an instance id."""
    return instance_id[: _SHORT + 2]


def printable(text: str) -> str:
    """Return text that cannot move the cursor, on one line, and not too long."""
    kept = text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in kept
    )
