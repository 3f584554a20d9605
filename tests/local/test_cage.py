"""Nothing of a caged command outlives its parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from local.cage import Cage
from local.waiting import wait_until
from tests.local.conftest import names_below

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {"PATH": os.environ["PATH"]}

DAEMON = """
import os, sys, time
if os.fork():
    sys.exit()
os.setsid()
if os.fork():
    sys.exit()
with open("daemon.new", "w") as file:
    file.write(str(os.getpid()))
os.rename("daemon.new", "daemon")
time.sleep(600)
"""

FAMILY = f"""
"{sys.executable}" -c '{DAEMON}'
sleep 600 &
setsid sleep 600 &
"""

PARENT = """
import os, subprocess, sys, time
from pathlib import Path
from local.cage import Cage
cage = Cage(["bash", "-c", sys.argv[1] + "wait"], env=dict(os.environ),
            cwd=Path(sys.argv[2]), output=subprocess.DEVNULL)
print(cage.pid, flush=True)
time.sleep(600)
"""


def caged(script: str, folder: Path, *, linger: bool = False) -> Cage:
    return Cage(
        ["bash", "-c", script],
        env=ENVIRONMENT,
        cwd=folder,
        output=subprocess.DEVNULL,
        linger=linger,
    )


def family_of(pid: int, folder: Path) -> list[psutil.Process]:
    """Wait for the daemon and both sleepers; return all that descends from ``pid``."""

    def complete() -> bool:
        names = names_below(pid)
        return (folder / "daemon").exists() and names.count("sleep") == 2

    wait_until(complete, seconds=10, what="the family's start")
    family: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    return family


def all_gone(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


def test_the_exit_code_of_the_command_comes_through(tmp_path: Path) -> None:
    cage = caged("exit 7", tmp_path)
    assert cage.wait(10) == 7
    cage.kill()


def test_a_daemon_stays_in_the_cage_and_is_killed_with_it(tmp_path: Path) -> None:
    cage = caged(FAMILY + "wait", tmp_path)
    family = family_of(cage.pid, tmp_path)
    daemon = int((tmp_path / "daemon").read_text())
    assert daemon in [process.pid for process in family]
    cage.kill()
    assert all_gone(family)
    assert not cage.running


def test_what_a_command_leaves_behind_is_killed_when_it_ends(tmp_path: Path) -> None:
    cage = caged(FAMILY + "while [ ! -e done ]; do sleep 0.05; done", tmp_path)
    wait_until((tmp_path / "daemon").exists, seconds=10, what="the daemon's start")
    family = psutil.Process(cage.pid).children(recursive=True)
    (tmp_path / "done").touch()
    assert cage.wait(10) == 0
    cage.kill()
    assert all_gone(family)


def test_a_lingering_cage_keeps_what_its_command_leaves_behind(tmp_path: Path) -> None:
    cage = caged(FAMILY, tmp_path, linger=True)
    family_of(cage.pid, tmp_path)
    wait_until(
        lambda: not any(p.name() == "bash" for p in psutil.Process(cage.pid).children()),
        seconds=10,
        what="the command's end",
    )
    family = family_of(cage.pid, tmp_path)
    assert cage.running
    cage.kill()
    assert all_gone(family)


def test_what_a_killed_cage_held_is_killed_by_its_parent(tmp_path: Path) -> None:
    cage = caged("(sleep 600 & sleep 600; exit) & wait", tmp_path)
    children = psutil.Process(cage.pid).children
    wait_until(lambda: len(children(recursive=True)) == 4, seconds=10, what="the family's start")
    family = children(recursive=True)
    os.kill(cage.pid, signal.SIGKILL)
    cage.kill()
    wait_until(lambda: all_gone(family), seconds=5, what="the end of the family")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_all_die_when_the_parent_is_killed(tmp_path: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, FAMILY, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        cage = psutil.Process(int(parent.stdout.readline()))
        family = [cage, *family_of(cage.pid, tmp_path)]
        parent.send_signal(number)
    wait_until(lambda: all_gone(family), seconds=5, what="the end of the family")
