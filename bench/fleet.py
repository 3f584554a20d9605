"""The fleet in simulated time: the real decision against a model of EC2."""

from __future__ import annotations

import importlib.util
import re
import statistics
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING, Any

from bench import ROOT
from bench.clock import Clock
from bench.ec2_model import Ec2Rules
from bench.fleet_policies import Addendum, AddendumNumbers, Job, OneMachineEach, StreamNumbers
from chalicelib.decision import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

DAY = 86400.0

ONE_EACH = "one machine each"
FRESH = "fresh_vm_per_job"
DEFAULT = "Addendum"
POLICIES = (ONE_EACH, FRESH, DEFAULT)
CAPS = (2, 20, 200)


def at_once(count: int) -> Callable[[Random], list[float]]:
    """Return an arrival pattern: so many at the same moment."""
    return lambda dice: [0.0] * count


def steady(dice: Random) -> list[float]:
    """One a second for an hour, as strangers come: at random."""
    return list(_poisson(dice, 3600, lambda now: 1.0, most=1.0))


def day(dice: Random) -> list[float]:
    """A day: 30 an hour, and around 14 o'clock 630 an hour."""

    def rate(now: float) -> float:
        hours = now / 3600 - 14
        return (30 + 600 * 2 ** -(hours**2)) / 3600

    return list(_poisson(dice, DAY, rate, most=630 / 3600))


def _poisson(
    dice: Random, until: float, rate: Callable[[float], float], *, most: float
) -> Iterator[float]:
    now = dice.expovariate(most)
    while now < until:
        if dice.random() < rate(now) / most:
            yield now
        now += dice.expovariate(most)


ARRIVALS: dict[str, Callable[[Random], list[float]]] = {
    "1": at_once(1),
    "10": at_once(10),
    "100": at_once(100),
    "1,000": at_once(1000),
    "10,000": at_once(10000),
    "1/s for an hour": steady,
    "a day with a peak": day,
}

UPLOAD = (1.0, 3.0)
WORK = (0.3, 0.7)


@dataclass(frozen=True)
class Scene:
    """What one run simulates."""

    policy: str
    arrivals: str
    cap: int
    upload: tuple[float, float] = UPLOAD
    work: tuple[float, float] = WORK


def deployed() -> AddendumNumbers:
    """Return the numbers that this project is deployed with."""
    import worker

    from infra import fleet, processor, settings

    functions = _processor_app()
    machines = settings.load(ROOT / "Pulumi.yaml").machines
    return AddendumNumbers(
        rules=Rules(machines.backlog_per_instance, machines.fresh_vm_per_job, machines.max_instances),
        threads=fleet.vcpus(machines.instance_types[0]),
        first_wait=fleet.FIRST_WAIT_SECONDS,
        idle=machines.idle_seconds,
        takes_jobs_for=machines.max_life - machines.job_timeout - worker.MARGIN_SECONDS,
        spot_poll=worker.SPOT_POLL_SECONDS,
        stream=StreamNumbers(
            batch=processor.STREAM_BATCH_SIZE, window=processor.STREAM_WINDOW_SECONDS
        ),
        launch_attempts=functions.RETRIES.retries["total_max_attempts"],
        vain_window=functions.VAIN_WINDOW.total_seconds(),
    )


def _processor_app() -> ModuleType:
    # Not `import app`: both Chalice apps are named so.
    spec = importlib.util.spec_from_file_location("bench_processor", ROOT / "processor/app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def simulate(
    scene: Scene, numbers: AddendumNumbers, ec2: Ec2Rules, seed: int
) -> dict[str, float]:
    clock, dice = Clock(), Random(seed)
    jobs = [
        Job(at, dice.uniform(*scene.upload), dice.uniform(*scene.work))
        for at in ARRIVALS[scene.arrivals](dice)
    ]
    if scene.policy == ONE_EACH:
        policy: OneMachineEach | Addendum = OneMachineEach(clock, dice, ec2)
    else:
        rules = replace(
            numbers.rules, fresh_vm_per_job=scene.policy == FRESH, max_instances=scene.cap
        )
        policy = Addendum(clock, dice, ec2, replace(numbers, rules=rules))
    for job in jobs:
        clock.after(job.sent_at, policy.send, job)
    clock.run()
    return figures_of(jobs, policy)


def figures_of(jobs: list[Job], policy: OneMachineEach | Addendum) -> dict[str, float]:
    done = [job for job in jobs if job.done_at is not None]
    began = jobs[0].sent_at
    waits = sorted(job.done_at - job.sent_at for job in done if job.done_at is not None)
    ends = [job.done_at - began for job in done if job.done_at is not None]
    counts = policy.ec2.counts
    return {
        "first": min(ends),
        "last": max(ends),
        "p50": waits[len(waits) // 2],
        "p99": waits[min(len(waits) - 1, len(waits) * 99 // 100)],
        "lost": len(jobs) - len(done),
        "calls": counts.calls,
        "throttled": counts.throttled,
        "over_quota": counts.over_quota,
        "describes": policy.describes,
        "machines": len(policy.ec2.machines),
        "vain": sum(not one.had_a_job for one in policy.ec2.machines),
        "peak": policy.peak,
        "billed": policy.ec2.billed_seconds(),
        "jobs": len(jobs),
    }
