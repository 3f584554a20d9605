"""The machines of this stack, as EC2 tells of them: look, launch, terminate."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.config import Config
from botocore.exceptions import ClientError

import jobs
import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

LOG = logging.getLogger("addendum-processor")

RETRIES = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=10
)
"""How every client of the processor waits, and asks again."""

SETTLE_SECONDS = 60
"""So long a machine we launched counts as live before DescribeInstances shows it."""

CAPACITY = "capacity"
QUOTA = "quota"
THROTTLE = "throttle"
NOT_YET = "not yet"

ERROR_CLASSES = {
    "InsufficientInstanceCapacity": CAPACITY,
    "InsufficientHostCapacity": CAPACITY,
    "InsufficientCapacityOnHost": CAPACITY,
    "InsufficientFreeAddressesInSubnet": CAPACITY,
    "UnfulfillableCapacity": CAPACITY,
    "SpotMaxPriceTooLow": CAPACITY,
    # A type that one zone does not have: EC2 tries the other overrides by itself.
    "Unsupported": CAPACITY,
    "VcpuLimitExceeded": QUOTA,
    "InstanceLimitExceeded": QUOTA,
    "MaxSpotInstanceCountExceeded": QUOTA,
    "FleetQuotaExceeded": QUOTA,
    "RequestLimitExceeded": THROTTLE,
    "Throttling": THROTTLE,
    "ThrottlingException": THROTTLE,
    "RequestThrottled": THROTTLE,
    "InternalError": THROTTLE,
    "InternalFailure": THROTTLE,
    "ServiceUnavailable": THROTTLE,
    "Unavailable": THROTTLE,
    # A just-created instance profile can be unknown to EC2 for some seconds:
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_iam-ec2.html
    "InvalidIamInstanceProfile": NOT_YET,
}
"""EC2 errors that pass by themselves. The reconciler asks again in a minute.

