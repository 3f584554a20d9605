"""The API: records a job, presigns its upload, tells how the job stands.

API Gateway's stage is named ``api``, so the routes here carry no such prefix and
CloudFront forwards ``/api/*`` unchanged. Handlers parse, call one function, and
leave every broken rule to :func:`answers_errors`, the one place that maps the
errors of ``jobs`` to HTTP.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar
from urllib.parse import quote

import boto3
from botocore.config import Config
from chalice import BadRequestError, Chalice, NotFoundError, Response
from chalice.app import ChaliceViewError, Request

import jobs
import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

app = Chalice(app_name="addendum-api")

P = ParamSpec("P")
R = TypeVar("R")


class RequestEntityTooLargeError(ChaliceViewError):
    """Chalice has no error of its own for 413."""

    STATUS_CODE = 413


@dataclass(frozen=True)
class Settings:
    """What the infrastructure tells this function. Sizes are in bytes."""

    stack: str
    table: str
    bucket: str
    max_file_bytes: int
    file_types: tuple[str, ...]
    retention_days: int


@functools.cache
def settings() -> Settings:
    """Read the environment, once, and not before a request needs it."""
    return Settings(
        stack=os.environ[jobs.Env.STACK],
        table=os.environ[jobs.Env.TABLE],
        bucket=os.environ[jobs.Env.BUCKET],
        max_file_bytes=int(os.environ[jobs.Env.MAX_FILE_BYTES]),
        file_types=tuple(os.environ[jobs.Env.FILE_TYPES].split(",")),
        retention_days=int(os.environ[jobs.Env.RETENTION_DAYS]),
    )


@functools.cache
def job_table() -> jobs.JobTable:
    """Return the table of jobs.

    By default boto3 asks DynamoDB ten times, over 25 s, and waits a minute for a connection.
    This function has 10 s, and whoever waits should hear of it from us:
    https://docs.aws.amazon.com/boto3/latest/guide/retries.html
    """
    retries = {"mode": "standard", "total_max_attempts": 4}
    config = Config(retries=retries, connect_timeout=2)
    return jobs.JobTable(boto3.client("dynamodb", config=config), settings().table)


@functools.cache
def s3() -> Any:
    """Return the client that signs forms and links; it never calls S3.

    By default boto3 signs forms with Signature Version 2 in us-east-1 and names the
    global host, where a bucket of another region answers with a redirect that a form
    POST cannot follow:
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
    """
    return boto3.client(
        "s3",
        config=Config(
            signature_version="s3v4",
            s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
        ),
    )


def answers_errors(view: Callable[P, R]) -> Callable[P, R]:
    """Map the errors of ``jobs`` to Chalice's, which answer ``{"Code", "Message"}``."""

    @functools.wraps(view)
    def answer(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return view(*args, **kwargs)
        except jobs.FileTooLarge as error:
            raise RequestEntityTooLargeError(str(error)) from error
        except jobs.InvalidInput as error:
            raise BadRequestError(str(error)) from error
        except jobs.JobNotFound as error:
            raise NotFoundError(str(error)) from error

    return answer


@app.middleware("http")
def forbid_caching(event: Request, get_response: Callable[[Request], Response]) -> Response:
    """Keep forms and links, which are secrets for some minutes, out of every cache."""
    response = get_response(event)
    response.headers["Cache-Control"] = "no-store"
    return response


@app.route("/files", methods=["POST"])
@answers_errors
def record_file() -> Response:
    """Record a job and return the form that uploads its file."""
    body = _json_object()
    file_name = jobs.check_file_name(body.get("file_name"), settings().file_types)
    input_text = jobs.check_text(body.get("input_text"))
    jobs.check_file_size(body.get("file_size"), settings().max_file_bytes)
    expires_at = datetime.now(UTC) + timedelta(seconds=jobs.FORM_SECONDS)
    job = job_table().record(
        bucket=settings().bucket,
        file_name=file_name,
        input_text=input_text,
        retention_days=settings().retention_days,
    )
    metrics.log(settings().stack, metrics.JOBS_RECORDED, 1)
    answer = {
        "id": job.id,
        "status": job.status,
        "upload": _upload_form(job),
        "upload_expires_at": jobs.iso(expires_at.timestamp()),
    }
    return Response(answer, status_code=201)


@app.route("/files", methods=["GET"])
@answers_errors
def list_files() -> dict[str, Any]:
    """Return the jobs named in ``?ids=a,b``, leaving out unknown ones."""
    query: Any = _request().query_params or {}
    named = [job_id for job_id in query.get("ids", "").split(",") if job_id]
    if not 1 <= len(named) <= jobs.MAX_IDS:
        raise jobs.InvalidInput(
            f"ids names {len(named)} files; it must name 1 to {jobs.MAX_IDS}, as in ?ids=a,b"
        )
    return {"files": [_shown(job) for job in job_table().get_many(named)]}


@app.route("/files/{job_id}", methods=["GET"])
@answers_errors
def show_file(job_id: str) -> dict[str, Any]:
    """Return one job, with a download link once it has succeeded."""
    return _shown(job_table().get(job_id))


@app.route("/limits", methods=["GET"])
def show_limits() -> dict[str, Any]:
    """Return the limits that a client can check before it sends anything."""
    return {
        "max_file_bytes": settings().max_file_bytes,
        "max_text_bytes": jobs.MAX_TEXT_BYTES,
        "file_types": settings().file_types,
        "retention_days": settings().retention_days,
    }


@app.route("/health", methods=["GET"])
def show_health() -> dict[str, str]:
    """Answer that the API is up, without touching anything else."""
    return {"status": "ok"}


def _request() -> Request:
    request = app.current_request
    assert request is not None  # only None outside a request
    return request


def _json_object() -> dict[str, Any]:
    try:
        body = _request().json_body
    except BadRequestError:  # which says that it is no JSON, but not what to send
        body = None
    except RecursionError:
        raise jobs.InvalidInput("the body is nested too deeply: send a flat object") from None
    if not isinstance(body, dict):
        raise jobs.InvalidInput(
            'the body must be a JSON object like {"file_name": "a.txt", "input_text": "more"},'
            " sent as application/json"
        )
    return body


def _upload_form(job: jobs.Job) -> dict[str, Any]:
    """Return URL and fields of a form that can upload to this job's key and nowhere else."""
    bucket, key = jobs.split_path(job.input_file_path)
    form: dict[str, Any] = s3().generate_presigned_post(
        bucket,
        key,
        Conditions=[["content-length-range", 0, settings().max_file_bytes]],
        ExpiresIn=jobs.FORM_SECONDS,
    )
    return form


_SHOWN = (
    "id",
    "status",
    "file_name",
    "input_file_path",
    "output_file_path",
    "error",
    "attempts",
    "created_at",
    "started_at",
    "finished_at",
    "expires_at",
)


def _shown(job: jobs.Job) -> dict[str, Any]:
    shown = {name: getattr(job, name) for name in _SHOWN if getattr(job, name) is not None}
    if job.status == jobs.SUCCEEDED:
        shown["download_url"] = _download_url(job)
    return shown


def _download_url(job: jobs.Job) -> str:
    """Return a short-lived link that downloads the result under the file's own name.

    ``filename*`` is RFC 6266's form for names beyond ASCII.
    """
    assert job.output_file_path is not None
    bucket, key = jobs.split_path(job.output_file_path)
    url: str = s3().generate_presigned_url(
        "get_object",
        Params={
            "Bucket": bucket,
            "Key": key,
            "ResponseContentDisposition": "attachment; filename*=UTF-8''"
            + quote(job.file_name, safe=""),
            "ResponseContentType": "application/octet-stream",
        },
        ExpiresIn=jobs.FORM_SECONDS,
    )
    return url


if jobs.Env.TABLE in os.environ:
    # Deployed, not packaged: Lambda runs this before the first request comes.
    # https://docs.aws.amazon.com/lambda/latest/dg/best-practices.html
    job_table()
    s3()
