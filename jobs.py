"""The job: its record, its states, its names. Everything else imports them from here.

A job is one item of ``FileTable``. Its life is a small state machine, and each
arrow is one conditional update in :class:`JobTable`::

                     ┌────────── hand_back ──────────┐
                     ▼                               │
    record ──▶ PENDING ───────── claim ─────────▶ RUNNING ──┬── succeed ──▶ SUCCEEDED
                     ▲                            │  ▲      │
                     │                            └──┘      └── fail ─────▶ FAILED
                     │              claim, same message                        │
                     └──────────────────────── requeue ────────────────────────┘

The API, the processor and the worker on the virtual machine share this one file,
so it runs on Python 3.9 (Amazon Linux 2023's own) and needs nothing but botocore.

Errors::

    JobError
    ├── InvalidInput       the request breaks a rule           (HTTP 400)
    │   └── FileTooLarge   the file is over the size limit     (HTTP 413)
    ├── JobNotFound        no such record, or it has expired   (HTTP 404)
    ├── BadMessage         a queue message that announces no upload
    ├── Duplicate          the job is finished, or another message runs it
    ├── TriesExhausted     this claim would have been one too many; now FAILED
    └── ClaimLost          somebody else holds the job now
"""

from __future__ import annotations

import json
import re
import secrets
import time
import unicodedata
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, unquote_plus

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PENDING = "PENDING"
RUNNING = "RUNNING"
SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"

INPUT_PREFIX = "input/"
OUTPUT_PREFIX = "output/"
LOG_PREFIX = "logs/"
VM_LOG_PREFIX = "logs/vm/"
SCRIPT_PREFIX = "scripts/"

INSTANCE_INDEX = "by_instance"
"""Sparse index of the table on ``instance_id``: which machines have ever claimed a job."""

STACK_TAG = "addendum:stack"
"""Tag on every fleet, instance, volume and interface; its value names the stack."""

MAX_TRIES = 3
MAX_NAME_BYTES = 255
MAX_TEXT_BYTES = 100 * 1024
MAX_IDS = 50
FORM_SECONDS = 300
"""Life of an upload form, and of a download link."""

MAX_ERROR_CHARACTERS = 2000

_ID = re.compile(r"[A-Za-z0-9_-]{22}\Z")


class Env:
    """Environment variables that the infrastructure sets and the applications read."""

    TABLE = "ADDENDUM_TABLE"
    BUCKET = "ADDENDUM_BUCKET"
    QUEUE_URL = "ADDENDUM_QUEUE_URL"
    STACK = "ADDENDUM_STACK"
    MAX_FILE_BYTES = "ADDENDUM_MAX_FILE_BYTES"
    FILE_TYPES = "ADDENDUM_FILE_TYPES"
    RETENTION_DAYS = "ADDENDUM_RETENTION_DAYS"
    BACKLOG_PER_INSTANCE = "ADDENDUM_BACKLOG_PER_INSTANCE"
    FRESH_VM_PER_JOB = "ADDENDUM_FRESH_VM_PER_JOB"
    MAX_INSTANCES = "ADDENDUM_MAX_INSTANCES"
    MAX_LIFE = "ADDENDUM_MAX_LIFE"
    JOB_TIMEOUT = "ADDENDUM_JOB_TIMEOUT"
    FIRST_WAIT_SECONDS = "ADDENDUM_FIRST_WAIT_SECONDS"
    IDLE_SECONDS = "ADDENDUM_IDLE_SECONDS"
    VISIBILITY_TIMEOUT = "ADDENDUM_VISIBILITY_TIMEOUT"
    LAUNCH_TEMPLATE_ID = "ADDENDUM_LAUNCH_TEMPLATE_ID"
    LAUNCH_TEMPLATE_VERSION = "ADDENDUM_LAUNCH_TEMPLATE_VERSION"
    INSTANCE_TYPES = "ADDENDUM_INSTANCE_TYPES"
    SUBNET_IDS = "ADDENDUM_SUBNET_IDS"
    SPOT = "ADDENDUM_SPOT"
    WORKER_KEY = "ADDENDUM_WORKER_KEY"
    SCRIPT_KEY = "ADDENDUM_SCRIPT_KEY"
    BOOTED_AT = "ADDENDUM_BOOTED_AT"


class JobError(Exception):
    """Base of every error this module raises."""


class InvalidInput(JobError):
    """The request breaks a rule. The message says value, rule and remedy."""


class FileTooLarge(InvalidInput):
    """The announced file is over the size limit."""


