"""The state machine of a job: who may move it, and who may not."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

import jobs
from tests.conftest import BUCKET, TABLE


def recorded(table: jobs.JobTable, name: str = "a.txt", text: str = "more") -> jobs.Job:
    return table.record(bucket=BUCKET, file_name=name, input_text=text, retention_days=7)


def upload_of(job: jobs.Job, etag: str = "e1") -> jobs.Upload:
    bucket, key = jobs.split_path(job.input_file_path)
    return jobs.Upload(id=job.id, bucket=bucket, key=key, etag=etag, size=3)


def claimed(table: jobs.JobTable, job: jobs.Job, message: str = "m1") -> jobs.Job:
    return table.claim(upload_of(job), message_id=message, instance_id="i-1")


def event(key: str, **changes: Any) -> str:
    entity = {"bucket": {"name": BUCKET}, "object": {"key": key, "eTag": "e", "size": 5}}
    return json.dumps({"Records": [{"s3": {**entity, **changes}}]})


def test_a_new_id_has_the_form_of_one_and_never_reads_as_an_option() -> None:
    ids = {jobs.new_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert all(map(jobs.is_id, ids))
    assert [one for one in ids if one.startswith("-")] == []


def test_a_recorded_job_is_pending_and_keeps_its_text_byte_for_byte(table: jobs.JobTable) -> None:
    text = "\ufeffa\r\nb\x00\t𝄞 `$(x)` ${y}"
    job = recorded(table, text=text)
    again = claimed(table, job)
    assert job.status == jobs.PENDING
    assert again.input_text == text
    assert abs(job.expires_at - time.time() - 7 * 86400) < 5


def test_a_read_never_brings_the_text(table: jobs.JobTable) -> None:
    job = recorded(table)
    assert table.get(job.id).input_text == ""


@pytest.mark.parametrize("job_id", ["", "nope", "x" * 22, "../../../etc/passwd.txt", "é" * 22])
def test_an_unknown_id_is_not_found(table: jobs.JobTable, job_id: str) -> None:
    with pytest.raises(jobs.JobNotFound):
        table.get(job_id)


def test_an_expired_job_is_not_found_before_dynamodb_deletes_it(
    table: jobs.JobTable, dynamodb: Any
) -> None:
    job = recorded(table)
    dynamodb.update_item(
        TableName=TABLE,
        Key={"id": {"S": job.id}},
        UpdateExpression="SET expires_at=:past",
        ExpressionAttributeValues={":past": {"N": str(int(time.time()) - 1)}},
    )
    with pytest.raises(jobs.JobNotFound):
        table.get(job.id)
    with pytest.raises(jobs.JobNotFound):
        claimed(table, job)


def test_many_are_read_in_the_order_asked_without_unknown_or_doubled_ones(
    table: jobs.JobTable,
) -> None:
    first, second = recorded(table), recorded(table)
    found = table.get_many([second.id, "unknown", first.id, second.id])
    assert [job.id for job in found] == [second.id, first.id]


def test_a_claim_stamps_message_machine_etag_and_counts_the_attempt(table: jobs.JobTable) -> None:
    job = claimed(table, recorded(table))
    assert (job.status, job.attempts, job.message_id, job.instance_id, job.input_etag) == (
        jobs.RUNNING,
        1,
        "m1",
        "i-1",
        "e1",
    )
    assert job.claim
    assert job.started_at


def test_the_same_message_takes_the_job_over_and_the_earlier_holder_has_lost(
    table: jobs.JobTable,
) -> None:
    job = recorded(table)
    early, late = claimed(table, job), claimed(table, job)
    assert late.attempts == 2
    with pytest.raises(jobs.ClaimLost):
        table.succeed(early, output_file_path="b/o")
    with pytest.raises(jobs.ClaimLost):
        table.fail(early, error="no")
    with pytest.raises(jobs.ClaimLost):
        table.hand_back(early)
    table.succeed(late, output_file_path="b/o")
    assert table.get(job.id).output_file_path == "b/o"


def test_another_message_for_a_running_job_is_a_duplicate(table: jobs.JobTable) -> None:
    job = recorded(table)
    claimed(table, job, "m1")
    with pytest.raises(jobs.Duplicate):
        claimed(table, job, "m2")


def test_any_message_for_a_finished_job_is_a_duplicate(table: jobs.JobTable) -> None:
    job = recorded(table)
    table.succeed(claimed(table, job), output_file_path="b/o")
    with pytest.raises(jobs.Duplicate):
        claimed(table, job)


def test_the_first_claim_decides_which_upload_counts(table: jobs.JobTable) -> None:
    job = recorded(table)
    claimed(table, job)
    late = table.claim(upload_of(job, etag="e2"), message_id="m1", instance_id="i-2")
    assert late.input_etag == "e1"


def test_the_fourth_claim_fails_the_job(table: jobs.JobTable) -> None:
    job = recorded(table)
    for _ in range(jobs.MAX_TRIES):
        claimed(table, job)
    with pytest.raises(jobs.TriesExhausted):
        claimed(table, job)
    now = table.get(job.id)
    assert now.status == jobs.FAILED
    assert now.error == "gave up after 3 tries: the machine stopped each time"
    assert now.finished_at


def test_a_job_handed_back_has_not_used_up_a_try(table: jobs.JobTable) -> None:
    job = recorded(table)
    for turn in range(10):
        table.hand_back(claimed(table, job, f"m{turn}"))
    now = table.get(job.id)
    assert (now.status, now.attempts) == (jobs.PENDING, 0)


def test_a_try_that_came_to_nothing_counts_and_says_why(table: jobs.JobTable) -> None:
    job = recorded(table)
    for _ in range(jobs.MAX_TRIES):
        table.hand_back(claimed(table, job), error="S3 was away")
    with pytest.raises(jobs.TriesExhausted):
        claimed(table, job)
    assert table.get(job.id).error == "gave up after 3 tries: S3 was away"


def test_success_is_final(table: jobs.JobTable) -> None:
    job = claimed(table, recorded(table))
    table.succeed(job, output_file_path="b/o")
    with pytest.raises(jobs.ClaimLost):
        table.fail(job, error="no")
    with pytest.raises(jobs.Duplicate):
        table.fail_dead_letter(job.id, message_id="m1", error="no")
    assert table.get(job.id).status == jobs.SUCCEEDED


def test_recording_the_same_result_twice_is_no_error(table: jobs.JobTable) -> None:
    job = claimed(table, recorded(table))
    table.succeed(job, output_file_path="b/o")
    table.succeed(job, output_file_path="b/o")


def test_a_dead_letter_fails_only_a_job_that_its_own_message_runs(table: jobs.JobTable) -> None:
    mine, other = recorded(table), recorded(table)
    claimed(table, mine, "m1")
    claimed(table, other, "m2")
    table.fail_dead_letter(mine.id, message_id="m1", error="gave up")
    with pytest.raises(jobs.Duplicate):
        table.fail_dead_letter(other.id, message_id="m1", error="gave up")
    assert table.get(mine.id).status == jobs.FAILED
    assert table.get(other.id).status == jobs.RUNNING


def test_no_transition_makes_a_record_that_was_never_recorded(
    table: jobs.JobTable, dynamodb: Any
) -> None:
    ghost = jobs.Upload(id=jobs.new_id(), bucket=BUCKET, key="input/x/a.txt", etag="e", size=1)
    with pytest.raises(jobs.JobNotFound):
        table.claim(ghost, message_id="m", instance_id="i")
    with pytest.raises(jobs.Duplicate):
        table.fail_dead_letter(ghost.id, message_id="m", error="x")
    assert dynamodb.scan(TableName=TABLE)["Count"] == 0


def test_the_table_knows_which_machines_ever_claimed(table: jobs.JobTable) -> None:
    claimed(table, recorded(table))
    assert table.has_claimed("i-1")
    assert not table.has_claimed("i-2")


def test_a_long_error_keeps_its_end(table: jobs.JobTable) -> None:
    job = claimed(table, recorded(table))
    table.fail(job, error="x" * 9000 + "the reason")
    error = table.get(job.id).error or ""
    assert len(error) <= jobs.MAX_ERROR_CHARACTERS + 1
    assert error.endswith("the reason")


def test_a_requeued_job_has_all_its_tries_and_forgets_why_it_failed(table: jobs.JobTable) -> None:
    job = recorded(table)
    table.fail(claimed(table, job), error="no")
    table.requeue(job.id)
    table.requeue(job.id)
    now = table.get(job.id)
    assert (now.status, now.attempts, now.error, now.finished_at) == (jobs.PENDING, 0, None, None)
    late = table.claim(upload_of(job, etag="e2"), message_id="m2", instance_id="i-2")
    assert late.input_etag == "e2"


def test_a_job_that_runs_or_has_succeeded_cannot_be_requeued(table: jobs.JobTable) -> None:
    job = claimed(table, recorded(table))
    with pytest.raises(jobs.Duplicate):
        table.requeue(job.id)
    table.succeed(job, output_file_path="b/o")
    with pytest.raises(jobs.Duplicate):
        table.requeue(job.id)
    with pytest.raises(jobs.Duplicate):
        table.requeue(jobs.new_id())


def test_the_operator_sees_what_is_unfinished_or_failed(table: jobs.JobTable) -> None:
    waiting, failed, done = recorded(table), recorded(table), recorded(table)
    table.fail(claimed(table, failed), error="no")
    table.succeed(claimed(table, done), output_file_path="b/o")
    found = {job.id for job in table.scan_unfinished_and_failed()}
    assert found == {waiting.id, failed.id}


# --- names and messages --------------------------------------------------------------

NAMES = [
    "`$(rm -rf ~)`.txt",
    "${filename}.txt",
    "a$$b.txt",
    "100% sure?.txt",
    "naïve résumé 文件.txt",
    "a'b\"c & d.txt",
    "+ plus.txt",
    " .txt",
    "𝄞" * 60 + ".txt",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_survives_the_way_through_key_and_event(name: str) -> None:
    job_id = jobs.new_id()
    key = jobs.input_key(job_id, name)
    assert key.isascii()
    assert "$" not in key
    assert len(key) <= 1024
    upload = jobs.parse_message(event(quote_plus(key, safe="/")))
    assert (upload.id, upload.key) == (job_id, key)
    assert key == f"input/{job_id}/{quote(name, safe='')}"


@pytest.mark.parametrize("name", NAMES)
def test_an_announcement_reads_back_as_the_upload(name: str) -> None:
    job_id = jobs.new_id()
    upload = jobs.Upload(job_id, BUCKET, jobs.input_key(job_id, name), etag="e", size=5)
    assert jobs.parse_message(jobs.announcement(upload)) == upload


@pytest.mark.parametrize(
    "body",
    [
        "",
        "garbage",
        "[]",
        "null",
        '"text"',
        "{}",
        '{"Records": []}',
        '{"Records": [1]}',
        '{"Records": {"s3": 1}}',
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": BUCKET}),
        event("output/" + "x" * 22 + "/1/a.txt"),
        event("input/short/a.txt"),
        event("input/" + "x" * 22 + "/"),
        event("scripts/" + "x" * 22 + "/a.txt"),
        event("input/" + "x" * 22 + "/a.txt", object={"key": 5, "eTag": "e", "size": 1}),
        event("input/" + "x" * 22 + "/a.txt", object={"key": "k"}),
        event("input/" + "x" * 22 + "/a.txt", bucket=None),
    ],
)
def test_a_message_that_announces_no_upload_is_a_bad_message(body: str) -> None:
    with pytest.raises(jobs.BadMessage):
        jobs.parse_message(body)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (None, "missing"),
        (5, "not int"),
        ("", "0 bytes"),
        ("x" * 252 + ".txt", "256 bytes"),
        ("../x.txt", "separator"),
        ("a\\b.txt", "separator"),
        ("a\nb.txt", "control"),
        ("a\x7fb.txt", "control"),
        ("x.exe", "must end in .txt"),
        ("txt", "must end in .txt"),
        ("\ud800.txt", "surrogate"),
    ],
)
def test_a_bad_name_is_refused_with_the_rule(name: object, words: str) -> None:
    with pytest.raises(jobs.InvalidInput, match=words):
        jobs.check_file_name(name, (".txt",))


@pytest.mark.parametrize("name", [*NAMES, "A.TXT", "x" * 251 + ".txt"])
def test_any_other_name_is_fine(name: str) -> None:
    assert jobs.check_file_name(name, (".txt", ".md")) == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "missing"),
        (["a"], "not list"),
        ("x" * (100 * 1024 + 1), "the limit is 102400"),
        ("é" * (50 * 1024 + 1), "the limit is 102400"),
        ("a\udfff", "surrogate"),
    ],
)
def test_a_bad_text_is_refused_with_the_rule(text: object, words: str) -> None:
    with pytest.raises(jobs.InvalidInput, match=words):
        jobs.check_text(text)


@pytest.mark.parametrize("text", ["", "\x00", "x" * (100 * 1024), "é" * (50 * 1024)])
def test_any_text_up_to_the_limit_is_fine(text: str) -> None:
    assert jobs.check_text(text) == text


@pytest.mark.parametrize("size", [-1, 1.5, "5", True, [], float("inf")])
def test_a_size_that_is_no_size_is_refused(size: object) -> None:
    with pytest.raises(jobs.InvalidInput, match="whole number of bytes"):
        jobs.check_file_size(size, 10)


def test_a_file_over_the_limit_is_too_large() -> None:
    jobs.check_file_size(10, 10)
    jobs.check_file_size(None, 10)
    with pytest.raises(jobs.FileTooLarge, match="11 bytes; the limit is 10"):
        jobs.check_file_size(11, 10)
