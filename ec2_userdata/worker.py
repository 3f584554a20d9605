"""The worker: takes jobs from the queue until there are none, then ends.

``boot.sh`` runs it and powers the machine off when it returns. Exit code 0 means that
it went home by itself; anything else that it could not work, and its log is kept.

For each message: claim the record (one conditional update, which also brings the text),
download the input, run the script, upload the output, record the result, delete the
message. What goes wrong has an owner at every step: a bad message is dropped, a failed
script fails the job, anything that may pass is tried again later, and a machine that
dies leaves the message to the queue, which shows it to the next one.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable

import boto3
import script
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from machine import Metadata, Stop
from metering import Meter
from transfer import InputLost, Transfer
from workqueue import Message, WorkQueue

import jobs
import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger("worker")

LONG_POLL_SECONDS = 20
"""The longest wait that ReceiveMessage allows."""
SPOT_POLL_SECONDS = 5
MARGIN_SECONDS = 60
"""What a machine keeps of its life for the end of its last job."""
BACKOFF_SECONDS = 30
JOIN_SECONDS = 0.2

THROTTLES = (
    "Throttling",
    "ThrottlingException",
    "RequestThrottled",
    "SlowDown",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
)


@dataclass(frozen=True)
class Settings:
    """What the infrastructure tells the machine. Times are in seconds."""

    stack: str
    table: str
    bucket: str
    queue_url: str
    script_key: str
    root: Path
    fresh_vm_per_job: bool
    job_timeout: int
    first_wait_seconds: int
    idle_seconds: int
    visibility_timeout: int
    take_until: float
    """The epoch after which no job is taken, since it could not end in time."""

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the exports of the user data."""
        env, names = os.environ, jobs.Env
        job_timeout, max_life = int(env[names.JOB_TIMEOUT]), int(env[names.MAX_LIFE])
        return cls(
            stack=env[names.STACK],
            table=env[names.TABLE],
            bucket=env[names.BUCKET],
            queue_url=env[names.QUEUE_URL],
            script_key=env[names.SCRIPT_KEY],
            root=Path(__file__).resolve().parent.parent,
            fresh_vm_per_job=env[names.FRESH_VM_PER_JOB] == "true",
            job_timeout=job_timeout,
            first_wait_seconds=int(env[names.FIRST_WAIT_SECONDS]),
            idle_seconds=int(env[names.IDLE_SECONDS]),
            visibility_timeout=int(env[names.VISIBILITY_TIMEOUT]),
            take_until=int(env[names.BOOTED_AT]) + max_life - job_timeout - MARGIN_SECONDS,
        )


class Activity:
    """When this machine last had something to do."""

    def __init__(self, settings: Settings) -> None:
        self._idle_seconds = settings.idle_seconds
        self._lock = threading.Lock()
        self._running = 0
        self._go_home_at = time.monotonic() + settings.first_wait_seconds
        self.had_a_job = False

    @contextmanager
    def job(self) -> Iterator[None]:
        """Count one job as running."""
        with self._lock:
            self._running += 1
            self.had_a_job = True
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1
                self._go_home_at = time.monotonic() + self._idle_seconds

    def had_a_message(self) -> None:
        """Note that the queue was not empty, even if the message was only to be dropped."""
        with self._lock:
            self._go_home_at = max(self._go_home_at, time.monotonic() + self._idle_seconds)

    @property
    def running(self) -> bool:
        """Whether any job runs."""
        return self._running > 0

    def seconds_left(self) -> float:
        """Return how long to wait on for a job before going home."""
        with self._lock:
            if self._running:
                return self._idle_seconds
            return self._go_home_at - time.monotonic()


