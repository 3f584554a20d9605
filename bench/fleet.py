"""The fleet in simulated time: the real decision against a model of EC2."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench import fleet_scenes as scenes
from bench.fleet_scenes import ARRIVALS, DEFAULT, FRESH, ONE_EACH, POLICIES, play, scene
from bench.fleet_told import (
    API_RATE,
    CAPS,
    DAY,
    FEW,
    GOAL_BURST,
    LONG,
    MANY,
    ON_DEMAND,
    QUOTA,
    SLOW_JOBS,
    SPOT,
    TWICE,
    TWICE_UNBRAKED,
    figures,
    find,
    section,
    span,
    times,
    told,
)
from bench.part import Goal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.fleet_policies import AddendumNumbers
    from bench.fleet_scenes import Scene
    from bench.part import Result, Tell

__all__ = ["NAME", "TITLE", "figures", "goals", "measure", "rows", "section"]

NAME = "fleet"
TITLE = "The fleet, in simulated time"

SEEDS = range(5)

SLOW = (20.0, 40.0)
"""Seconds of work of a job that is worth a machine."""
LONG_UPLOAD = (60.0, 300.0)

SWEEPS: dict[str, tuple[tuple[float, ...], tuple[str, ...]]] = {
    "backlog_per_instance": ((5, 10, 20, 50), (MANY, SLOW_JOBS)),
    "first_wait_seconds": ((60, 120, 180, 240, 360), (FEW, MANY, LONG)),
    "idle_seconds": ((0, 20, 30, 60, 90, 150, 300), (DAY,)),
    "threads": ((1, 2, 4), (SLOW_JOBS,)),
    "batch window": ((0, 1, 2, 5), (DAY, MANY)),
}
"""Each number, the values to try, and the scenes where it matters."""


def measure(tell: Tell) -> Result:
    """Play every scene with several seeds."""
    numbers = scenes.deployed()
    acts = [*_grid(numbers), *_extras(numbers), *_sweeps(numbers)]
    played: list[dict[str, Any]] = []
    for done, (names, one) in enumerate(acts):
        tell(done / len(acts), ", ".join(str(name) for name in names.values()))
        played.append({**names, **play(one, SEEDS)})
    return {
        "played": played,
        "deployed": _declared(numbers),
        "seeds": len(SEEDS),
        "price": scenes.price(),
        "max_instances": numbers.rules.max_instances,
    }


def _declared(numbers: AddendumNumbers) -> dict[str, float]:
    return {
        "backlog_per_instance": numbers.rules.backlog_per_instance,
        "first_wait_seconds": numbers.first_wait,
        "idle_seconds": numbers.idle,
        "threads": numbers.threads,
        "batch window": numbers.stream.window,
    }


def _grid(numbers: AddendumNumbers) -> Iterator[tuple[dict[str, Any], Scene]]:
    for arrivals, cap in ((arrivals, cap) for arrivals in ARRIVALS for cap in CAPS):
        for policy in POLICIES:
            names = {"act": "grid", "arrivals": arrivals, "cap": cap, "policy": policy}
            yield names, scene(policy, ARRIVALS[arrivals], cap, numbers)


def _extras(numbers: AddendumNumbers) -> Iterator[tuple[dict[str, Any], Scene]]:
    """What a quota, the API's own rate, the launch brake and Spot do to it."""
    burst = scene(DEFAULT, ARRIVALS[GOAL_BURST], 20, numbers)
    small = replace(burst.ec2, vcpu_quota=scenes.NEW_ACCOUNT_VCPUS)
    admitted = scenes.as_the_api_admits(1000, a_second=20)
    twice = scenes.twice(100, 300, apart=420)
    hour = scene(DEFAULT, ARRIVALS["1/s for an hour"], 2, numbers)
    spot = replace(hour.ec2, interruptions_an_hour=1)
    shorter = replace(numbers, vain_window=numbers.first_wait)
    for name, one in {
        QUOTA: replace(burst, ec2=small),
        API_RATE: scene(DEFAULT, admitted, 2, numbers),
        TWICE: scene(DEFAULT, twice, 20, numbers),
        TWICE_UNBRAKED: scene(DEFAULT, twice, 20, shorter),
        ON_DEMAND: hour,
        SPOT: replace(hour, ec2=spot),
    }.items():
        yield {"act": "extra", "name": name}, one


