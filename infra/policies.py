"""Every IAM policy, as pure functions that return dicts.

Each role gets exactly what its code calls. Which actions can be limited to a resource,
and by which condition keys, is AWS's service authorization reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import pulumi

import jobs

Statement = dict[str, Any]


def document(*statements: Statement) -> dict[str, Any]:
    """Return a policy document of these statements."""
    return {"Version": "2012-10-17", "Statement": list(statements)}


def assume_role(service: str) -> dict[str, Any]:
    """Return the trust policy that lets an AWS service, such as ``ec2``, take a role."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    )


def render(
    policy: Callable[..., list[Statement]], **values: pulumi.Input[Any]
) -> pulumi.Output[list[Statement]]:
    """Call a policy function once all its inputs are known."""
    return pulumi.Output.all(**values).apply(lambda known: policy(**known))


def as_json(statements: pulumi.Input[Sequence[Statement]]) -> pulumi.Output[str]:
    """Return the policy document of these statements as JSON."""
    return pulumi.Output.from_input(statements).apply(lambda known: json.dumps(document(*known)))


# --- resource policies ---------------------------------------------------------------


def tls_only(*, bucket_arn: str) -> list[Statement]:
    """Refuse plain HTTP.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/security-best-practices.html
    """
    return [
        {
            "Sid": "TlsOnly",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, f"{bucket_arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    ]


def send_from_bucket(*, queue_arn: str, bucket_arn: str, account_id: str) -> list[Statement]:
    """Let this bucket, while it is this account's, send its events to the queue.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/grant-destinations-permissions-to-s3.html
    """
    return [
        {
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": queue_arn,
            "Condition": {
                "ArnEquals": {"aws:SourceArn": bucket_arn},
                "StringEquals": {"aws:SourceAccount": account_id},
            },
        }
    ]


def through_s3_endpoint(*, bucket_arn: str) -> list[Statement]:
    """Let nothing but this stack's bucket be reached through the network's S3 endpoint.

    https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-s3.html
    """
    actions = ["s3:GetObject", "s3:ListBucket", "s3:PutObject", "s3:AbortMultipartUpload"]
    allow = _allow(actions, [bucket_arn, f"{bucket_arn}/*"])
    return [{**allow, "Principal": "*"}]


def through_dynamodb_endpoint(*, table_arn: str) -> list[Statement]:
    """Let nothing but this stack's table be reached through the network's DynamoDB endpoint.

    https://docs.aws.amazon.com/vpc/latest/privatelink/vpc-endpoints-ddb.html
    """
    return [{**_allow(["dynamodb:UpdateItem"], table_arn), "Principal": "*"}]


def read_by_distribution(*, bucket_arn: str, distribution_arn: str) -> list[Statement]:
    """Let one CloudFront distribution read the page.

    https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/private-content-restricting-access-to-s3.html
    """
    return [
        {
            "Sid": "Page",
            "Effect": "Allow",
            "Principal": {"Service": "cloudfront.amazonaws.com"},
            "Action": "s3:GetObject",
            "Resource": f"{bucket_arn}/*",
            "Condition": {"StringEquals": {"AWS:SourceArn": distribution_arn}},
        }
    ]


# --- the functions -------------------------------------------------------------------


def api(*, table_arn: str, bucket_arn: str) -> list[Statement]:
    """Record jobs and read them; sign the upload of an input and the download of a result.

    A presigned request has the permissions of whoever signed it:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-presigned-url.html
    """
    return [
        _allow(["dynamodb:PutItem", "dynamodb:BatchGetItem"], table_arn),
        _allow(["s3:PutObject"], f"{bucket_arn}/{jobs.INPUT_PREFIX}*"),
        _allow(["s3:GetObject"], f"{bucket_arn}/{jobs.OUTPUT_PREFIX}*"),
    ]


def read_stream(*, stream_arn: str) -> list[Statement]:
    """Let the event source mapping read the table's stream.

    ListStreams cannot be limited to a stream:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html
    """
    return [
        _allow(
            ["dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:DescribeStream"],
            stream_arn,
        ),
        _allow(["dynamodb:ListStreams"], "*"),
    ]


def read_dead_letters(*, dead_letter_queue_arn: str, table_arn: str) -> list[Statement]:
    """Let the event source mapping take dead letters, and their handler record failures."""
    return [
        _allow(
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes"],
            dead_letter_queue_arn,
        ),
        _allow(["dynamodb:UpdateItem"], table_arn),
    ]


def compare(*, queue_arn: str, table_arn: str) -> list[Statement]:
    """Compare backlog with machines. Describe calls cannot be limited to a resource."""
    return [
        _allow(["sqs:GetQueueAttributes"], queue_arn),
        _allow(["dynamodb:Query"], f"{table_arn}/index/{jobs.INSTANCE_INDEX}"),
        _allow(["ec2:DescribeInstances"], "*"),
    ]


def launch(
    *,
    stack_tag: str,
    template_arn: str,
    subnet_arns: Sequence[str],
    security_group_arn: str,
    role_arn: str,
    image_parameter: str,
    spot: bool,
) -> list[Statement]:
    """Launch machines of this stack's template only.

    CreateFleet knows no launch-template condition keys, so both actions are pinned by
    resource. Instant fleets launch with the caller's own permissions:
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-fleet-prerequisites.html
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html

    :param stack_tag: value of :data:`jobs.STACK_TAG` on all that is launched.
    :param image_parameter: name of the public SSM parameter that holds the image's id.
    :param spot: whether Spot instances are launched, whose requests are resources too.
    """
    both = ["ec2:CreateFleet", "ec2:RunInstances"]
    instance, volume, fleet, interface = (
        _beside(template_arn, f"{kind}/*")
        for kind in ("instance", "volume", "fleet", "network-interface")
    )
    image = _beside(template_arn, "image/*", account="")
    parameter = _beside(template_arn, f"parameter{image_parameter}", service="ssm", account="")
    tagged = {"StringEquals": {f"aws:RequestTag/{jobs.STACK_TAG}": stack_tag}}
    on_creation = {"StringEquals": {"ec2:CreateAction": ["CreateFleet", "RunInstances"]}}
    to_ec2 = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    return [
        _allow(both, [template_arn, *subnet_arns]),
        _allow(["ec2:RunInstances"], security_group_arn),
        _allow(both, image, {"StringEquals": {"ec2:Owner": "amazon"}}),
        _allow(both, [instance, volume], tagged),
        _allow(["ec2:CreateFleet"], fleet, tagged),
        _allow(["ec2:RunInstances"], interface, tagged),
        _allow(["ec2:CreateTags"], [instance, volume, fleet, interface], on_creation),
        _allow(["iam:PassRole"], role_arn, to_ec2),
        # CreateFleet resolves the image with one action, RunInstances with the other:
        # https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/create-launch-template.html
        _allow(["ssm:GetParameter", "ssm:GetParameters"], parameter),
        *(_request_spot(_beside(template_arn, "spot-instances-request/*")) if spot else []),
    ]


def _request_spot(requests: str) -> list[Statement]:
    """Make Spot requests, which have no tags; what comes of them must have the stack's.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/concepts-spot-instances-request-tags.html
    """
    return [_allow(["ec2:RunInstances"], requests)]


def terminate(*, stack_tag: str, template_arn: str) -> list[Statement]:
    """Terminate instances of this stack, and no others."""
    return [
        _allow(
            ["ec2:TerminateInstances"],
            _beside(template_arn, "instance/*"),
            {"StringEquals": {f"ec2:ResourceTag/{jobs.STACK_TAG}": stack_tag}},
        )
    ]


# --- the virtual machine -------------------------------------------------------------


def worker(
    *, bucket_arn: str, table_arn: str, queue_arn: str, metric_namespace: str
) -> list[Statement]:
    """Take jobs, read inputs and the bundle, write results and logs. Nothing else.

    Without ListBucket a missing object reads as 403 instead of 404:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
    PutMetricData can be limited by namespace only:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/iam-cw-condition-keys-namespace.html
    """
    read = [f"{bucket_arn}/{prefix}*" for prefix in (jobs.INPUT_PREFIX, jobs.SCRIPT_PREFIX)]
    write = [f"{bucket_arn}/{prefix}*" for prefix in (jobs.OUTPUT_PREFIX, jobs.LOG_PREFIX)]
    return [
        _allow(["s3:GetObject"], read),
        _allow(["s3:ListBucket"], bucket_arn),
        _allow(["s3:PutObject", "s3:AbortMultipartUpload"], write),
        _allow(["dynamodb:UpdateItem"], table_arn),
        _allow(
            ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"], queue_arn
        ),
        _allow(
            ["cloudwatch:PutMetricData"],
            "*",
            {"StringEquals": {"cloudwatch:namespace": metric_namespace}},
        ),
    ]


def _allow(
    actions: list[str], resource: str | list[str], condition: dict[str, Any] | None = None
) -> Statement:
    statement: Statement = {"Effect": "Allow", "Action": actions, "Resource": resource}
    return statement if condition is None else {**statement, "Condition": condition}


def _beside(
    arn: str, resource: str, *, service: str | None = None, account: str | None = None
) -> str:
    """Return the ARN of another resource in the partition and region of ``arn``."""
    _, partition, its_service, region, its_account, _ = arn.split(":", 5)
    service = its_service if service is None else service
    account = its_account if account is None else account
    return f"arn:{partition}:{service}:{region}:{account}:{resource}"