class Worker:
    """Takes jobs with one thread a vCPU, one message a thread."""

    def __init__(self, settings: Settings, metadata: Metadata, stop: Stop) -> None:
        self._settings = settings
        self._metadata = metadata
        self._stop = stop
        self._instance_id = metadata.instance_id()
        self._table = jobs.JobTable(_client("dynamodb"), settings.table)
        self._transfer = Transfer(_client("s3"))
        self._queue = WorkQueue(
            _client("sqs"), settings.queue_url, visibility_timeout=settings.visibility_timeout
        )
        self._meter = Meter(_client("cloudwatch"), metrics.namespace(settings.stack))
        self._activity = Activity(settings)
        self._script = settings.root / "script"
        self._broken: Exception | None = None

    def run(self) -> None:
        """Work until there is nothing left to do, or the order to stop.

        :raises Exception: what made a thread give up; the others have ended by then.
        """
        self._transfer.fetch(self._settings.bucket, self._settings.script_key, self._script)
        self._script.chmod(0o755)
        count = 1 if self._settings.fresh_vm_per_job else os.cpu_count() or 1
        LOG.info("%s takes jobs with %d threads", self._instance_id, count)
        done = threading.Event()
        _start(self._queue.renew_until, done)
        _start(self._watch_for_interruption)
        _start(self._meter.send_until, done)
        takers = [_start(self._take_jobs) for _ in range(count)]
        while any(taker.is_alive() for taker in takers):
            takers[0].join(JOIN_SECONDS)
            takers = [taker for taker in takers if taker.is_alive()]
            if self._stop.ordered and not self._activity.running:
                break  # who is left only waits for a message
        done.set()
        self._meter.send()
        if self._broken is not None:
            raise self._broken

    def _watch_for_interruption(self) -> None:
        while not self._stop.wait(SPOT_POLL_SECONDS):
            try:
                near = self._metadata.interruption_is_near()
            except (OSError, HTTPException) as error:
                LOG.warning("the metadata service does not answer: %s", error)
                continue
            if near:
                LOG.warning("EC2 takes this machine back: handing back its jobs")
                self._stop.order()

    def _take_jobs(self) -> None:
        try:
            while self._may_take_another():
                message = self._receive()
                if message is not None:
                    self._handle(message)
                    self._activity.had_a_message()
        except Exception as error:  # noqa: BLE001  main raises it again
            self._broken = error
            self._stop.order()

    def _may_take_another(self) -> bool:
        if self._stop.ordered or self._activity.seconds_left() <= 0:
            return False
        if self._settings.fresh_vm_per_job and self._activity.had_a_job:
            return False
        return time.time() < self._settings.take_until

    def _receive(self) -> Message | None:
        # No wait is longer than the idle time, or one thread's long poll would keep the
        # machine after another has done its last job.
        longest = min(LONG_POLL_SECONDS, self._settings.idle_seconds)
        wait = max(1, min(longest, int(self._activity.seconds_left())))
        try:
            return self._queue.receive(wait=wait)
        except (BotoCoreError, ClientError) as error:
            _raise_unless_it_may_pass(error)
            self._stop.wait(wait)
            return None

    def _handle(self, message: Message) -> None:
        try:
            if self._stop.ordered:
                self._queue.show_again(message, after=0)
            else:
                self._take(message)
        except (BotoCoreError, ClientError) as error:
            _raise_unless_it_may_pass(error)  # else the message comes again by itself

    def _take(self, message: Message) -> None:
        with self._queue.holding(message) as mine:
            if mine:
                self._claim_and_work(message)
            else:
                LOG.info("the queue sent message %s twice; it is in work", message.id)

    def _claim_and_work(self, message: Message) -> None:
        try:
            upload = jobs.parse_message(message.body)
            job = self._table.claim(upload, message_id=message.id, instance_id=self._instance_id)
        except (jobs.BadMessage, jobs.JobNotFound, jobs.Duplicate, jobs.TriesExhausted) as reason:
            LOG.info("dropped a message: %s", reason)
            if isinstance(reason, jobs.TriesExhausted):
                self._meter.count(metrics.JOBS_FAILED)
            self._queue.delete(message)
        else:
            with self._activity.job():
                self._work(job, upload, message)

    def _work(self, job: jobs.Job, upload: jobs.Upload, message: Message) -> None:
        LOG.info("job %s: attempt %d", job.id, job.attempts)
        try:
            self._settle(job, upload, message)
        except jobs.ClaimLost as error:
            LOG.warning("job %s: %s", job.id, error)
        except (BotoCoreError, ClientError) as error:
            # What came of it is not recorded, so the message comes again and brings it up.
            LOG.warning("job %s: could not record its outcome: %s", job.id, error)

    def _settle(self, job: jobs.Job, upload: jobs.Upload, message: Message) -> None:
        """Do the job and record what came of it; then its message has done its part."""
        try:
            path = self._do(job, upload)
        except InputLost as reason:
            self._fail(job, str(reason), message)
        except Exception as reason:  # noqa: BLE001  whatever it is, the job must not be lost
            if self._stop.ordered:
                self._hand_back(job, message)
            elif isinstance(reason, script.ScriptFailed):
                self._fail(job, str(reason), message)
            else:
                self._try_again(job, reason, message)
        else:
            self._table.succeed(job, output_file_path=path)
            LOG.info("job %s: succeeded", job.id)
            self._meter.count(metrics.JOBS_SUCCEEDED)
            self._meter.count(metrics.TIME_TO_RESULT, jobs.age(job), unit="Seconds")
            self._queue.delete(message)

    def _do(self, job: jobs.Job, upload: jobs.Upload) -> str:
        """Download, run, upload. Return the output's path."""
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self._settings.root))
        files = script.Files(folder)
        try:
            self._transfer.download(upload, etag=job.input_etag or upload.etag, to=files.input)
            files.text.write_bytes(job.input_text.encode())
            self._run_script(job, files)
            key = jobs.output_key(job)
            self._transfer.upload(files.output, self._settings.bucket, key)
        finally:
            # What a stray process of the script still holds goes with the machine.
            shutil.rmtree(folder, ignore_errors=True)
        return f"{self._settings.bucket}/{key}"

    def _run_script(self, job: jobs.Job, files: script.Files) -> None:
        try:
            script.run(self._script, files, timeout=self._settings.job_timeout, stop=self._stop)
        finally:
            self._keep_log(job, files.log)

    def _keep_log(self, job: jobs.Job, log: Path) -> None:
        """Upload what the script printed. Its loss does not change what came of the job."""
        if not log.exists() or not log.stat().st_size:
            return
        try:
            self._transfer.upload(log, self._settings.bucket, jobs.log_key(job))
        except (BotoCoreError, ClientError) as error:
            LOG.warning("job %s: could not keep its log: %s", job.id, error)

    def _fail(self, job: jobs.Job, reason: str, message: Message) -> None:
        self._table.fail(job, error=reason)
        LOG.warning("job %s: failed: %s", job.id, reason)
        self._meter.count(metrics.JOBS_FAILED)
        self._queue.delete(message)

    def _try_again(self, job: jobs.Job, reason: Exception, message: Message) -> None:
        asked = isinstance(reason, script.ScriptWantsAnotherTry)
        words = str(reason) if asked else f"{type(reason).__name__}: {reason}"
        if job.attempts >= jobs.MAX_TRIES:
            self._fail(job, f"gave up after {jobs.MAX_TRIES} tries: {words}", message)
            return
        LOG.warning("job %s: attempt %d came to nothing: %s", job.id, job.attempts, words)
        self._table.hand_back(job, error=words)
        self._queue.show_again(message, after=BACKOFF_SECONDS * 2**job.attempts)

    def _hand_back(self, job: jobs.Job, message: Message) -> None:
        self._table.hand_back(job)
        LOG.info("job %s: handed back", job.id)
        self._queue.show_again(message, after=0)


def _client(service: str) -> Any:
    config = Config(
        retries={"mode": "standard", "total_max_attempts": 5},
        connect_timeout=5,
        read_timeout=LONG_POLL_SECONDS + 10,
        max_pool_connections=50,
    )
    return boto3.client(service, config=config)


def _start(target: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def _raise_unless_it_may_pass(error: Exception) -> None:
    """Raise again what waiting will not cure: a permission, a name, a credential."""
    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        passing = status >= 500 or error.response["Error"]["Code"] in THROTTLES
    else:
        passing = isinstance(error, (HTTPClientError, BotoConnectionError))
    if not passing:
        raise error
    LOG.warning("AWS does not answer, will try again: %s", error)


def main() -> None:
    """Run the worker on this machine until it may power off."""
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    stop = Stop()
    signal.signal(signal.SIGTERM, lambda *_: stop.order())
    Worker(Settings.from_environment(), Metadata(), stop).run()


if __name__ == "__main__":
    main()