def _sweeps(numbers: AddendumNumbers) -> Iterator[tuple[dict[str, Any], Scene]]:
    """Change one number at a time."""
    for setting, (values, stages) in SWEEPS.items():
        for stage, value in ((stage, value) for stage in stages for value in values):
            names = {"act": "sweep", "setting": setting, "stage": stage, "value": value}
            yield names, _staged(stage, _changed(numbers, setting, value))


def _staged(stage: str, numbers: AddendumNumbers) -> Scene:
    if stage == MANY:
        return scene(DEFAULT, ARRIVALS[GOAL_BURST], 200, numbers)
    if stage == SLOW_JOBS:
        return replace(scene(DEFAULT, ARRIVALS["100 at once"], 20, numbers), work=SLOW)
    if stage == DAY:
        return scene(DEFAULT, ARRIVALS[DAY], numbers.rules.max_instances, numbers)
    if stage == FEW:
        few = scenes.again_and_again(10, every=1800)
        return scene(DEFAULT, few, numbers.rules.max_instances, numbers)
    lone = scenes.again_and_again(1, every=1200)
    return replace(scene(DEFAULT, lone, numbers.rules.max_instances, numbers), upload=LONG_UPLOAD)


def _changed(numbers: AddendumNumbers, setting: str, value: float) -> AddendumNumbers:
    if setting == "backlog_per_instance":
        rules = replace(numbers.rules, backlog_per_instance=int(value))
        return replace(numbers, rules=rules)
    if setting == "batch window":
        return replace(numbers, stream=replace(numbers.stream, window=value))
    if setting == "first_wait_seconds":
        return replace(numbers, first_wait=value)
    if setting == "idle_seconds":
        return replace(numbers, idle=value)
    return replace(numbers, threads=int(value))


def goals(result: Result) -> list[Goal]:
    """Return the goals with the default cap, and what the same is with the others."""
    cap = result["max_instances"]
    calls = _launch_calls(result, cap)
    sooner, fewer = (times(result, key, cap=cap) for key in ("last", "billed"))
    others = [other for other in CAPS if other != cap]
    return [
        Goal(
            "a burst of 1,000, default policy: EC2 launch calls",
            "≤ 12",
            f"{calls:.0f}",
            met=calls <= 12,
            why=_beside(others, lambda other: f"{_launch_calls(result, other):.0f}"),
        ),
        Goal(
            "the same: last result, against one machine for each upload",
            "≥ 10× sooner",
            told(sooner),
            met=sooner["least"] >= 10,
            why=_beside(others, lambda other: told(times(result, "last", cap=other))),
        ),
        Goal(
            "the same: VM-seconds billed",
            "≥ 5× fewer",
            told(fewer),
            met=fewer["least"] >= 5,
            why=_beside(others, lambda other: told(times(result, "billed", cap=other)))
            + ", as told below",
        ),
    ]


def _launch_calls(result: Result, cap: int) -> float:
    act = find(result, act="grid", arrivals=GOAL_BURST, cap=cap, policy=DEFAULT)
    return float(act["most"]["calls"])


def _beside(caps: list[int], tell: Callable[[int], str]) -> str:
    return "; ".join(f"{tell(cap)} with `max_instances` {cap}" for cap in caps)


def rows(result: Result) -> list[list[str]]:
    """Return the whole grid."""
    acts = [act for act in result["played"] if act["act"] == "grid"]
    heading = ["uploads", "max", "policy", "last", "p50", "p99", "calls", "VMs", "billed s"]
    return [heading, *(_row(act) for act in acts)]


def _row(act: dict[str, Any]) -> list[str]:
    got = act["middle"]
    times = [span(got[key]) for key in ("last", "p50", "p99")]
    counts = [f"{got[key]:,.0f}" for key in ("calls", "machines", "billed")]
    arrivals = re.sub(" at once| for an hour| with a peak", "", act["arrivals"])
    return [arrivals, str(act["cap"]), _SHORT[act["policy"]], *times, *counts]


_SHORT = {ONE_EACH: "a VM each", FRESH: "fresh VMs", DEFAULT: "Addendum"}
