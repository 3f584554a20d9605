"""What is done about uploads, in simulated time: a machine for each, or Addendum.

:class:`OneMachineEach` is what public implementations of this flow do: the record's
stream calls a function that calls RunInstances once a record. It gets the best of them:
one call after another, the SDK's own retries, then Lambda's from the record that failed,
so that nothing is launched twice. https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html

:class:`Addendum` is this project: its real decision, with the numbers it is deployed with.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from bench.ec2_model import Ec2, Ec2Rules, Machine, Refused, Retries, call_with_retries
from chalicelib.decision import VAIN_LIMIT, Rules, Sight, instances_to_launch

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from bench.clock import Clock

STREAM_LIFE = 86400
"""A stream keeps its records for a day:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html"""


A_MOMENT = 1e-6
"""Less is no time: sums of seconds are not exact."""


@dataclass(eq=False)
class Job:
    """One upload. Times in seconds since the first was sent."""

    sent_at: float
    upload: float
    """How long its upload takes."""
    work: float
    """How long it keeps a thread of a machine."""
    done_at: float | None = None


@dataclass(frozen=True)
class StreamNumbers:
    """How the table's stream calls its function. Times in seconds."""

    shards: int = 4
    """A new on-demand table has four partitions, and a shard for each."""
    lag: float = 0.25
    """Lambda asks a shard for records four times a second:
    https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html"""
    batch: int = 100
    window: float = 0
    first_pause: float = 1
    longest_pause: float = 30
    """Pauses between Lambda's retries of a batch double; AWS publishes no numbers."""


class Shard:
    """Records in order, and one call of the function at a time."""

    def __init__(self, clock: Clock, numbers: StreamNumbers) -> None:
        self.records: deque[tuple[float, Job]] = deque()
        self.busy = False
        self._clock = clock
        self._numbers = numbers

    def take(self) -> list[Job]:
        """Return the next batch, and hold the shard until the function has answered."""
        self.busy = True
        count = min(self._numbers.batch, len(self.records))
        return [self.records.popleft()[1] for _ in range(count)]

    def wait(self) -> float | None:
        """Return the seconds until a batch is due, or None if there is nothing to do."""
        if self.busy or not self.records:
            return None
        if len(self.records) >= self._numbers.batch:
            return 0
        return max(0, self.records[0][0] + self._numbers.window - self._clock.now)


class OneMachineEach:
    """RunInstances once a record. A machine does its one job and powers off."""

    def __init__(self, clock: Clock, dice: Random, ec2: Ec2Rules) -> None:
        self.ec2 = Ec2(clock, dice, ec2, self._booted, self._taken_back)
        self.looks = 0
        self._clock = clock
        self._dice = dice
        self._stream = StreamNumbers()
        self._retries = Retries(attempts=5)
        self._shards = [Shard(clock, self._stream) for _ in range(self._stream.shards)]

    def send(self, job: Job) -> None:
        """Upload, and then record: a machine that boots at once finds the file."""
        self._clock.after(job.upload + self._stream.lag, self._recorded, job)

    def _recorded(self, job: Job) -> None:
        shard = self._dice.choice(self._shards)
        shard.records.append((self._clock.now, job))
        if not shard.busy:
            self._next(shard, self._stream.first_pause)

    def _next(self, shard: Shard, pause: float) -> None:
        """Launch for the oldest record of a shard."""
        oldest = self._clock.now - STREAM_LIFE
        while shard.records and shard.records[0][0] < oldest:
            shard.records.popleft()  # expired in the stream: nobody will ever launch for it
        shard.busy = bool(shard.records)
        if shard.busy:
            job = shard.records[0][1]
            call_with_retries(
                self.ec2, self._retries, 1, lambda got: self._called(shard, pause, got), by=job
            )

    def _called(self, shard: Shard, pause: float, got: list[Machine] | Refused) -> None:
        if isinstance(got, Refused):
            longer = min(2 * pause, self._stream.longest_pause)
            self._clock.after(pause, self._next, shard, longer)
        else:
            shard.records.popleft()
            self._next(shard, self._stream.first_pause)

    def _booted(self, machine: Machine) -> None:
        if machine.stillborn:
            self.ec2.power_off(machine)  # with the job: nobody else knows of it
            return
        job = machine.launched_by
        assert isinstance(job, Job)
        machine.had_a_job = True
        self._clock.after(job.work, self._done, machine, job)

    def _done(self, machine: Machine, job: Job) -> None:
        if not machine.going:
            job.done_at = self._clock.now
            self.ec2.power_off(machine)

    def _taken_back(self, machine: Machine) -> None:
        self.ec2.power_off(machine)  # with the job


