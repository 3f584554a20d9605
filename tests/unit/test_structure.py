"""What the tree promises: which part may import which, and what may not be in the code."""

from __future__ import annotations

import ast
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SHARED = {"jobs", "metrics"}
OURS = {
    *SHARED,
    "api",
    "processor",
    "chalicelib",
    "ec2_userdata",
    "infra",
    "local",
    "ops",
    "tests",
    "bench",
}
WORKER = {"machine", "metering", "script", "transfer", "worker", "workqueue"}

MAY_IMPORT = {
    "jobs.py": set(),
    "metrics.py": set(),
    "ops.py": SHARED,
    "api": SHARED,
    "processor": SHARED | {"chalicelib"},
    "ec2_userdata": SHARED | WORKER,
    "infra": SHARED | {"infra"},
    "__main__.py": SHARED | {"infra"},
}


def sources(place: str) -> list[Path]:
    path = ROOT / place
    return [path] if path.is_file() else [one for one in path.rglob("*.py") if not one.is_symlink()]


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("place", MAY_IMPORT)
def test_imports_point_one_way(place: str) -> None:
    for path in sources(place):
        ours = {name for name in imports(path) if name in OURS | WORKER}
        assert ours <= MAY_IMPORT[place], path


def test_what_the_apps_share_is_one_file() -> None:
    for app in ("api", "processor"):
        for name in SHARED:
            assert (
                ROOT / app / "vendor" / f"{name}.py"
            ).readlink().as_posix() == f"../../{name}.py"


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, check=False, capture_output=True, text=True
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return listed.stdout.splitlines()


def test_no_key_account_image_or_address_is_written_in_the_code() -> None:
    literal = re.compile(r"AKIA[0-9A-Z]{16}|\b[0-9]{12}\b|\bami-[0-9a-f]{8,}|arn:aws:")
    for path in (one for place in MAY_IMPORT for one in sources(place)):
        assert not literal.search(path.read_text()), path


def test_lock_files_hold_no_download_addresses() -> None:
    for name in tracked():
        if "requirements" in name or name == "constraints.txt":
            assert "://" not in (ROOT / name).read_text(), name


def test_the_boot_script_is_short() -> None:
    for path in (ROOT / "ec2_userdata").glob("*.sh"):
        assert len(path.read_text().splitlines()) <= 40