class JobNotFound(JobError):
    """No record has this id, or it has expired."""


class BadMessage(JobError):
    """A queue message that announces no upload of ours: it can only be dropped."""


class Duplicate(JobError):
    """The job is finished, or runs under another message: drop this one."""


class TriesExhausted(JobError):
    """The job had all its tries; the record now says FAILED."""


class ClaimLost(JobError):
    """Somebody else holds the job now: whatever we did for it does not count."""


@dataclass(frozen=True)
class Job:
    """One record of ``FileTable``. Times are ISO 8601 UTC, ``expires_at`` epoch seconds."""

    id: str
    file_name: str
    input_file_path: str
    status: str
    attempts: int
    created_at: str
    expires_at: int
    input_text: str = ""
    output_file_path: str | None = None
    claim: str | None = None
    message_id: str | None = None
    instance_id: str | None = None
    input_etag: str | None = None
    error: str | None = None
    started_at: str | None = None
    finished_at: str | None = None

    @property
    def finished(self) -> bool:
        """Whether the status is final."""
        return self.status in (SUCCEEDED, FAILED)


@dataclass(frozen=True)
class Upload:
    """A finished upload, as a queue message announces it. ``size`` is in bytes."""

    id: str
    bucket: str
    key: str
    etag: str
    size: int


# --- names ---------------------------------------------------------------------------


def new_id() -> str:
    """Return a new job id: 22 URL-safe characters of 128 random bits."""
    job_id = secrets.token_urlsafe(16)
    while job_id.startswith("-"):  # ``ops.py requeue -1N6…`` would read it as an option
        job_id = secrets.token_urlsafe(16)
    return job_id


def is_id(text: str) -> bool:
    """Whether ``text`` has the form of a job id."""
    return _ID.match(text) is not None


def quoted(file_name: str) -> str:
    """Return the file name as the last part of an object key: ASCII only.

    A ``$`` in a key breaks POST policies, and S3 itself expands ``${filename}``:
    https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTForms.html
    """
    return quote(file_name, safe="")


def input_key(job_id: str, file_name: str) -> str:
    """Return the key that the browser uploads to."""
    return f"{INPUT_PREFIX}{job_id}/{quoted(file_name)}"


def output_key(job: Job) -> str:
    """Return the key of this attempt's result: a late machine can overwrite nothing."""
    return f"{OUTPUT_PREFIX}{job.id}/{job.attempts}/{quoted(job.file_name)}"


def log_key(job: Job) -> str:
    """Return the key of this attempt's script log."""
    return f"{LOG_PREFIX}{job.id}/{job.attempts}"


def split_path(path: str) -> tuple[str, str]:
    """Split a ``bucket/key`` path, as records hold it, into bucket and key."""
    bucket, _, key = path.partition("/")
    return bucket, key


# --- rules for input -----------------------------------------------------------------


def check_file_name(name: object, file_types: Sequence[str]) -> str:
    """Return ``name`` if it may be a job's file name.

    :param file_types: the allowed endings, lower case, with their dot.
    :raises InvalidInput: saying which rule it breaks.
    """
    if not isinstance(name, str):
        raise InvalidInput(f"file_name must be a string, not {_type_name(name)}")
    size = len(_utf8("file_name", name))
    if not 1 <= size <= MAX_NAME_BYTES:
        raise InvalidInput(
            f"file_name has {size} bytes; it must have 1 to {MAX_NAME_BYTES}: choose another name"
        )
    if "/" in name or "\\" in name:
        raise InvalidInput(
            f"file_name {name!r} has a path separator: send the name without folders"
        )
    if any(unicodedata.category(character) == "Cc" for character in name):
        raise InvalidInput(f"file_name {name!r} has a control character: rename the file")
    if not name.lower().endswith(tuple(file_types)):
        raise InvalidInput(f"file_name {name!r} must end in {' or '.join(file_types)}")
    return name


