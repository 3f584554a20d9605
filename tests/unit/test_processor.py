"""The processor's handlers against a small EC2 that follows its documentation.

The fake knows what no emulator shows: client tokens, errors beside a 200, capacity.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

import jobs
from chalicelib.fleet import Fleet, LaunchFailed, Template, error_class
from tests.conftest import BUCKET, TABLE, load_app

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime.now(UTC)
TEMPLATE = Template("lt-1", "3", ("t4g.small", "m7g.medium"), ("subnet-a", "subnet-b"), spot=False)


def refusal(code: str, message: str = "words") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "CreateFleet")


@dataclass
class FakeEc2:
    """EC2 as documented: tokens make a launch idempotent, errors stand beside a 200."""

    shown: list[dict[str, Any]] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    terminated: list[str] = field(default_factory=list)
    refusal: ClientError | None = None
    errors: list[dict[str, str]] = field(default_factory=list)
    locked: str = ""
    room: int = 100
    lags: bool = False
    _tokens: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, instance_id: str, *, state: str = "running", minutes: float = 1) -> None:
        launched = datetime.now(UTC) - timedelta(minutes=minutes)
        self.shown.append(
            {"InstanceId": instance_id, "State": {"Name": state}, "LaunchTime": launched}
        )

    def get_paginator(self, operation: str) -> FakeEc2:
        assert operation == "describe_instances"
        return self

    def paginate(self, Filters: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:  # noqa: N803
        assert Filters == [{"Name": "tag:addendum:stack", "Values": ["addendum-dev"]}]
        for instance in self.shown:
            yield {"Reservations": [{"Instances": [instance]}]}

    def describe_instances(self, *, InstanceIds: list[str], Filters: object) -> dict[str, Any]:  # noqa: N803
        found = [one for one in self.shown if one["InstanceId"] in InstanceIds]
        return {"Reservations": [{"Instances": found}]}

    def terminate_instances(self, *, InstanceIds: list[str]) -> None:  # noqa: N803
        if self.locked in InstanceIds:
            raise refusal("OperationNotPermitted")
        self.terminated += InstanceIds

    def create_fleet(self, **request: Any) -> dict[str, Any]:
        self.requests.append(request)
        if self.refusal is not None:
            raise self.refusal
        earlier = self._tokens.get(request["ClientToken"])
        if earlier is not None:
            return earlier
        wanted = request["TargetCapacitySpecification"]["TotalTargetCapacity"]
        ids = [f"i-{len(self._tokens)}-{n}" for n in range(min(wanted, self.room))]
        for instance_id in [] if self.lags else ids:
            self.add(instance_id, state="pending", minutes=0)
        answer = {"Instances": [{"InstanceIds": ids}] if ids else [], "Errors": self.errors}
        self._tokens[request["ClientToken"]] = answer
        return answer

    @property
    def asked(self) -> list[int]:
        return [
            request["TargetCapacitySpecification"]["TotalTargetCapacity"]
            for request in self.requests
        ]


@pytest.fixture
def ec2() -> FakeEc2:
    return FakeEc2()


@pytest.fixture
def queue_url(aws: None) -> str:
    url: str = boto3.client("sqs").create_queue(QueueName="work")["QueueUrl"]
    return url


@pytest.fixture
def app(ec2: FakeEc2, dynamodb: Any, queue_url: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The processor with its environment, and EC2 replaced."""
    for name, value in {
        jobs.Env.TABLE: TABLE,
        jobs.Env.QUEUE_URL: queue_url,
        jobs.Env.STACK: "addendum-dev",
        jobs.Env.BACKLOG_PER_INSTANCE: "10",
        jobs.Env.FRESH_VM_PER_JOB: "false",
        jobs.Env.MAX_INSTANCES: "5",
        jobs.Env.MAX_LIFE: "3600",
        jobs.Env.LAUNCH_TEMPLATE_ID: TEMPLATE.id,
        jobs.Env.LAUNCH_TEMPLATE_VERSION: TEMPLATE.version,
        jobs.Env.INSTANCE_TYPES: ",".join(TEMPLATE.instance_types),
        jobs.Env.SUBNET_IDS: ",".join(TEMPLATE.subnet_ids),
        jobs.Env.SPOT: "false",
    }.items():
        monkeypatch.setenv(name, value)
    module = load_app("processor")
    fleet = Fleet(ec2, stack="addendum-dev", template=TEMPLATE)
    monkeypatch.setattr(module, "fleet", lambda: fleet)
    return module


def inserts(count: int, first: str = "100") -> dict[str, Any]:
    return {"Records": [{"dynamodb": {"SequenceNumber": first}} for _ in range(count)]}


def minute(text: str = "2026-11-22T10:00:00Z") -> dict[str, Any]:
    return {"time": text}


def send(queue_url: str, count: int) -> None:
    sqs = boto3.client("sqs")
    for _ in range(count):
        sqs.send_message(QueueUrl=queue_url, MessageBody="x")


