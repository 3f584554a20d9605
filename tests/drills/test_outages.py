"""AWS fails for a while, or the power goes, at each call of the worker and of the API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import transfer
import worker
from chalice.test import Client
from metering import Meter

import jobs
from tests.conftest import BUCKET, ROOT
from tests.drills.faults import (
    FAULTS,
    Outage,
    PowerCut,
    cut_power_after,
    skip_back_off,
    strike_at,
)
from tests.drills.simulated import Beats, Silent
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
API_GATEWAY_SECONDS = 29
"""What API Gateway waits for a function at most:
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
"""

CALLS = {
    "claim": ("dynamodb", "UpdateItem", 0),
    "download": ("s3", "GetObject", 0),
    "upload": ("s3", "PutObject", 0),
    "record": ("dynamodb", "UpdateItem", 1),
    "delete": ("sqs", "DeleteMessage", 0),
}
"""The worker's calls for a job: the client, the operation, and which of its kind it is."""

OTHER_CALLS = {
    "receive": ("sqs", "ReceiveMessage", 0),
    "renew": ("sqs", "ChangeMessageVisibility", 0),
    "show again": ("sqs", "ChangeMessageVisibility", 0),
    "begin parts": ("s3", "CreateMultipartUpload", 0),
    "part": ("s3", "UploadPart", 0),
    "end parts": ("s3", "CompleteMultipartUpload", 0),
    "drop parts": ("s3", "AbortMultipartUpload", 0),
}
LARGE = 5 * 1024 * 1024 + 1
"""A result of two parts: only the last may be smaller than 5 MiB."""
BOTH_PARTS = 2 * (SDK_ATTEMPTS - 1) + 1
"""So many faults of parts fail one upload for good, and leave too few for the next."""


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
        service, operation, outage.first = {**CALLS, **OTHER_CALLS}[call]
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
    monkeypatch.setattr(transfer, "PART_BYTES", LARGE - 1)
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


def test_a_queue_that_cannot_be_asked_for_work_is_asked_again(world: World) -> None:
    machine = Machine(world)
    for fault in FAULTS:
        world.upload(job := world.record())
        machine.strike("receive", Outage(fault, count=SDK_ATTEMPTS))
        assert machine.take_one() is None
        machine.take_one()
        assert world.output(job) == b"input more"
        assert world.table.get(job.id).attempts == 1


def test_a_message_that_could_not_be_renewed_is_renewed_at_the_next_beat(world: World) -> None:
    machine = Machine(world)
    for fault in FAULTS:
        outage = Outage(fault, count=SDK_ATTEMPTS)
        machine.strike("renew", outage)
        world.send("x")
        message = machine.worker._receive()
        assert message is not None
        with machine.worker._queue.holding(message):
            machine.worker._queue.renew_until(Beats(2))
        assert outage.over
        machine.worker._queue.delete(message)


def test_a_message_that_cannot_be_shown_again_comes_by_itself(world: World) -> None:
    machine = Machine(world)
    script = machine.worker._script
    append = script.read_text()
    for fault in FAULTS:
        world.upload(job := world.record())
        machine.strike("show again", Outage(fault, count=SDK_ATTEMPTS))
        script.write_text("#!/bin/bash\nexit 75\n")
        machine.take_one()
        assert world.table.get(job.id).status == jobs.PENDING
        script.write_text(append)
        machine.take_one()
        assert world.output(job) == b"input more"


def test_a_machine_that_has_to_go_goes_even_if_it_cannot_show_its_message(world: World) -> None:
    machine = Machine(world)
    world.send("x")
    world.stop.order()
    for fault in FAULTS:
        machine.strike("show again", Outage(fault, count=SDK_ATTEMPTS))
        assert machine.take_one() is not None
        assert world.messages() == (1, 0)


@pytest.mark.parametrize("call", ["begin parts", "part", "end parts", "drop parts"])
def test_an_outage_in_the_middle_of_a_large_result_costs_one_try(world: World, call: str) -> None:
    world.use_script(f"#!/bin/bash\nhead -c {LARGE} /dev/zero >$3\n")
    machine = Machine(world)
    for fault in FAULTS:
        if call in ("part", "drop parts"):
            machine.strike("part", Outage(fault, count=BOTH_PARTS))
        if call != "part":
            machine.strike(call, Outage(fault, count=SDK_ATTEMPTS))
        world.upload(job := world.record())
        machine.take_one()
        assert world.table.get(job.id).status == jobs.PENDING
        machine.take_one()
        assert world.output(job) == bytes(LARGE)
        assert world.table.get(job.id).attempts == 2


def test_a_large_result_that_is_complete_without_our_hearing_it_costs_one_try(
    world: World,
) -> None:
    """S3 does it, the SDK sees a 500, asks again, and the upload is no more."""
    world.use_script(f"#!/bin/bash\nhead -c {LARGE} /dev/zero >$3\n")
    machine = Machine(world)
    machine.strike("end parts", Outage("500", unheard=True))
    world.upload(job := world.record())
    machine.take_one()
    machine.take_one()
    assert world.output(job) == bytes(LARGE)
    assert world.table.get(job.id).attempts <= 2
    assert world.messages() == (0, 0)


def test_metrics_that_cannot_be_sent_are_lost_and_nothing_else(world: World) -> None:
    client = worker._client("cloudwatch")
    meter = Meter(client, "Addendum/x")
    for fault in FAULTS:
        outage = Outage(fault, count=SDK_ATTEMPTS)
        strike_at(client, "PutMetricData", outage)
        for _ in range(2):
            meter.count("JobsSucceeded")
            meter.send()
        assert outage.over


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
    pauses = skip_back_off(monkeypatch)
    strike_at(app.job_table()._client, "PutItem", Outage(fault, count=100))
    with Client(app.app) as client:
        told = post(client.http, {"file_name": "a.txt", "input_text": "x"})
    assert told.status_code == 500
    assert set(told.json_body) == {"Code", "Message"}
    config = json.loads((ROOT / "api/.chalice/config.json").read_text())
    assert sum(pauses) < config["lambda_timeout"] < API_GATEWAY_SECONDS


def test_a_record_whose_answer_was_lost_is_recorded_once(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, dynamodb: Any
) -> None:
    """Moto does what is asked, and the SDK sees a 500 the first time."""
    skip_back_off(monkeypatch)
    strike_at(app.job_table()._client, "PutItem", Outage("500", unheard=True))
    with Client(app.app) as client:
        assert post(client.http, {"file_name": "a.txt", "input_text": "x"}).status_code == 201
    assert dynamodb.scan(TableName="FileTable")["Count"] == 1
