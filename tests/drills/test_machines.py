"""Real machines, killed, taken back and flooded, under a real queue, table and bucket."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests

import jobs
from tests.e2e.person import FINAL, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.drills.conftest import Drill

ROUNDS = 15
RIVALS = 6
DUPLICATES = 25
GOOD = 100


class Step(NamedTuple):
    """A call to kill the machine at: words of its request, and whether its answer is on its way."""

    words: tuple[bytes, ...]
    answer: bool
    attempts: int


STEPS = {
    "download": Step((b"GET /", b"/input/"), answer=True, attempts=2),
    "upload": Step((b"PUT /", b"/output/"), answer=False, attempts=2),
    "record": Step((b"UpdateItem", b"output_file_path"), answer=False, attempts=2),
    "delete": Step((b"DeleteMessage",), answer=False, attempts=1),
}


def test_a_machine_killed_before_the_claim_is_made_good(drill: Drill) -> None:
    recorded = drill.person.record(" more").json()
    drill.worker_is_up()
    drill.kill_machines()
    drill.person.upload(recorded["upload"], b"input")
    assert drill.heal(recorded["id"]) == "input more"
    assert drill.person.look(recorded["id"])["attempts"] == 1


@pytest.mark.parametrize("name", STEPS)
def test_a_machine_killed_at_any_step_loses_its_job_to_another(drill: Drill, name: str) -> None:
    step, content = STEPS[name], b"input" * 20_000
    with drill.proxy.holding(*step.words, answer=step.answer) as hold:
        job_id = drill.person.submit(content)
        until(hold.reached.is_set, f"the {name}")
        drill.kill_machines()
    assert made_good(drill, job_id) == f"{content.decode()} more"
    shown = drill.person.look(job_id)
    assert shown["attempts"] == step.attempts
    assert shown["output_file_path"].partition("/")[2] in stored(drill, f"output/{job_id}/")


def test_a_machine_killed_in_the_script_loses_its_job_to_another(drill: Drill) -> None:
    pause = drill.pause()
    job_id = drill.person.submit(b"input", pause.text)
    pause.wait_until_running()
    drill.kill_machines()
    pause.end()
    assert made_good(drill, job_id) == f"input{pause.text}"
    assert drill.person.look(job_id)["attempts"] == 2
    assert len(stored(drill, f"output/{job_id}/")) == 1


def test_a_spot_notice_hands_the_job_back_and_no_try_is_used_up(drill: Drill) -> None:
    pause = drill.pause()
    job_id = drill.person.submit(b"input", pause.text)
    pause.wait_until_running()
    holder = drill.table.get(job_id).instance_id or ""
    drill.system.host.spot_notice(holder)
    until(lambda: holder not in drill.machine_ids(), "the machine to power off by itself")
    pause.end()
    assert drill.heal(job_id) == f"input{pause.text}"
    assert drill.person.look(job_id)["attempts"] == 1


def test_twenty_five_duplicates_of_a_running_job_do_no_harm(drill: Drill) -> None:
    pause = drill.pause()
    job_id = drill.person.submit(b"input", pause.text)
    pause.wait_until_running()
    for _ in range(DUPLICATES):
        announce(drill, job_id)
    pause.end()
    assert drill.heal(job_id) == f"input{pause.text}"
    until(lambda: waiting(drill) == 0, "the duplicates to be dropped")
    assert drill.person.look(job_id)["attempts"] == 1
    assert len(stored(drill, f"output/{job_id}/")) == 1


def test_garbage_among_a_hundred_good_ones_holds_up_nobody(drill: Drill) -> None:
    ids = []
    for n in range(GOOD):
        ids.append(drill.person.submit(b"%d:" % n, f"text {n}"))
        if n % 5 == 0:
            send(drill, ["garbage", "{}", "[]", '{"Records": [{}]}'][n // 5 % 4])
    drill.person.wait(ids[-1])
    for n, shown in enumerate(until(lambda: finished(drill, ids), "all to finish")):
        assert (shown["status"], shown["attempts"]) == ("SUCCEEDED", 1)
        assert drill.person.download(shown).text == f"{n}:text {n}"
    until(lambda: waiting(drill) == 0, "the garbage to be dropped")


def test_a_client_that_goes_in_the_middle_of_its_upload_can_come_back(drill: Drill) -> None:
    recorded = drill.person.record(" more").json()
    post_half(recorded["upload"], b"half")
    assert drill.person.look(recorded["id"])["status"] == "PENDING"
    drill.person.upload(recorded["upload"], b"whole")
    assert drill.heal(recorded["id"]) == "whole more"


def test_a_machine_without_its_worker_leaves_its_log_and_goes(drill: Drill) -> None:
    drill.kill_machines()
    with missing_worker(drill):
        job_id = drill.person.submit(b"input")
        machine = drill.machine()
        until(lambda: not drill.system.host.machines(), "the machine to power off")
    assert stored(drill, f"logs/vm/{machine.instance_id}") == [f"logs/vm/{machine.instance_id}"]
    assert drill.heal(job_id) == "input more"
    assert drill.person.look(job_id)["attempts"] == 1


def test_of_many_that_claim_a_job_at_the_same_moment_one_gets_it(drill: Drill) -> None:
    """Here the table's conditions are atomic, as DynamoDB's are."""
    table = drill.table
    for _ in range(ROUNDS):
        job = table.record(bucket="b", file_name="a.txt", input_text="", retention_days=1)
        claimed = race_for(table, jobs.Upload(job.id, "b", "k", "e", 1))
        assert len(claimed) == 1
        now = table.get(job.id)
        assert (now.attempts, now.message_id) == (1, claimed[0].message_id)
        table.succeed(claimed[0], output_file_path="b/k")


def finished(drill: Drill, ids: list[str]) -> list[dict[str, Any]]:
    """Return what the list shows of files once all are finished, else nothing."""
    found: list[dict[str, Any]] = []
    for start in range(0, len(ids), jobs.MAX_IDS):
        some = ",".join(ids[start : start + jobs.MAX_IDS])
        answer = requests.get(f"{drill.person.url}/api/files?ids={some}", timeout=30)
        found += answer.json()["files"]
    return found if all(shown["status"] in FINAL for shown in found) else []


def made_good(drill: Drill, job_id: str) -> str:
    """Let another machine do a killed one's job; return its result.

    The next user's job brings that machine, which boots while the message is still hidden.
    """
    other = drill.person.submit(b"other")
    # Not `heal`: its minute could launch another machine beside the one of the new record.
    assert drill.person.download(drill.person.wait(other)).text == "other more"
    text = drill.heal(job_id)
    until(lambda: waiting(drill) == 0, "the messages to be deleted")
    return text


def race_for(table: jobs.JobTable, upload: jobs.Upload) -> list[jobs.Job]:
    """Let rivals claim a job, each with a message of its own. Return who got it."""
    start, claimed = threading.Barrier(RIVALS), list[jobs.Job]()

    def claim(rival: int) -> None:
        start.wait()
        try:
            claimed.append(
                table.claim(upload, message_id=f"m{rival}", instance_id=f"i-rival-{rival}")
            )
        except jobs.Duplicate:
            return

    rivals = [threading.Thread(target=claim, args=(n,)) for n in range(RIVALS)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    return claimed


@contextmanager
def missing_worker(drill: Drill) -> Iterator[None]:
    """Take the worker's bundle out of the bucket for a while."""
    s3, bucket = drill.system.client("s3"), drill.exports["data_bucket"]
    (key,) = [key for key in stored(drill, "scripts/") if "worker" in key]
    bundle = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.delete_object(Bucket=bucket, Key=key)
    try:
        yield
    finally:
        s3.put_object(Bucket=bucket, Key=key, Body=bundle)