def check_text(text: object) -> str:
    """Return ``text`` if it may be a job's text: a string of at most 100 KiB of UTF-8.

    :raises InvalidInput: saying which rule it breaks.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"input_text must be a string, not {_type_name(text)}")
    size = len(_utf8("input_text", text))
    if size > MAX_TEXT_BYTES:
        raise InvalidInput(
            f"input_text has {size} bytes of UTF-8; the limit is {MAX_TEXT_BYTES}: shorten it"
        )
    return text


def check_file_size(size: object, max_file_bytes: int) -> None:
    """Check the size that the client announces, in bytes; ``None`` announces nothing.

    :raises FileTooLarge: if it is over ``max_file_bytes``.
    :raises InvalidInput: if it is no size at all.
    """
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InvalidInput(f"file_size must be a whole number of bytes, not {size!r:.50}")
    if size > max_file_bytes:
        raise FileTooLarge(
            f"the file has {size} bytes; the limit is {max_file_bytes}: choose a smaller file"
        )


def _type_name(value: object) -> str:
    return "missing" if value is None else type(value).__name__


def _utf8(field: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise InvalidInput(
            f"{field} holds half a surrogate pair, which is no character: remove it"
        ) from None


# --- queue messages ------------------------------------------------------------------


def parse_message(body: str) -> Upload:
    """Return the upload that a queue message announces.

    S3 sends one record a message, with the key URL-encoded:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html

    :raises BadMessage: for S3's own test event, another prefix, or anything else.
    """
    try:
        (record,) = json.loads(body)["Records"]
        entity = record["s3"]
        key = unquote_plus(entity["object"]["key"])
        prefix, job_id, name = key.split("/")
        upload = Upload(
            id=job_id,
            bucket=entity["bucket"]["name"],
            key=key,
            etag=entity["object"]["eTag"].strip('"'),
            size=int(entity["object"]["size"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadMessage("not an upload event") from None
    if f"{prefix}/" != INPUT_PREFIX or not is_id(job_id) or not name:
        raise BadMessage(f"key {key!r} is not an input")
    return upload


def announcement(upload: Upload) -> str:
    """Return the queue message that announces an upload, as S3 itself would word it."""
    entity = {
        "bucket": {"name": upload.bucket},
        "object": {"key": quote(upload.key), "eTag": upload.etag, "size": upload.size},
    }
    return json.dumps({"Records": [{"s3": entity}]})


# --- the table -----------------------------------------------------------------------


class JobTable:
    """``FileTable``: every read and every transition of a job.

    :param client: a DynamoDB client (boto3).
    :param name: the table's name.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def record(self, *, bucket: str, file_name: str, input_text: str, retention_days: int) -> Job:
        """Put a new PENDING job into the table and return it."""
        job_id = new_id()
        now = time.time()
        job = Job(
            id=job_id,
            file_name=file_name,
            input_text=input_text,
            input_file_path=f"{bucket}/{input_key(job_id, file_name)}",
            status=PENDING,
            attempts=0,
            created_at=iso(now),
            expires_at=int(now) + retention_days * 86400,
        )
        item = {name: value for name, value in vars(job).items() if value is not None}
        # Without a condition: the id is random, and the SDK puts it again if the answer is lost.
        self._client.put_item(TableName=self._name, Item=_to_item(item))
        return job

    def get(self, job_id: str) -> Job:
        """Return a job without its text.

        :raises JobNotFound: if there is none, or it has expired.
        """
        found = self.get_many([job_id])
        if not found:
            raise JobNotFound(f"no file has the id {job_id!r}, or it has expired")
        return found[0]

    def get_many(self, job_ids: Sequence[str]) -> list[Job]:
        """Return the jobs with these ids, without their texts; unknown ones are left out.

        DynamoDB deletes expired items within days, so expiry is checked here:
        https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/howitworks-ttl.html

        :param job_ids: at most 100, which is BatchGetItem's limit.
        """
        wanted = dict.fromkeys(job_id for job_id in job_ids if is_id(job_id))
        request = {self._name: self._keys_to_read(wanted)} if wanted else {}
        items: dict[str, Job] = {}
        while request:
            answer = self._client.batch_get_item(RequestItems=request)
            for item in answer["Responses"].get(self._name, []):
                job = _to_job(item)
                items[job.id] = job
            request = answer["UnprocessedKeys"]
        now = time.time()
        return [items[i] for i in wanted if i in items and items[i].expires_at > now]

    def _keys_to_read(self, job_ids: Mapping[str, None]) -> dict[str, Any]:
        return {
            "Keys": [_key(job_id) for job_id in job_ids],
            "ConsistentRead": True,
            "ProjectionExpression": _READ_PROJECTION,
            "ExpressionAttributeNames": _READ_ALIASES,
        }

    def claim(self, upload: Upload, *, message_id: str, instance_id: str) -> Job:
        """Take a job for this machine and return it whole.

        Allowed while it is PENDING, or RUNNING under this very message: the message
        came again, so its earlier holder is dead or too late. The attempt is counted
        and stamped with a random claim, which every later write has to show.

        :raises JobNotFound: no record, or an expired one.
        :raises Duplicate: finished, or running under another message.
        :raises TriesExhausted: it had its tries; this call made it FAILED.
        """
        claim = secrets.token_urlsafe(16)
        values = {
            ":running": RUNNING,
            ":pending": PENDING,
            ":message": message_id,
            ":claim": claim,
            ":instance": instance_id,
            ":etag": upload.etag,
            ":now": iso(),
            ":epoch": int(time.time()),
            ":one": 1,
            ":tries": MAX_TRIES,
        }
        refused, job = self._update(
            upload.id,
            "SET #status=:running, message_id=:message, claim=:claim, instance_id=:instance,"
            " started_at=:now, input_etag=if_not_exists(input_etag, :etag)"
            " REMOVE #error ADD attempts :one",
            f"{_CLAIMABLE} AND attempts < :tries AND expires_at > :epoch"
            " AND NOT (attribute_exists(claim) AND claim = :claim)",
            values,
        )
        # A claim whose answer was lost is sent again by the SDK; it counts as one try.
        if job is not None and job.claim == claim:
            return job
        assert refused
        self._refuse_claim(upload.id, job, message_id)

    def _refuse_claim(self, job_id: str, job: Job | None, message_id: str) -> NoReturn:
        """Raise why the job, as it stands, cannot be claimed."""
        if job is None or job.expires_at <= time.time():
            raise JobNotFound(f"no job has the id {job_id!r}, or it has expired")
        if job.finished or (job.status == RUNNING and job.message_id != message_id):
            raise Duplicate(f"job {job.id} is {job.status}")
        self._fail_exhausted(job, message_id)
        raise TriesExhausted(f"job {job.id} had its {MAX_TRIES} tries")

    def _fail_exhausted(self, job: Job, message_id: str) -> None:
        error = f"gave up after {MAX_TRIES} tries: {job.error or 'the machine stopped each time'}"
        refused, _ = self._finish(
            job.id,
            FAILED,
            {"error": _shortened(error)},
            f"{_CLAIMABLE} AND attempts >= :tries",
            {":pending": PENDING, ":running": RUNNING, ":message": message_id, ":tries": MAX_TRIES},
        )
        if refused:
            raise Duplicate(f"job {job.id} changed hands")

    def hand_back(self, job: Job, *, error: str | None = None) -> None:
        """Make a claimed job PENDING again.

        :param error: why this try failed; the try then stays counted. Without it the
            machine only has to go, and the job has not used up a try.
        :raises ClaimLost: if somebody else holds the job by now.
        """
        values: dict[str, Any] = {":pending": PENDING, ":claim": job.claim, ":running": RUNNING}
        if error is None:
            change = "SET #status=:pending REMOVE #error, claim, message_id ADD attempts :less"
            values[":less"] = -1
        else:
            change = "SET #status=:pending, #error=:error REMOVE claim, message_id"
            values[":error"] = _shortened(error)
        refused, _ = self._update(job.id, change, _HELD, values)
        if refused:
            raise ClaimLost(f"job {job.id} is no longer ours to hand back")

    def succeed(self, job: Job, *, output_file_path: str) -> None:
        """Record the result.

        :raises ClaimLost: if somebody else holds the job by now.
        """
        self._finish_claimed(job, SUCCEEDED, {"output_file_path": output_file_path})

    def fail(self, job: Job, *, error: str) -> None:
        """Record the failure, with the reason in words for the user.

        :raises ClaimLost: if somebody else holds the job by now.
        """
        self._finish_claimed(job, FAILED, {"error": _shortened(error)})

    def _finish_claimed(self, job: Job, status: str, changes: Mapping[str, str]) -> None:
        values = {":claim": job.claim, ":running": RUNNING}
        refused, now = self._finish(job.id, status, changes, _HELD, values)
        # A write whose answer was lost is sent again by the SDK, and finds itself done.
        already = now is not None and now.claim == job.claim and now.status == status
        if refused and not already:
            raise ClaimLost(f"job {job.id} is no longer ours to finish")

    def fail_dead_letter(self, job_id: str, *, message_id: str, error: str) -> None:
        """Make a job FAILED whose message the queue has given up, if it is unfinished.

        :raises Duplicate: it is finished, gone, or runs under another message.
        """
        refused, _ = self._finish(
            job_id,
            FAILED,
            {"error": _shortened(error)},
            _CLAIMABLE,
            {":pending": PENDING, ":running": RUNNING, ":message": message_id},
        )
        if refused:
            raise Duplicate(f"job {job_id} is finished, gone, or runs under another message")

    def requeue(self, job_id: str) -> None:
        """Make a failed job PENDING with all its tries; a message has to be sent after it.

        A job that is PENDING already stays so, which makes it safe to do this twice. The
        next claim decides anew which upload counts.

        :raises Duplicate: it is running, has succeeded, or is gone.
        """
        refused, _ = self._update(
            job_id,
            "SET #status=:pending, attempts=:none"
            " REMOVE #error, finished_at, started_at, claim, message_id, input_etag",
            "#status IN (:pending, :failed)",
            {":pending": PENDING, ":failed": FAILED, ":none": 0},
        )
        if refused:
            raise Duplicate(f"job {job_id} is running, has succeeded, or is gone")

    def scan_unfinished_and_failed(self) -> Iterator[Job]:
        """Yield all jobs that are PENDING, RUNNING or FAILED: for the operator, not for traffic."""
        pages = self._client.get_paginator("scan").paginate(
            TableName=self._name,
            FilterExpression="#status <> :succeeded AND expires_at > :now",
            ExpressionAttributeValues=_to_item({":succeeded": SUCCEEDED, ":now": int(time.time())}),
            ProjectionExpression=_READ_PROJECTION,
            ExpressionAttributeNames=_READ_ALIASES,
        )
        for page in pages:
            yield from map(_to_job, page["Items"])

    def has_claimed(self, instance_id: str) -> bool:
        """Whether this machine is the last holder of any job."""
        answer = self._client.query(
            TableName=self._name,
            IndexName=INSTANCE_INDEX,
            KeyConditionExpression="instance_id = :instance",
            ExpressionAttributeValues=_to_item({":instance": instance_id}),
            Select="COUNT",
            Limit=1,
        )
        return bool(answer["Count"])

    def _finish(
        self,
        job_id: str,
        status: str,
        changes: Mapping[str, str],
        condition: str,
        values: Mapping[str, Any],
    ) -> tuple[bool, Job | None]:
        sets = "".join(f", #{name}=:{name}" for name in changes)
        return self._update(
            job_id,
            f"SET #status=:status, finished_at=:now{sets}",
            condition,
            {
                **values,
                **{f":{name}": value for name, value in changes.items()},
                ":status": status,
                ":now": iso(),
            },
        )

    def _update(
        self, job_id: str, change: str, condition: str, values: Mapping[str, Any]
    ) -> tuple[bool, Job | None]:
        """Update one item. Return (refused, the item after it, or as it stands if refused)."""
        aliases = {f"#{name}": name for name in re.findall(r"#(\w+)", change + condition)}
        try:
            answer = self._client.update_item(
                TableName=self._name,
                Key=_key(job_id),
                UpdateExpression=change,
                ConditionExpression=condition,
                ExpressionAttributeNames=aliases,
                ExpressionAttributeValues=_to_item(values),
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as refusal:
            item = refusal.response.get("Item")
            return True, _to_job(item) if item else None
        return False, _to_job(answer["Attributes"])


_CLAIMABLE = (
    "attribute_exists(id) AND"
    " (#status = :pending OR (#status = :running AND message_id = :message))"
)
# A read brings neither the text, which can be long, nor the claim, which is a key.
_READ_ALIASES = {
    f"#{name}": name for name in Job.__dataclass_fields__ if name not in ("input_text", "claim")
}
_READ_PROJECTION = ",".join(_READ_ALIASES)
_HELD = "#status = :running AND claim = :claim"


def _key(job_id: str) -> dict[str, Any]:
    return {"id": {"S": job_id}}


def _to_item(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {"N": str(value)} if isinstance(value, int) else {"S": value}
        for name, value in values.items()
    }


def _to_job(item: Mapping[str, Mapping[str, str]]) -> Job:
    values: dict[str, Any] = {}
    for name in Job.__dataclass_fields__:
        if name in item:
            ((kind, value),) = item[name].items()
            values[name] = int(value) if kind == "N" else value
    return Job(**values)


def iso(epoch: float | None = None) -> str:
    """Return a moment (epoch seconds, by default now) as ISO 8601 UTC with milliseconds."""
    moment = datetime.fromtimestamp(time.time() if epoch is None else epoch, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def age(job: Job) -> float:
    """Return the seconds since the job was recorded."""
    created = datetime.fromisoformat(job.created_at.replace("Z", "+00:00"))
    return time.time() - created.timestamp()


def _shortened(error: str) -> str:
    """Keep the end of a long error: that is where the reason stands."""
    if len(error) <= MAX_ERROR_CHARACTERS:
        return error
    return "…" + error[-MAX_ERROR_CHARACTERS:]
