"""The worker's loop with real threads, real scripts, and AWS inside the process."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from dataclasses import replace
from http.client import BadStatusLine
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
import script
import worker
from botocore.exceptions import ClientError
from machine import Metadata, Stop
from workqueue import Message, WorkQueue

import jobs
from tests.conftest import BUCKET, ROOT, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable

SCRIPT_KEY = "scripts/script-1"


class FakeMetadata(Metadata):
    """A machine that is called i-1, and goes when told."""

    near = False

    def instance_id(self) -> str:
        return "i-1"

    def interruption_is_near(self) -> bool:
        return self.near


class World:
    """A bucket, a queue, a table, and one worker on them."""

    def __init__(self, table: jobs.JobTable, root: Path) -> None:
        self.table = table
        self.s3 = boto3.client("s3")
        self.sqs = boto3.client("sqs")
        self.s3.create_bucket(
            Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        attributes = {"VisibilityTimeout": "60"}
        self.queue_url = self.sqs.create_queue(QueueName="work", Attributes=attributes)["QueueUrl"]
        self.use_script((ROOT / "ec2_userdata" / "append.sh").read_text())
        self.metadata = FakeMetadata()
        self.stop = Stop()
        self.settings = worker.Settings(
            stack="addendum-dev",
            table=TABLE,
            bucket=BUCKET,
            queue_url=self.queue_url,
            script_key=SCRIPT_KEY,
            root=root,
            fresh_vm_per_job=False,
            job_timeout=20,
            first_wait_seconds=60,
            idle_seconds=1,
            visibility_timeout=60,
            take_until=time.time() + 100,
        )

    def use_script(self, text: str) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=SCRIPT_KEY, Body=text.encode())

    def record(self, text: str = " more", name: str = "a.txt") -> jobs.Job:
        return self.table.record(bucket=BUCKET, file_name=name, input_text=text, retention_days=1)

    def upload(self, job: jobs.Job, content: bytes = b"input") -> None:
        bucket, key = jobs.split_path(job.input_file_path)
        self.s3.put_object(Bucket=bucket, Key=key, Body=content)
        self.announce(job, content)

    def announce(self, job: jobs.Job, content: bytes = b"input") -> None:
        bucket, key = jobs.split_path(job.input_file_path)
        etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self.send(jobs.announcement(jobs.Upload(job.id, bucket, key, etag, len(content))))

    def send(self, body: str) -> None:
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body)

    def work(self) -> None:
        worker.Worker(self.settings, self.metadata, self.stop).run()

    def output(self, job: jobs.Job) -> bytes:
        now = self.table.get(job.id)
        assert now.status == jobs.SUCCEEDED, now
        bucket, key = jobs.split_path(now.output_file_path or "")
        content: bytes = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def messages(self) -> tuple[int, int]:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = self.sqs.get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)
        visible, hidden = (int(answer["Attributes"][name]) for name in names)
        return visible, hidden


@pytest.fixture
def world(table: jobs.JobTable, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    # AWS in the process is not safe for threads: its condition checks are not atomic.
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    return World(table, open_folder)


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def test_a_job_becomes_its_result_and_leaves_nothing_behind(world: World) -> None:
    job = world.record(text="\r\n`$(x)` 𝄞")
    world.upload(job, b"\xffinput")
    world.work()
    assert world.output(job) == b"\xffinput" + "\r\n`$(x)` 𝄞".encode()
    assert world.messages() == (0, 0)
    assert [path.name for path in world.settings.root.iterdir()] == ["script"]
    logs = world.s3.list_objects_v2(Bucket=BUCKET, Prefix=jobs.LOG_PREFIX)
    assert logs["KeyCount"] == 0


def test_what_was_done_is_counted_in_the_stacks_namespace(world: World) -> None:
    for content in (b"1", b"2"):
        world.upload(world.record(), content)
    world.announce(world.record())
    world.work()
    metrics = boto3.client("cloudwatch").get_metric_data(
        StartTime=time.time() - 600,
        EndTime=time.time() + 600,
        MetricDataQueries=[
            {
                "Id": name.lower(),
                "MetricStat": {
                    "Metric": {"Namespace": "Addendum/addendum-dev", "MetricName": name},
                    "Period": 3600,
                    "Stat": "SampleCount",
                },
            }
            for name in ("JobsSucceeded", "JobsFailed", "TimeToResult")
        ],
    )
    counts = {one["Id"]: sum(one["Values"]) for one in metrics["MetricDataResults"]}
    assert counts == {"jobssucceeded": 2, "jobsfailed": 1, "timetoresult": 2}


def test_a_large_file_moves_in_parts(world: World) -> None:
    content = bytes(range(256)) * (80 * 1024)
    job = world.record()
    world.upload(job, content)
    world.work()
    assert world.output(job) == content + b" more"


def test_many_jobs_are_drained_by_one_worker(world: World) -> None:
    recorded = [world.record(text=f"{n}") for n in range(20)]
    for job in recorded:
        world.upload(job)
    world.work()
    assert [world.output(job) for job in recorded] == [f"input{n}".encode() for n in range(20)]


def test_messages_that_announce_nothing_are_dropped_and_hold_up_nobody(world: World) -> None:
    world.send(json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent"}))
    world.send("garbage")
    ghost = replace(world.record(), id=jobs.new_id())
    world.announce(replace(ghost, input_file_path=f"{BUCKET}/input/{ghost.id}/a.txt"))
    job = world.record()
    world.upload(job)
    world.work()
    assert world.output(job) == b"input more"
    assert world.messages() == (0, 0)


def test_duplicates_do_no_harm(world: World) -> None:
    job = world.record()
    world.upload(job)
    for _ in range(10):
        world.announce(job)
    world.work()
    assert world.output(job) == b"input more"
    assert world.table.get(job.id).attempts == 1
    assert world.messages() == (0, 0)


def test_without_work_the_worker_goes_home(world: World) -> None:
    world.settings = replace(world.settings, first_wait_seconds=2)
    begin = time.monotonic()
    world.work()
    assert 1.5 < time.monotonic() - begin < 10


def test_a_worker_without_idle_time_does_not_hammer_the_queue(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.settings = replace(world.settings, first_wait_seconds=2, idle_seconds=0)
    receive, waits = WorkQueue.receive, []

    def note(queue: WorkQueue, *, wait: int) -> Message | None:
        waits.append(wait)
        return receive(queue, wait=wait)

    monkeypatch.setattr(WorkQueue, "receive", note)
    world.work()
    assert set(waits) == {1}


@pytest.mark.parametrize(("first_wait", "idle"), [(60, 1), (1, 60)])
def test_a_message_that_is_only_dropped_makes_a_worker_stay_never_go(
    world: World, first_wait: int, idle: int
) -> None:
    """Or it would leave a queue of duplicates that takes longer to drop than its idle time."""
    settings = replace(world.settings, first_wait_seconds=first_wait, idle_seconds=idle)
    activity = worker.Activity(settings)
    activity.had_a_message()
    assert activity.seconds_left() > 10


def test_past_its_time_a_worker_takes_no_job(world: World) -> None:
    job = world.record()
    world.upload(job)
    world.settings = replace(world.settings, take_until=time.time() - 1)
    world.work()
    assert world.table.get(job.id).status == jobs.PENDING
    assert world.messages() == (1, 0)


def test_a_fresh_machine_takes_exactly_one_job(world: World) -> None:
    first, second = world.record(), world.record()
    world.upload(first)
    world.upload(second)
    world.settings = replace(world.settings, fresh_vm_per_job=True)
    world.work()
    done = [world.table.get(job.id).status for job in (first, second)]
    assert sorted(done) == [jobs.PENDING, jobs.SUCCEEDED]


def test_a_replaced_upload_fails_the_job_in_words(world: World) -> None:
    job = world.record()
    world.upload(job)
    bucket, key = jobs.split_path(job.input_file_path)
    world.s3.put_object(Bucket=bucket, Key=key, Body=b"other")
    world.work()
    now = world.table.get(job.id)
    assert (now.status, now.error) == (
        jobs.FAILED,
        "the upload was replaced by another one: send the file again",
    )


def test_an_upload_that_is_gone_fails_the_job_in_words(world: World) -> None:
    job = world.record()
    world.announce(job)
    world.work()
    assert world.table.get(job.id).error == "the uploaded file is gone: send it again"


def test_a_failing_script_fails_the_job_and_its_log_is_kept(world: World) -> None:
    world.use_script("#!/bin/bash\necho hello; echo why >&2; exit 3\n")
    job = world.record()
    world.upload(job)
    world.work()
    now = world.table.get(job.id)
    assert (now.status, now.error) == (jobs.FAILED, "the script exited with 3: why")
    log = world.s3.get_object(Bucket=BUCKET, Key=jobs.log_key(now))["Body"].read()
    assert sorted(log.split()) == [b"hello", b"why"]
    assert world.messages() == (0, 0)


def test_a_script_that_asks_for_another_try_gets_it_later(world: World) -> None:
    world.use_script("#!/bin/bash\necho busy >&2; exit 75\n")
    job = world.record()
    world.upload(job)
    world.work()
    now = world.table.get(job.id)
    assert (now.status, now.attempts) == (jobs.PENDING, 1)
    assert now.error == "the script asked to be tried again: busy"
    assert world.messages() == (0, 1)


def test_the_third_try_that_comes_to_nothing_fails_the_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BACKOFF_SECONDS", 0)
    world.use_script("#!/bin/bash\nexit 75\n")
    job = world.record()
    world.upload(job)
    world.work()
    now = world.table.get(job.id)
    assert (now.status, now.attempts) == (jobs.FAILED, 3)
    assert now.error == "gave up after 3 tries: the script asked to be tried again"


def test_the_order_to_stop_hands_a_running_job_back_unused(world: World) -> None:
    world.use_script("#!/bin/bash\nsleep 60\n")
    job = world.record()
    world.upload(job)
    running = threading.Thread(target=world.work)
    running.start()
    until(lambda: world.table.get(job.id).status == jobs.RUNNING)
    world.stop.order()
    running.join(10)
    assert not running.is_alive()
    now = world.table.get(job.id)
    assert (now.status, now.attempts) == (jobs.PENDING, 0)
    assert world.messages() == (1, 0)


def test_a_spot_notice_is_the_order_to_stop(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "SPOT_POLL_SECONDS", 0.05)
    world.use_script("#!/bin/bash\nsleep 60\n")
    job = world.record()
    world.upload(job)
    running = threading.Thread(target=world.work)
    running.start()
    until(lambda: world.table.get(job.id).status == jobs.RUNNING)
    world.metadata.near = True
    running.join(10)
    assert world.table.get(job.id).status == jobs.PENDING


def test_a_metadata_service_that_answers_nonsense_is_asked_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SPOT_POLL_SECONDS", 0.01)
    troubles = iter([OSError("refused"), BadStatusLine("x")])

    def asked() -> bool:
        for trouble in troubles:
            raise trouble
        return True

    monkeypatch.setattr(world.metadata, "interruption_is_near", asked)
    worker.Worker(world.settings, world.metadata, world.stop)._watch_for_interruption()
    assert world.stop.ordered


def test_a_denied_queue_breaks_the_worker_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: WorkQueue, *, wait: int) -> Message | None:
        raise client_error("AccessDenied", 403)

    monkeypatch.setattr(WorkQueue, "receive", denied)
    with pytest.raises(ClientError, match="AccessDenied"):
        world.work()


def test_a_queue_that_does_not_answer_for_a_while_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = world.record()
    world.upload(job)
    receive = WorkQueue.receive
    failures = iter([client_error("InternalError", 500), client_error("Throttling", 400)])

    def shaky(self: WorkQueue, *, wait: int) -> Message | None:
        for failure in failures:
            raise failure
        return receive(self, wait=wait)

    monkeypatch.setattr(WorkQueue, "receive", shaky)
    monkeypatch.setattr(worker, "LONG_POLL_SECONDS", 1)
    world.work()
    assert world.output(job) == b"input more"


def test_another_error_of_the_machine_is_tried_again_and_named(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(script, "run", full)
    job = world.record()
    world.upload(job)
    world.work()
    now = world.table.get(job.id)
    assert now.status == jobs.PENDING
    assert now.error == "OSError: [Errno 28] No space left on device"


def client_error(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "ReceiveMessage",
    )


# --- the queue -----------------------------------------------------------------------


def test_a_held_message_is_renewed_and_a_settled_one_is_not(world: World) -> None:
    queue = WorkQueue(world.sqs, world.queue_url, visibility_timeout=3)
    world.send("x")
    message = queue.receive(wait=1)
    assert message is not None
    done = threading.Event()
    renewing = threading.Thread(target=queue.renew_until, args=(done,))
    renewing.start()
    with queue.holding(message):
        time.sleep(4)  # longer than the timeout
        assert world.messages() == (0, 1)
        queue.show_again(message, after=0)
        time.sleep(1.5)
        assert world.messages() == (1, 0)
    done.set()
    renewing.join()


def test_a_message_sent_twice_is_held_once_and_its_newer_receipt_counts(world: World) -> None:
    queue = WorkQueue(world.sqs, world.queue_url, visibility_timeout=60)
    first, second = Message("m", "receipt-1", "x"), Message("m", "receipt-2", "x")
    with queue.holding(first) as mine, queue.holding(second) as mine_too:
        assert (mine, mine_too) == (True, False)
        assert queue._release(first) == "receipt-2"
    with queue.holding(second) as mine:
        assert mine
