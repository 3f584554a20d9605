"""What the simulation plays: who uploads when, under which policy, with which numbers."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from bench import ROOT
from bench.clock import Clock
from bench.ec2_model import Ec2Rules
from bench.fleet_policies import Addendum, AddendumNumbers, Job, OneMachineEach, StreamNumbers
from chalicelib.decision import VAIN_WINDOW, Rules
from chalicelib.fleet import RETRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Arrivals = Callable[[Random], list[float]]
    """Seconds at which uploads begin, in order."""

ONE_EACH = "one machine each"
FRESH = "`fresh_vm_per_job`"
DEFAULT = "Addendum"
POLICIES = (ONE_EACH, FRESH, DEFAULT)

SPREAD = ("last", "billed", "calls")
"""The figures that goals are about: their spread is kept too."""

NEW_ACCOUNT_VCPUS = 5

UPLOAD = (1.0, 3.0)
"""Seconds that an upload takes, evenly spread: small files."""
WORK = (0.3, 0.7)
"""Seconds that a small job keeps a thread of a machine."""


def at_once(count: int) -> Arrivals:
    """Return an arrival pattern: so many at the same moment."""
    return lambda _: [0.0] * count


def as_the_api_admits(count: int, *, a_second: int) -> Arrivals:
    """Return so many that come at once, and are let in at the API's rate: a burst is twice it."""
    return lambda _: [max(0, number - 2 * a_second) / a_second for number in range(count)]


def again_and_again(count: int, *, every: float) -> Arrivals:
    """Return twenty times so many at once, long enough apart to meet no machine."""
    return lambda _: [every * time for time in range(20) for _ in range(count)]


def twice(first: int, second: int, *, apart: float) -> Arrivals:
    """Return two bursts."""
    return lambda _: [0.0] * first + [apart] * second


def steady(dice: Random) -> list[float]:
    """One a second for an hour, as strangers come: at random."""
    return list(_poisson(dice, 3600, lambda _: 1.0, most=1.0))


def day(dice: Random) -> list[float]:
    """A day with 30 an hour, and 630 an hour around 14 o'clock."""

    def rate(now: float) -> float:
        hours = now / 3600 - 14
        return (30 + 600 * math.exp2(-(hours**2))) / 3600

    return list(_poisson(dice, 86400, rate, most=630 / 3600))


def _poisson(
    dice: Random, until: float, rate: Callable[[float], float], *, most: float
) -> Iterator[float]:
    now = dice.expovariate(most)
    while now < until:
        if dice.random() < rate(now) / most:
            yield now
        now += dice.expovariate(most)


BURSTS = {f"{count:,} at once": count for count in (1, 10, 100, 1000, 10000)}
ARRIVALS: dict[str, Arrivals] = {
    **{name: at_once(count) for name, count in BURSTS.items()},
    "1/s for an hour": steady,
    "a day with a peak": day,
}


@dataclass(frozen=True)
class Scene:
    """What one run plays."""

    policy: str
    arrivals: Arrivals
    ec2: Ec2Rules
    numbers: AddendumNumbers
    """For Addendum; a machine each has none."""
    upload: tuple[float, float] = UPLOAD
    work: tuple[float, float] = WORK


def ec2_for(cap: int) -> Ec2Rules:
    """Return an account whose quota fits so many machines: it is all that stops a machine each."""
    return Ec2Rules(vcpu_quota=max(NEW_ACCOUNT_VCPUS, cap * Ec2Rules(vcpu_quota=0).vcpus))


def scene(policy: str, arrivals: Arrivals, cap: int, numbers: AddendumNumbers) -> Scene:
    """Return a scene with this policy and at most so many machines."""
    rules = replace(numbers.rules, fresh_vm_per_job=policy == FRESH, max_instances=cap)
    return Scene(policy, arrivals, ec2_for(cap), replace(numbers, rules=rules))


def play(scene: Scene, seeds: Sequence[int]) -> dict[str, dict[str, float]]:
    """Play a scene once for each seed; return the middle of each figure, and the ends of some."""
    runs = [play_once(scene, seed) for seed in seeds]
    return {
        "middle": {key: round(statistics.median(run[key] for run in runs), 2) for key in runs[0]},
        "least": {key: round(min(run[key] for run in runs), 2) for key in SPREAD},
        "most": {key: round(max(run[key] for run in runs), 2) for key in SPREAD},
    }


def play_once(scene: Scene, seed: int) -> dict[str, float]:
    """Play a scene and return its figures. The same seed gives the same ones."""
    clock, dice = Clock(), Random(seed)
    jobs = [
        Job(at, dice.uniform(*scene.upload), dice.uniform(*scene.work))
        for at in scene.arrivals(dice)
    ]
    policy: OneMachineEach | Addendum
    if scene.policy == ONE_EACH:
        policy = OneMachineEach(clock, dice, scene.ec2)
    else:
        policy = Addendum(clock, dice, scene.ec2, scene.numbers)
    for job in jobs:
        clock.after(job.sent_at, policy.send, job)
    clock.run()
    return _figures(jobs, policy)


def _figures(jobs: list[Job], policy: OneMachineEach | Addendum) -> dict[str, float]:
    ends = [job.done_at - jobs[0].sent_at for job in jobs if job.done_at is not None]
    waits = sorted(job.done_at - job.sent_at for job in jobs if job.done_at is not None)
    ec2 = policy.ec2
    return {
        "jobs": len(jobs),
        "first": min(ends),
        "last": max(ends),
        "mean": statistics.fmean(waits),
        "p50": waits[len(waits) // 2],
        "p99": waits[min(len(waits) - 1, len(waits) * 99 // 100)],
        "lost": len(jobs) - len(ends),
        "calls": ec2.counts.calls,
        "throttled": ec2.counts.throttled,
        "over_quota": ec2.counts.over_quota,
        "looks": policy.looks,
        "machines": len(ec2.machines),
        "in_vain": sum(not machine.had_a_job for machine in ec2.machines),
        "at_a_time": ec2.most_at_a_time,
        "billed": ec2.billed_seconds(),
    }


def deployed() -> AddendumNumbers:
    """Return the numbers that this project is deployed with, from where they are declared."""
    import worker

    from infra import fleet, processor, settings

    machines = settings.load(ROOT / "Pulumi.yaml").machines
    return AddendumNumbers(
        rules=Rules(
            machines.backlog_per_instance, machines.fresh_vm_per_job, machines.max_instances
        ),
        threads=fleet.vcpus(machines.instance_types[0]),
        first_wait=fleet.FIRST_WAIT_SECONDS,
        idle=machines.idle_seconds,
        takes_jobs_for=machines.max_life - machines.job_timeout - worker.MARGIN_SECONDS,
        spot_poll=worker.SPOT_POLL_SECONDS,
        stream=StreamNumbers(
            batch=processor.STREAM_BATCH_SIZE, window=processor.STREAM_WINDOW_SECONDS
        ),
        launch_attempts=RETRIES.retries["total_max_attempts"],
        vain_window=VAIN_WINDOW.total_seconds(),
    )


def price() -> float:
    """Return what an hour of the default machine costs in dollars, as docs/operations.md has it."""
    from infra import settings

    default = settings.load(ROOT / "Pulumi.yaml").machines.instance_types[0]
    line = rf"^\| \$([0-9.]+)\S* an hour.* \| {re.escape(default)} \|"
    found = re.search(line, (ROOT / "docs/operations.md").read_text(), re.MULTILINE)
    assert found, f"docs/operations.md names no price of {default}"
    return float(found[1])
