"""How a machine boots when nothing works."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

RECORD = '#!/bin/bash\necho "${0##*/} $*" >>"$CALLS"\n'


def test_the_end_is_armed_before_anything_can_fail(tmp_path: Path) -> None:
    for name in ("shutdown", "aws"):
        command = tmp_path / name
        command.write_text(RECORD)
        command.chmod(0o755)
    calls = tmp_path / "calls"
    (tmp_path / "file").touch()
    env = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "ADDENDUM_ROOT": str(tmp_path / "file/no-folder"),
        "ADDENDUM_BUCKET": "bucket",
        "ADDENDUM_MAX_LIFE": "3601",
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9",
    }
    boot = ["bash", str(ROOT / "ec2_userdata/boot.sh")]
    ended = subprocess.run(boot, env=env, check=False, capture_output=True, text=True)
    assert ended.returncode != 0
    assert "cannot create directory" in ended.stderr  # which cloud-init keeps
    first, *_, last = calls.read_text().splitlines()
    assert (first, last) == ("shutdown -h +61", "shutdown -h now")
