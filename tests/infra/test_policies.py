"""Every IAM policy, as declared: no wildcard that AWS does not force, nothing unpinned."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

import pytest

import jobs
from infra import policies
from tests.infra.program import ACCOUNT, STACK, Resource, Run
from tests.infra.unshown import as_list, permissions

with warnings.catch_warnings():
    # It leaves a file open and uses what is deprecated, all while it is imported.
    warnings.simplefilter("ignore")
    import parliament

REGION = "eu-central-1"
LAUNCHERS = ("processor-stream-handler", "processor-reconciler")

# What the linter finds though it is right, and no more: see _is_answered.
SPLIT_ON_PURPOSE = ("ec2:CreateFleet", "ec2:RunInstances")
PUBLIC_PARAMETER = ("ssm:GetParameter", "ssm:GetParameters")


def _policies(run: Run) -> Iterator[tuple[Resource, dict[str, Any]]]:
    for resource in run.resources:
        if "policy" in resource.inputs and resource.kind != "RestApi":
            yield resource, resource.json("policy")


def _statements(run: Run) -> list[dict[str, Any]]:
    return [one for _, policy in _policies(run) for one in policy["Statement"]]


def test_a_linter_that_others_maintain_finds_nothing(everything: list[Run]) -> None:
    findings = [
        (resource.name, finding.issue, finding.detail)
        for each in everything
        for resource, policy in _policies(each)
        for finding in parliament.analyze_policy_string(json.dumps(policy)).findings
        if not _is_answered(finding, policy)
    ]
    assert findings == []


def _is_answered(finding: Any, policy: dict[str, Any]) -> bool:
    """Whether all that the linter misses in one statement is allowed nonetheless.

    It wants every kind of resource that an action needs in the same statement. A launch
    needs many kinds, each with a condition of its own, so they stand in several:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
    And it does not know that AWS's own parameters belong to no account:
    https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-public-parameters.html
    """
    if finding.issue != "RESOURCE_MISMATCH":
        return False
    return all(
        one["action"] in SPLIT_ON_PURPOSE + PUBLIC_PARAMETER
        and any(
            action == one["action"] and fnmatchcase(resource, one["required_format"])
            for action, resource in permissions(policy)
        )
        for one in finding.detail
    )


def test_no_statement_allows_every_action_of_anything(everything: list[Run]) -> None:
    for each in everything:
        for statement in _statements(each):
            if statement["Effect"] == "Allow":
                assert not any("*" in action for action in as_list(statement["Action"])), statement


def test_a_resource_is_a_wildcard_only_where_awss_table_forces_it(everything: list[Run]) -> None:
    for each in everything:
        for statement in _statements(each):
            if "*" in as_list(statement["Resource"]):
                free = [a for a in as_list(statement["Action"]) if _resource_types(a)]
                assert free == [], f"these can be limited to a resource: {free}"


def _resource_types(action: str) -> set[str]:
    """The kinds of resources that AWS's authorization table lists for an action."""
    prefix, _, name = action.partition(":")
    (privilege,) = [
        privilege
        for service in parliament.iam_definition
        if service["prefix"] == prefix
        for privilege in service["privileges"]
        if privilege["privilege"] == name
    ]
    kinds = {one["resource_type"].rstrip("*") for one in privilege["resource_types"]}
    return kinds - {""}


def test_every_role_trusts_one_service(everything: list[Run]) -> None:
    for each in everything:
        for role in each.all("Role"):
            (statement,) = role.json("assumeRolePolicy")["Statement"]
            service = {"fleet": "ec2", "api-gateway-logs": "apigateway"}.get(role.name, "lambda")
            assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}


def test_every_function_has_a_role_of_its_own(declared: Run) -> None:
    functions = declared.all("Function")
    assert len({one.inputs["role"] for one in functions}) == len(functions) == 4


