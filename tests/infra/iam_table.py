"""Writes ``docs/iam.md`` from the policies that the program declares.

``.venv/bin/python -m tests.infra.iam_table`` does so; a test holds that it has been done.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from tests.infra.program import ACCOUNT, ROOT, STACK, Resource, Run, run
from tests.infra.unshown import REASONS, UNSHOWN, as_list

PAGE = ROOT / "docs" / "iam.md"

HEAD = """\
# Who may do what

Written from the code by `.venv/bin/python -m tests.infra.iam_table`, and held up to date by a test.
The policies themselves, with the reasons, are functions in `infra/policies.py`.
Names stand for this stack's own resources. An asterisk as the whole resource means that AWS's
authorization table has no resource for the action.

A role may do what its code does. *Shown* says how that is known: **run** means that a recorded run
of the whole system, along every path, used the permission, as `tests/e2e/test_permissions.py`
holds both ways. Of a launch the emulator looks at the action only. What it does not ask for at all
has one of these reasons:

| shown | why no run shows it |
|---|---|
"""

TITLES = {
    "api-handler": "The API's function",
    "processor-stream-handler": "The stream handler",
    "processor-reconciler": "The reconciler",
    "processor-dead-letter-handler": "The dead-letter handler",
    "fleet": "The virtual machine",
    "network-s3": "Through the network's S3 endpoint",
    "network-dynamodb": "Through the network's DynamoDB endpoint",
    "storage-work": "On the work queue",
    "storage-data": "On the data bucket",
    "site": "On the page's bucket",
}


def page(run: Run) -> str:
    """Return the page: a table for each policy."""
    found = {one.name: one for one in run.resources if _has_policy(one)}
    assert set(found) == set(TITLES), sorted(set(found) ^ set(TITLES))
    reasons = "".join(f"| {word} | {reason} |\n" for word, reason in REASONS.items())
    sections = [_section(title, found[name]) for name, title in TITLES.items()]
    return "\n".join([HEAD + reasons, *sections])


def _has_policy(resource: Resource) -> bool:
    return "policy" in resource.inputs and resource.kind != "RestApi"


def _section(title: str, resource: Resource) -> str:
    unshown = UNSHOWN.get(resource.name)
    rows = [_row(one, unshown) for one in resource.json("policy")["Statement"]]
    head = ["", "action", "on", "if"] + ([] if unshown is None else ["shown"])
    lines = [_line(head), "|---" * len(head) + "|", *map(_line, rows)]
    return "\n".join([f"## {title}", "", *lines, ""])


def _row(statement: dict[str, Any], unshown: Mapping[str, str] | None) -> list[str]:
    """Return the cells of a statement; what a role's run shows, if it is a role's."""
    actions = as_list(statement["Action"])
    conditions = [_who(statement), *_conditions(statement.get("Condition", {}))]
    cells = [
        statement["Effect"].lower(),
        "<br>".join(f"`{action}`" for action in actions),
        "<br>".join(f"`{_short(arn)}`" for arn in as_list(statement["Resource"])),
        "<br>".join(one for one in conditions if one),
    ]
    if unshown is None:
        return cells
    return [*cells, "<br>".join(unshown.get(action, "**run**") for action in actions)]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _who(statement: dict[str, Any]) -> str:
    who = statement.get("Principal", {})
    return f"`{who['Service']}`" if isinstance(who, dict) and who else ""


def _conditions(condition: dict[str, dict[str, Any]]) -> Iterator[str]:
    for values in condition.values():
        for key, value in values.items():
            shown = " or ".join(_short(str(one)) for one in as_list(value))
            yield f"`{key}` is `{shown}`"


def _short(arn: str) -> str:
    """Return an ARN without partition, region and account, which are the stack's."""
    text = arn if arn.count(":") < 5 else ":".join([arn.split(":")[2], *arn.split(":")[5:]])
    return text.replace(STACK, "the stack").replace(ACCOUNT, "the account")


if __name__ == "__main__":
    os.chdir(ROOT)
    PAGE.write_text(page(run()))
