"""What each role may do is what it does: a recorded run of every path, both ways."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.e2e.full_run import FullRun
from tests.infra.unshown import UNSHOWN, permissions

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from local.deploy import Resource
    from local.system import LocalSystem


class Decision(NamedTuple):
    """What IAM decided on a call of a role."""

    role: str
    action: str
    resource: str
    allowed: bool

    def shows(self, permission: tuple[str, str]) -> bool:
        """Whether it was this permission's. EC2's calls are decided without resources."""
        action, pattern = permission
        of_any = self.resource == "*"
        return self.action == action and (of_any or fnmatchcase(self.resource, pattern))


@pytest.mark.timeout(240)  # it may be the one that starts the system
def test_each_role_uses_all_that_it_may_except_what_the_emulator_cannot_show(
    system: LocalSystem, open_folder: Path
) -> None:
    before = system.access_log.stat().st_size
    FullRun(system, open_folder).all_paths()
    decisions = decided(system, before)
    assert [one for one in decisions if not one.allowed] == []
    policies = declared_as(system, "aws:iam/rolePolicy:RolePolicy")
    assert {policy.name for policy in policies} == set(UNSHOWN)
    for policy in policies:
        declared = set(permissions(json.loads(policy.outputs["policy"])))
        check(declared, [one for one in decisions if one.role == policy.name], policy.name)


def check(declared: set[tuple[str, str]], decisions: Iterable[Decision], role: str) -> None:
    """Check one role, both ways."""
    used = {each for each in declared if any(one.shows(each) for one in decisions)}
    assert {action for action, _ in declared - used} == set(UNSHOWN[role]), "unused, or shown now"
    assert {action for action, _ in used} & set(UNSHOWN[role]) == set()
    beyond = [one for one in decisions if not any(one.shows(each) for each in declared)]
    assert beyond == []


def decided(system: LocalSystem, start: int) -> set[Decision]:
    """Return the decisions on roles that were written after the first ``start`` bytes."""
    names = {
        role.outputs["arn"].rpartition("/")[2]: role.name
        for role in declared_as(system, "aws:iam/role:Role")
    }
    lines = system.access_log.read_bytes()[start:].decode().splitlines()
    return {
        Decision(names[one["who"].split("/")[1]], one["action"], one["on"], one["allowed"])
        for one in map(json.loads, lines)
        if ":assumed-role/" in one["who"]
    }


def declared_as(system: LocalSystem, kind: str) -> list[Resource]:
    return [one for one in system.deployment.resources if one.type == kind]
