"""The page on reliability names what exists."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs/reliability.md").read_text()


def test_every_drill_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


@pytest.mark.parametrize("title", ["What fails", "When a launch comes to nothing"])
def test_every_failure_has_a_drill(title: str) -> None:
    table = PAGE.partition(f"## {title}")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \|$", table, re.MULTILINE)[1:]
    assert rows
    assert [row for row in rows if "`test_" not in row and not row.startswith("--")] == []


def test_every_alarm_that_is_named_is_explained() -> None:
    named = set(re.findall(r"`([a-z-]+-(?:errors|message))`", PAGE))
    explained = (ROOT / "docs/operations.md").read_text()
    assert named
    assert [name for name in sorted(named) if f"| `{name}` |" not in explained] == []