def test_a_new_job_launches_one_machine_in_one_call(app: ModuleType, ec2: FakeEc2) -> None:
    assert app.stream_handler(inserts(1), None) == {"launched": 1}
    (request,) = ec2.requests
    (config,) = request["LaunchTemplateConfigs"]
    assert request["Type"] == "instant"
    assert config["LaunchTemplateSpecification"] == {"LaunchTemplateId": "lt-1", "Version": "3"}
    assert config["Overrides"] == [
        {"InstanceType": instance_type, "SubnetId": subnet}
        for instance_type in TEMPLATE.instance_types
        for subnet in TEMPLATE.subnet_ids
    ]
    assert {spec["ResourceType"] for spec in request["TagSpecifications"]} == {
        "fleet",
        "instance",
        "volume",
        "network-interface",
    }


def test_a_redelivered_batch_launches_nothing_new(app: ModuleType, ec2: FakeEc2) -> None:
    app.stream_handler(inserts(25), None)
    app.stream_handler(inserts(25), None)
    assert ec2.asked == [3]


def test_a_batch_redelivered_before_its_machines_show_is_the_same_launch(ec2: FakeEc2) -> None:
    """Another copy of the function has no memory: the client token has."""
    ec2.lags = True
    for _ in range(2):
        fleet = Fleet(ec2, stack="addendum-dev", template=TEMPLATE)
        assert fleet.launch(3, occasion="100") == 3
    first, second = ec2.requests
    assert first["ClientToken"] == second["ClientToken"]
    assert len(first["ClientToken"]) <= 64


def test_machines_that_do_not_show_yet_count_as_live(app: ModuleType, ec2: FakeEc2) -> None:
    ec2.lags = True
    app.stream_handler(inserts(10), None)
    app.stream_handler(inserts(1, first="200"), None)
    assert ec2.asked == [1]


def test_the_cap_holds(app: ModuleType, ec2: FakeEc2) -> None:
    app.stream_handler(inserts(100), None)
    app.stream_handler(inserts(100, first="200"), None)
    assert ec2.asked == [5]


def test_the_reconciler_makes_good_what_is_missing(
    app: ModuleType, ec2: FakeEc2, queue_url: str
) -> None:
    send(queue_url, 12)
    ec2.add("i-1")
    assert app.reconciler(minute(), None) == {"launched": 1}
    assert app.reconciler(minute(), None) == {"launched": 0}


def test_an_event_that_comes_twice_launches_nothing_new(
    app: ModuleType, ec2: FakeEc2, queue_url: str
) -> None:
    send(queue_url, 12)
    ec2.lags = True
    for second in ("05", "40"):
        app.fleet()._just_launched.clear()  # as in another of the function's environments
        app.reconciler(minute(f"2026-11-22T10:00:{second}Z"), None)
    first, again = ec2.requests
    assert first["ClientToken"] == again["ClientToken"]


def test_the_reconciler_can_be_called_by_hand(
    app: ModuleType, ec2: FakeEc2, queue_url: str
) -> None:
    send(queue_url, 1)
    assert app.reconciler({}, None) == {"launched": 1}


def test_the_reconciler_launches_nothing_for_an_empty_queue(app: ModuleType, ec2: FakeEc2) -> None:
    assert app.reconciler(minute(), None) == {"launched": 0}
    assert ec2.requests == []


def test_a_partial_fleet_is_made_good_at_the_next_minute(
    app: ModuleType, ec2: FakeEc2, queue_url: str
) -> None:
    send(queue_url, 50)
    ec2.room = 2
    assert app.reconciler(minute(), None) == {"launched": 2}
    ec2.room = 100
    assert app.reconciler(minute("2026-11-22T10:01:00Z"), None) == {"launched": 3}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("InsufficientInstanceCapacity", ""),
        ("VcpuLimitExceeded", ""),
        ("RequestLimitExceeded", ""),
        ("InsufficientFreeAddressesInSubnet", ""),
        ("MaxSpotInstanceCountExceeded", ""),
        ("InternalError", ""),
        ("InvalidParameterValue", "Value (x) for parameter IAM Instance Profile is invalid"),
    ],
)
def test_what_passes_by_itself_is_left_to_the_reconciler(
    app: ModuleType, ec2: FakeEc2, code: str, message: str
) -> None:
    ec2.refusal = refusal(code, message)
    assert app.stream_handler(inserts(1), None) == {"launched": 0}
    ec2.refusal = None
    ec2.room = 0
    ec2.errors = [{"ErrorCode": code, "ErrorMessage": message}]
    assert app.stream_handler(inserts(1, first="200"), None) == {"launched": 0}


