"""Small jobs on a machine that is up: the worker against a script with the ``aws`` command."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jobs
from bench.backstage import Backstage, finished_at, root_environment
from bench.markdown import table
from bench.part import Goal
from bench.spread import percentile, ratios, spread, told
from bench.usage import cpu_seconds
from bench.wiretap import EMPTY, Call, Wiretap
from local.system import LocalSystem
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psutil
    from matplotlib.figure import Figure

    from bench.part import Result, Tell

NAME = "warm"
TITLE = "Small jobs on a machine that is up"

CONFIG = {"addendum:max_instances": 1, "addendum:idle_seconds": 300}
ROUNDS = 6
SINGLES = 8
BURST = 40
BASH_SINGLES = 2
BASH_PAIRS = 4
TRACED = 40
LOOK_SECONDS = 0.2
"""Rarely enough to leave the emulator to the worker."""
AT_ONCE = 2
"""Threads of the worker here, and scripts that run side by side: one a core."""

CONTENT = b"a line of some forty characters, no more\n" * 25
TEXT = "and a line more"
SCRIPT = Path(__file__).with_name("bash_worker.sh")

CALLS = {
    "ReceiveMessage": "takes the message: who uploaded what, and nobody else has it",
    "UpdateItem (claim)": "one conditional write: the job is ours, and the answer brings its text",
    "GetObject": "brings the input, only if it is still the upload that was announced",
    "PutObject": "stores the result under a key of this attempt",
    "UpdateItem (finish)": "one conditional write: the result counts, if the job is still ours",
    "DeleteMessage": "the message has done its part",
}
"""Each call of a job on the machine, and why there is no job without it."""

STEPS = ("claim", "download", "script", "upload", "finish", "delete")


def measure(tell: Tell) -> Result:
    """Measure both in turns, then listen to the worker's calls."""
    tell(0, "starting the system")
    with LocalSystem(config=CONFIG) as system:
        backstage = Backstage(system)
        worker = backstage.boot()
        rounds = []
        for number in range(ROUNDS):
            tell(0.1 + 0.7 * number / ROUNDS, f"round {number + 1} of {ROUNDS}")
            rounds.append(_round(backstage, worker))
    tell(0.8, "listening to the worker's calls")
    return {**_compared(rounds), **_listen()}


def _round(backstage: Backstage, worker: psutil.Process) -> dict[str, Any]:
    ours = [_one(backstage) for _ in range(SINGLES)]
    with tempfile.TemporaryDirectory() as home:
        theirs = [_bash_one(backstage, Path(home)) for _ in range(BASH_SINGLES)]
        burst, cpu = _burst(backstage, worker)
        pairs = _bash_burst(backstage, Path(home))
    return {
        "ours": ours,
        "theirs": theirs,
        "burst": burst / BURST,
        "cpu": cpu / BURST,
        "pairs": pairs / BASH_PAIRS,
    }


def _one(backstage: Backstage) -> float:
    """Return the seconds from the end of an upload to the moment when we see SUCCEEDED."""
    job = backstage.record(TEXT)
    backstage.put(job.input_file_path, CONTENT)
    began = time.monotonic()
    backstage.wait([job.id])
    return time.monotonic() - began


def _burst(backstage: Backstage, worker: psutil.Process) -> tuple[float, float]:
    """Let jobs wait for the worker. Return its seconds for all of them, and those of CPU."""
    worker.suspend()
    ids = backstage.submit_many(BURST, CONTENT, TEXT)
    before = cpu_seconds(worker)
    began = time.time()
    worker.resume()
    done = backstage.wait(ids, every=LOOK_SECONDS)
    return max(map(finished_at, done)) - began, cpu_seconds(worker) - before


def _bash_job(backstage: Backstage) -> jobs.Job:
    """Record a job whose input lies where no event tells the worker of it."""
    job = backstage.record(TEXT)
    path = f"{backstage.bucket}/bash-input/{job.id}"
    backstage.system.client("dynamodb").update_item(
        TableName=backstage.table_name,
        Key={"id": {"S": job.id}},
        UpdateExpression="SET input_file_path = :path",
        ExpressionAttributeValues={":path": {"S": path}},
    )
    backstage.put(path, CONTENT)
    return job


def _bash_one(backstage: Backstage, home: Path) -> float:
    """Return the seconds that the script takes for one job."""
    job = _bash_job(backstage)
    began = time.monotonic()
    _run_script(backstage, job, home)
    return time.monotonic() - began


