"""The Makefile sets up what its commands need."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

FAILS_HALF_WAY = """\
#!/bin/sh
echo "$*" >>calls
if [ "$2" = venv ]; then mkdir -p .venv/bin; cp "$0" .venv/bin/python; exit 1; fi
"""
"""A Python that leaves an environment without pip, as Debian's does without python3-venv."""


def test_an_environment_that_was_left_half_made_is_made_anew(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(FAILS_HALF_WAY)
    python.chmod(0o755)
    make = ["make", "-f", str(ROOT / "Makefile"), f"PYTHON={python}", "run"]
    for _ in range(2):
        assert subprocess.run(make, cwd=tmp_path, capture_output=True).returncode
    assert (tmp_path / "calls").read_text().count("-m venv") == 2