def stored(drill: Drill, prefix: str) -> list[str]:
    """Return the keys of a prefix."""
    found = drill.system.client("s3").list_objects_v2(
        Bucket=drill.exports["data_bucket"], Prefix=prefix
    )
    return [entry["Key"] for entry in found.get("Contents", [])]


def send(drill: Drill, body: str) -> None:
    drill.system.client("sqs").send_message(QueueUrl=drill.exports["queue_url"], MessageBody=body)


def announce(drill: Drill, job_id: str) -> None:
    """Send another event for an upload that is there."""
    bucket, key = jobs.split_path(drill.person.look(job_id)["input_file_path"])
    head = drill.system.client("s3").head_object(Bucket=bucket, Key=key)
    upload = jobs.Upload(job_id, bucket, key, head["ETag"].strip('"'), head["ContentLength"])
    send(drill, jobs.announcement(upload))


def waiting(drill: Drill) -> int:
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = drill.system.client("sqs").get_queue_attributes(
        QueueUrl=drill.exports["queue_url"], AttributeNames=names
    )
    return sum(int(answer["Attributes"][name]) for name in names)


def post_half(form: dict[str, object], content: bytes) -> None:
    """Begin to post a form, and go away before its end."""
    where = urlsplit(str(form["url"]))
    head = [
        f"POST {where.path} HTTP/1.1",
        f"Host: {where.netloc}",
        "Content-Type: multipart/form-data; boundary=x",
        "Content-Length: 100000",
        "",
        "--x",
        'Content-Disposition: form-data; name="form"',
        "",
        json.dumps(form["fields"]),
    ]
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        connection.sendall("\r\n".join(head).encode() + content)