@dataclass(frozen=True)
class AddendumNumbers:
    """What this project is deployed with. Times in seconds."""

    rules: Rules
    threads: int
    first_wait: float
    idle: float
    takes_jobs_for: float
    """After so long a machine takes no job any more: its life is nearly over."""
    spot_poll: float
    stream: StreamNumbers
    launch_attempts: int
    vain_window: float
    reconcile_every: float = 60
    decide: float = 0.3
    """How long a function takes to look at machines and queue."""
    counts_lag: float = 5
    """The queue's counts are so old, in the middle; AWS says up to a minute."""


class Worker:
    """The worker on one machine: threads that take jobs until there are none."""

    def __init__(self, machine: Machine, numbers: AddendumNumbers, now: float) -> None:
        self.machine = machine
        self.free = 1 if numbers.rules.fresh_vm_per_job else numbers.threads
        self.running: set[Job] = set()
        self.go_home_at = now + numbers.first_wait
        self.last_job_at = now + numbers.takes_jobs_for


class Queue:
    """The work queue: waiting messages, waiting threads, and counts that lag."""

    def __init__(self, clock: Clock, lag: float) -> None:
        self.jobs: deque[Job] = deque()
        self.threads: deque[Worker] = deque()
        """Each a thread that polls. SQS does not say whom it serves first."""
        self.in_flight = 0
        self._clock = clock
        self._lag = lag
        self._history: deque[tuple[float, int, int]] = deque([(0, 0, 0)])

    def note(self) -> None:
        """Remember the counts of this moment, for those who see them late."""
        now = (self._clock.now, len(self.jobs), self.in_flight)
        if self._history[-1][0] == now[0]:
            self._history[-1] = now
        else:
            self._history.append(now)

    def counts(self) -> tuple[int, int]:
        """Return visible and in-flight messages, as they were a while ago."""
        history, then = self._history, self._clock.now - self._lag
        while len(history) > 1 and history[1][0] <= then:
            history.popleft()
        return history[0][1:]


