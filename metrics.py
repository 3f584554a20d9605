"""What is counted: the names, for those who write them and those who watch them.

A namespace is one stack's own. The metrics carry no dimension but the one named here.
"""

from __future__ import annotations

import json
import time

NAMESPACE_PREFIX = "Addendum/"

JOBS_RECORDED = "JobsRecorded"
JOBS_SUCCEEDED = "JobsSucceeded"
JOBS_FAILED = "JobsFailed"
TIME_TO_RESULT = "TimeToResult"
"""Seconds from the record to its result."""
LAUNCHES_ASKED = "LaunchesAsked"
LAUNCHES_GOT = "LaunchesGot"
LAUNCH_ERRORS = "LaunchErrors"
"""By :data:`ERROR_CLASS`: capacity, quota, throttle..."""
ERROR_CLASS = "Class"
INSTANCES_PAST_LIFE = "InstancesPastLife"


def namespace(stack: str) -> str:
    """Return the namespace of a stack's metrics."""
    return NAMESPACE_PREFIX + stack


def log(stack: str, name: str, value: float, **dimensions: str) -> None:
    """Write a metric from a Lambda function: a line of its log, which CloudWatch extracts.

    That costs no call and no permission, and one JSON object needs no library whose import
    every cold start would pay for.
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    directive = {
        "Namespace": namespace(stack),
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": "Count"}],
    }
    meta = {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]}
    print(json.dumps({"_aws": meta, name: value, **dimensions}))
