"""The program as a whole: previews, repeats itself, names nothing, tags everything."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path
from typing import Any

import pulumi_aws
import pytest

import jobs
from tests.infra.conftest import CHANGED
from tests.infra.program import ACCOUNT, ROOT, STACK, Resource, Run, run

SOURCES = [ROOT / "__main__.py", *sorted((ROOT / "infra").glob("*.py"))]
EXPORTS = {
    "site_url",
    "api_url",
    "dashboard_url",
    "site_bucket",
    "data_bucket",
    "table",
    "queue_url",
    "dead_letter_queue_url",
    "launch_template",
    "api_function",
    "log_groups",
}
NAME_INPUTS = ("name", "bucket", "bucketPrefix", "namePrefix", "functionName", "tableName")


def _files() -> dict[Path, int]:
    ignored = {"build", ".git", ".venv", "__pycache__", ".pytest_cache", ".mypy_cache"}
    return {
        path: path.stat().st_mtime_ns
        for folder in ("api", "processor", "infra", "ec2_userdata", "static_site")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not ignored & set(path.parts)
    }


def test_a_preview_with_nothing_known_yet_declares_the_same_and_touches_only_build(
    changed: Run,
) -> None:
    before = _files()
    preview = run(CHANGED, preview=True)
    assert _files() == before
    assert _identities(preview) == _identities(changed)


def _identities(run: Run) -> list[tuple[str, str]]:
    return sorted((one.type, one.name) for one in run.resources)


def test_a_second_run_of_the_unchanged_program_asks_for_no_change(declared: Run) -> None:
    assert _shown(run()) == _shown(declared)


def _shown(run: Run) -> list[tuple[str, str, str]]:
    return sorted((one.type, one.name, _as_text(one.inputs)) for one in run.resources)


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=lambda asset: str(asset.path))


def test_everything_an_operator_needs_is_exported(declared: Run) -> None:
    assert set(declared.exports) == EXPORTS
    assert declared.exports["site_url"] == "https://d1.cloudfront.net"
    assert set(declared.exports["log_groups"]) == {
        "api-handler",
        "stream-handler",
        "reconciler",
        "dead-letter-handler",
    }


def test_everything_that_can_have_tags_carries_the_stacks(everything: list[Run]) -> None:
    for each in everything:
        untagged = [
            one.name
            for one in each.resources
            if _can_have_tags(one) and one.inputs.get("tags", {}).get(jobs.STACK_TAG) != STACK
        ]
        assert untagged == []
        assert sum(_can_have_tags(one) for one in each.resources) > 40


def _can_have_tags(resource: Resource) -> bool:
    _, module, kind = re.split("[:/]", resource.type)[:3]
    kind = resource.kind
    module = {"lambda": "lambda_", "index": ""}.get(module, module)
    cls = getattr(getattr(pulumi_aws, module), kind)
    return "tags" in inspect.signature(cls._internal_init).parameters


def test_no_resource_has_a_physical_name_of_its_own(everything: list[Run]) -> None:
    """Names that other resources made are references, and stack names are not fixed."""
    for each in everything:
        made = {one.name for one in each.resources}
        named = [
            (one.kind, key, one.inputs[key])
            for one in each.resources
            for key in NAME_INPUTS
            if key in one.inputs and one.inputs[key].split(":")[-1] not in made
            # A DNS record's name is what it says.
            if one.kind != "Record"
        ]
        assert named == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_holds_an_account_a_region_an_image_or_an_arn(path: Path) -> None:
    literals = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    account, image = re.compile(r"\b\d{12}\b"), re.compile(r"\bami-[0-9a-f]{8,}")
    region = re.compile(r"\b(us|eu|ap|sa|ca|me|af|il|mx|cn)-(gov-)?[a-z]+-\d\b")
    arn = re.compile(r"arn:[a-z-]+:")
    found = [
        text for text in literals if any(p.search(text) for p in (account, image, region, arn))
    ]
    # CloudFront looks for certificates in one region, wherever the stack is.
    allowed = ["us-east-1"] if path.name == "domain.py" else []
    assert found == allowed


def test_nothing_declared_names_another_region_or_account(elsewhere: Run) -> None:
    text = _as_text([one.inputs for one in elsewhere.resources])
    assert set(re.findall(r"\b\d{12}\b", text)) == {ACCOUNT}
    regions = set(re.findall(r"\b(?:us|eu|ap|sa|ca)-[a-z]+-\d\b", text))
    assert regions == {"us-east-1"}


def test_the_table_of_contents_stays_short() -> None:
    assert len((ROOT / "__main__.py").read_text().splitlines()) <= 60