def _bash_burst(backstage: Backstage, home: Path) -> float:
    """Return the seconds for some jobs, as many side by side as the worker has threads."""
    waiting = [_bash_job(backstage) for _ in range(BASH_PAIRS)]
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(lambda job: _run_script(backstage, job, home), waiting))
    return time.monotonic() - began


def _run_script(backstage: Backstage, job: jobs.Job, home: Path) -> None:
    command = [str(SCRIPT), backstage.table_name, job.id]
    subprocess.run(command, env=root_environment(backstage.system, home), check=True)
    (done,) = backstage.wait([job.id])
    assert backstage.get(done.output_file_path or "") == CONTENT + TEXT.encode()


def _compared(rounds: Sequence[dict[str, Any]]) -> Result:
    ours = [one for found in rounds for one in found["ours"]]
    theirs = [one for found in rounds for one in found["theirs"]]
    medians = [[percentile(found[name], 0.5) for found in rounds] for name in ("theirs", "ours")]
    bursts, pairs = ([found[name] for found in rounds] for name in ("burst", "pairs"))
    return {
        "jobs": len(ours) + BURST * len(rounds),
        "latency": {**spread(ours), "p99": percentile(ours, 0.99)},
        "bash_latency": spread(theirs),
        "latency_ratio": ratios(*medians),
        "jobs_per_second": spread([1 / one for one in bursts]),
        "bash_jobs_per_second": spread([1 / one for one in pairs]),
        "throughput_ratio": ratios(pairs, bursts),
        "cpu_per_job": spread([found["cpu"] for found in rounds]),
    }


# --- the calls of one job ------------------------------------------------------------


@contextlib.contextmanager
def _tapped(system: LocalSystem) -> Iterator[Wiretap]:
    """Listen to the machines that boot within the block."""
    tap = Wiretap(system.account.url, system.account.credentials.access_key_id)
    tap.start()
    system.host.endpoint = tap.url
    try:
        yield tap
    finally:
        tap.stop()


def _listen() -> Result:
    """Follow some jobs through a machine that is listened to."""
    with LocalSystem(config=CONFIG) as system, _tapped(system) as tap:
        backstage = Backstage(system)
        job_id = backstage.submit(b"first", "")
        wait_until(lambda: bool(system.host.machines()), seconds=60, what="the first machine")
        began = time.monotonic()
        backstage.wait([job_id])
        boot = _boot(tap, began)
        wait_until(lambda: _deleted(tap) > 0, seconds=30, what="the first job's end")
        return {"boot": boot, **_steps([_followed(backstage, tap) for _ in range(TRACED)])}


def _deleted(tap: Wiretap) -> int:
    return len(tap.named("DeleteMessage"))


def _boot(tap: Wiretap, began: float) -> dict[str, float]:
    """Return the seconds from the boot to the bundle, and on to the first poll."""
    bundle, script = tap.named("GetObject")[:2]
    return {
        "bundle": round(bundle.ended - began, 3),
        "script": round(script.ended - bundle.ended, 3),
    }


def _followed(backstage: Backstage, tap: Wiretap) -> list[Call]:
    """Have one job done; return the calls that were made for it, in order."""
    before, deleted = len(tap.calls), _deleted(tap)
    backstage.wait([backstage.submit(CONTENT, TEXT)])
    wait_until(lambda: _deleted(tap) > deleted, seconds=30, what="the message's end")
    return [call for call in tap.calls[before:] if not call.name.endswith(EMPTY)]


def _steps(found: Sequence[Sequence[Call]]) -> Result:
    """Return the calls that every job made, and how long each step took."""
    calls = [[call.name for call in one] for one in found]
    assert all(names == [name.split()[0] for name in CALLS] for names in calls), calls
    steps = [_seconds(one) for one in found]
    return {
        "calls": list(CALLS),
        "steps": {name: spread([one[name] for one in steps]) for name in STEPS},
        "waiting": spread([sum(call.ended - call.began for call in one[1:]) for one in found]),
        "whole": spread([one[-1].ended - one[0].ended for one in found]),
    }


def _seconds(calls: Sequence[Call]) -> dict[str, float]:
    """Return each step's seconds: from the end of the step before to its own end."""
    received, claimed, got, put, finished, deleted = calls
    return {
        "claim": claimed.ended - received.ended,
        "download": got.ended - claimed.ended,
        "script": put.began - got.ended,
        "upload": put.ended - put.began,
        "finish": finished.ended - put.ended,
        "delete": deleted.ended - finished.ended,
    }


