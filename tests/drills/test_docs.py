"""The page on reliability names what exists."""

from __future__ import annotations

import re

from tests.conftest import ROOT

PAGE = (ROOT / "docs/reliability.md").read_text()


def test_every_drill_that_is_named_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    sources = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert named
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


def test_every_failure_has_a_drill() -> None:
    table = PAGE.partition("## What fails")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.+) \|$", table, re.MULTILINE)[1:]
    assert rows
    assert [row for row in rows if "`test_" not in row and not row.startswith("--")] == []
