"""The rules of the simulated fleet, against cases worked out by hand.

In these accounts nothing is left to chance: a boot takes 20 s, a call that launches 1 s, a
power-off 5 s, an upload 2 s and a job 10 s, unless a test says otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

import pytest

from bench import fleet_scenes as scenes
from bench.clock import Clock
from bench.ec2_model import (
    Ec2,
    Ec2Rules,
    Machine,
    NoCapacity,
    OverQuota,
    Refused,
    Retries,
    Throttled,
    TokenBucket,
    call_with_retries,
)
from bench.fleet_policies import Addendum, AddendumNumbers, Job, OneMachineEach, StreamNumbers
from bench.fleet_scenes import DEFAULT, ONE_EACH
from chalicelib.decision import Rules

if TYPE_CHECKING:
    from collections.abc import Sequence

SURE = Ec2Rules(vcpu_quota=5, boot=(20, 20), no_capacity=0, stillborn=0)
NUMBERS = AddendumNumbers(
    rules=Rules(backlog_per_instance=10, fresh_vm_per_job=False, max_instances=2),
    threads=2,
    first_wait=360,
    idle=90,
    takes_jobs_for=2640,
    spot_poll=5,
    stream=StreamNumbers(shards=1, lag=0.25, batch=100, window=1),
    launch_attempts=4,
    vain_window=600,
    decide=0.25,
    counts_lag=0,
)


class Certain(Random):
    """Chance that always takes the middle."""

    def random(self) -> float:
        return 0.5


def jobs(count: int, *, upload: float = 2, work: float = 10) -> list[Job]:
    return [Job(0, upload, work) for _ in range(count)]


def send(policy: Addendum | OneMachineEach, clock: Clock, sent: Sequence[Job]) -> None:
    for job in sent:
        clock.after(job.sent_at, policy.send, job)
    clock.run()


def with_addendum(
    sent: Sequence[Job], *, ec2: Ec2Rules = SURE, numbers: AddendumNumbers = NUMBERS
) -> Addendum:
    clock = Clock()
    policy = Addendum(clock, Certain(), ec2, numbers)
    send(policy, clock, sent)
    return policy


def with_one_each(sent: Sequence[Job], *, ec2: Ec2Rules = SURE) -> OneMachineEach:
    clock = Clock()
    policy = OneMachineEach(clock, Certain(), ec2)
    send(policy, clock, sent)
    return policy


def account(ec2: Ec2Rules = SURE) -> Ec2:
    return Ec2(Clock(), Certain(), ec2, lambda _: None, lambda _: None)


def test_a_bucket_gives_what_it_holds_and_then_what_flows_in() -> None:
    clock = Clock()
    bucket = TokenBucket(clock, size=5, refill=2)
    assert [bucket.take(1) for _ in range(6)] == [True] * 5 + [False]
    clock.now = 1
    assert [bucket.take(1) for _ in range(3)] == [True, True, False]
    clock.now = 100
    assert bucket.take(5)
    assert not bucket.take(1)


def test_the_sixth_launch_of_a_moment_is_throttled_however_small() -> None:
    ec2 = account(replace(SURE, vcpu_quota=100))
    for _ in range(5):
        ec2.launch(1)
    with pytest.raises(Throttled):
        ec2.launch(1)
    ec2.clock.now = 0.5
    assert len(ec2.launch(1)) == 1


def test_a_launch_takes_a_token_for_each_machine() -> None:
    ec2 = account(replace(SURE, vcpu_quota=4000))
    assert len(ec2.launch(1000)) == 1000
    with pytest.raises(Throttled):
        ec2.launch(1)


def test_the_quota_gives_what_is_left_and_then_nothing() -> None:
    ec2 = account()
    assert len(ec2.launch(7)) == 2
    with pytest.raises(OverQuota):
        ec2.launch(1)


def test_a_machine_holds_its_vcpus_until_it_is_off() -> None:
    ec2 = account()
    first, _ = ec2.launch(2)
    ec2.power_off(first)
    assert (ec2.live, ec2.existing) == (1, 2)
    with pytest.raises(OverQuota):
        ec2.launch(1)
    ec2.clock.run()
    assert ec2.existing == 1
    assert len(ec2.launch(1)) == 1


def test_a_call_that_finds_no_capacity_is_refused() -> None:
    ec2 = account(replace(SURE, no_capacity=1))
    with pytest.raises(NoCapacity):
        ec2.launch(1)


@pytest.mark.parametrize(("lived", "billed"), [(0, 60), (55, 60), (55.5, 61), (115, 120)])
def test_a_machine_is_billed_by_the_second_and_a_minute_at_least(lived: float, billed: int) -> None:
    ec2 = account()
    (machine,) = ec2.launch(1)
    ec2.clock.after(lived, ec2.power_off, machine)
    ec2.clock.run()
    assert ec2.billed_seconds() == billed


def test_a_throttled_call_is_tried_again_with_doubled_pauses() -> None:
    ec2 = account(replace(SURE, requests=0, requests_a_second=0))
    heard: list[tuple[float, list[Machine] | Refused]] = []
    call_with_retries(ec2, Retries(attempts=4), 1, lambda got: heard.append((ec2.clock.now, got)))
    ec2.clock.run()
    ((at, got),) = heard
    assert at == 0.5 + 1 + 2
    assert isinstance(got, Throttled)
    assert ec2.counts.calls == ec2.counts.throttled == 4


def test_a_retry_that_gets_through_launches_once() -> None:
    ec2 = account(replace(SURE, requests=1, requests_a_second=1, vcpu_quota=100))
    ec2.launch(1)
    heard: list[float] = []
    call_with_retries(ec2, Retries(attempts=4), 1, lambda _: heard.append(ec2.clock.now))
    ec2.clock.run()
    # Tried at 0, 0.5 and 1.5 s; the call answers after a second.
    assert heard == [2.5]
    assert (len(ec2.machines), ec2.counts.throttled) == (2, 2)


def test_one_job_takes_the_stream_a_boot_and_its_work() -> None:
    (job,) = sent = jobs(1)
    policy = with_addendum(sent)
    # Seen after 0.25, batched for 1, decided in 0.25, booted in 20, worked for 10.
    assert job.done_at == pytest.approx(0.25 + 1 + 0.25 + 20 + 10)
    assert (policy.ec2.counts.calls, len(policy.ec2.machines)) == (1, 1)
    # Its machine lives through boot, job, idle time and power-off.
    assert policy.ec2.billed_seconds() == 20 + 10 + 90 + 5


def test_one_machine_each_takes_the_upload_a_boot_and_the_work() -> None:
    (job,) = sent = jobs(1)
    policy = with_one_each(sent)
    assert job.done_at == pytest.approx(2 + 0.25 + 20 + 10)
    assert policy.ec2.billed_seconds() == 60


def test_a_long_upload_finds_its_machine_waiting() -> None:
    (job,) = sent = jobs(1, upload=300)
    assert len(with_addendum(sent).ec2.machines) == 1
    assert job.done_at == 310


def test_an_upload_that_outlasts_the_first_wait_gets_a_machine_from_the_reconciler() -> None:
    (job,) = sent = jobs(1, upload=400)
    policy = with_addendum(sent)
    first, second = policy.ec2.machines
    assert not first.had_a_job
    # The reconciler comes at 30 s past each minute here.
    assert second.launched_at == 450
    assert job.done_at == 450 + 20 + 10


def test_a_machine_works_with_as_many_threads_as_it_has() -> None:
    sent = jobs(4)
    with_addendum(sent)
    assert sorted(job.done_at or 0 for job in sent) == pytest.approx([31.5, 31.5, 41.5, 41.5])


def test_two_batches_launch_twice_and_the_second_counts_what_the_first_launched() -> None:
    rules = replace(NUMBERS.rules, max_instances=20)
    policy = with_addendum(
        jobs(120, upload=1),
        ec2=replace(SURE, vcpu_quota=100),
        numbers=replace(NUMBERS, rules=rules),
    )
    # The full batch of 100 goes at once: 10 machines at 0.5 s. The other 20 are announced when
    # that call has answered, at 1.75 s, as all 120 messages wait: 20 + 120 - 10 x 10 are more than
    # the machines have room for, and take 4 of them.
    at = [machine.launched_at for machine in policy.ec2.machines]
    assert at == [0.5] * 10 + [1.75] * 4
    assert policy.ec2.counts.calls == 2


def test_deciders_of_other_shards_do_not_see_a_launch_at_once() -> None:
    numbers = replace(
        NUMBERS,
        rules=replace(NUMBERS.rules, max_instances=20),
        stream=replace(NUMBERS.stream, shards=2),
    )
    clock = Clock()
    policy = Addendum(clock, Random(1), replace(SURE, vcpu_quota=100), numbers)
    send(policy, clock, jobs(8))
    assert [machine.launched_at for machine in policy.ec2.machines] == [1.5, 1.5]


def test_with_a_fresh_machine_each_a_job_never_shares() -> None:
    rules = replace(NUMBERS.rules, fresh_vm_per_job=True)
    sent = jobs(2)
    policy = with_addendum(sent, numbers=replace(NUMBERS, rules=rules))
    assert len(policy.ec2.machines) == 2
    assert all(machine.ended_at == 1.5 + 20 + 10 + 5 for machine in policy.ec2.machines)


def test_a_machine_near_the_end_of_its_life_takes_no_job_and_goes() -> None:
    sent = [Job(at, 2, 10) for at in range(0, 600, 60)]
    policy = with_addendum(sent, numbers=replace(NUMBERS, takes_jobs_for=300))
    first, second, *_ = policy.ec2.machines
    assert first.ended_at == pytest.approx(1.5 + 20 + 300 + 5)
    assert second.launched_at > 1.5 + 20 + 300
    assert all(job.done_at for job in sent)


def test_machines_gone_in_vain_slow_launching_down_to_one_a_run() -> None:
    numbers = replace(NUMBERS, rules=replace(NUMBERS.rules, max_instances=5))
    clock = Clock()
    ec2 = replace(SURE, vcpu_quota=100, stillborn=1)
    policy = Addendum(clock, Certain(), ec2, numbers)
    for job in jobs(50):
        policy.send(job)
    clock.after(250, lambda: setattr(policy.ec2, "rules", replace(ec2, stillborn=0)))
    clock.run()
    at = [machine.launched_at for machine in policy.ec2.machines]
    # Five for the batch. They are gone after 20 s, so each minute launches one.
    assert at[:5] == [1.5] * 5
    assert at[5:9] == [30, 90, 150, 210]


def test_a_spot_machine_hands_its_job_back_and_another_does_it() -> None:
    (job,) = sent = jobs(1, work=100)
    clock = Clock()
    policy = Addendum(clock, Certain(), SURE, NUMBERS)
    clock.after(50, lambda: policy.ec2.on_interruption(policy.ec2.machines[0]))
    send(policy, clock, sent)
    first, second = policy.ec2.machines
    # Noticed 2.5 s later, then off; the next minute launches, and the work begins anew.
    assert first.ended_at == 50 + 2.5 + 5
    assert second.launched_at == 90
    assert job.done_at == 90 + 20 + 100


def test_one_machine_each_loses_a_machine_with_its_job() -> None:
    (job,) = sent = jobs(1)
    with_one_each(sent, ec2=replace(SURE, stillborn=1))
    assert job.done_at is None


def test_one_machine_each_goes_on_when_the_quota_lets_it() -> None:
    sent = jobs(3)
    policy = with_one_each(sent)
    # Two at 2.25 s and, one call later, 3.25; each lives 35 s. The third is tried again after
    # pauses of 1, 2, 4, 8, 16 and 30 s, each try a call of a second.
    third = policy.ec2.machines[2].launched_at
    assert third == pytest.approx(4.25 + 1 + 1 + 1 + 2 + 1 + 4 + 1 + 8 + 1 + 16)
    assert policy.ec2.counts.over_quota == 5


def test_what_waits_for_more_than_a_day_is_gone_from_the_stream() -> None:
    sent = jobs(2, work=90000)
    with_one_each(sent, ec2=replace(SURE, vcpu_quota=2))
    assert [job.done_at is None for job in sent] == [False, True]


def test_the_same_seed_plays_the_same() -> None:
    scene = scenes.scene(DEFAULT, scenes.at_once(50), 20, NUMBERS)
    assert scenes.play_once(scene, 1) == scenes.play_once(scene, 1)


def test_nothing_is_lost_and_nothing_runs_on_whatever_happens() -> None:
    rough = Ec2Rules(vcpu_quota=8, no_capacity=0.3, stillborn=0.3, interruptions_an_hour=60)
    scene = scenes.scene(DEFAULT, scenes.at_once(60), 20, replace(NUMBERS, counts_lag=10))
    for seed in range(5):
        got = scenes.play_once(replace(scene, ec2=rough, work=(5, 40)), seed)
        assert got["lost"] == 0


def test_a_burst_of_a_thousand_meets_its_goals() -> None:
    burst = scenes.at_once(1000)
    ours, theirs = (
        scenes.play_once(scenes.scene(policy, burst, 2, NUMBERS), 1)
        for policy in (DEFAULT, ONE_EACH)
    )
    assert ours["calls"] <= 12
    assert theirs["last"] >= 10 * ours["last"]
    assert theirs["billed"] >= 5 * ours["billed"]
