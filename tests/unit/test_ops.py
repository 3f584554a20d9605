"""The operator's tool, as it is typed."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest

import jobs
import ops
from tests.conftest import BUCKET, TABLE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def queue_url(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    url: str = boto3.client("sqs").create_queue(QueueName="work")["QueueUrl"]
    boto3.client("s3").create_bucket(
        Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
    )
    monkeypatch.setenv(jobs.Env.TABLE, TABLE)
    monkeypatch.setenv(jobs.Env.QUEUE_URL, url)
    return url


def failed(
    table: jobs.JobTable, *, with_input: bool = True, error: str = "the disk was full"
) -> jobs.Job:
    job = table.record(bucket=BUCKET, file_name="ä\n.txt", input_text="", retention_days=1)
    bucket, key = jobs.split_path(job.input_file_path)
    if with_input:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"hello")
    upload = jobs.Upload(job.id, bucket, key, etag="e", size=5)
    table.fail(table.claim(upload, message_id="m", instance_id="i"), error=error)
    return job


def messages(queue_url: str) -> list[str]:
    answer = boto3.client("sqs").receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10)
    return [message["Body"] for message in answer.get("Messages", [])]


def test_the_list_shows_what_is_not_done_and_why(
    queue_url: str, table: jobs.JobTable, capsys: pytest.CaptureFixture[str]
) -> None:
    job = failed(table)
    assert ops.main(["list"]) == 0
    printed = capsys.readouterr().out
    assert job.id in printed
    assert "FAILED" in printed
    assert "the disk was full" in printed
    assert "'ä\\n.txt'" in printed
    assert "1 jobs are not done" in printed


def test_what_a_script_quotes_of_its_input_cannot_move_the_cursor(
    queue_url: str, table: jobs.JobTable, capsys: pytest.CaptureFixture[str]
) -> None:
    failed(table, error="naïve 文件:\n\x1b[2J\u202e")
    assert ops.main(["list"]) == 0
    assert "'naïve 文件:\\n\\x1b[2J\\u202e'\n" in capsys.readouterr().out


@pytest.mark.parametrize("all_failed", [True, False])
def test_a_requeued_job_waits_with_a_message_that_announces_its_upload(
    queue_url: str, table: jobs.JobTable, all_failed: bool
) -> None:
    job = failed(table)
    assert ops.main(["requeue", "--failed" if all_failed else job.id]) == 0
    (body,) = messages(queue_url)
    upload = jobs.parse_message(body)
    assert (upload.id, upload.size) == (job.id, 5)
    assert table.get(job.id).status == jobs.PENDING


def test_what_cannot_be_requeued_is_named_and_holds_up_no_other(
    queue_url: str, table: jobs.JobTable, capsys: pytest.CaptureFixture[str]
) -> None:
    lost, fine = failed(table, with_input=False), failed(table)
    assert ops.main(["requeue", "unknown", lost.id, fine.id]) == 1
    problems = capsys.readouterr().err
    assert "no job has the id 'unknown'" in problems
    assert f"{lost.id}: its input cannot be read" in problems
    assert len(messages(queue_url)) == 1
    assert table.get(lost.id).status == jobs.FAILED


@pytest.mark.parametrize("words", [[], ["requeue"], ["requeue", "x", "--failed"], ["nonsense"]])
def test_a_command_that_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        ops.main(words)


def test_without_a_stack_the_tool_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(jobs.Env.TABLE, raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    assert ops.main(["list"]) == 1
    assert jobs.Env.TABLE in capsys.readouterr().err


def select(outputs: dict[str, str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Have a ``pulumi`` on the PATH that has selected a stack with these outputs."""
    pulumi = folder / "pulumi"
    pulumi.write_text(f"#!/bin/sh\necho '{json.dumps(outputs)}'\n")
    pulumi.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv(jobs.Env.TABLE, raising=False)


def test_names_come_from_the_stack_that_pulumi_has_selected(
    queue_url: str, table: jobs.JobTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    select({"table": TABLE, "queue_url": queue_url}, monkeypatch, tmp_path)
    assert ops.main(["list"]) == 0


def test_a_stack_that_was_never_deployed_is_one_clear_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    select({}, monkeypatch, tmp_path)
    assert ops.main(["list"]) == 1
    assert "has no output 'table': deploy it with pulumi up" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (jobs.Env.TABLE, TABLE, "must specify a region"),
        ("AWS_PROFILE", "nobody", "(nobody) could not be found"),
    ],
)
def test_what_aws_refuses_is_one_clear_message(
    queue_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
    words: str,
) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv(name, value)
    assert ops.main(["list"]) == 1
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1


def test_a_table_that_is_not_there_is_one_clear_message(
    queue_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(jobs.Env.TABLE, "AnotherTable")
    assert ops.main(["list"]) == 1
    assert "ResourceNotFoundException" in capsys.readouterr().err


def test_a_job_that_could_not_be_announced_is_named(
    queue_url: str,
    table: jobs.JobTable,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = failed(table)
    monkeypatch.setenv(jobs.Env.QUEUE_URL, queue_url + "-gone")
    assert ops.main(["requeue", "--failed"]) == 1
    assert f"{job.id}: perhaps it was not announced" in capsys.readouterr().err


def test_a_job_named_twice_is_announced_once(queue_url: str, table: jobs.JobTable) -> None:
    job = failed(table)
    assert ops.main(["requeue", job.id, job.id]) == 0
    assert len(messages(queue_url)) == 1


def test_a_reader_that_has_seen_enough_is_no_error(
    queue_url: str, table: jobs.JobTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert ops.main(["list"]) == 1
