"""Alarms, whom they tell, the dashboard and the budget."""

from __future__ import annotations

import json
from typing import Any

import pytest

import metrics
from tests.infra.program import Resource, Run

FUNCTIONS = ("api-handler", "stream-handler", "reconciler", "dead-letter-handler")
ALARMS = {
    "dead-letters": ("AWS/Lambda", "Invocations"),
    "dead-letters-stuck": ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
    "oldest-message": ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
    "api-5xx": ("AWS/ApiGateway", "5XXError"),
    "past-life": (metrics.namespace("addendum-dev"), metrics.INSTANCES_PAST_LIFE),
    **{f"{name}-errors": ("AWS/Lambda", "Errors") for name in FUNCTIONS},
    **{f"{name}-throttles": ("AWS/Lambda", "Throttles") for name in FUNCTIONS},
}


def _alarm(run: Run, key: str) -> Resource:
    (alarm,) = [one for one in run.all("MetricAlarm") if one.name == f"monitoring-{key}"]
    return alarm


def test_there_is_an_alarm_for_all_that_can_go_wrong(declared: Run) -> None:
    found = {
        one.name.removeprefix("monitoring-"): (one.inputs["namespace"], one.inputs["metricName"])
        for one in declared.all("MetricAlarm")
    }
    assert found == ALARMS


def test_every_alarm_tells_the_topic_and_is_silent_without_data(declared: Run) -> None:
    for alarm in declared.all("MetricAlarm"):
        assert alarm.inputs["alarmActions"] == alarm.inputs["okActions"]
        assert alarm.inputs["alarmActions"][0].endswith(":monitoring")
        assert alarm.inputs["treatMissingData"] == "notBreaching"
        assert alarm.inputs["alarmDescription"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_functions_alarms_watch_that_function(declared: Run, name: str) -> None:
    function = declared.one("Function", name)
    for kind in ("errors", "throttles"):
        dimensions = _alarm(declared, f"{name}-{kind}").inputs["dimensions"]
        assert dimensions == {"FunctionName": function.name}


def test_a_message_is_stuck_when_it_outlives_a_machine(declared: Run, changed: Run) -> None:
    for each, seconds in ((declared, 3600), (changed, 7200)):
        alarm = _alarm(each, "oldest-message").inputs
        assert alarm["dimensions"] == {"QueueName": "storage-work"}
        assert alarm["threshold"] == seconds


def test_the_topic_writes_to_the_address_if_there_is_one(declared: Run, changed: Run) -> None:
    assert declared.all("TopicSubscription") == []
    subscription = changed.one("TopicSubscription").inputs
    assert (subscription["protocol"], subscription["endpoint"]) == ("email", "someone@example.org")


def test_the_budget_tells_the_address_before_and_when_it_is_spent(
    declared: Run, changed: Run
) -> None:
    assert declared.all("Budget") == []
    budget = changed.one("Budget").inputs
    assert (budget["limitAmount"], budget["limitUnit"]) == ("25", "USD")
    assert budget["timeUnit"] == "MONTHLY"
    kinds = {one["notificationType"] for one in budget["notifications"]}
    assert kinds == {"ACTUAL", "FORECASTED"}
    for each in budget["notifications"]:
        assert each["subscriberEmailAddresses"] == ["someone@example.org"]


def _widgets(run: Run) -> list[dict[str, Any]]:
    return list(run.one("Dashboard").json("dashboardBody")["widgets"])


def test_the_dashboard_begins_with_every_alarm(declared: Run) -> None:
    first = _widgets(declared)[0]
    assert first["type"] == "alarm"
    assert len(first["properties"]["alarms"]) == len(ALARMS)


def test_the_dashboards_graphs_do_not_overlap(declared: Run) -> None:
    places = [
        (x, y)
        for one in _widgets(declared)[1:]
        for x in range(one["x"], one["x"] + one["width"])
        for y in range(one["y"], one["y"] + one["height"])
    ]
    assert len(places) == len(set(places))
    assert all(0 <= x < 24 and y >= 3 for x, y in places)


def test_the_dashboard_shows_every_metric_of_ours(declared: Run) -> None:
    text = json.dumps(_widgets(declared))
    names = [value for key, value in vars(metrics).items() if key.isupper() and key != "NAMESPACE"]
    assert [name for name in names if name not in text] == []


def test_the_dashboard_is_in_the_stacks_region_and_its_address_is_exported(declared: Run) -> None:
    for widget in _widgets(declared)[1:]:
        assert widget["properties"]["region"] == "eu-central-1"
    name = declared.one("Dashboard").inputs["dashboardName"]
    assert declared.exports["dashboard_url"].endswith(f"#dashboards:name={name}")
