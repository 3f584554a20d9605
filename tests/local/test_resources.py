"""How declared resources come to be in the emulator."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from local import resources
from local.resources import identity, recorded
from local.resources.declared import CannotCreate, Created, Declared, pascal, whole

if TYPE_CHECKING:
    from local.account import Account

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ec2.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


@pytest.fixture
def create(account: Account) -> Any:
    def create(kind: str, name: str, **inputs: Any) -> Created:
        return resources.create(Declared(kind, name, inputs, "mini", account))

    return create


def test_a_role_can_be_taken_and_does_what_it_may_only(create: Any, account: Account) -> None:
    role = create("aws:iam/role:Role", "r", assumeRolePolicy=TRUST)
    statement = {"Effect": "Allow", "Action": "sqs:ListQueues", "Resource": "*"}
    create(
        "aws:iam/rolePolicy:RolePolicy",
        "r",
        role=role.id,
        policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    seen = account.within(role.outputs["arn"])
    seen.client("sqs").list_queues()
    with pytest.raises(Exception, match="not authorized"):
        seen.client("s3").list_buckets()
    seen.close()


def test_only_what_the_emulator_cannot_see_is_made_up_for() -> None:
    def allow(*actions: str) -> dict[str, Any]:
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": "arn:aws:x"}
        return {"Version": "2012-10-17", "Statement": [statement]}

    assert identity.allowance(allow("s3:GetObject", "ec2:RunInstances")) is None
    extra = identity.allowance(allow("s3:GetObject", "ec2:CreateFleet"))
    assert extra is not None
    assert extra["Statement"] == [{"Effect": "Allow", "Action": "ec2:CreateFleet", "Resource": "*"}]


def test_a_denied_action_is_not_made_up_for() -> None:
    deny = {"Effect": "Deny", "Action": "ec2:CreateFleet", "Resource": "*"}
    assert identity.allowance({"Version": "2012-10-17", "Statement": [deny]}) is None


def test_the_refusal_of_plain_http_is_left_out_on_loopback(create: Any, account: Account) -> None:
    bucket = create("aws:s3/bucket:Bucket", "b").id
    tls_only = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    other = {**tls_only, "Sid": "kept", "Condition": {"Bool": {"aws:ViaAWSService": "true"}}}
    policy = {"Version": "2012-10-17", "Statement": [tls_only, other]}
    create("aws:s3/bucketPolicy:BucketPolicy", "b", bucket=bucket, policy=json.dumps(policy))
    kept = json.loads(account.client("s3").get_bucket_policy(Bucket=bucket)["Policy"])
    assert [statement.get("Sid") for statement in kept["Statement"]] == ["kept"]


def test_a_missing_input_is_named(create: Any) -> None:
    with pytest.raises(CannotCreate, match="Subnet s without its input 'vpcId'"):
        create("aws:ec2/subnet:Subnet", "s")


def test_every_recorded_type_has_a_reason_and_creates_nothing(create: Any) -> None:
    assert all(recorded.RECORDED.values())
    made = create("aws:sns/topic:Topic", "alarms")
    assert made.outputs["arn"].startswith("arn:aws:sns:us-east-1:000000000000:topic/alarms-")


def test_keys_are_spelled_as_boto3_does() -> None:
    assert pascal({"maxAge": [{"innerKey": "a"}]}) == {"MaxAge": [{"InnerKey": "a"}]}


def test_whole_numbers_are_integers_again() -> None:
    assert whole({"a": [1.0, 2.5, "x"]}) == {"a": [1, 2.5, "x"]}
