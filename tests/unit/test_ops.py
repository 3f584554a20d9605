"""The operator's tool, as it is typed."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest

import jobs
import ops
from tests.conftest import BUCKET, TABLE


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


def test_names_come_from_the_stack_that_pulumi_has_selected(
    queue_url: str, table: jobs.JobTable, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    outputs = json.dumps({"table": TABLE, "queue_url": queue_url})
    pulumi = tmp_path / "pulumi"
    pulumi.write_text(f"#!/bin/sh\necho '{outputs}'\n")
    pulumi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(jobs.Env.TABLE)
    assert ops.main(["list"]) == 0
