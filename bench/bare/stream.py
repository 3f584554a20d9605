"""The stream handler as one writes it with boto3 alone: the same calls to AWS."""

from __future__ import annotations

import os
from math import ceil
from typing import Any

import boto3
from botocore.config import Config

RETRIES = Config(
    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=5, read_timeout=10
)
STACK = os.environ["ADDENDUM_STACK"]
TAGS = [{"Key": "addendum:stack", "Value": STACK}]
TYPES = os.environ["ADDENDUM_INSTANCE_TYPES"].split(",")
SUBNETS = os.environ["ADDENDUM_SUBNET_IDS"].split(",")

ec2 = boto3.client("ec2", config=RETRIES)
sqs = boto3.client("sqs", config=RETRIES)


def handler(event: dict[str, Any], context: object) -> dict[str, int]:  # noqa: ARG001
    """Launch what the batch asks for."""
    live = 0
    filters = [{"Name": "tag:addendum:stack", "Values": [STACK]}]
    for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
        for group in page["Reservations"]:
            states = [one["State"]["Name"] for one in group["Instances"]]
            live += sum(state in ("pending", "running") for state in states)
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    url = os.environ["ADDENDUM_QUEUE_URL"]
    counts = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    waiting = len(event["Records"]) + int(counts[names[0]])
    count = min(ceil(waiting / 10), 2 - live)
    return {"launched": _launch(count, event["Records"][0]["dynamodb"]["SequenceNumber"])}


def _launch(count: int, token: str) -> int:
    template = {
        "LaunchTemplateId": os.environ["ADDENDUM_LAUNCH_TEMPLATE_ID"],
        "Version": os.environ["ADDENDUM_LAUNCH_TEMPLATE_VERSION"],
    }
    overrides = [{"InstanceType": one, "SubnetId": net} for one in TYPES for net in SUBNETS]
    answer = ec2.create_fleet(
        Type="instant",
        ClientToken=token,
        LaunchTemplateConfigs=[
            {"LaunchTemplateSpecification": template, "Overrides": overrides},
        ],
        SpotOptions={"AllocationStrategy": "price-capacity-optimized"},
        TargetCapacitySpecification={
            "TotalTargetCapacity": count,
            "DefaultTargetCapacityType": "on-demand",
        },
        TagSpecifications=[
            {"ResourceType": kind, "Tags": TAGS} for kind in ("fleet", "instance", "volume")
        ],
    )
    return sum(len(one["InstanceIds"]) for one in answer["Instances"])