@pytest.mark.parametrize(
    "code", ["UnauthorizedOperation", "InvalidLaunchTemplateId.NotFound", "InvalidParameterValue"]
)
def test_denied_or_misconfigured_is_raised_so_that_an_alarm_rings(
    app: ModuleType, ec2: FakeEc2, queue_url: str, code: str
) -> None:
    ec2.refusal = refusal(code)
    with pytest.raises(LaunchFailed, match=code):
        app.stream_handler(inserts(1), None)
    ec2.refusal = None
    ec2.room = 0
    ec2.errors = [
        {"ErrorCode": "InsufficientInstanceCapacity", "ErrorMessage": ""},
        {"ErrorCode": code, "ErrorMessage": "words"},
    ]
    send(queue_url, 1)
    with pytest.raises(LaunchFailed, match=code):
        app.reconciler(minute(), None)


def test_a_200_without_machines_or_reasons_is_a_failure(app: ModuleType, ec2: FakeEc2) -> None:
    ec2.room = 0
    with pytest.raises(LaunchFailed, match="gave no reason"):
        app.stream_handler(inserts(1), None)


def test_a_launch_that_happened_already_is_no_error(app: ModuleType, ec2: FakeEc2) -> None:
    ec2.refusal = refusal("IdempotentParameterMismatch")
    assert app.stream_handler(inserts(1), None) == {"launched": 0}


def test_an_unknown_error_does_not_pass_by_itself() -> None:
    assert error_class("SomethingNew", "") is None


def test_machines_that_go_without_a_job_slow_launching_down(
    app: ModuleType, ec2: FakeEc2, queue_url: str
) -> None:
    send(queue_url, 50)
    for n in range(3):
        ec2.add(f"i-gone-{n}", state="terminated", minutes=3)
    app.reconciler(minute(), None)
    assert ec2.asked == [1]


def test_machines_that_did_their_work_or_went_long_ago_slow_nothing_down(
    app: ModuleType, ec2: FakeEc2, queue_url: str, table: jobs.JobTable
) -> None:
    send(queue_url, 50)
    for n in range(3):
        job = table.record(bucket=BUCKET, file_name="a.txt", input_text="", retention_days=1)
        upload = jobs.Upload(id=job.id, bucket=BUCKET, key="k", etag="e", size=1)
        table.claim(upload, message_id="m", instance_id=f"i-worked-{n}")
        ec2.add(f"i-worked-{n}", state="terminated", minutes=3)
        ec2.add(f"i-old-{n}", state="terminated", minutes=11)
    app.reconciler(minute(), None)
    assert ec2.asked == [5]


def test_a_machine_past_its_life_and_grace_is_terminated(app: ModuleType, ec2: FakeEc2) -> None:
    ec2.add("i-young", minutes=64)
    ec2.add("i-old", minutes=66)
    ec2.add("i-gone", state="terminated", minutes=500)
    app.reconciler(minute(), None)
    assert ec2.terminated == ["i-old"]


def test_a_machine_that_cannot_be_terminated_keeps_no_other_alive(
    app: ModuleType, ec2: FakeEc2, capsys: pytest.CaptureFixture[str]
) -> None:
    ec2.add("i-locked", minutes=66)
    ec2.add("i-old", minutes=66)
    ec2.locked = "i-locked"
    with pytest.raises(ClientError, match="OperationNotPermitted"):
        app.reconciler(minute(), None)
    assert ec2.terminated == ["i-old"]
    assert '"InstancesPastLife": 2' in capsys.readouterr().out


def test_a_machine_that_went_meanwhile_is_left_alone(app: ModuleType, ec2: FakeEc2) -> None:
    ec2.add("i-old", minutes=66)
    seen = app.fleet().look()
    ec2.shown[0]["State"]["Name"] = "shutting-down"
    app.fleet().terminate(seen[0].id)
    assert ec2.terminated == []


# --- dead letters --------------------------------------------------------------------


def letter(body: str, message_id: str = "m1") -> dict[str, Any]:
    return {"Records": [{"body": body, "messageId": message_id}]}


def body_for(job: jobs.Job) -> str:
    bucket, key = jobs.split_path(job.input_file_path)
    return jobs.announcement(jobs.Upload(job.id, bucket, key, etag="e", size=1))


def test_a_dead_letter_fails_its_unfinished_job_once(app: ModuleType, table: jobs.JobTable) -> None:
    job = table.record(bucket=BUCKET, file_name="a.txt", input_text="", retention_days=1)
    assert app.dead_letter_handler(letter(body_for(job)), None) == {"failed": 1}
    assert app.dead_letter_handler(letter(body_for(job)), None) == {"failed": 0}
    assert table.get(job.id).status == jobs.FAILED


@pytest.mark.parametrize("body", ["garbage", "{}", '{"Event": "s3:TestEvent"}'])
def test_a_dead_letter_that_is_no_upload_is_dropped(app: ModuleType, body: str) -> None:
    assert app.dead_letter_handler(letter(body), None) == {"failed": 0}
