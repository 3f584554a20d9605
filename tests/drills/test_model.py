"""Random histories against the promise, with the worker's real loop and simulated time.

Users record, upload, upload again and leave; S3's events come twice; machines boot, or do
not, and stop for good or for a while between any two calls; AWS errs; the reconciler's real
decision makes good what is missing; dead letters and the operator do their part. What must
never be is checked at every write and after every move. At the end the faults stop, and
within minutes every uploaded job is SUCCEEDED or FAILED with a reason, and no machine is left.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import script
import worker
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

import jobs
from chalicelib.decision import Rules, Sight, instances_to_launch
from tests.conftest import BUCKET, TABLE
from tests.drills.simulated import (
    FIRST_WAIT,
    IDLE,
    MAX_LIFE,
    Clock,
    Fate,
    Queue,
    Store,
    Vm,
    etag_of,
    run_script,
)
from tests.drills.table import MemoryTable

if TYPE_CHECKING:
    from tests.drills.table import Item

RULES = Rules(backlog_per_instance=2, fresh_vm_per_job=False, max_instances=4)
MAX_UNFINISHED = 6
MOVES_A_STEP = 60
TICK_SECONDS = 10
HEALED_WITHIN = 300
"""Simulated seconds: the longest back-off, a minute for the reconciler, and some work."""

FAULTS = [fate for fate in Fate if fate is not Fate.GOES]
SCRIPTS = ["works", "works", "works", "exited with 3", "asks for another try"]


class Promise(RuleBasedStateMachine):
    """One random history."""

    folder: Path

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.clock, self.dice = Clock(), Random(0)
        self.healthy = False
        self.queue, self.store = Queue(self.clock, lambda: self.dice), Store()
        self.memory = MemoryTable(self._watch)
        self.table = jobs.JobTable(self.memory, TABLE)
        self.vms: list[Vm] = []
        self.numbers, self.operating = itertools.count(), False
        self.jobs: list[jobs.Job] = []
        self.uploads: dict[str, set[bytes]] = {}
        self.results: dict[str, bytes] = {}
        self.wrong: list[str] = []
        self.patch.setattr(jobs, "time", self.clock)
        self.patch.setattr(worker, "time", self.clock)
        self.patch.setattr(script, "run", run_script(self._outcome, itertools.count()))

    def teardown(self) -> None:
        if not hasattr(self, "patch"):
            return
        try:
            self._let_the_faults_stop()
        finally:
            for vm in self._alive():
                vm.move(Fate.CUT)
            self.patch.undo()

    # --- the steps ---

    @rule(seed=st.integers(0, 2**32), trouble=st.sampled_from([0.02, 0.1, 0.3]))
    def a_busy_while(self, seed: int, trouble: float) -> None:
        """Many moves in one step, or histories would stay shallow."""
        self.dice = Random(seed)
        for _ in range(MOVES_A_STEP):
            move = self.dice.choices(list(MOVES), weights=list(MOVES.values()))[0]
            if move is Promise.a_machine_moves:
                self.a_machine_moves(trouble)
            else:
                move(self)  # type: ignore[operator]  # all others take no argument
            self._check()

    @rule(seconds=st.sampled_from([1, 30, 61, 300]))
    def time_passes(self, seconds: int = 61) -> None:
        self.clock.now += seconds
        self._end_those_past_their_life()

    # --- what users, AWS and the operator do ---

    def a_user_sends_a_file(self) -> None:
        """Record and upload; at times nothing is uploaded, or the event comes several times."""
        if len(self._unfinished()) < MAX_UNFINISHED:
            text = self.dice.choice(["", "text", "\r\n𝄞"])
            job = self.table.record(
                bucket=BUCKET, file_name="a.txt", input_text=text, retention_days=7
            )
            self.jobs.append(job)
            self._upload(job, b"first", copies=self.dice.choice([0, 1, 1, 1, 2, 4]))
            self._launch(announced=1)

    def a_form_is_used_again(self) -> None:
        if self.jobs:
            self._upload(self.dice.choice(self.jobs), self.dice.choice([b"other", b"first"]), 1)

    def a_message_that_means_nothing_comes(self) -> None:
        self.queue.send(self.dice.choice(["garbage", "{}", '{"Event": "s3:TestEvent"}']))

    def a_moment_passes(self) -> None:
        self.time_passes(self.dice.choice([1, 5, 20]))

    def the_reconciler_looks(self) -> None:
        self._end_those_past_their_life()
        self._launch(announced=0)

    def the_dead_letters_are_handled(self) -> None:
        while self.queue.dead:
            letter = self.queue.dead.pop()
            with contextlib.suppress(jobs.BadMessage, jobs.Duplicate):
                upload = jobs.parse_message(letter.body)
                self.table.fail_dead_letter(upload.id, message_id=letter.id, error="gave up")

    def the_operator_requeues(self) -> None:
        sent = [job for job in self.jobs if job.id in self.uploads]
        if not sent:
            return
        job = self.dice.choice(sent)
        self.operating = True
        with contextlib.suppress(jobs.Duplicate):
            self.table.requeue(job.id)
            self._announce(job)
        self.operating = False

    # --- what machines do ---

    def a_machine_moves(self, trouble: float) -> None:
        alive = self._alive()
        if alive:
            bad = self.dice.random() < trouble
            self.dice.choice(alive).move(self.dice.choice(FAULTS) if bad else Fate.GOES)

    def a_machine_runs_to_its_next_job(self) -> None:
        alive = self._alive()
        if alive:
            self._run(self.dice.choice(alive))

    def a_heart_beats(self) -> None:
        alive = self._alive()
        if alive:
            self.dice.choice(alive).renew()

    # --- what must hold ---

    def _watch(self, before: Item, after: Item) -> None:
        """Look at one write. Whoever wrote must not be able to catch what we think of it."""
        rules = {**self._rules_for_any(before, after), **self._rules_by_status(before, after)}
        self.wrong += [f"{words}: {before} -> {after}" for words, kept in rules.items() if not kept]
        if after["status"] == jobs.SUCCEEDED:
            key = self._output_key(after)
            self.results[key] = self.store.objects[key]

    def _rules_for_any(self, before: Item, after: Item) -> dict[str, bool]:
        was, etag = before.get("status"), after.get("input_etag")
        writer = threading.current_thread().name
        mine = before.get("instance_id") == writer or not writer.startswith("i-")
        exhausted = before.get("attempts") == jobs.MAX_TRIES
        return {
            "a success changed": was != jobs.SUCCEEDED,
            "a failure changed": was != jobs.FAILED or self.operating,
            "too many tries": 0 <= int(after["attempts"]) <= jobs.MAX_TRIES,
            "another upload counts": self.operating or before.get("input_etag", etag) == etag,
            "another machine's job was touched": was != jobs.RUNNING
            or mine
            or exhausted
            or after["status"] == jobs.RUNNING,
            "it runs under two messages": not was == after["status"] == jobs.RUNNING
            or before["message_id"] == after["message_id"],
            "one claim counted twice": not was == after["status"] == jobs.RUNNING
            or before["claim"] != after["claim"],
        }

    def _rules_by_status(self, before: Item, after: Item) -> dict[str, bool]:
        error = str(after.get("error", ""))
        if after["status"] == jobs.SUCCEEDED:
            content = self.store.objects[self._output_key(after)].partition(b"|run")[0]
            return {"the result is not whole": content in self._whole(after)}
        if after["status"] == jobs.FAILED:
            return {
                "a failure without a reason": bool(error),
                "the order to stop became a failure": "is killed" not in error,
            }
        if after["status"] == jobs.PENDING:
            fresh = after["attempts"] == 0 and not {"input_etag", "error"} & set(after)
            return {
                "it waits under a claim": not {"claim", "message_id"} & set(after),
                "a requeued job has a past": fresh or not self.operating,
            }
        return {}

    def _output_key(self, item: Item) -> str:
        return jobs.split_path(str(item["output_file_path"]))[1]

    def _whole(self, item: Item) -> set[bytes]:
        """Return the results that the claimed upload can have."""
        return {
            content + str(item["input_text"]).encode()
            for content in self.uploads[str(item["id"])]
            if etag_of(content) == item["input_etag"]
        }

    def _check(self) -> None:
        assert self.wrong == []
        for key, content in self.results.items():
            assert self.store.objects[key] == content, "a result was overwritten"
        announced = {one.job_id for one in (*self.queue.letters.values(), *self.queue.dead)}
        for job_id in self._unfinished():
            assert job_id in announced, f"lost: {self.memory.items[job_id]}"

    def _unfinished(self) -> list[str]:
        final = (jobs.SUCCEEDED, jobs.FAILED)
        return [one for one in self.uploads if self.memory.items[one]["status"] not in final]

    def _let_the_faults_stop(self) -> None:
        self.healthy = True
        until_healed = self.clock.now + HEALED_WITHIN
        until_home = until_healed + FIRST_WAIT + IDLE
        while self.clock.now < until_home and (self._alive() or self._unfinished()):
            self._a_minute_without_faults()
            self._check()
            assert self.clock.now < until_healed or not self._unfinished(), self.memory.items
        assert self._alive() == []

    def _a_minute_without_faults(self) -> None:
        self._launch(announced=0)
        for _ in range(60 // TICK_SECONDS):
            for vm in self._alive():
                self._run(vm)
            self.the_dead_letters_are_handled()
            self.time_passes(TICK_SECONDS)

    # --- how it is done ---

    def _alive(self) -> list[Vm]:
        self.vms = [vm for vm in self.vms if not vm.over]
        return self.vms

    def _outcome(self) -> str:
        return "works" if self.healthy else self.dice.choice(SCRIPTS)

    def _run(self, vm: Vm) -> None:
        """Let a machine work until it has nothing to do."""
        while not vm.over:
            vm.move(Fate.GOES)
            if not self.queue.visible() and not vm.worker._activity.running:
                break

    def _launch(self, announced: int) -> None:
        visible = len(self.queue.visible())
        in_flight = len(self.queue.letters) - visible
        sight = Sight(announced, visible, in_flight, live=len(self._alive()))
        for _ in range(instances_to_launch(RULES, sight)):
            if self.healthy or self.dice.random() < 0.7:
                clients = {"dynamodb": self.memory, "sqs": self.queue, "s3": self.store}
                name = f"i-{next(self.numbers)}"
                self.vms.append(Vm(name, clients, self.clock, self.folder))

    def _end_those_past_their_life(self) -> None:
        for vm in self._alive():
            if self.clock.now > vm.born + MAX_LIFE:
                vm.move(Fate.CUT)

    def _upload(self, job: jobs.Job, content: bytes, copies: int) -> None:
        if not copies:
            return
        self.store.objects[jobs.split_path(job.input_file_path)[1]] = content
        self.uploads.setdefault(job.id, set()).add(content)
        for _ in range(copies):
            self._announce(job)

    def _announce(self, job: jobs.Job) -> None:
        key = jobs.split_path(job.input_file_path)[1]
        content = self.store.objects[key]
        upload = jobs.Upload(job.id, BUCKET, key, etag_of(content), len(content))
        self.queue.send(jobs.announcement(upload), job.id)


MOVES = {
    Promise.a_machine_moves: 40,
    Promise.a_machine_runs_to_its_next_job: 2,
    Promise.a_moment_passes: 4,
    Promise.time_passes: 4,
    Promise.a_heart_beats: 2,
    Promise.the_reconciler_looks: 4,
    Promise.a_user_sends_a_file: 5,
    Promise.a_form_is_used_again: 2,
    Promise.a_message_that_means_nothing_comes: 0.5,
    Promise.the_dead_letters_are_handled: 1,
    Promise.the_operator_requeues: 1,
}
"""What can come next, and how often. Histories are many moves of machines, few of others."""


def test_every_uploaded_job_ends_with_one_whole_result_or_a_reason(
    aws: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # the worker has a lot to tell

    class History(Promise):
        folder = tmp_path

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        History,
        settings=settings(
            max_examples=20,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_the_table_in_memory_answers_as_another_one_does(dynamodb: Any) -> None:
    """The same transitions in both, in a random order: the same states, the same refusals."""
    dice = Random(1)
    tables = [jobs.JobTable(dynamodb, TABLE), jobs.JobTable(MemoryTable(), TABLE)]
    pairs = [[record(table) for table in tables] for _ in range(3)]
    held = [[claims(*one, "m1")[1] for one in zip(tables, pair, strict=True)] for pair in pairs]
    for _ in range(150):
        pick, act, message = dice.randrange(3), dice.choice(ACTS), dice.choice(["m1", "m2"])
        answers = [act(*one, message) for one in zip(tables, held[pick], strict=True)]
        assert answers[0][0] == answers[1][0]
        if answers[0][1] is not None:
            held[pick] = [job for _, job in answers]
        first, second = (t.get(job.id) for t, job in zip(tables, pairs[pick], strict=True))
        assert comparable(first) == comparable(second)


def record(table: jobs.JobTable) -> jobs.Job:
    return table.record(bucket=BUCKET, file_name="a.txt", input_text="", retention_days=1)


Told = tuple[str, jobs.Job | None]


def claims(table: jobs.JobTable, job: jobs.Job, message: str) -> Told:
    upload = jobs.Upload(job.id, BUCKET, "k", message, 1)
    try:
        return "claimed", table.claim(upload, message_id=message, instance_id="i-1")
    except jobs.JobError as error:
        return type(error).__name__, None


def told(act: Any) -> Any:
    """Return the transition as one that tells its refusal by name."""

    def run(table: jobs.JobTable, job: jobs.Job, message: str) -> Told:
        try:
            act(table, job, message)
        except jobs.JobError as error:
            return type(error).__name__, None
        return "done", None

    return run


ACTS = [
    claims,
    claims,
    claims,
    told(lambda table, job, _: table.hand_back(job)),
    told(lambda table, job, _: table.hand_back(job, error="x")),
    told(lambda table, job, _: table.fail(job, error="x")),
    told(lambda table, job, _: table.succeed(job, output_file_path="b/k")),
    told(lambda table, job, _: table.requeue(job.id)),
    told(lambda table, job, _: table.requeue(job.id)),
    told(lambda table, job, m: table.fail_dead_letter(job.id, message_id=m, error="x")),
]


def comparable(job: jobs.Job) -> dict[str, Any]:
    """Return what does not depend on the moment or on chance."""
    chance = {"id", "input_file_path", "expires_at"}
    return {
        name: bool(value) if name.endswith("_at") else value
        for name, value in vars(job).items()
        if name not in chance
    }