# --- what is told of it --------------------------------------------------------------


def goals(result: Result) -> list[Goal]:
    """Return what is decided by small jobs."""
    times, wait = result["latency_ratio"], result["latency"]["median"]
    return [
        Goal(
            "a small job with a machine up, against a bash script",
            "≥ 5 times quicker",
            f"{told(times)} times",
            times["median"] >= 5,
        ),
        Goal("the same, p50 from upload to SUCCEEDED", "≤ 0.5 s", f"{wait:.2f} s", wait <= 0.5),
        Goal(
            "AWS calls for a job on the machine",
            "the smallest number",
            str(len(result["calls"])),
            len(result["calls"]) == len(CALLS),
        ),
    ]


def rows(result: Result) -> list[list[str]]:
    """Return the comparison."""
    return [
        ["", "bash", "Addendum", "times better"],
        [
            "one job alone",
            told(result["bash_latency"], " s"),
            told(result["latency"], " s"),
            told(result["latency_ratio"]),
        ],
        [
            f"jobs per second, {AT_ONCE} side by side",
            told(result["bash_jobs_per_second"]),
            told(result["jobs_per_second"]),
            told(result["throughput_ratio"]),
        ],
    ]


def section(result: Result) -> str:
    """Return what the figures say, and what they leave out."""
    whole, waiting, boot = result["whole"], result["waiting"], result["boot"]
    return f"""\
{result["jobs"]} files of {len(CONTENT)} bytes through the worker that the stack deploys, booted by
`boot.sh` with the machine's own role, in turns with
[the script that people write](../bench/bash_worker.sh): `aws dynamodb get-item`, `aws s3 cp`,
`cat`, `aws s3 cp`, `aws dynamodb update-item`. Both use the same emulator and the same kind of
record. The script is spared the queue, the claim and the metadata service. Each figure is the
median, with what lies between the quartiles; ratios are taken round by round.

{table(rows(result))}

The script pays for four starts of the `aws` command. The worker pays once, when it boots, and
keeps its connections. Its own code takes {told(result["cpu_per_job"], " ms", scale=1000)} of CPU
for a job, starting the script included. From the upload to SUCCEEDED, 99 of 100 take less than
{result["latency"]["p99"]:.2f} s.

Listening between the worker and the emulator, every one of {TRACED} jobs made these calls and no
other:

{_calls_table()}

Nothing is asked that is known: the event tells size and ETag (no `HeadObject`), the claim's
answer brings the record (no `GetItem`), a script that prints nothing leaves no log to upload, and a
job shorter than a third of the visibility timeout renews nothing. One poll could bring ten
messages and one call delete ten; then a machine that dies takes nine waiting jobs into its
visibility timeout with it, so a thread takes one message at a time.

{_steps_table(result)}

Of {told(whole, " ms", scale=1000)} between the message and its deletion,
{told(waiting, " ms", scale=1000)} are waiting for the emulator's answers. The script step is a
process that starts `bash` and `cp`.

A machine is ready {boot["bundle"] + boot["script"]:.1f} s after its user data begins, here:
{boot["bundle"]:.1f} s until the `aws` command has fetched the worker, {boot["script"]:.1f} s until
the worker is imported and has its script. EC2 takes ten times as long to get there.
"""


def _calls_table() -> str:
    rows = [[f"`{name}`", why] for name, why in CALLS.items()]
    return table([["call", "why no job goes without it"], *rows])


def _steps_table(result: Result) -> str:
    rows = [[name, told(result["steps"][name], scale=1000)] for name in STEPS]
    return table([["step", "milliseconds"], *rows])


def figures(result: Result) -> dict[str, Figure]:
    """Return the steps of a job."""
    from bench.plots import COLOURS, figure

    made, axes = figure(height=1.8)
    left = 0.0
    for number, name in enumerate(STEPS):
        width = result["steps"][name]["median"] * 1000
        axes.barh(0, width, left=left, color=COLOURS[number % len(COLOURS)])
        axes.annotate(name, (left + width / 2, 0.45), ha="center", rotation=0, fontsize=8)
        left += width
    axes.set_yticks([])
    axes.set_ylim(-0.5, 0.7)
    axes.set_xlabel("milliseconds of one small job on the machine, from its message to its end")
    return {"warm": made}
