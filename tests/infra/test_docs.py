"""The documentation says what the code does."""

from __future__ import annotations

import re

import pytest

from local.resources.recorded import RECORDED
from tests.infra import iam_table
from tests.infra.program import ROOT, Run

ARCHITECTURE = (ROOT / "docs/architecture.md").read_text()
OPERATIONS = (ROOT / "docs/operations.md").read_text()


def test_the_iam_table_is_what_the_program_declares(declared: Run) -> None:
    """If not: .venv/bin/python -m tests.infra.iam_table"""
    assert iam_table.PAGE.read_text() == iam_table.page(declared)


def test_every_alarm_is_explained_and_no_other(declared: Run) -> None:
    section = OPERATIONS.partition("## Alarms")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([a-z0-9-]+)` \|", section, re.MULTILINE)
    alarms = [one.name.removeprefix("monitoring-") for one in declared.all("MetricAlarm")]
    assert sorted(explained) == sorted(alarms)


def test_the_number_of_alarms_in_the_cost_is_right(declared: Run) -> None:
    assert f"| alarms | {len(declared.all('MetricAlarm'))} |" in OPERATIONS


def test_every_part_of_the_infrastructure_is_explained() -> None:
    modules = {path.name for path in (ROOT / "infra").glob("*.py")} - {"__init__.py"}
    assert modules == set(re.findall(r"`infra/(\w+\.py)`", ARCHITECTURE))


def test_what_the_laptop_only_records_is_listed_with_the_reason() -> None:
    listed = dict(re.findall(r"^\| `(aws:[^`]+)` \| (.+) \|$", ARCHITECTURE, re.MULTILINE))
    assert listed == dict(RECORDED)


@pytest.mark.parametrize("text", [ARCHITECTURE, OPERATIONS], ids=["architecture", "operations"])
def test_every_file_and_setting_that_is_named_exists(text: str) -> None:
    settings = (ROOT / "Pulumi.yaml").read_text()
    for name in re.findall(r"`((?:infra|api|processor|tests|docs)/[\w/.]*)`", text):
        assert (ROOT / name).exists(), name
    for name in re.findall(r"`((?:max|api|retention|deletion|alarm|hosted|monthly)_\w+)`", text):
        assert f"  {name}:" in settings, name


def test_every_test_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", ARCHITECTURE))
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []
