"""The processor when AWS errs: each launch happens once, sooner or later.

An identical client token launches nothing new:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Run_Instance_Idempotency.html
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

import jobs
from chalicelib.fleet import Fleet, LaunchFailed
from tests.conftest import BUCKET
from tests.drills.faults import (
    FAULTS,
    Outage,
    Raw,
    answer,
    instead_of_moto,
    skip_back_off,
    strike_at,
    was_struck,
)
from tests.unit.test_processor import (
    TEMPLATE,
    FakeEc2,
    body_for,
    inserts,
    letter,
    minute,
    refusal,
    send,
)
from tests.unit.test_processor import app as app
from tests.unit.test_processor import ec2 as ec2
from tests.unit.test_processor import queue_url as queue_url

if TYPE_CHECKING:
    from types import ModuleType

LAUNCHED = """<CreateFleetResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<fleetInstanceSet><item><instanceIds><item>i-1</item></instanceIds></item></fleetInstanceSet>
</CreateFleetResponse>"""
SHOWN = """<DescribeInstancesResponse><reservationSet><item><instancesSet>
{}</instancesSet></item></reservationSet></DescribeInstancesResponse>"""
MACHINE = """<item><instanceId>{}</instanceId><instanceState><name>{}</name></instanceState>
<launchTime>{:%Y-%m-%dT%H:%M:%SZ}</launchTime></item>"""
SDK_ATTEMPTS = 4
"""What ``processor`` allows: an outage that is longer than these is seen by our code."""


class WireEc2:
    """EC2 at the wire: one machine is past its life, and three are gone without a job."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.done: list[str] = []
        now = datetime.now(UTC)
        machines = [MACHINE.format("i-old", "running", now - timedelta(hours=2))]
        for n in range(3):
            machines.append(MACHINE.format(f"i-{n}", "terminated", now - timedelta(minutes=3)))
        self._answers = {
            "DescribeInstances": SHOWN.format("".join(machines)),
            "CreateFleet": LAUNCHED,
            "TerminateInstances": "<TerminateInstancesResponse/>",
        }
        client.meta.events.register_first("before-send.ec2", self._respond)

    def _respond(self, request: Any, **_: Any) -> AWSResponse | None:
        if was_struck(request):
            return None
        (action,) = parse_qs(request.body)["Action"]
        self.done.append(action)
        body = Raw(self._answers[action].encode())
        return instead_of_moto(request, AWSResponse(request.url, 200, {}, body))


@pytest.fixture
def wire(app: ModuleType, queue_url: str, monkeypatch: pytest.MonkeyPatch) -> WireEc2:
    """EC2 for the processor, and work for many machines."""
    skip_back_off(monkeypatch)
    send(queue_url, 50)
    found = WireEc2(boto3.client("ec2", config=app.RETRIES))
    fleet = Fleet(found.client, stack="addendum-dev", template=TEMPLATE)
    monkeypatch.setattr(app, "fleet", lambda: fleet)
    return found


def clients(app: ModuleType, wire: WireEc2) -> dict[str, Any]:
    """Return whom the reconciler asks for what."""
    return {
        "DescribeInstances": wire.client,
        "GetQueueAttributes": app.sqs(),
        "Query": app.job_table()._client,
        "CreateFleet": wire.client,
        "TerminateInstances": wire.client,
    }


def lose_the_answer(ec2: FakeEc2, patch: pytest.MonkeyPatch) -> None:
    """Let the next launch happen, and its answer get lost."""
    launch = ec2.create_fleet

    def unheard(**request: Any) -> dict[str, Any]:
        launch(**request)
        patch.setattr(ec2, "create_fleet", launch)
        raise ReadTimeoutError(endpoint_url="https://ec2")

    patch.setattr(ec2, "create_fleet", unheard)


