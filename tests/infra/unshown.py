"""What roles may do though no run of the emulator shows that they need it, and why not.

``tests/e2e/test_permissions.py`` holds both ways: what is not here is used in a recorded
run of the whole system, what is here is not. ``docs/iam.md`` shows the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

POLLER = "poller"
RUNTIME = "runtime"
LAUNCH = "launch"
MISSING = "missing object"

REASONS = {
    POLLER: "Lambda reads the event source with the function's role; the emulator reads its"
    " own tables and queues from within"
    " ([streams](https://docs.aws.amazon.com/lambda/latest/dg/services-dynamodb-eventsourcemapping.html),"
    " [queues](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html))",
    RUNTIME: "Lambda writes logs and traces with the function's role; the emulator writes logs"
    " from within, and no traces"
    " ([logs](https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html),"
    " [traces](https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html))",
    LAUNCH: "EC2 asks it of whoever calls CreateFleet, while it launches; the emulator asks for"
    " CreateFleet alone"
    " ([fleets](https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html))",
    MISSING: "S3 asks it only to say 404 instead of 403 of an object that is gone; the emulator"
    " says 404 to anyone"
    " ([GetObject](https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html))",
}

_OF_FUNCTIONS = dict.fromkeys(
    (
        "logs:CreateLogStream",
        "logs:PutLogEvents",
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
    ),
    RUNTIME,
)
_OF_LAUNCHERS = dict.fromkeys(
    (
        "ec2:RunInstances",
        "ec2:CreateTags",
        "iam:PassRole",
        "ssm:GetParameter",
        "ssm:GetParameters",
    ),
    LAUNCH,
)
_OF_STREAMS = dict.fromkeys(
    (
        "dynamodb:GetRecords",
        "dynamodb:GetShardIterator",
        "dynamodb:DescribeStream",
        "dynamodb:ListStreams",
    ),
    POLLER,
)
_OF_QUEUES = dict.fromkeys(
    ("sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"), POLLER
)

UNSHOWN: Mapping[str, Mapping[str, str]] = {
    "api-handler": _OF_FUNCTIONS,
    "processor-stream-handler": {**_OF_FUNCTIONS, **_OF_LAUNCHERS, **_OF_STREAMS},
    "processor-reconciler": {**_OF_FUNCTIONS, **_OF_LAUNCHERS},
    "processor-dead-letter-handler": {**_OF_FUNCTIONS, **_OF_QUEUES},
    "fleet": {"s3:ListBucket": MISSING},
}
"""By role: each action, with its reason."""


def permissions(policy: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each action of a policy with each resource that it is allowed on."""
    for statement in policy["Statement"]:
        for action in as_list(statement["Action"]):
            for resource in as_list(statement["Resource"]):
                yield action, resource


def as_list(value: Any) -> list[Any]:
    """Return a list, for what IAM writes without brackets when it is one."""
    return value if isinstance(value, list) else [value]
