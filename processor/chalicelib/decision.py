"""How many machines to launch: the decision, with nothing else in it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from math import ceil

VAIN_LIMIT = 3
"""So many recent machines gone without a job mean: something is broken, go slowly."""
VAIN_WINDOW = timedelta(minutes=10)
"""How recent: the time since they were launched."""


@dataclass(frozen=True)
class Rules:
    """What the configuration says about launching."""

    backlog_per_instance: int
    fresh_vm_per_job: bool
    max_instances: int


@dataclass(frozen=True)
class Sight:
    """What the handler sees: jobs announced by the stream, queue counts, live machines."""

    announced: int
    visible: int
    in_flight: int
    live: int


def instances_to_launch(rules: Rules, sight: Sight) -> int:
    """Return how many machines are missing, within what the cap leaves.

    Deciders can run side by side, since a table's stream has several shards, so
    ``max_instances`` is a soft cap; the account's vCPU quota is the hard one.
    """
    per = 1 if rules.fresh_vm_per_job else rules.backlog_per_instance
    free = max(0, sight.live * per - sight.in_flight)
    if rules.fresh_vm_per_job:
        # A job that is announced has no message yet, so no live machine is waiting for it.
        waiting = sight.announced + max(0, sight.visible - free)
    else:
        waiting = max(0, sight.announced + sight.visible - free)
    return max(0, min(ceil(waiting / per), rules.max_instances - sight.live))
