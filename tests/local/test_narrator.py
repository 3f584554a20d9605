"""The terminal tells the story of each job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import jobs
from local.narrator import Narrator, printable

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.account import Account

BUCKET = "narrated"


class NoHost:
    """A host without machines."""

    def __init__(self) -> None:
        self.running: list[Any] = []

    def machines(self) -> list[Any]:
        return self.running


class AnyMachine:
    """A machine that has only its id."""

    instance_id = "i-0123456789abcdef0"


@pytest.fixture
def table(account: Account) -> jobs.JobTable:
    account.client("s3").create_bucket(Bucket=BUCKET)
    client = account.client("dynamodb")
    client.create_table(
        TableName="Narrated",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
        StreamSpecification={"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    )
    return jobs.JobTable(client, "Narrated")


def test_each_step_of_a_job_is_one_line(account: Account, table: jobs.JobTable) -> None:
    host = NoHost()
    lines: list[str] = []
    narrator = Narrator(account, host, table="Narrated", bucket=BUCKET, write=lines.append)  # type: ignore[arg-type]

    def told(happening: Callable[[], Any]) -> list[str]:
        happening()
        lines.clear()
        narrator.step()
        return [" ".join(line.split()[1:]) for line in lines]

    job = table.record(bucket=BUCKET, file_name="a\n.txt", input_text="", retention_days=1)
    short = job.id[:8]
    assert told(lambda: None) == [f"job {short} recorded a\\n.txt"]
    assert told(lambda: None) == []
    key = jobs.split_path(job.input_file_path)[1]
    upload = lambda: account.client("s3").put_object(Bucket=BUCKET, Key=key, Body=b"")  # noqa: E731
    assert told(upload) == [f"job {short} uploaded"]
    assert told(lambda: host.running.append(AnyMachine())) == ["vm i-01234567 launched"]
    arrived = jobs.Upload(job.id, BUCKET, key, "etag", 0)
    claimed = table.claim(arrived, message_id="m", instance_id=AnyMachine.instance_id)
    assert told(lambda: None) == [f"job {short} running on i-01234567"]
    assert told(lambda: table.fail(claimed, error="no luck")) == [f"job {short} failed no luck"]
    assert told(host.running.clear) == ["vm i-01234567 gone"]


def test_names_cannot_move_the_cursor_or_fill_the_screen() -> None:
    assert printable("a\x1b[2J\u202e.txt") == "a\\x1b[2J\\u202e.txt"
    assert printable("naïve 文件.txt") == "naïve 文件.txt"
    assert len(printable("x" * 300)) == 60
