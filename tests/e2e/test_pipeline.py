"""From the form to the result, through every real part."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import requests

import jobs
from tests.e2e.conftest import MAX_FILE_BYTES

if TYPE_CHECKING:
    from local.system import LocalSystem
    from tests.e2e.person import Person

CASES = [
    (b"", "", "empty.txt"),
    (b"", "text", "`$(rm -rf ~)`.txt"),
    (b"input", "", "${filename}.txt"),
    (b"no final newline", "x", "a$$b.txt"),
    (b"a\r\nb\r\n", "c\r\nd", "100% sure?.txt"),
    (b"\xef\xbb\xbfbom", "\ufeff𝄞 4 bytes", "naïve résumé 文件.txt"),
    (bytes(range(256)) * 50, "`$(x)` \"'\\ \n %s ${x} | & ; > <", "a'b\"c & d.txt"),
    (b"big text", "é" * (jobs.MAX_TEXT_BYTES // 2), "+ plus #hash.TXT"),
    (b"x" * 9_000_000, "in parts", "x" * 251 + ".txt"),
]


def test_every_output_is_its_input_followed_by_its_text(person: Person) -> None:
    ids = [person.submit(content, text, name) for content, text, name in CASES]
    for shown, (content, text, name) in zip(person.wait_for_all(ids), CASES, strict=True):
        answer = person.download(shown)
        assert answer.content == content + text.encode()
        disposition = answer.headers["Content-Disposition"]
        assert disposition == f"attachment; filename*=UTF-8''{quote(name, safe='')}"
        assert shown["file_name"] == name
        assert shown["attempts"] == 1


def test_the_record_tells_what_happened(person: Person, system: LocalSystem) -> None:
    job_id = person.submit(b"input", name="what happened?.txt")
    shown = person.wait(job_id)
    bucket = system.deployment.exports["data_bucket"]
    assert shown["input_file_path"] == f"{bucket}/input/{job_id}/what%20happened%3F.txt"
    assert shown["output_file_path"] == f"{bucket}/output/{job_id}/1/what%20happened%3F.txt"
    assert shown["created_at"] < shown["started_at"] < shown["finished_at"]
    assert abs(shown["expires_at"] - time.time() - 7 * 86400) < 60


def test_fifty_at_once_all_end_in_the_right_place(person: Person, system: LocalSystem) -> None:
    ids = [person.submit(b"%d:" % n, f"text {n}") for n in range(50)]
    for n, shown in enumerate(person.wait_for_all(ids)):
        assert person.download(shown).content == b"%d:text %d" % (n, n)
    assert len(system.host.machines()) <= 2


# --- bad input -----------------------------------------------------------------------


def records(system: LocalSystem) -> int:
    table = system.deployment.exports["table"]
    count: int = system.client("dynamodb").scan(TableName=table, Select="COUNT")["Count"]
    return count


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b"{}", 400),
        (b'{"file_name": "a.txt"}', 400),
        (b'{"file_name": 1, "input_text": ""}', 400),
        (b'{"file_name": "", "input_text": ""}', 400),
        (b'{"file_name": "' + b"x" * 296 + b'.txt", "input_text": ""}', 400),
        (b'{"file_name": "../x.txt", "input_text": ""}', 400),
        (b'{"file_name": "x.exe", "input_text": ""}', 400),
        (b'{"file_name": "a.txt", "input_text": "' + b"x" * 102401 + b'"}', 400),
        (b'{"file_name": "a.txt", "input_text": "\\ud800"}', 400),
        (b'{"file_name": "a.txt", "input_text": "", "file_size": 210000001}', 413),
        (b'{"file_name": "a.txt", "input_text": "", "file_size": 1e999}', 400),
        (b"[" * 50_000, 400),
    ],
)
def test_bad_input_is_refused_in_words_and_leaves_no_record(
    person: Person, system: LocalSystem, body: bytes, status: int
) -> None:
    before = records(system)
    headers = {"Content-Type": "application/json"}
    answer = requests.post(f"{person.url}/api/files", data=body, headers=headers, timeout=30)
    assert answer.status_code == status
    assert set(answer.json()) == {"Code", "Message"}
    assert records(system) == before


def test_another_content_type_is_refused(person: Person) -> None:
    answer = requests.post(f"{person.url}/api/files", data="a=b", timeout=30)
    assert answer.status_code in (400, 415)
    assert set(answer.json()) == {"Code", "Message"}


@pytest.mark.parametrize(
    "path", ["/api/files/unknown", "/api/files/..%2f..%2fx", "/api/nothing", "/api/files/%00"]
)
def test_a_path_that_leads_nowhere_is_an_error_in_the_apis_shape(person: Person, path: str) -> None:
    answer = requests.get(person.url + path, timeout=30)
    assert answer.status_code in (400, 403, 404)
    assert set(answer.json()) == {"Code", "Message"}


def test_an_upload_over_the_limit_is_refused_by_s3(person: Person, system: LocalSystem) -> None:
    answer = person.record()
    job_id = answer.json()["id"]
    refused = person.upload(answer.json()["upload"], b"x" * (MAX_FILE_BYTES + 1))
    assert refused.status_code == 400
    assert "EntityTooLarge" in refused.text
    assert inputs(system, job_id) == []


def test_a_form_opens_no_other_key(person: Person, system: LocalSystem) -> None:
    answer = person.record()
    job_id = answer.json()["id"]
    other = f"input/{job_id}/other.txt"
    assert person.upload(answer.json()["upload"], b"x", key=other).status_code == 403
    scripts = "scripts/worker"
    assert person.upload(answer.json()["upload"], b"x", key=scripts).status_code == 403
    assert inputs(system, job_id) == []


def test_an_expired_form_opens_nothing(person: Person, system: LocalSystem) -> None:
    """Signed as the API signs, with the API's role, but for one second."""
    bucket = system.deployment.exports["data_bucket"]
    job_id = jobs.new_id()
    form = (
        system.role("api-handler")
        .client("s3")
        .generate_presigned_post(bucket, f"input/{job_id}/a.txt", ExpiresIn=1)
    )
    time.sleep(2.1)
    refused = person.upload(form, b"x")
    assert refused.status_code == 403
    assert "expired" in refused.text
    assert inputs(system, job_id) == []


def inputs(system: LocalSystem, job_id: str) -> list[str]:
    found = system.client("s3").list_objects_v2(
        Bucket=system.deployment.exports["data_bucket"], Prefix=f"input/{job_id}/"
    )
    return [entry["Key"] for entry in found.get("Contents", [])]


def test_a_second_upload_with_the_same_form_cannot_mix_two_files(person: Person) -> None:
    answer = person.record()
    for content in (b"first", b"second"):
        person.upload(answer.json()["upload"], content)
    shown = person.wait(answer.json()["id"])
    if shown["status"] == "SUCCEEDED":
        assert person.download(shown).content in (b"first more", b"second more")
    else:
        assert shown["error"] == "the upload was replaced by another one: send the file again"
