"""``python -m local`` starts, stops and fails in clear ways, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from local.child import StartError, free_port
from local.system import EMULATOR_OFFSET, PROJECT, LocalSystem
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[[str], "Run"]

READY_SECONDS = 60


class Run:
    """A ``python -m local`` with a temporary folder of its own."""

    def __init__(self, port: str, temporary: Path) -> None:
        self.temporary = temporary
        self.process = subprocess.Popen(
            [sys.executable, "-m", "local"],
            cwd=PROJECT,
            env={**os.environ, "PORT": port, "TMPDIR": str(temporary)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.family: list[psutil.Process] = []

    def until_it_says(self, beginning: str) -> str:
        """Return the first line that begins so, and remember all processes that run then."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if line.startswith(beginning):
                self.family = psutil.Process(self.process.pid).children(recursive=True)
                return line
        raise AssertionError("".join(lines))

    def end(self) -> tuple[int, str]:
        """Wait for the end; return exit code and what was said."""
        said, _ = self.process.communicate(timeout=READY_SECONDS)
        return self.process.returncode, said

    def end_of_part(self, word: str) -> str:
        """Kill one of its processes and return what it says of that, first line only."""
        victims = [one for one in self.family if any(word in part for part in one.cmdline())]
        victims[-1].kill()
        code, said = self.end()
        assert code == 1
        assert self.alive() == []
        return said.splitlines()[0]

    def alive(self) -> list[psutil.Process]:
        """Return the processes that it left behind."""
        return [one for one in self.family if one.is_running()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    runs: list[Run] = []

    def start(port: str) -> Run:
        runs.append(Run(port, tmp_path))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_told_to_stop_or_killed_while_it_starts_it_leaves_no_process(
    start: Start, number: signal.Signals
) -> None:
    run = start(str(free_port()))
    run.until_it_says("Deploying ")
    run.process.send_signal(number)
    code, said = run.end()
    if number is signal.SIGTERM:
        assert (code, said) == (0, "Stopped.\n")
        assert list(run.temporary.iterdir()) == []
    wait_until(lambda: not run.alive(), seconds=10, what="the end of all its processes")


def test_a_part_that_dies_ends_its_own_system_and_ctrl_c_the_other(start: Start) -> None:
    ports = free_port(), free_port()
    first, second = (start(str(port)) for port in ports)
    for port, run in zip(ports, (first, second), strict=True):
        ready = f"Ready: http://127.0.0.1:{port}  (Ctrl-C stops everything)\n"
        assert run.until_it_says("Ready: ") == ready
    assert first.end_of_part("ministack") == "Stopped: the emulator ended by itself"
    with urllib.request.urlopen(f"http://127.0.0.1:{ports[1]}/api/health") as answer:
        assert answer.status == 200
    second.process.send_signal(signal.SIGINT)
    second.process.wait(10)
    assert second.end() == (0, "Stopped.\n")
    assert second.alive() == []
    assert list(second.temporary.iterdir()) == []
    socket.create_server(("127.0.0.1", ports[1])).close()


def test_a_page_that_is_open_can_upload_after_a_restart_on_its_port(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its policy names the emulator's port, which has to be the same again."""
    asked: list[int] = []

    def emulator(_scratch: Path, _region: str, port: int) -> None:
        asked.append(port)
        raise StartError

    monkeypatch.setattr("local.system.Emulator", emulator)
    port = free_port()
    for one in (port, 0):
        with pytest.raises(StartError), LocalSystem(port=one):
            pass
    assert asked == [port + EMULATOR_OFFSET, 0]


def test_a_port_in_use_is_one_message_before_anything_starts(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = start(str(port))
        message = f"port {port} is in use: choose another one, as in PORT=9000 make run"
        assert run.end() == (1, f"Stopped: {message}\n")
    assert list(run.temporary.iterdir()) == []


@pytest.mark.parametrize("port", ["0", "65536", "٣"])
def test_a_bad_port_is_one_message(start: Start, port: str) -> None:
    message = f"PORT is {port!r}; it must be a number from 1 to 65535, as in PORT=9000"
    assert start(port).end() == (1, f"Stopped: {message}\n")
