"""The API's answers, over Chalice's own test client: the real routing and error mapping."""

from __future__ import annotations

import base64
import json
from types import ModuleType
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from chalice.test import Client

import jobs
from tests.conftest import BUCKET, TABLE, load_app

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def app(dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The API with its environment."""
    monkeypatch.setenv(jobs.Env.STACK, "addendum-dev")
    monkeypatch.setenv(jobs.Env.TABLE, TABLE)
    monkeypatch.setenv(jobs.Env.BUCKET, BUCKET)
    monkeypatch.setenv(jobs.Env.MAX_FILE_BYTES, "1000")
    monkeypatch.setenv(jobs.Env.FILE_TYPES, ".txt,.md")
    monkeypatch.setenv(jobs.Env.RETENTION_DAYS, "7")
    return load_app("api")


@pytest.fixture
def http(app: ModuleType) -> Iterator[Any]:
    """A client of the API."""
    with Client(app.app) as client:
        yield client.http


def post(http: Any, body: object) -> Any:
    raw = body if isinstance(body, (bytes, str)) else json.dumps(body)
    return http.post("/files", headers=JSON, body=raw)


def policy_of(answer: Any) -> dict[str, Any]:
    fields = answer.json_body["upload"]["fields"]
    policy: dict[str, Any] = json.loads(base64.b64decode(fields["policy"]))
    return policy


def test_health_needs_nothing(aws: None) -> None:
    with Client(load_app("api").app) as client:
        assert client.http.get("/health").json_body == {"status": "ok"}


def test_clients_are_made_before_the_first_request_but_not_while_packaging(
    aws: None, app: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert app.s3.cache_info().currsize == app.job_table.cache_info().currsize == 1
    monkeypatch.delenv(jobs.Env.TABLE)
    packaged = load_app("api")
    assert packaged.s3.cache_info().currsize == packaged.job_table.cache_info().currsize == 0


def test_limits_are_the_configured_ones(http: Any) -> None:
    assert http.get("/limits").json_body == {
        "max_file_bytes": 1000,
        "max_text_bytes": 102400,
        "file_types": [".txt", ".md"],
        "retention_days": 7,
    }


def test_a_recorded_file_gets_an_id_and_a_form_for_its_key_alone(http: Any) -> None:
    answer = post(http, {"file_name": "${filename}.txt", "input_text": "more", "file_size": 1000})
    assert answer.status_code == 201
    body = answer.json_body
    key = f"input/{body['id']}/%24%7Bfilename%7D.txt"
    conditions = policy_of(answer)["conditions"]
    assert body["status"] == "PENDING"
    assert body["upload_expires_at"].endswith("Z")
    assert body["upload"]["fields"]["key"] == key
    assert {"key": key} in conditions
    assert {"bucket": BUCKET} in conditions
    assert ["content-length-range", 0, 1000] in conditions


def test_a_recorded_file_is_counted(http: Any, capsys: pytest.CaptureFixture[str]) -> None:
    post(http, {"file_name": "a.txt", "input_text": ""})
    line = json.loads(capsys.readouterr().out)
    assert line["JobsRecorded"] == 1
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive == {
        "Namespace": "Addendum/addendum-dev",
        "Dimensions": [[]],
        "Metrics": [{"Name": "JobsRecorded", "Unit": "Count"}],
    }


def test_the_form_is_signed_with_version_4_for_the_regional_host(http: Any) -> None:
    """A global host redirects, which a form POST cannot follow."""
    answer = post(http, {"file_name": "a.txt", "input_text": ""})
    upload = answer.json_body["upload"]
    assert upload["url"] == f"https://{BUCKET}.s3.eu-central-1.amazonaws.com/"
    assert upload["fields"]["x-amz-algorithm"] == "AWS4-HMAC-SHA256"
    assert "/eu-central-1/s3/" in upload["fields"]["x-amz-credential"]


def test_in_us_east_1_too_the_form_names_the_regional_host(
    app: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    form = load_app("api").s3().generate_presigned_post(BUCKET, "input/k")
    assert form["url"] == f"https://{BUCKET}.s3.us-east-1.amazonaws.com/"
    assert form["fields"]["x-amz-algorithm"] == "AWS4-HMAC-SHA256"


def test_answers_are_not_cached(http: Any) -> None:
    assert http.get("/limits").headers["Cache-Control"] == "no-store"
    assert http.get("/files/nope").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "file_name must be a string, not missing"),
        ({"file_name": "a.txt"}, "input_text must be a string, not missing"),
        ({"file_name": 5, "input_text": ""}, "not int"),
        ({"file_name": "a.txt", "input_text": 5}, "not int"),
        ({"file_name": "", "input_text": ""}, "0 bytes"),
        ({"file_name": "x" * 296 + ".txt", "input_text": ""}, "300 bytes"),
        ({"file_name": "../x.txt", "input_text": ""}, "separator"),
        ({"file_name": "x.exe", "input_text": ""}, "must end in .txt or .md"),
        ({"file_name": "a.txt", "input_text": "x" * 102401}, "the limit is 102400"),
        ({"file_name": "a.txt", "input_text": "\ud800"}, "surrogate"),
        ({"file_name": "\ud800.txt", "input_text": ""}, "surrogate"),
        ({"file_name": "a.txt", "input_text": "", "file_size": "big"}, "whole number"),
        ({"file_name": "a.txt", "input_text": "", "file_size": "9" * 100_000}, "whole number"),
        ({"file_name": "a.txt", "input_text": "", "file_size": True}, "whole number"),
        ({"file_name": "a.txt", "input_text": "", "file_size": -1}, "whole number"),
        ([], "must be a JSON object"),
        ("text", "must be a JSON object"),
        ("null", "must be a JSON object"),
        ("", "must be a JSON object"),
        (b'{"file_name": "\xff.txt"}', "must be a JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ('{"file_size": ' + "9" * 5000 + "}", "must be a JSON object"),
    ],
)
def test_a_bad_request_is_refused_in_words_and_leaves_no_record(
    http: Any, dynamodb: Any, body: object, words: str
) -> None:
    answer = post(http, body)
    assert answer.status_code == 400
    assert answer.json_body["Code"] == "BadRequestError"
    assert words in answer.json_body["Message"]
    assert len(answer.json_body["Message"]) < 200
    assert dynamodb.scan(TableName=TABLE)["Count"] == 0


def test_an_announced_file_over_the_limit_is_413(http: Any, dynamodb: Any) -> None:
    answer = post(http, {"file_name": "a.txt", "input_text": "", "file_size": 1001})
    assert answer.status_code == 413
    assert answer.json_body["Code"] == "RequestEntityTooLargeError"  # as API Gateway's own
    assert "the limit is 1000" in answer.json_body["Message"]
    assert dynamodb.scan(TableName=TABLE)["Count"] == 0


def test_another_content_type_is_refused(http: Any) -> None:
    answer = http.post("/files", headers={"Content-Type": "text/plain"}, body="{}")
    assert answer.status_code == 415
    assert answer.json_body["Code"] == "UnsupportedMediaType"


def test_a_body_without_content_type_is_refused(http: Any) -> None:
    assert http.post("/files", body="{}").status_code == 400


@pytest.mark.parametrize("job_id", ["nope", "x" * 22, "%2e%2e", "a" * 500])
def test_an_unknown_file_is_404(http: Any, job_id: str) -> None:
    answer = http.get(f"/files/{job_id}")
    assert answer.status_code == 404
    assert answer.json_body["Code"] == "NotFoundError"


def test_a_pending_file_shows_no_result_and_never_the_text_or_the_claim(http: Any) -> None:
    job_id = post(http, {"file_name": "a.txt", "input_text": "secret"}).json_body["id"]
    shown = http.get(f"/files/{job_id}").json_body
    assert set(shown) == {
        "id",
        "status",
        "file_name",
        "input_file_path",
        "attempts",
        "created_at",
        "expires_at",
    }
    assert shown["input_file_path"] == f"{BUCKET}/input/{job_id}/a.txt"


def test_a_finished_file_has_a_link_that_downloads_it_under_its_own_name(
    http: Any, table: jobs.JobTable
) -> None:
    name = "naïve résumé 文件 \"'.txt"
    job_id = post(http, {"file_name": name, "input_text": ""}).json_body["id"]
    upload = jobs.Upload(id=job_id, bucket=BUCKET, key="k", etag="e", size=1)
    job = table.claim(upload, message_id="m", instance_id="i")
    table.succeed(job, output_file_path=f"{BUCKET}/{jobs.output_key(job)}")
    shown = http.get(f"/files/{job_id}").json_body
    url = urlsplit(shown["download_url"])
    query = parse_qs(url.query)
    assert shown["status"] == "SUCCEEDED"
    assert shown["output_file_path"] == f"{BUCKET}/output/{job_id}/1/{quote(name, safe='')}"
    assert url.hostname == f"{BUCKET}.s3.eu-central-1.amazonaws.com"
    assert query["response-content-disposition"] == [
        f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    ]
    assert query["X-Amz-Expires"] == ["300"]


def test_a_failed_file_shows_the_reason_and_no_link(http: Any, table: jobs.JobTable) -> None:
    job_id = post(http, {"file_name": "a.txt", "input_text": ""}).json_body["id"]
    upload = jobs.Upload(id=job_id, bucket=BUCKET, key="k", etag="e", size=1)
    table.fail(table.claim(upload, message_id="m", instance_id="i"), error="the disk was full")
    shown = http.get(f"/files/{job_id}").json_body
    assert (shown["status"], shown["error"]) == ("FAILED", "the disk was full")
    assert "download_url" not in shown


def test_many_files_are_listed_and_unknown_ones_left_out(http: Any) -> None:
    ids = [post(http, {"file_name": "a.txt", "input_text": ""}).json_body["id"] for _ in range(3)]
    listed = http.get(f"/files?ids={','.join([ids[2], 'unknown', ids[0]])}").json_body
    assert [shown["id"] for shown in listed["files"]] == [ids[2], ids[0]]


@pytest.mark.parametrize("query", ["", "?ids=", "?ids=,,", "?ids=" + "a," * 51])
def test_a_list_without_ids_or_with_too_many_is_refused(http: Any, query: str) -> None:
    answer = http.get(f"/files{query}")
    assert answer.status_code == 400
    assert "1 to 50" in answer.json_body["Message"]


def test_fifty_files_can_be_listed_at_once(http: Any) -> None:
    assert http.get("/files?ids=" + ",".join("x" * 22 for _ in range(50))).status_code == 200
