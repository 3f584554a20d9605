"""The ``shutdown`` command of a virtual machine on the laptop."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

import local

COMMAND = Path(local.__file__).with_name("shutdown.sh")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    (tmp_path / "bin").mkdir()
    shutil.copy(COMMAND, tmp_path / "bin" / "shutdown")
    return tmp_path


def shutdown(machine: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    command = ["bash", str(machine / "bin" / "shutdown"), *words]
    return subprocess.run(command, capture_output=True, check=False)


def test_now_means_at_once(machine: Path) -> None:
    assert shutdown(machine, "-h", "now").returncode == 0
    assert float((machine / "power-off-at").read_text()) <= time.time()


def test_minutes_count_from_now(machine: Path) -> None:
    assert shutdown(machine, "-h", "+08").returncode == 0
    assert float((machine / "power-off-at").read_text()) == pytest.approx(time.time() + 480, abs=5)


def test_an_armed_shutdown_can_be_cancelled(machine: Path) -> None:
    shutdown(machine, "-h", "+60")
    assert shutdown(machine, "-c").returncode == 0
    assert not (machine / "power-off-at").exists()
    assert shutdown(machine, "-c").returncode == 0


@pytest.mark.parametrize("words", [(), ("now",), ("-r", "now"), ("-h", "12:30"), ("-h", "+soon")])
def test_anything_else_is_refused(machine: Path, words: tuple[str, ...]) -> None:
    assert shutdown(machine, *words).returncode != 0
    assert not (machine / "power-off-at").exists()