def test_a_launch_that_timed_out_after_it_happened_is_not_repeated(
    app: ModuleType, ec2: FakeEc2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream sends the batch again: its first sequence number names the same launch."""
    ec2.lags = True
    lose_the_answer(ec2, monkeypatch)
    with pytest.raises(ReadTimeoutError):
        app.stream_handler(inserts(1), None)
    assert app.stream_handler(inserts(1), None) == {"launched": 1}
    first, second = ec2.requests
    assert first["ClientToken"] == second["ClientToken"]


PASSING = {
    "InsufficientInstanceCapacity": "capacity",
    "InsufficientFreeAddressesInSubnet": "capacity",
    "VcpuLimitExceeded": "quota",
    "RequestLimitExceeded": "throttle",
}
LASTING = ["UnauthorizedOperation", "InvalidLaunchTemplateId.NotFound", "InvalidFleetConfiguration"]


@pytest.mark.parametrize("code", [*PASSING, *LASTING, "no reason"])
def test_a_launch_that_came_to_nothing_is_counted_logged_and_asked_for_each_minute(
    app: ModuleType,
    ec2: FakeEc2,
    queue_url: str,
    code: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(app.app.log, "propagate", True)
    send(queue_url, 1)
    ec2.room = 0
    ec2.errors = [] if code == "no reason" else [{"ErrorCode": code, "ErrorMessage": "words"}]
    for n in range(2):
        told = a_minute_without_luck(app, f"2026-11-22T10:0{n}:00Z")
        assert (code in PASSING) == (told == "launched 0")
    counted = [line for line in capsys.readouterr().out.splitlines() if "LaunchErrors" in line]
    classes = [json.loads(line)["Class"] for line in counted]
    assert classes == [PASSING.get(code, "does not pass")] * 2 * bool(ec2.errors)
    assert code in PASSING or code in told
    assert (code in PASSING) == ("EC2 launched nothing for now" in caplog.text)
    ec2.room = 100
    assert app.reconciler(minute("2026-11-22T10:02:00Z"), None) == {"launched": 1}


def a_minute_without_luck(app: ModuleType, time: str) -> str:
    """Run the reconciler; return what comes of it, in words."""
    try:
        return f"launched {app.reconciler(minute(time), None)['launched']}"
    except LaunchFailed as error:
        return str(error)


def test_the_next_minute_sees_the_machines_of_a_launch_that_timed_out(
    app: ModuleType, ec2: FakeEc2, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(queue_url, 1)
    lose_the_answer(ec2, monkeypatch)
    with pytest.raises(ReadTimeoutError):
        app.reconciler(minute(), None)
    assert app.reconciler(minute("2026-11-22T10:01:00Z"), None) == {"launched": 0}
    assert len(ec2.shown) == 1


@pytest.mark.parametrize("trouble", FAULTS)
def test_a_throttled_or_shaky_launch_is_asked_for_again_with_pauses_and_one_token(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    pauses = skip_back_off(monkeypatch)
    client = boto3.client("ec2", config=app.RETRIES)
    tokens: list[str] = []

    def respond(request: Any, **_: Any) -> AWSResponse:
        tokens.append(str(parse_qs(request.body)["ClientToken"][0]))
        if len(tokens) < 3:
            return instead_of_moto(request, answer(trouble, request.url))
        return instead_of_moto(request, AWSResponse(request.url, 200, {}, Raw(LAUNCHED.encode())))

    client.meta.events.register_first("before-send.ec2.CreateFleet", respond)
    fleet = Fleet(client, stack="addendum-dev", template=TEMPLATE)
    assert fleet.launch(1, occasion="100") == 1
    assert len(tokens) == 3
    assert len(set(tokens)) == 1
    assert len(pauses) == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_a_minute_with_short_outages_of_all_is_like_any_other(
    app: ModuleType, wire: WireEc2, fault: str
) -> None:
    for call, client in clients(app, wire).items():
        strike_at(client, call, Outage(fault, count=2))
    assert app.reconciler(minute(), None) == {"launched": 1}
    assert {"CreateFleet", "TerminateInstances"} <= set(wire.done)


@pytest.mark.parametrize("call", ["DescribeInstances", "GetQueueAttributes", "Query"])
def test_what_cannot_be_asked_fails_the_run_and_the_next_minute_makes_good(
    app: ModuleType, wire: WireEc2, call: str
) -> None:
    """A failed run is an error of the function, which is counted and rings its alarm."""
    for fault in FAULTS:
        strike_at(clients(app, wire)[call], call, Outage(fault, count=SDK_ATTEMPTS))
        with pytest.raises((BotoCoreError, ClientError)):
            app.reconciler(minute(fault), None)
        assert app.reconciler(minute(f"after {fault}"), None) == {"launched": 1}


def test_a_machine_that_cannot_be_ended_keeps_nothing_from_being_launched(
    app: ModuleType, wire: WireEc2
) -> None:
    for fault in FAULTS:
        wire.done.clear()
        strike_at(wire.client, "TerminateInstances", Outage(fault, count=SDK_ATTEMPTS))
        with pytest.raises((BotoCoreError, ClientError)):
            app.reconciler(minute(fault), None)
        assert "CreateFleet" in wire.done
        assert "TerminateInstances" not in wire.done
        app.reconciler(minute(f"after {fault}"), None)
        assert "TerminateInstances" in wire.done


def test_a_launch_that_is_denied_keeps_no_machine_alive(
    app: ModuleType, ec2: FakeEc2, queue_url: str
) -> None:
    send(queue_url, 11)
    ec2.add("i-old", minutes=66)
    ec2.refusal = refusal("UnauthorizedOperation")
    with pytest.raises(LaunchFailed):
        app.reconciler(minute(), None)
    assert ec2.terminated == ["i-old"]


def test_a_dead_letter_whose_job_cannot_be_written_comes_again(
    app: ModuleType, table: jobs.JobTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler fails, so that the queue keeps the letter."""
    skip_back_off(monkeypatch)
    for fault in FAULTS:
        job = table.record(bucket=BUCKET, file_name="a.txt", input_text="", retention_days=1)
        strike_at(app.job_table()._client, "UpdateItem", Outage(fault, count=SDK_ATTEMPTS))
        with pytest.raises((BotoCoreError, ClientError)):
            app.dead_letter_handler(letter(body_for(job)), None)
        assert app.dead_letter_handler(letter(body_for(job)), None) == {"failed": 1}
        assert table.get(job.id).status == jobs.FAILED
