"""A launch whose answer is lost, or that EC2 throttles: one launch, sooner or later.

An identical client token launches nothing new:
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Run_Instance_Idempotency.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from chalicelib.fleet import Fleet
from tests.drills.faults import Outage, Raw, answer, skip_back_off, strike_at
from tests.unit.test_processor import TEMPLATE, FakeEc2, inserts, minute, send
from tests.unit.test_processor import app as app
from tests.unit.test_processor import ec2 as ec2
from tests.unit.test_processor import queue_url as queue_url

if TYPE_CHECKING:
    from types import ModuleType

LAUNCHED = """<CreateFleetResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
<fleetInstanceSet><item><instanceIds><item>i-1</item></instanceIds></item></fleetInstanceSet>
</CreateFleetResponse>"""
THROTTLED = """<Response><Errors><Error>
<Code>RequestLimitExceeded</Code><Message>Slow down.</Message>
</Error></Errors></Response>"""


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


def test_the_next_minute_sees_the_machines_of_a_launch_that_timed_out(
    app: ModuleType, ec2: FakeEc2, queue_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(queue_url, 1)
    lose_the_answer(ec2, monkeypatch)
    with pytest.raises(ReadTimeoutError):
        app.reconciler(minute(), None)
    assert app.reconciler(minute("2026-11-22T10:01:00Z"), None) == {"launched": 0}
    assert len(ec2.shown) == 1


@pytest.mark.parametrize("trouble", ["throttled", "500", "timeout", "reset"])
def test_a_throttled_or_shaky_launch_is_asked_for_again_with_pauses_and_one_token(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    pauses = skip_back_off(monkeypatch)
    client = boto3.client("ec2", config=app.RETRIES)
    tokens: list[str] = []

    def respond(request: Any, **_: Any) -> AWSResponse:
        tokens.append(str(parse_qs(request.body)["ClientToken"][0]))
        if len(tokens) == 3:
            return AWSResponse(request.url, 200, {}, Raw(LAUNCHED.encode()))
        if trouble == "throttled":
            return AWSResponse(request.url, 503, {}, Raw(THROTTLED.encode()))
        told = answer(trouble, request.url)
        assert told is not None
        return told

    client.meta.events.register_first("before-send.ec2.CreateFleet", respond)
    fleet = Fleet(client, stack="addendum-dev", template=TEMPLATE)
    assert fleet.launch(1, occasion="100") == 1
    assert len(tokens) == 3
    assert len(set(tokens)) == 1
    assert len(pauses) == 2


@pytest.mark.parametrize("fault", ["500", "timeout", "reset"])
def test_a_queue_that_cannot_be_counted_fails_the_run_and_the_next_minute_makes_good(
    app: ModuleType, ec2: FakeEc2, queue_url: str, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A failed run is an error of the function, which is counted and rings its alarm."""
    skip_back_off(monkeypatch)
    send(queue_url, 1)
    strike_at(app.sqs(), "GetQueueAttributes", Outage(fault, count=4))
    with pytest.raises((BotoCoreError, ClientError)):
        app.reconciler(minute(), None)
    assert app.reconciler(minute("2026-11-22T10:01:00Z"), None) == {"launched": 1}
