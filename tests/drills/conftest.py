"""One whole system for the drills that need real processes."""

from __future__ import annotations

import json
import shutil
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

import jobs
from local.system import LocalSystem
from tests.drills.proxy import Proxy
from tests.e2e.person import Person, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.vm import Machine

RECEIVED_AGAIN_AFTER = 2
"""Seconds until the message of a machine that is killed at once comes again."""


class Pause:
    """A job whose text is the pause's waits in its script until the pause ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        folder.chmod(0o777)  # the script's user tells us there that it runs
        self.text = str(folder)

    def wait_until_running(self) -> None:
        """Return once the script runs."""
        until((self._folder / "running").exists, "the script to run")

    def end(self) -> None:
        """Let the script go on."""
        shutil.rmtree(self._folder)


class Drill:
    """The whole system, and what can be done to it."""

    def __init__(self, system: LocalSystem, proxy: Proxy, folder: Path) -> None:
        self.system = system
        self.proxy = proxy
        self.person = Person(system.url)
        self.exports = system.deployment.exports
        self.table = jobs.JobTable(system.client("dynamodb"), self.exports["table"])
        self._folder = folder

    def pause(self) -> Pause:
        """Return a pause for the script of a job."""
        return Pause(self._folder / "pause")

    def machine(self) -> Machine:
        """Return the machine, once there is one that lives."""
        found: list[Machine] = until(self.system.host.machines, "a machine")
        return found[-1]

    def machine_ids(self) -> list[str]:
        """Return the machines that live."""
        return [machine.instance_id for machine in self.system.host.machines()]

    def worker_is_up(self) -> Machine:
        """Return the machine once its worker takes jobs."""
        machine = self.machine()
        log = self.system.host.log
        until(lambda: "takes jobs" in log(machine.instance_id), "the worker to take jobs")
        return machine

    def kill_machines(self) -> None:
        """Cut the power of all machines."""
        for instance_id in self.machine_ids():
            self.system.host.kill(instance_id)

    @contextmanager
    def frozen_emulator(self) -> Iterator[None]:
        """Let all of AWS answer nobody within the block."""
        emulator = find_emulator(self.system.account.url)
        emulator.suspend()
        try:
            yield
        finally:
            emulator.resume()

    def a_minute_passes(self) -> int:
        """Invoke the reconciler, as its schedule does each minute; return what it launched."""
        answer = self.system.client("lambda").invoke(
            FunctionName=self._reconciler(),
            Payload=json.dumps({"time": str(time.time())}).encode(),
        )
        told = answer["Payload"].read()
        assert "FunctionError" not in answer, told
        launched: int = json.loads(told)["launched"]
        return launched

    def _reconciler(self) -> str:
        kind = "aws:lambda/function:Function"
        return self.system.deployment.find(kind, name="processor-reconciler").id

    def heal(self, job_id: str) -> str:
        """Let minutes pass until a job is finished; return its result's text."""

        def finished() -> bool:
            if not self.system.host.machines():
                self.a_minute_passes()
            return self.person.look(job_id)["status"] in ("SUCCEEDED", "FAILED")

        until(finished, f"{job_id} to finish")
        text: str = self.person.download(self.person.look(job_id)).text
        return text


def find_emulator(url: str) -> psutil.Process:
    """Return the process that listens at the emulator's address."""
    port = int(url.rpartition(":")[2])
    (found,) = [
        one for one in psutil.Process().children(recursive=True) if port in listening_ports(one)
    ]
    return found


def listening_ports(process: psutil.Process) -> set[int]:
    try:
        wires = process.net_connections("tcp")
    except psutil.NoSuchProcess:  # one of a machine's, which come and go
        return set()
    return {wire.laddr.port for wire in wires if wire.status == psutil.CONN_LISTEN}


@pytest.fixture(scope="session")
def drilled() -> Iterator[LocalSystem]:
    """The system with a script that waits where told, one machine, and short waits."""
    config = {
        "addendum:idle_seconds": 3,
        "addendum:max_instances": 1,
        "addendum:script": "tests/drills/pausing.sh",
    }
    with LocalSystem(config=config) as system:
        system.client("sqs").set_queue_attributes(
            QueueUrl=system.deployment.exports["queue_url"],
            Attributes={"VisibilityTimeout": str(RECEIVED_AGAIN_AFTER)},
        )
        yield system


@pytest.fixture(scope="session")
def proxy(drilled: LocalSystem) -> Iterator[Proxy]:
    """What all machines of the system talk to AWS through."""
    with Proxy(drilled.account.url) as proxy:
        drilled.host.endpoint = proxy.url
        yield proxy


@pytest.fixture
def drill(drilled: LocalSystem, proxy: Proxy, open_folder: Path) -> Drill:
    """What a drill does to the system."""
    return Drill(drilled, proxy, open_folder)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the drills on the whole system in one process, which starts it once."""
    for item in items:
        if "drill" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("drills"))
