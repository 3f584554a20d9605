"""AWS fails for a while, or the power goes, at each call of the worker and of the API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import worker
from chalice.test import Client

import jobs
from tests.conftest import BUCKET
from tests.drills.faults import (
    FAULTS,
    Outage,
    PowerCut,
    answer,
    cut_power_after,
    skip_back_off,
    strike_at,
)
from tests.drills.simulated import Silent
from tests.unit.test_api import app as app
from tests.unit.test_api import post
from tests.unit.test_worker import World

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from workqueue import Message

SDK_ATTEMPTS = 5
"""What ``worker`` allows: an outage that is longer than these is seen by our code."""
DELIVERIES = 4

CALLS = {
    "claim": ("dynamodb", "UpdateItem", 0),
    "download": ("s3", "GetObject", 0),
    "upload": ("s3", "PutObject", 0),
    "record": ("dynamodb", "UpdateItem", 1),
    "delete": ("sqs", "DeleteMessage", 0),
}
"""The worker's calls for a job: the client, the operation, and which of its kind it is."""


class Machine:
    """A worker that handles one delivery at a time."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.clients = {name: worker._client(name) for name in ("dynamodb", "s3", "sqs")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(worker, "_client", self._client)
            self.worker = worker.Worker(world.settings, world.metadata, world.stop)
        self.worker._transfer.fetch(BUCKET, world.settings.script_key, self.worker._script)
        self.worker._script.chmod(0o755)

    def _client(self, service: str) -> Any:
        return self.clients.get(service, Silent())

    def strike(self, call: str, outage: Outage) -> None:
        service, operation, outage.first = CALLS[call]
        outage.seen = 0
        strike_at(self.clients[service], operation, outage)

    def cut_power_at_upload(self, when: str) -> None:
        """Cut it in the worker's own thread: one of the transfer's would end alone."""
        upload = self.worker._transfer.upload

        def cut(path: Path, bucket: str, key: str) -> None:
            if when == "after":
                upload(path, bucket, key)
            raise PowerCut

        self.worker._transfer.upload = cut  # type: ignore[method-assign]

    def take_one(self) -> Message | None:
        """Receive a message and handle it; then its visibility timeout is over."""
        message = self.worker._receive()
        if message is None:
            return None
        try:
            self.worker._handle(message)
        finally:
            self._time_out(message)
        return message

    def _time_out(self, message: Message) -> None:
        if self.world.messages() == (0, 1):
            self.world.sqs.change_message_visibility(
                QueueUrl=self.world.queue_url, ReceiptHandle=message.receipt, VisibilityTimeout=0
            )


@pytest.fixture
def world(table: jobs.JobTable, open_folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    skip_back_off(monkeypatch)
    monkeypatch.setattr(worker, "LONG_POLL_SECONDS", 0)
    return World(table, open_folder)


def outputs(world: World) -> list[str]:
    found = world.s3.list_objects_v2(Bucket=BUCKET, Prefix=jobs.OUTPUT_PREFIX)
    return [entry["Key"] for entry in found.get("Contents", [])]


@pytest.mark.parametrize("call", CALLS)
def test_an_outage_at_any_call_of_the_worker_costs_at_most_a_try(world: World, call: str) -> None:
    machine = Machine(world)
    for fault in FAULTS:
        outage, job = Outage(fault, count=SDK_ATTEMPTS), world.record()
        machine.strike(call, outage)
        world.upload(job)
        for _ in range(DELIVERIES):
            machine.take_one()
        assert outage.over
        assert world.output(job) == b"input more"
        assert world.table.get(job.id).attempts <= 2
        assert world.messages() == (0, 0)


def test_a_short_outage_is_not_even_noticed(world: World) -> None:
    for fault in FAULTS:
        machine, job = Machine(world), world.record()
        for call in CALLS:
            machine.strike(call, Outage(fault, count=1))
        world.upload(job)
        machine.take_one()
        assert world.output(job) == b"input more"
        assert world.table.get(job.id).attempts == 1
        assert world.messages() == (0, 0)


def test_a_dropped_message_that_cannot_be_deleted_does_not_end_the_worker(world: World) -> None:
    machine = Machine(world)
    for fault in FAULTS:
        machine.strike("delete", Outage(fault, count=SDK_ATTEMPTS))
        world.send("garbage")
        machine.take_one()
        machine.take_one()
        assert world.messages() == (0, 0)
    world.upload(job := world.record())
    machine.take_one()
    assert world.output(job) == b"input more"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_a_power_cut_at_any_call_leaves_one_whole_result(
    world: World, call: str, when: str
) -> None:
    first, second, job = Machine(world), Machine(world), world.record()
    service, operation, position = CALLS[call]
    if call == "upload":
        first.cut_power_at_upload(when)
    elif when == "before":
        first.strike(call, Outage("power cut"))
    else:
        cut_power_after(first.clients[service], operation, position)
    world.upload(job)
    try:
        first.take_one()
    except PowerCut:
        second.take_one()
    assert world.output(job) == b"input more"
    now = world.table.get(job.id)
    assert now.attempts <= 2
    assert f"{BUCKET}/{outputs(world)[-1]}" == now.output_file_path
    assert world.messages() == (0, 0)


# --- the API -------------------------------------------------------------------------


@pytest.mark.parametrize("fault", FAULTS)
def test_the_api_outlives_a_short_outage_of_the_table(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    skip_back_off(monkeypatch)
    for operation in ("PutItem", "BatchGetItem"):
        strike_at(app.job_table()._client, operation, Outage(fault, count=2))
    with Client(app.app) as client:
        recorded = post(client.http, {"file_name": "a.txt", "input_text": "x"})
        assert recorded.status_code == 201
        assert client.http.get(f"/files/{recorded.json_body['id']}").status_code == 200


@pytest.mark.parametrize("fault", FAULTS)
def test_a_long_outage_of_the_table_is_a_500_in_the_apis_shape(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    skip_back_off(monkeypatch)
    strike_at(app.job_table()._client, "PutItem", Outage(fault, count=100))
    with Client(app.app) as client:
        told = post(client.http, {"file_name": "a.txt", "input_text": "x"})
    assert told.status_code == 500
    assert set(told.json_body) == {"Code", "Message"}


def test_a_record_whose_answer_was_lost_is_recorded_once(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, dynamodb: Any
) -> None:
    """Moto does what is asked, and the SDK sees a 500 the first time."""
    skip_back_off(monkeypatch)
    unheard = iter([True])

    def lose(request: Any, **_: Any) -> Any:
        return answer("500", request.url) if next(unheard, False) else None

    app.job_table()._client.meta.events.register_first("before-send.dynamodb.PutItem", lose)
    with Client(app.app) as client:
        assert post(client.http, {"file_name": "a.txt", "input_text": "x"}).status_code == 201
    assert dynamodb.scan(TableName="FileTable")["Count"] == 1
