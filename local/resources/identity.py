"""Roles and their policies.

Two things differ from AWS, and nothing else:

- Every role also trusts the account's root user, since on the laptop it is we who play
  the services that take roles: EC2 for the machines, Lambda for the API.
- For some actions the emulator does not know the resource or the condition key that a
  declared statement names, so a correct statement would refuse. :func:`allowance`
  returns the least that makes up for it, as an inline policy of its own beside the
  declared one.
"""

from __future__ import annotations

import json
from typing import Any

from local.resources.declared import ACCOUNT_ID, Created, Declared

_ROOT_TRUST = {
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT_ID}:root"},
    "Action": "sts:AssumeRole",
}

EMULATOR_BLIND_SPOTS = {
    # It asks for CreateFleet on "*", and sees no tags in TagSpecifications.
    "ec2:CreateFleet": "*",
    # It sees the instance, but does not know ec2:ResourceTag.
    "ec2:TerminateInstances": f"arn:aws:ec2:*:{ACCOUNT_ID}:instance/*",
    # It does not know cloudwatch:namespace.
    "cloudwatch:PutMetricData": "*",
}
"""Actions whose declared statement it would refuse, and the resource that it asks for."""


def role(declared: Declared) -> Created:
    """Create a role that also trusts the root user."""
    name = declared.physical_name()
    trust = json.loads(declared.inputs["assumeRolePolicy"])
    trust["Statement"] = [*trust["Statement"], _ROOT_TRUST]
    made = declared.client("iam").create_role(
        RoleName=name, AssumeRolePolicyDocument=json.dumps(trust)
    )["Role"]
    return Created(name, {"name": name, "arn": made["Arn"], "uniqueId": made["RoleId"]})


def role_policy(declared: Declared) -> Created:
    """Put a policy into a role, and beside it what the emulator would wrongly refuse."""
    name = declared.physical_name()
    target = declared.inputs["role"]
    document = json.loads(declared.inputs["policy"])
    _put(declared, target, name, document)
    if extra := allowance(document):
        _put(declared, target, f"{name}-emulator", extra)
    return Created(f"{target}:{name}", {"name": name})


def _put(declared: Declared, target: str, name: str, document: dict[str, Any]) -> None:
    declared.client("iam").put_role_policy(
        RoleName=target, PolicyName=name, PolicyDocument=json.dumps(document)
    )


def allowance(document: dict[str, Any]) -> dict[str, Any] | None:
    """Return the policy that makes up for the emulator's blind spots, if it has any here."""
    allowed = {
        action
        for statement in document["Statement"]
        if statement["Effect"] == "Allow"
        for action in _listed(statement["Action"])
    }
    statements = [
        {"Effect": "Allow", "Action": action, "Resource": resource}
        for action, resource in EMULATOR_BLIND_SPOTS.items()
        if action in allowed
    ]
    return {"Version": document["Version"], "Statement": statements} if statements else None


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def instance_profile(declared: Declared) -> Created:
    """Create an instance profile that holds a role."""
    name = declared.physical_name()
    client = declared.client("iam")
    made = client.create_instance_profile(InstanceProfileName=name)["InstanceProfile"]
    client.add_role_to_instance_profile(InstanceProfileName=name, RoleName=declared.inputs["role"])
    return Created(name, {"name": name, "arn": made["Arn"]})


CREATE = {
    "aws:iam/role:Role": role,
    "aws:iam/rolePolicy:RolePolicy": role_policy,
    "aws:iam/instanceProfile:InstanceProfile": instance_profile,
}