@pytest.mark.parametrize("role", LAUNCHERS)
class TestLaunching:
    """Fleet permissions are pinned as far as AWS allows."""

    def test_only_the_machines_role_can_be_passed_and_only_to_ec2(
        self, declared: Run, role: str
    ) -> None:
        (statement,) = _allowing(declared, role, "iam:PassRole")
        assert statement["Resource"] == f"arn:aws:iam::{ACCOUNT}:role/fleet"
        assert statement["Condition"] == {
            "StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}
        }

    @pytest.mark.parametrize("action", ["ec2:CreateFleet", "ec2:RunInstances"])
    def test_template_and_subnets_are_this_stacks(
        self, declared: Run, role: str, action: str
    ) -> None:
        resources = _resources(declared, role, action)
        assert _of_kind(resources, "launch-template") == ["lt-1"]
        assert _of_kind(resources, "subnet") == ["network-0", "network-1"]

    def test_the_security_group_is_this_stacks(self, declared: Run, role: str) -> None:
        resources = _resources(declared, role, "ec2:RunInstances")
        assert _of_kind(resources, "security-group") == ["network"]

    @pytest.mark.parametrize("action", ["ec2:CreateFleet", "ec2:RunInstances"])
    def test_the_image_must_be_amazons(self, declared: Run, role: str, action: str) -> None:
        (statement,) = _allowing(declared, role, action, f"arn:aws:ec2:{REGION}::image/ami-1")
        assert statement["Condition"] == {"StringEquals": {"ec2:Owner": "amazon"}}

    @pytest.mark.parametrize(
        ("action", "kind"),
        [
            ("ec2:CreateFleet", "fleet"),
            ("ec2:CreateFleet", "instance"),
            ("ec2:CreateFleet", "volume"),
            ("ec2:RunInstances", "instance"),
            ("ec2:RunInstances", "volume"),
            ("ec2:RunInstances", "network-interface"),
        ],
    )
    def test_all_that_is_launched_must_carry_the_stacks_tag(
        self, declared: Run, role: str, action: str, kind: str
    ) -> None:
        arn = f"arn:aws:ec2:{REGION}:{ACCOUNT}:{kind}/new"
        (statement,) = _allowing(declared, role, action, arn)
        assert statement["Condition"] == {
            "StringEquals": {f"aws:RequestTag/{jobs.STACK_TAG}": STACK}
        }

    def test_tags_are_only_given_at_creation(self, declared: Run, role: str) -> None:
        (statement,) = _allowing(declared, role, "ec2:CreateTags")
        assert statement["Condition"] == {
            "StringEquals": {"ec2:CreateAction": ["CreateFleet", "RunInstances"]}
        }

    def test_the_images_name_can_be_resolved_both_ways(self, declared: Run, role: str) -> None:
        image = declared.one("LaunchTemplate").inputs["imageId"].removeprefix("resolve:ssm:")
        for action in ("ssm:GetParameter", "ssm:GetParameters"):
            assert _resources(declared, role, action) == [f"arn:aws:ssm:{REGION}::parameter{image}"]

    @pytest.mark.parametrize("action", ["ec2:CreateFleet", "ec2:RunInstances"])
    def test_every_kind_that_aws_requires_for_a_launch_is_allowed(
        self, declared: Run, role: str, action: str
    ) -> None:
        required = {"ec2:CreateFleet": {"fleet", "instance"}}.get(
            action, {"image", "instance", "network-interface", "security-group", "subnet", "volume"}
        )
        allowed = {arn.split(":", 5)[5].split("/")[0] for arn in _resources(declared, role, action)}
        assert required <= allowed <= _resource_types(action)


def _allowing(
    run: Run, role: str, action: str, resource: str | None = None
) -> list[dict[str, Any]]:
    """The statements that allow an action, on one resource or any."""
    return [
        one
        for one in run.statements(role)
        if action in as_list(one["Action"])
        and (resource is None or any(fnmatchcase(resource, r) for r in as_list(one["Resource"])))
    ]


def _resources(run: Run, role: str, action: str) -> list[str]:
    return [arn for one in _allowing(run, role, action) for arn in as_list(one["Resource"])]


