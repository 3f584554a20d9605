"""The operator's tool: see the jobs that wait or failed, and send them round again.

    .venv/bin/python ops.py list                 every job that is not done, the oldest first
    .venv/bin/python ops.py requeue ID [ID ...]  these jobs once more, with all their tries
    .venv/bin/python ops.py requeue --failed     all that failed

It reads table and queue from ``pulumi stack output``, or from ADDENDUM_TABLE and
ADDENDUM_QUEUE_URL, and uses your own AWS credentials.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

import jobs

if TYPE_CHECKING:
    from collections.abc import Sequence


class OperationFailed(Exception):
    """What was asked for could not be done. The message says why."""


@dataclass(frozen=True)
class Target:
    """The stack to operate on."""

    table: jobs.JobTable
    queue_url: str
    sqs: Any
    s3: Any


def find_target() -> Target:
    """Return the stack named by the environment, or else the one Pulumi has selected.

    :raises OperationFailed: if neither names one.
    """
    table, queue_url = os.environ.get(jobs.Env.TABLE), os.environ.get(jobs.Env.QUEUE_URL)
    if not table or not queue_url:
        table, queue_url = _stack_outputs()
    return Target(
        table=jobs.JobTable(boto3.client("dynamodb"), table),
        queue_url=queue_url,
        sqs=boto3.client("sqs"),
        s3=boto3.client("s3"),
    )


def _stack_outputs() -> tuple[str, str]:
    try:
        done = subprocess.run(
            ["pulumi", "stack", "output", "--json"], check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise OperationFailed(
            f"no stack is named: set {jobs.Env.TABLE} and {jobs.Env.QUEUE_URL}, or install pulumi"
        ) from None
    except subprocess.CalledProcessError as error:
        raise OperationFailed(f"pulumi names no stack: {error.stderr.strip()}") from None
    outputs = json.loads(done.stdout)
    try:
        return str(outputs["table"]), str(outputs["queue_url"])
    except KeyError as missing:
        raise OperationFailed(
            f"the stack that pulumi has selected has no output {missing}: deploy it with pulumi up,"
            " or choose another with pulumi stack select"
        ) from None


def list_jobs(target: Target) -> None:
    """Print every job that is not done."""
    found = sorted(target.table.scan_unfinished_and_failed(), key=lambda job: job.created_at)
    for job in found:
        name = repr(job.file_name)  # what moves a terminal's cursor is escaped, here and below
        print(f"{job.created_at}  {job.id}  {job.status:7}  {job.attempts} tries  {name}")
        if job.error:
            print(f"    {job.error!r}")
    print(f"{len(found)} jobs are not done")


def requeue(target: Target, job: jobs.Job) -> None:
    """Make a job PENDING and announce its upload once more.

    Interrupted in between, the job waits without a message: do it again.

    :raises OperationFailed: if there is nothing to work on, or nothing to do.
    """
    bucket, key = jobs.split_path(job.input_file_path)
    try:
        head = target.s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        raise OperationFailed(f"{job.id}: its input cannot be read: {error}") from error
    try:
        target.table.requeue(job.id)
    except jobs.Duplicate as error:
        raise OperationFailed(str(error)) from error
    upload = jobs.Upload(job.id, bucket, key, head["ETag"].strip('"'), head["ContentLength"])
    target.sqs.send_message(QueueUrl=target.queue_url, MessageBody=jobs.announcement(upload))
    print(f"{job.id}  {job.file_name!r}  waits for a machine")


def requeue_all(target: Target, ids: Sequence[str], *, failed: bool) -> None:
    """Requeue the named jobs, or all failed ones.

    :raises OperationFailed: after all others are done, for those that could not be.
    """
    ids = list(dict.fromkeys(ids))  # named twice, a job is still to be announced once
    if failed:
        found = [
            job for job in target.table.scan_unfinished_and_failed() if job.status == jobs.FAILED
        ]
    else:
        found = [job for job_id in ids for job in target.table.get_many([job_id])]
    known = {job.id for job in found}
    problems = [f"no job has the id {job_id!r}" for job_id in ids if job_id not in known]
    for job in found:
        try:
            requeue(target, job)
        except OperationFailed as problem:
            problems.append(str(problem))
        except (BotoCoreError, ClientError) as error:
            problems.append(f"{job.id}: perhaps it was not announced, requeue it again: {error}")
    if problems:
        raise OperationFailed("\n".join(problems))


def main(arguments: Sequence[str]) -> int:
    """Run one command; return the exit code."""
    for stream in (sys.stdout, sys.stderr):  # a name may have letters that a terminal has not
        stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
    options = _parse(arguments)
    try:
        _run(options)
    except OperationFailed as problem:
        print(problem, file=sys.stderr)
        return 1
    except (BotoCoreError, ClientError) as error:
        print(
            f"AWS was not reached, or refused: {error} (name the stack's account and region"
            " in AWS_PROFILE and AWS_DEFAULT_REGION)",
            file=sys.stderr,
        )
        return 1
    except BrokenPipeError:
        # Whoever read has seen enough. Python would complain about what is left at its end:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    again = commands.add_parser("requeue")
    again.add_argument("ids", nargs="*", metavar="ID")
    again.add_argument("--failed", action="store_true")
    options = parser.parse_args(arguments)
    if options.command == "requeue" and bool(options.ids) == options.failed:
        parser.error("name either jobs to requeue, or --failed")
    return options


def _run(options: argparse.Namespace) -> None:
    target = find_target()
    if options.command == "list":
        list_jobs(target)
    else:
        requeue_all(target, options.ids, failed=options.failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
