"""A part of the system stands still or dies, while real machines have jobs."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import requests

from local.account import Account
from local.api import Api
from local.child import HOST
from local.system import PROJECT
from tests.e2e.person import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.drills.conftest import Drill

FROZEN_SECONDS = 3.0
"""More than a message stays hidden."""


def test_an_aws_that_answers_nobody_for_seconds_costs_no_job(drill: Drill) -> None:
    pause = drill.pause()
    running = drill.person.submit(b"running", pause.text)
    pause.wait_until_running()
    waiting = drill.person.submit(b"waiting")
    recorded = drill.person.record().json()
    with drill.frozen_emulator():
        pause.end()  # there is a result to upload, and nobody takes it
        time.sleep(FROZEN_SECONDS)
    drill.person.upload(recorded["upload"], b"recorded")
    assert drill.heal(running) == f"running{pause.text}"
    assert drill.heal(waiting) == "waiting more"
    assert drill.heal(recorded["id"]) == "recorded more"


@pytest.fixture
def api(drill: Drill, tmp_path: Path) -> Iterator[Api]:
    """An API of its own, which talks to AWS through the proxy."""
    function = drill.system.deployment.find(
        "aws:lambda/function:Function", made=drill.exports["api_function"]
    )
    root = drill.system.account
    account = Account(drill.proxy.url, root.region, root.credentials)
    api = Api(account, function, PROJECT / "api", tmp_path)
    yield api
    api.stop()
    account.close()


def test_an_api_killed_before_its_answer_leaves_a_record_that_only_expires(
    drill: Drill, api: Api
) -> None:
    body = {"file_name": "orphan.txt", "input_text": " more"}
    with ThreadPoolExecutor() as pool, drill.proxy.holding(b"PutItem", answer=True) as hold:
        asking = pool.submit(requests.post, f"http://{HOST}:{api.port}/files", json=body)
        until(hold.reached.is_set, "the record")
        api.process.stop()
        with pytest.raises(requests.ConnectionError):
            asking.result()
    (orphan,) = records(drill, "orphan.txt")
    assert drill.heal(drill.person.submit(b"again", name="orphan.txt")) == "again more"
    drill.kill_machines()
    assert drill.a_minute_passes() == 0
    now = drill.person.look(orphan)
    assert (now["status"], now["attempts"]) == ("PENDING", 0)
    assert now["expires_at"] < time.time() + 8 * 86400


def records(drill: Drill, name: str) -> list[str]:
    """Return the ids of all records of a file."""
    found = drill.system.client("dynamodb").scan(
        TableName=drill.exports["table"],
        FilterExpression="file_name = :name",
        ExpressionAttributeValues={":name": {"S": name}},
    )
    return [item["id"]["S"] for item in found["Items"]]