def _of_kind(arns: list[str], kind: str) -> list[str]:
    names = [arn.split(":", 5)[5] for arn in arns]
    return sorted(name.partition("/")[2] for name in names if name.startswith(f"{kind}/"))


@pytest.mark.parametrize("role", LAUNCHERS)
def test_spot_requests_can_be_made_if_spot_is_asked_for(
    declared: Run, changed: Run, role: str
) -> None:
    """They are resources of RunInstances, without which a Spot launch is denied."""
    requests = f"arn:aws:ec2:{REGION}:{ACCOUNT}:spot-instances-request/*"
    assert len(_allowing(changed, role, "ec2:RunInstances", requests)) == 1
    assert _allowing(declared, role, "ec2:RunInstances", requests) == []


def test_only_the_reconciler_terminates_and_only_this_stacks_machines(declared: Run) -> None:
    (statement,) = _allowing(declared, "reconciler", "ec2:TerminateInstances")
    assert statement["Resource"] == f"arn:aws:ec2:{REGION}:{ACCOUNT}:instance/*"
    assert statement["Condition"] == {"StringEquals": {f"ec2:ResourceTag/{jobs.STACK_TAG}": STACK}}
    assert _allowing(declared, "stream-handler", "ec2:TerminateInstances") == []


NOT_ALLOWED = [
    ("api-handler", "s3:GetObject", "arn:aws:s3:::storage-data/input/x"),
    ("api-handler", "s3:PutObject", "arn:aws:s3:::storage-data/output/x"),
    ("api-handler", "s3:PutObject", "arn:aws:s3:::storage-data/scripts/x"),
    ("fleet", "s3:PutObject", "arn:aws:s3:::storage-data/scripts/x"),
    ("fleet", "s3:PutObject", "arn:aws:s3:::storage-data/input/x"),
    ("fleet", "s3:GetObject", "arn:aws:s3:::storage-data/output/x"),
    ("fleet", "s3:GetObject", "arn:aws:s3:::site/index.html"),
]


@pytest.mark.parametrize(("role", "action", "resource"), NOT_ALLOWED)
def test_nobody_may_do_with_objects_what_is_not_theirs(
    declared: Run, role: str, action: str, resource: str
) -> None:
    assert _allowing(declared, role, action, resource) == []


@pytest.mark.parametrize("role", [*LAUNCHERS, "processor-dead-letter-handler"])
def test_the_processor_cannot_touch_objects(declared: Run, role: str) -> None:
    actions = [a for one in declared.statements(role) for a in as_list(one["Action"])]
    assert not any(action.startswith("s3:") for action in actions)


def test_nobody_may_create_a_service_linked_role(everything: list[Run]) -> None:
    """Spot's is a prerequisite, once per account."""
    for each in everything:
        actions = {a for one in _statements(each) for a in as_list(one["Action"])}
        assert {action for action in actions if action.startswith("iam:")} == {"iam:PassRole"}


def test_the_machine_needs_no_permission_on_ec2(declared: Run) -> None:
    actions = [a for one in declared.statements("fleet") for a in as_list(one["Action"])]
    assert not any(action.startswith(("ec2:", "iam:", "ssm:")) for action in actions)


def test_the_machines_metrics_stay_in_one_namespace(declared: Run) -> None:
    (statement,) = _allowing(declared, "fleet", "cloudwatch:PutMetricData")
    assert statement["Condition"] == {
        "StringEquals": {"cloudwatch:namespace": "Addendum/addendum-dev"}
    }


def test_every_function_writes_to_its_own_log_group_only(declared: Run) -> None:
    for function in declared.all("Function"):
        group = function.inputs["loggingConfig"]["logGroup"]
        resources = _resources(declared, function.name, "logs:PutLogEvents")
        assert resources == [f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{group}:*"]


def test_arns_stay_in_their_partition() -> None:
    template = "arn:aws-cn:ec2:cn-north-1:1:launch-template/lt-1"
    (statement,) = policies.terminate(stack_tag="s", template_arn=template)
    assert statement["Resource"] == "arn:aws-cn:ec2:cn-north-1:1:instance/*"