Every other error means denied or misconfigured: it is raised, so that an alarm rings.
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
"""

ALREADY_LAUNCHED = "IdempotentParameterMismatch"
LIVE_STATES = ("pending", "running")


class LaunchFailed(Exception):
    """EC2 launched nothing, for a reason that does not pass by itself."""


@dataclass(frozen=True)
class Instance:
    """One machine of this stack."""

    id: str
    state: str
    launched_at: datetime

    @property
    def live(self) -> bool:
        """Whether it can still take jobs."""
        return self.state in LIVE_STATES


@dataclass(frozen=True)
class Template:
    """What to launch, and where."""

    id: str
    version: str
    instance_types: Sequence[str]
    subnet_ids: Sequence[str]
    spot: bool


class Fleet:
    """The machines that carry this stack's tag.

    :param client: an EC2 client (boto3).
    :param stack: the tag's value.
    """

    def __init__(self, client: Any, *, stack: str, template: Template) -> None:
        self._client = client
        self._stack = stack
        self._template = template
        self._just_launched: dict[str, float] = {}

    def look(self) -> list[Instance]:
        """Return all machines that EC2 still shows, gone ones included."""
        pages = self._client.get_paginator("describe_instances").paginate(
            Filters=[{"Name": f"tag:{jobs.STACK_TAG}", "Values": [self._stack]}]
        )
        return [_instance(found) for page in pages for found in _found(page)]

    def count_live(self, seen: Iterable[Instance]) -> int:
        """Count live machines, with those just launched that EC2 does not show yet.

        DescribeInstances is eventually consistent:
        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/query-api-troubleshooting.html
        """
        seen = list(seen)
        known = {instance.id for instance in seen}
        now = time.monotonic()
        self._just_launched = {
            instance_id: at
            for instance_id, at in self._just_launched.items()
            if instance_id not in known and now - at < SETTLE_SECONDS
        }
        return sum(instance.live for instance in seen) + len(self._just_launched)

    def launch(self, count: int, *, occasion: str) -> int:
        """Launch machines in one call and return how many came.

        :param occasion: names what the launch is for. The same occasion, count and
            template version launch once, however often they are asked for:
            https://docs.aws.amazon.com/AWSEC2/latest/APIReference/Run_Instance_Idempotency.html
        :raises LaunchFailed: if nothing came and waiting will not help.
        """
        metrics.log(self._stack, metrics.LAUNCHES_ASKED, count)
        try:
            answer = self._client.create_fleet(**self._request(count, occasion))
        except ClientError as error:
            return self._nothing_launched([error.response["Error"]], error)
        launched = [one for item in answer.get("Instances", []) for one in item["InstanceIds"]]
        self._just_launched.update(dict.fromkeys(launched, time.monotonic()))
        errors = [
            {"Code": error.get("ErrorCode", ""), "Message": error.get("ErrorMessage", "")}
            for error in answer.get("Errors", [])
        ]
        if not launched:
            return self._nothing_launched(errors)
        metrics.log(self._stack, metrics.LAUNCHES_GOT, len(launched))
        LOG.info("asked for %d, launched %s, errors %s", count, launched, errors)
        return len(launched)

    def terminate(self, instance_id: str) -> bool:
        """Terminate a machine, if a second look finds it still alive and ours."""
        answer = self._client.describe_instances(
            InstanceIds=[instance_id],
            Filters=[{"Name": f"tag:{jobs.STACK_TAG}", "Values": [self._stack]}],
        )
        if not any(_instance(found).live for found in _found(answer)):
            return False
        LOG.error("terminating %s, which is past its life", instance_id)
        self._client.terminate_instances(InstanceIds=[instance_id])
        return True

    def _nothing_launched(
        self, errors: list[dict[str, str]], cause: Exception | None = None
    ) -> int:
        if [error["Code"] for error in errors] == [ALREADY_LAUNCHED]:
            LOG.info("this launch has happened already")
            return 0
        classes = [error_class(error["Code"], error["Message"]) for error in errors]
        for kind in set(classes):
            dimension = {metrics.ERROR_CLASS: kind or "does not pass"}
            metrics.log(self._stack, metrics.LAUNCH_ERRORS, 1, **dimension)
        if not errors or None in classes:
            raise LaunchFailed(f"EC2 launched nothing: {errors or 'and gave no reason'}") from cause
        LOG.warning("EC2 launched nothing for now (%s): %s", classes, errors)
        return 0

    def _request(self, count: int, occasion: str) -> dict[str, Any]:
        template = self._template
        token = hashlib.sha256(f"{occasion}/{count}/{template.version}".encode()).hexdigest()
        tags = [{"Key": jobs.STACK_TAG, "Value": self._stack}]
        # An instant fleet hands the tags on to whatever it makes:
        # https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateFleet.html
        kinds = ("fleet", "instance", "volume", "network-interface")
        return {
            "Type": "instant",
            "ClientToken": token,
            "LaunchTemplateConfigs": [
                {
                    "LaunchTemplateSpecification": {
                        "LaunchTemplateId": template.id,
                        "Version": template.version,
                    },
                    "Overrides": [
                        {"InstanceType": instance_type, "SubnetId": subnet_id}
                        for instance_type in template.instance_types
                        for subnet_id in template.subnet_ids
                    ],
                }
            ],
            "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
            "TargetCapacitySpecification": {
                "TotalTargetCapacity": count,
                "DefaultTargetCapacityType": "spot" if template.spot else "on-demand",
            },
            "TagSpecifications": [{"ResourceType": kind, "Tags": tags} for kind in kinds],
        }


def error_class(code: str, message: str) -> str | None:
    """Return the class of an EC2 error that passes by itself, or None."""
    if code == "InvalidParameterValue" and "IAM Instance Profile" in message:
        code = "InvalidIamInstanceProfile"
    return ERROR_CLASSES.get(code)


def _found(answer: dict[str, Any]) -> list[dict[str, Any]]:
    return [found for group in answer["Reservations"] for found in group["Instances"]]


def _instance(found: dict[str, Any]) -> Instance:
    return Instance(found["InstanceId"], found["State"]["Name"], found["LaunchTime"])
