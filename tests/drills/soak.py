"""The soak: uploads without end, machines killed at random, and a count of what came of it.

    make soak                  five minutes of faults, then time to heal
    MINUTES=60 make soak       more of them

Every result is downloaded and compared. Exit code 1 if a file was lost, a result is
wrong, or a machine is left. Visibility timeout and reconciler are as they are shipped.
"""

from __future__ import annotations

import math
import os
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from requests import RequestException

from local.system import LocalSystem
from tests.e2e.person import FINAL, Person

if TYPE_CHECKING:
    from collections.abc import Callable

UPLOADERS = 2
MOST_WAITING = 40
MAX_CONTENT = 200_000
PAUSE_SECONDS = 0.25
SECONDS_BETWEEN_FAULTS = (3, 9)
HEALED_WITHIN = 420.0
"""Seconds: three tries, each a visibility timeout, a minute of the reconciler and a boot."""
HOME_WITHIN = 480.0
REPORT_SECONDS = 10


@dataclass
class Count:
    """What happened so far."""

    sent: dict[str, bytes] = field(default_factory=dict)
    """The result that each recorded and uploaded file has to have, by id."""
    finished: dict[str, str] = field(default_factory=dict)
    kills: int = 0
    notices: int = 0
    wrong: int = 0
    reasons: set[str] = field(default_factory=set)

    @property
    def waiting(self) -> list[str]:
        return [job_id for job_id in list(self.sent) if job_id not in self.finished]

    def line(self, machines: int) -> str:
        """Return the count in one line."""
        ends = list(self.finished.values())
        return (
            f"recorded {len(self.sent)}  succeeded {ends.count('SUCCEEDED')}"
            f"  failed {ends.count('FAILED')}  waiting {len(self.waiting)}"
            f"  machines {machines}  killed {self.kills}  taken back {self.notices}"
        )


class Soak:
    """One run on a system of its own."""

    def __init__(self, system: LocalSystem) -> None:
        self._system = system
        self._count = Count()
        self._over = threading.Event()

    def run(self, seconds: float) -> bool:
        """Do all there is to do; return whether the promise was kept."""
        actors = [threading.Thread(target=self._upload) for _ in range(UPLOADERS)]
        actors.append(threading.Thread(target=self._strike))
        for actor in actors:
            actor.start()
        self._watch(seconds, lambda: False)
        self._over.set()
        for actor in actors:
            actor.join()
        print("the faults stop", flush=True)
        self._watch(HEALED_WITHIN, lambda: not self._count.waiting)
        self._watch(HOME_WITHIN, lambda: not self._left())
        return self._report()

    def _upload(self) -> None:
        person = Person(self._system.url)
        while not self._over.wait(PAUSE_SECONDS):
            if len(self._count.waiting) < MOST_WAITING:
                content = random.randbytes(random.randrange(MAX_CONTENT))
                text = random.choice(["", " more", "\r\n𝄞"])
                job_id = person.submit(content, text)
                self._count.sent[job_id] = content + text.encode()

    def _strike(self) -> None:
        while not self._over.wait(random.uniform(*SECONDS_BETWEEN_FAULTS)):
            machines = self._system.host.machines()
            if machines:
                victim = random.choice(machines).instance_id
                try:
                    self._end(victim)
                except KeyError:  # it went by itself meanwhile
                    continue

    def _end(self, instance_id: str) -> None:
        if random.random() < 0.2:
            self._system.host.spot_notice(instance_id)
            self._count.notices += 1
        else:
            self._system.host.kill(instance_id)
            self._count.kills += 1

    def _watch(self, seconds: float, done: Callable[[], bool]) -> None:
        """Look at what waits until it is done, telling now and then how it stands."""
        end, report = time.monotonic() + seconds, 0.0
        while time.monotonic() < end and not done():
            self._look()
            if time.monotonic() > report:
                report = time.monotonic() + REPORT_SECONDS
                print(self._count.line(len(self._left())), flush=True)
            time.sleep(0.5)

    def _look(self) -> None:
        person = Person(self._system.url)
        for job_id in self._count.waiting:
            try:
                shown = person.look(job_id)
            except RequestException as error:
                print(f"the API did not answer: {error}", flush=True)
                continue
            if shown["status"] in FINAL:
                self._judge(person, job_id, shown)

    def _judge(self, person: Person, job_id: str, shown: dict[str, str]) -> None:
        self._count.finished[job_id] = shown["status"]
        if shown["status"] == "FAILED":
            self._count.reasons.add(shown["error"])
            self._count.wrong += not shown["error"]
        elif person.download(shown).content != self._count.sent[job_id]:
            self._count.wrong += 1

    def _left(self) -> list[str]:
        """Return the machines that EC2 still bills."""
        names = ["pending", "running", "stopping", "stopped"]
        answer = self._system.client("ec2").describe_instances(
            Filters=[{"Name": "instance-state-name", "Values": names}]
        )
        return [one["InstanceId"] for group in answer["Reservations"] for one in group["Instances"]]

    def _report(self) -> bool:
        lost, left = len(self._count.waiting), len(self._left())
        print(self._count.line(left))
        for reason in self._count.reasons:
            print(f"a reason to fail: {reason}")
        print(f"lost {lost}  wrong {self._count.wrong}  machines left {left}")
        return not (lost or self._count.wrong or left)


def main() -> int:
    """Run the soak for MINUTES; return the exit code."""
    minutes = _minutes(os.environ.get("MINUTES", "5"))
    config = {"addendum:idle_seconds": 5, "addendum:script": "tests/drills/slow.sh"}
    with LocalSystem(config=config) as system:
        return 0 if Soak(system).run(minutes * 60) else 1


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0
    if not 0 < minutes < math.inf:
        sys.exit(f"MINUTES is {text!r}; it must be a number above 0, as in MINUTES=60 make soak")
    return minutes


if __name__ == "__main__":
    sys.exit(main())
