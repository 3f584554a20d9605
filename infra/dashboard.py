"""The dashboard's body, from what happens to a user down to what causes it.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CloudWatch-Dashboard-Body-Structure.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import metrics

COLUMNS = 24
WIDTH = 8
HEIGHT = 6

Series = list[Any]
"""A metric as the body writes it: namespace, name, dimensions, options."""


def body(
    *,
    namespace: str,
    region: str,
    alarm_arns: Sequence[str],
    functions: Mapping[str, str],
    queue: str,
    dead_letter_queue: str,
    table: str,
    api: str,
    stage: str,
) -> str:
    """Return the dashboard as JSON: the alarms, then a grid of graphs."""
    graphs = [
        _graph("Jobs", _jobs(namespace)),
        _graph("Seconds from record to result", _time_to_result(namespace)),
        _graph("Machines asked for and got", _launches(namespace)),
        _graph("Launch errors by class", [_launch_errors(namespace)]),
        _graph("Work queue", _queue(queue)),
        _graph("Age of the oldest message, seconds", _ages(queue, dead_letter_queue)),
        _graph("Function calls", _functions(functions, "Invocations", "Sum")),
        _graph("Function errors", _functions(functions, "Errors", "Sum")),
        _graph("Function milliseconds, p90", _functions(functions, "Duration", "p90")),
        _graph("API calls and errors", _api(api, stage)),
        _graph("API milliseconds", _latency(api, stage)),
        _graph("Table throttles", _table(table)),
    ]
    widgets = [_alarm_status(alarm_arns)]
    widgets += [_placed(index, graph, region) for index, graph in enumerate(graphs)]
    return json.dumps({"widgets": widgets}, sort_keys=True)


def _alarm_status(arns: Sequence[str]) -> dict[str, Any]:
    properties = {"title": "Alarms", "alarms": list(arns)}
    return {"type": "alarm", "width": COLUMNS, "height": 3, "properties": properties}


def _placed(index: int, graph: dict[str, Any], region: str) -> dict[str, Any]:
    row, column = divmod(index, COLUMNS // WIDTH)
    place = {"x": column * WIDTH, "y": 3 + row * HEIGHT, "width": WIDTH, "height": HEIGHT}
    properties = {**graph, "region": region, "period": 60}
    return {"type": "metric", **place, "properties": properties}


def _graph(title: str, series: list[Series]) -> dict[str, Any]:
    return {"title": title, "metrics": series, "view": "timeSeries"}


def _sum(namespace: str, name: str) -> Series:
    return [namespace, name, {"stat": "Sum"}]


def _jobs(namespace: str) -> list[Series]:
    names = (metrics.JOBS_RECORDED, metrics.JOBS_SUCCEEDED, metrics.JOBS_FAILED)
    return [_sum(namespace, name) for name in names]


def _time_to_result(namespace: str) -> list[Series]:
    return [[namespace, metrics.TIME_TO_RESULT, {"stat": stat}] for stat in ("p50", "p90", "p99")]


def _launches(namespace: str) -> list[Series]:
    names = (metrics.LAUNCHES_ASKED, metrics.LAUNCHES_GOT, metrics.INSTANCES_PAST_LIFE)
    return [_sum(namespace, name) for name in names]


def _launch_errors(namespace: str) -> Series:
    search = f'{{"{namespace}",{metrics.ERROR_CLASS}}} MetricName="{metrics.LAUNCH_ERRORS}"'
    return [{"expression": f"SEARCH('{search}', 'Sum', 60)", "id": "errors"}]


def _queue(name: str) -> list[Series]:
    counts = ("ApproximateNumberOfMessagesVisible", "ApproximateNumberOfMessagesNotVisible")
    return [["AWS/SQS", count, "QueueName", name, {"stat": "Maximum"}] for count in counts]


def _ages(*names: str) -> list[Series]:
    metric = "ApproximateAgeOfOldestMessage"
    return [["AWS/SQS", metric, "QueueName", name, {"stat": "Maximum"}] for name in names]


def _functions(functions: Mapping[str, str], metric: str, stat: str) -> list[Series]:
    return [
        ["AWS/Lambda", metric, "FunctionName", name, {"stat": stat, "label": key}]
        for key, name in sorted(functions.items())
    ]


def _api(name: str, stage: str) -> list[Series]:
    return [
        ["AWS/ApiGateway", metric, "ApiName", name, "Stage", stage, {"stat": "Sum"}]
        for metric in ("Count", "4XXError", "5XXError")
    ]


def _latency(name: str, stage: str) -> list[Series]:
    return [
        ["AWS/ApiGateway", "Latency", "ApiName", name, "Stage", stage, {"stat": stat}]
        for stat in ("p50", "p90")
    ]


def _table(name: str) -> list[Series]:
    return [
        ["AWS/DynamoDB", metric, "TableName", name, {"stat": "Sum"}]
        for metric in ("ReadThrottleEvents", "WriteThrottleEvents")
    ]