class Addendum:
    """Stream handler, reconciler and workers, as this project has them."""

    def __init__(self, clock: Clock, dice: Random, ec2: Ec2Rules, numbers: AddendumNumbers) -> None:
        self.ec2 = Ec2(clock, dice, ec2, self._booted, self._taken_back)
        self.looks = 0
        self._clock = clock
        self._dice = dice
        self._numbers = numbers
        self._retries = Retries(attempts=numbers.launch_attempts)
        self._shards = [Shard(clock, numbers.stream) for _ in range(numbers.stream.shards)]
        self._queue = Queue(clock, numbers.counts_lag)
        self._workers: dict[Machine, Worker] = {}
        self._gone: deque[Machine] = deque()
        self._unfinished = 0
        self._clock.after(dice.uniform(0, numbers.reconcile_every), self._every_minute)
        self._reconciling = True

    def send(self, job: Job) -> None:
        """Record, and upload; a machine boots meanwhile."""
        self._unfinished += 1
        self._clock.after(self._numbers.stream.lag, self._recorded, job)
        self._clock.after(job.upload, self._uploaded, job)
        if not self._reconciling:
            self._reconciling = True
            self._clock.after(
                self._dice.uniform(0, self._numbers.reconcile_every), self._every_minute
            )

    # the functions

    def _recorded(self, job: Job) -> None:
        shard = self._dice.choice(self._shards)
        shard.records.append((self._clock.now, job))
        self._call_when_due(shard)

    def _call_when_due(self, shard: Shard) -> None:
        wait = shard.wait()
        if wait is not None and wait < A_MOMENT:
            batch = shard.take()
            self._clock.after(self._numbers.decide, self._announced, shard, len(batch))
        elif wait is not None:
            self._clock.after(wait, self._call_when_due, shard)

    def _announced(self, shard: Shard, count: int) -> None:
        self._decide(count, shard, lambda: self._answered(shard))

    def _answered(self, shard: Shard) -> None:
        shard.busy = False
        self._call_when_due(shard)

    def _every_minute(self) -> None:
        # With nothing to do and nothing running, a minute changes nothing until the next job.
        self._reconciling = bool(self._unfinished or self.ec2.live)
        if self._reconciling:
            self._decide(0, self, lambda: None)
            self._clock.after(self._numbers.reconcile_every, self._every_minute)

    def _decide(self, announced: int, decider: object, then: Callable[[], None]) -> None:
        self.looks += 1
        visible, in_flight = self._queue.counts()
        sight = Sight(announced, visible, in_flight, live=self._seen_by(decider))
        count = instances_to_launch(self._numbers.rules, sight)
        if count > 1 and self._gone_in_vain() >= VAIN_LIMIT:
            count = 1
        if not count:
            then()
            return
        call_with_retries(
            # Whatever EC2 refused is left to the next minute.
            self.ec2,
            self._retries,
            count,
            lambda _: then(),
            by=decider,
        )

    def _seen_by(self, decider: object) -> int:
        """Count live machines: those that EC2 shows, and those that this function launched."""
        shown = self._clock.now - self.ec2.rules.shows_after
        new = takewhile(lambda one: one.launched_at > shown, reversed(self.ec2.machines))
        hidden = [one for one in new if one.launched_by is not decider and not one.going]
        return self.ec2.live - len(hidden)

    def _gone_in_vain(self) -> int:
        since = self._clock.now - self._numbers.vain_window
        recent = [one for one in self._gone if one.launched_at > since]
        self._gone = deque(recent)
        return sum(not one.had_a_job for one in recent)

    # the machines

    def _booted(self, machine: Machine) -> None:
        if machine.stillborn:
            self._power_off(machine)
            return
        worker = Worker(machine, self._numbers, self._clock.now)
        self._workers[machine] = worker
        self._queue.threads.extend([worker] * worker.free)
        for wait in (self._numbers.first_wait, self._numbers.takes_jobs_for):
            self._clock.after(wait, self._go_home_if_idle, worker)
        self._match()

    def _uploaded(self, job: Job) -> None:
        self._queue.jobs.append(job)
        self._match()

    def _match(self) -> None:
        """Give waiting messages to waiting threads."""
        queue = self._queue
        while queue.jobs and queue.threads:
            worker = queue.threads.popleft()
            if not worker.machine.going and self._clock.now < worker.last_job_at:
                self._take(worker, queue.jobs.popleft())
        queue.note()

    def _take(self, worker: Worker, job: Job) -> None:
        worker.machine.had_a_job = True
        worker.running.add(job)
        self._queue.in_flight += 1
        self._clock.after(job.work, self._done, worker, job)

    def _done(self, worker: Worker, job: Job) -> None:
        if job not in worker.running:
            return  # handed back before
        worker.running.remove(job)
        self._queue.in_flight -= 1
        self._unfinished -= 1
        job.done_at = self._clock.now
        over = self._numbers.rules.fresh_vm_per_job or self._clock.now >= worker.last_job_at
        if over:
            self._leave_if_idle(worker)
        else:
            worker.go_home_at = self._clock.now + self._numbers.idle
            if not worker.running:
                self._clock.after(self._numbers.idle, self._go_home_if_idle, worker)
            self._queue.threads.append(worker)
        self._match()

    def _go_home_if_idle(self, worker: Worker) -> None:
        if self._clock.now + A_MOMENT >= min(worker.go_home_at, worker.last_job_at):
            self._leave_if_idle(worker)

    def _leave_if_idle(self, worker: Worker) -> None:
        if not worker.running and not worker.machine.going:
            self._power_off(worker.machine)

    def _power_off(self, machine: Machine) -> None:
        self._gone.append(machine)
        self.ec2.power_off(machine)

    def _taken_back(self, machine: Machine) -> None:
        self._clock.after(self._dice.uniform(0, self._numbers.spot_poll), self._hand_back, machine)

    def _hand_back(self, machine: Machine) -> None:
        if machine.going:
            return
        worker = self._workers.get(machine)
        self._power_off(machine)
        if worker is not None:
            self._queue.jobs.extend(worker.running)
            self._queue.in_flight -= len(worker.running)
            worker.running.clear()
            self._match()
