"""A model of EC2: what a launch takes, when it is refused, and what is billed."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from bench.clock import Clock

BILLED_AT_LEAST = 60
"""Seconds. https://aws.amazon.com/about-aws/whats-new/2017/10/announcing-amazon-ec2-per-second-billing/"""


class Refused(Exception):
    """EC2 launched nothing."""


class Throttled(Refused):
    """``RequestLimitExceeded``: a bucket is empty. The SDK tries again by itself."""


class OverQuota(Refused):
    """``VcpuLimitExceeded``: the account's machines have all the vCPUs it may have."""


class NoCapacity(Refused):
    """``InsufficientInstanceCapacity``: EC2 has no machine of any type asked for."""


class TokenBucket:
    """Holds so many tokens, and gets so many a second until it is full again."""

    def __init__(self, clock: Clock, *, size: float, refill: float) -> None:
        self._clock = clock
        self._size = size
        self._refill = refill
        self._tokens = size
        self._filled_at = clock.now

    def take(self, tokens: float) -> bool:
        """Take tokens, or none if there are not so many."""
        passed = self._clock.now - self._filled_at
        self._tokens = min(self._size, self._tokens + passed * self._refill)
        self._filled_at = self._clock.now
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True


@dataclass(frozen=True)
class Ec2Rules:
    """What this account's EC2 does. Times in seconds.

    The buckets are those of RunInstances; AWS publishes none for CreateFleet, so the same
    are assumed: https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    """

    vcpu_quota: int
    vcpus: int = 2
    requests: float = 5
    requests_a_second: float = 2
    machines: float = 1000
    machines_a_second: float = 2
    boot: tuple[float, float] = (10, 30)
    """From the launch to the first look for work, evenly spread."""
    power_off: float = 5
    call: float = 1
    """How long a call that launches takes to answer."""
    shows_after: float = 2
    """From the launch to when DescribeInstances shows it: it is eventually consistent."""
    no_capacity: float = 0.01
    """How likely a call finds no capacity."""
    stillborn: float = 0.01
    """How likely a machine boots, cannot start its worker and powers off."""
    interruptions_an_hour: float = 0
    """How often a Spot machine is taken back."""


@dataclass(eq=False)
class Machine:
    """One launched machine."""

    launched_at: float
    stillborn: bool = False
    """Whether it boots, cannot start its worker and powers off."""
    launched_by: object = None
    had_a_job: bool = False
    going: bool = False
    """Whether it has begun to power off: it is not live any more, but still counts and costs."""
    ended_at: float | None = None


@dataclass
class Ec2Counts:
    """What happened to the calls that launch."""

    calls: int = 0
    throttled: int = 0
    over_quota: int = 0
    no_capacity: int = 0


@dataclass
class Ec2:
    """The account's EC2, for calls that launch."""

    clock: Clock
    dice: Random
    rules: Ec2Rules
    on_boot: Callable[[Machine], None]
    """Called when a machine can look for work."""
    on_interruption: Callable[[Machine], None]
    """Called two minutes before a Spot machine is gone."""
    counts: Ec2Counts = field(default_factory=Ec2Counts)
    machines: list[Machine] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules = self.rules
        self._requests = TokenBucket(
            self.clock, size=rules.requests, refill=rules.requests_a_second
        )
        self._resources = TokenBucket(
            self.clock, size=rules.machines, refill=rules.machines_a_second
        )
        self.existing = 0
        self.live = 0
        self.most_at_a_time = 0

    def launch(self, count: int, *, by: object = None) -> list[Machine]:
        """Launch as many of ``count`` machines as the quota leaves, at least one.

        :raises Refused: if there are none.
        """
        self.counts.calls += 1
        room = self.rules.vcpu_quota // self.rules.vcpus - self.existing
        if not self._requests.take(1) or not self._resources.take(min(count, max(room, 1))):
            self.counts.throttled += 1
            raise Throttled
        if room <= 0:
            self.counts.over_quota += 1
            raise OverQuota
        if self.dice.random() < self.rules.no_capacity:
            self.counts.no_capacity += 1
            raise NoCapacity
        made = [self._machine(by) for _ in range(min(count, room))]
        self.machines += made
        self.existing += len(made)
        self.most_at_a_time = max(self.most_at_a_time, self.existing)
        self.live += len(made)
        return made

    def power_off(self, machine: Machine) -> None:
        """Begin to end a machine; it exists and costs until it is off."""
        if not machine.going:
            machine.going = True
            self.live -= 1
            self.clock.after(self.rules.power_off, self._end, machine)

    def billed_seconds(self) -> int:
        """Return what all machines cost, in seconds, each a minute at least."""
        ends = [(one, one.ended_at) for one in self.machines]
        assert all(end is not None for _, end in ends), "a machine still runs"
        lives = [ceil((end or 0) - one.launched_at) for one, end in ends]
        return sum(max(BILLED_AT_LEAST, life) for life in lives)

    def _machine(self, by: object) -> Machine:
        stillborn = self.dice.random() < self.rules.stillborn
        machine = Machine(self.clock.now, stillborn=stillborn, launched_by=by)
        self.clock.after(self.dice.uniform(*self.rules.boot), self.on_boot, machine)
        if self.rules.interruptions_an_hour:
            until = self.dice.expovariate(self.rules.interruptions_an_hour / 3600)
            self.clock.after(until, self._interrupt, machine)
        return machine

    def _interrupt(self, machine: Machine) -> None:
        if not machine.going:
            self.on_interruption(machine)

    def _end(self, machine: Machine) -> None:
        machine.ended_at = self.clock.now
        self.existing -= 1


@dataclass(frozen=True)
class Retries:
    """How an SDK tries a throttled call again: with doubling, jittered pauses.

    https://docs.aws.amazon.com/boto3/latest/guide/retries.html
    """

    attempts: int
    longest_pause: float = 20


def call_with_retries(
    ec2: Ec2,
    retries: Retries,
    count: int,
    then: Callable[[list[Machine] | Refused], None],
    *,
    by: object = None,
    attempt: int = 1,
) -> None:
    """Launch, and tell ``then`` the machines or why there are none, when that is known."""
    try:
        made = ec2.launch(count, by=by)
    except Throttled as refused:
        if attempt == retries.attempts:
            then(refused)
            return
        pause = min(ec2.dice.random() * 2 ** (attempt - 1), retries.longest_pause)
        ec2.clock.after(
            pause,
            lambda: call_with_retries(ec2, retries, count, then, by=by, attempt=attempt + 1),
        )
    except Refused as refused:
        ec2.clock.after(ec2.rules.call, then, refused)
    else:
        ec2.clock.after(ec2.rules.call, then, made)
