"""The processor: makes sure that there are machines, and that none outlives its work.

Three plain Lambda handlers. Their event sources are declared beside the queue and
the table, in Pulumi, where the real ARNs are. Launching is only a hint: the queue
holds the work, so a lost or doubled event costs a minute or a machine's idle time,
never a job.
"""

from __future__ import annotations

import functools
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from chalice import Chalice

import jobs
import metrics
from chalicelib.decision import VAIN_LIMIT, VAIN_WINDOW, Rules, Sight, instances_to_launch
from chalicelib.fleet import RETRIES, Fleet, Instance, Template

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

app = Chalice(app_name="addendum-processor")
app.log.setLevel(logging.INFO)  # Chalice's own level hides what is below an error

GRACE = timedelta(minutes=5)
"""What a machine gets beyond its life to shut itself down."""
VAIN_SAMPLE = 20
"""At most so many gone machines are asked about, the newest first."""


@dataclass(frozen=True)
class Settings:
    """What the infrastructure tells the launching functions."""

    table: str
    queue_url: str
    stack: str
    rules: Rules
    template: Template
    max_life: timedelta


@functools.cache
def settings() -> Settings:
    """Read the environment, once, and not before an event needs it."""
    env = os.environ
    return Settings(
        table=env[jobs.Env.TABLE],
        queue_url=env[jobs.Env.QUEUE_URL],
        stack=env[jobs.Env.STACK],
        rules=Rules(
            backlog_per_instance=int(env[jobs.Env.BACKLOG_PER_INSTANCE]),
            fresh_vm_per_job=env[jobs.Env.FRESH_VM_PER_JOB] == "true",
            max_instances=int(env[jobs.Env.MAX_INSTANCES]),
        ),
        template=Template(
            id=env[jobs.Env.LAUNCH_TEMPLATE_ID],
            version=env[jobs.Env.LAUNCH_TEMPLATE_VERSION],
            instance_types=env[jobs.Env.INSTANCE_TYPES].split(","),
            subnet_ids=env[jobs.Env.SUBNET_IDS].split(","),
            spot=env[jobs.Env.SPOT] == "true",
        ),
        max_life=timedelta(seconds=int(env[jobs.Env.MAX_LIFE])),
    )


@functools.cache
def job_table() -> jobs.JobTable:
    """Return the table of jobs."""
    return jobs.JobTable(boto3.client("dynamodb", config=RETRIES), os.environ[jobs.Env.TABLE])


@functools.cache
def sqs() -> Any:
    """Return the client that counts messages."""
    return boto3.client("sqs", config=RETRIES)


@functools.cache
def fleet() -> Fleet:
    """Return this stack's machines."""
    client = boto3.client("ec2", config=RETRIES)
    return Fleet(client, stack=settings().stack, template=settings().template)


@app.lambda_function(name="stream_handler")
def stream_handler(event: dict[str, Any], context: object) -> dict[str, int]:  # noqa: ARG001
    """Make sure that machines boot while the announced files still upload."""
    records = event["Records"]
    occasion = records[0]["dynamodb"]["SequenceNumber"]
    return {"launched": _launch(fleet().look(), announced=len(records), occasion=occasion)}


@app.lambda_function(name="reconciler")
def reconciler(event: dict[str, Any], context: object) -> dict[str, int]:  # noqa: ARG001
    """Make good what is missing, and end the machines that are past their life."""
    seen = fleet().look()
    try:
        return {"launched": _launch(seen, announced=0, occasion=_minute(event))}
    finally:  # neither of the two keeps the other from being done
        _terminate(_overdue(seen))


@app.lambda_function(name="dead_letter_handler")
def dead_letter_handler(event: dict[str, Any], context: object) -> dict[str, int]:  # noqa: ARG001
    """Make the jobs FAILED whose messages the work queue has given up."""
    failed = sum(_bury(record) for record in event["Records"])
    metrics.log(os.environ[jobs.Env.STACK], metrics.JOBS_FAILED, failed)
    return {"failed": failed}


def _launch(seen: Sequence[Instance], *, announced: int, occasion: str) -> int:
    visible, in_flight = _queue_counts()
    sight = Sight(announced, visible, in_flight, live=fleet().count_live(seen))
    count = instances_to_launch(settings().rules, sight)
    if count > 1 and _gone_in_vain(seen) >= VAIN_LIMIT:
        app.log.error("machines go without having done a job: launching only one")
        count = 1
    return fleet().launch(count, occasion=occasion) if count else 0


def _minute(event: dict[str, Any]) -> str:
    """Return the minute that a rule's event is for; by hand, without an event, this one."""
    return str(event.get("time") or datetime.now(UTC).isoformat())[: len("2026-11-22T10:31")]


def _queue_counts() -> tuple[int, int]:
    """Return the messages that wait and those that machines hold, both approximate."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    answer = sqs().get_queue_attributes(QueueUrl=settings().queue_url, AttributeNames=names)
    visible, in_flight = (int(answer["Attributes"][name]) for name in names)
    return visible, in_flight


def _gone_in_vain(seen: Sequence[Instance]) -> int:
    """Count recent machines that are gone and never claimed a job, up to the limit."""
    since = datetime.now(UTC) - VAIN_WINDOW
    gone = [one for one in seen if not one.live and one.launched_at > since]
    newest = sorted(gone, key=lambda one: one.launched_at, reverse=True)[:VAIN_SAMPLE]
    return sum(not job_table().has_claimed(one.id) for one in newest)


def _overdue(seen: Sequence[Instance]) -> list[Instance]:
    limit = datetime.now(UTC) - settings().max_life - GRACE
    return [one for one in seen if one.live and one.launched_at < limit]


def _terminate(overdue: Iterable[Instance]) -> None:
    """Terminate each, also where that fails for another; raise the last failure."""
    past_life, failure = 0, None
    for instance in overdue:
        try:
            past_life += fleet().terminate(instance.id)
        except (BotoCoreError, ClientError) as error:
            app.log.error("%s is past its life and cannot be terminated: %s", instance.id, error)
            past_life += 1
            failure = error
    metrics.log(settings().stack, metrics.INSTANCES_PAST_LIFE, past_life)
    if failure:
        raise failure


def _bury(record: dict[str, Any]) -> bool:
    try:
        upload = jobs.parse_message(record["body"])
        job_table().fail_dead_letter(
            upload.id,
            message_id=record["messageId"],
            error="gave up: no machine could finish this file",
        )
    except jobs.BadMessage as error:
        app.log.error("dropped a dead letter: %s: %.500s", error, record["body"])
        return False
    except jobs.Duplicate as error:
        app.log.info("dropped a dead letter: %s", error)
        return False
    return True


if jobs.Env.QUEUE_URL in os.environ:
    # Deployed, not packaged, and as a function that launches: Lambda runs this before
    # the first event comes. https://docs.aws.amazon.com/lambda/latest/dg/best-practices.html
    fleet()
    sqs()
