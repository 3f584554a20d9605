"""One whole system for the drills that need real processes."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from local.system import LocalSystem
from tests.e2e.person import Person, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.vm import Machine

RECEIVED_AGAIN_AFTER = 4
"""Seconds until the message of a machine that is killed at once comes again."""


class Drill:
    """The whole system, and what can be done to it."""

    def __init__(self, system: LocalSystem, folder: Path) -> None:
        self.system = system
        self.person = Person(system.url)
        self.exports = system.deployment.exports
        self._folder = folder

    def marker(self) -> Path:
        """Return a folder; a job whose text names it waits while it is there."""
        path = self._folder / "wait"
        path.mkdir(exist_ok=True)
        return path

    def machine(self) -> Machine:
        """Return the machine, once there is one that lives."""
        found: list[Machine] = until(self.system.host.machines, "a machine")
        return found[-1]

    def worker_is_up(self) -> Machine:
        """Return the machine once its worker takes jobs."""
        machine = self.machine()
        log = self.system.host.log
        until(lambda: "takes jobs" in log(machine.instance_id), "the worker to take jobs")
        return machine

    def wait_until_running(self, job_id: str) -> Machine:
        """Return the machine that runs a job, once one does."""
        until(lambda: self.person.look(job_id)["status"] == "RUNNING", "the job to run")
        return self.machine()

    def a_minute_passes(self) -> None:
        """Invoke the reconciler, as its schedule does each minute."""
        answer = self.system.client("lambda").invoke(
            FunctionName=self._reconciler(),
            Payload=json.dumps({"time": str(time.time())}).encode(),
        )
        assert "FunctionError" not in answer, answer["Payload"].read()

    def _reconciler(self) -> str:
        functions = self.system.client("lambda").list_functions()["Functions"]
        names: list[str] = [one["FunctionName"] for one in functions]
        return next(name for name in names if "reconciler" in name)

    def heal(self, job_id: str) -> str:
        """Let minutes pass until a job is finished; return its result's text."""

        def finished() -> bool:
            if not self.system.host.machines():
                self.a_minute_passes()
            return self.person.look(job_id)["status"] in ("SUCCEEDED", "FAILED")

        until(finished, f"{job_id} to finish")
        text: str = self.person.download(self.person.look(job_id)).text
        return text


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


@pytest.fixture
def drill(drilled: LocalSystem, open_folder: Path) -> Drill:
    """What a drill does to the system."""
    return Drill(drilled, open_folder)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the drills on the whole system in one process, which starts it once."""
    for item in items:
        if "drill" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("drills"))
