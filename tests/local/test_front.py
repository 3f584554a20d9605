"""One address for page and API."""

from __future__ import annotations

import http.client
import json
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import pytest

from local.front import MAX_BODY_BYTES, Front, PortUnavailable, Routes, headers_of_policy
from local.gateway import GatewayResponses
from local.loopback import Handler, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.account import Account

BUCKET = "the-page"
API_BODY = json.dumps(
    {
        "x-amazon-apigateway-gateway-responses": {
            "MISSING_AUTHENTICATION_TOKEN": {
                "statusCode": 404,
                "responseTemplates": {
                    "application/json": '{"Code": "NotFoundError",'
                    ' "Message": $context.error.messageString}'
                },
            },
            "DEFAULT_5XX": {
                "responseTemplates": {
                    "application/json": '{"Code": "InternalServerError",'
                    ' "Message": $context.error.messageString}'
                }
            },
        }
    }
)
HEADERS = {"X-Content-Type-Options": "nosniff"}


class EchoHandler(Handler):
    """Answers with what it was asked, as ``chalice local`` would answer."""

    def _echo(self) -> None:
        if self.path == "/unknown":
            message = {"message": "Missing Authentication Token"}
            self.answer_json(HTTPStatus.FORBIDDEN, message)
            return
        if (self.command, self.path) == ("DELETE", "/read-only"):
            self.answer_json(HTTPStatus.METHOD_NOT_ALLOWED, {"Code": "MethodNotAllowedError"})
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        asked = {
            "method": self.command,
            "path": self.path,
            "type": self.headers.get("Content-Type"),
            "body": body.decode(),
        }
        self.answer(HTTPStatus.CREATED, json.dumps(asked).encode(), {"X-Answer": "yes"})

    do_GET = do_HEAD = do_POST = do_PATCH = do_DELETE = do_OPTIONS = _echo  # noqa: N815


@pytest.fixture(scope="module")
def site(account: Account) -> Any:
    """A bucket with a page in it."""
    s3 = account.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(
        Bucket=BUCKET,
        Key="index.html",
        Body=b"<p>hello",
        ContentType="text/html; charset=utf-8",
        CacheControl="no-cache",
    )
    s3.put_object(Bucket=BUCKET, Key="a b/é.js", Body=b"1", ContentType="text/javascript")
    return s3


@pytest.fixture
def api() -> Iterator[Server]:
    server = Server(EchoHandler)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def front(site: Any, api: Server) -> Iterator[Front]:
    front = Front(0)
    front.serve(
        Routes(
            s3=site,
            site_bucket=BUCKET,
            api_port=api.server_port,
            page_headers=HEADERS,
            gateway_responses=GatewayResponses(API_BODY),
        )
    )
    yield front
    front.stop()


def ask(
    front: Front,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", front.server_port, timeout=10)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    result = answer.status, answer.headers, answer.read()
    connection.close()
    return result


def status_of(front: Front, request: bytes) -> int:
    """Send what no client library would and return the status."""
    with socket.create_connection(("127.0.0.1", front.server_port), timeout=10) as connection:
        connection.sendall(request + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        answer.close()
        return answer.status


def test_the_page_comes_as_it_was_uploaded(front: Front) -> None:
    status, headers, body = ask(front, "GET", "/")
    assert (status, body) == (200, b"<p>hello")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-cache"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_page_that_has_not_changed_is_not_sent_again(front: Front) -> None:
    etag = ask(front, "GET", "/index.html")[1]["ETag"]
    status, headers, body = ask(front, "GET", "/", headers={"If-None-Match": etag})
    assert (status, headers["ETag"], body) == (304, etag, b"")


def test_head_tells_the_length_without_the_page(front: Front) -> None:
    status, headers, body = ask(front, "HEAD", "/")
    assert (status, headers["Content-Length"], body) == (200, "8", b"")


def test_names_are_decoded_and_queries_ignored(front: Front) -> None:
    assert ask(front, "GET", "/a%20b/%C3%A9.js?v=1")[0] == 200


@pytest.mark.parametrize("path", ["/nothing", "/../secret", "/a%00b", "/" + "x" * 2000, "/apis"])
def test_unknown_pages_are_not_found(front: Front, path: str) -> None:
    status, headers, _ = ask(front, "GET", path)
    assert status == 404
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_the_page_takes_nothing(front: Front) -> None:
    assert ask(front, "POST", "/", b"x")[0] == 405


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_the_api_gets_every_method_without_the_prefix(front: Front, method: str) -> None:
    sent = None if method == "GET" else b'{"a": 1}'
    headers = {"Content-Type": "application/json"}
    status, answered, body = ask(front, method, "/api/files?ids=a,b", sent, headers)
    assert (status, answered["X-Answer"]) == (201, "yes")
    asked = json.loads(body)
    assert (asked["method"], asked["path"]) == (method, "/files?ids=a,b")
    assert asked["type"] == "application/json"
    assert asked["body"] == (sent or b"").decode()


def test_bytes_that_are_no_text_reach_the_api_as_text(front: Front) -> None:
    _, _, body = ask(front, "POST", "/api/files", b"\xff\xfea")
    assert json.loads(body)["body"] == "\ufffd\ufffda"


def test_a_path_unknown_to_the_api_is_answered_as_declared(front: Front) -> None:
    status, _, body = ask(front, "GET", "/api/unknown")
    assert status == 404
    assert json.loads(body) == {"Code": "NotFoundError", "Message": "Missing Authentication Token"}


def test_a_method_unknown_to_a_path_is_answered_as_an_unknown_path(front: Front) -> None:
    status, _, body = ask(front, "DELETE", "/api/read-only")
    assert status == 404
    assert json.loads(body) == {"Code": "NotFoundError", "Message": "Missing Authentication Token"}


def test_head_of_an_unknown_path_is_not_found_either(front: Front) -> None:
    assert ask(front, "HEAD", "/api/unknown")[0] == 404


def test_options_are_no_method_of_the_api(front: Front) -> None:
    assert ask(front, "OPTIONS", "/api/files")[0] == 404


@pytest.mark.parametrize(
    "request_line", ["GET /api/files?ids=é HTTP/1.1", "GET /api/files?ids=\x01 HTTP/1.1"]
)
def test_what_is_no_url_is_a_bad_request(front: Front, request_line: str) -> None:
    assert status_of(front, request_line.encode()) == 400


@pytest.mark.parametrize(("path", "status"), [("/api/files", 400), ("/", 405)])
def test_a_length_that_is_no_sensible_number_is_refused(
    front: Front, path: str, status: int
) -> None:
    request = f"POST {path} HTTP/1.1\r\nContent-Length: {'9' * 5000}"
    assert status_of(front, request.encode()) == status


def test_a_body_over_ten_megabytes_is_refused(front: Front) -> None:
    assert ask(front, "POST", "/api/files", b"x" * MAX_BODY_BYTES)[0] == 201
    status, _, body = ask(front, "POST", "/api/files", b"x" * (MAX_BODY_BYTES + 1))
    assert (status, json.loads(body)) == (413, {"message": "Request Too Long"})


def test_an_api_that_is_gone_is_a_bad_gateway(front: Front, api: Server) -> None:
    api.stop()
    status, _, body = ask(front, "GET", "/api/health")
    assert status == 502
    assert json.loads(body)["Code"] == "InternalServerError"


def test_an_unknown_method_is_refused_as_json(front: Front) -> None:
    status, _, body = ask(front, "BREW", "/api/files")
    assert status == 501
    assert set(json.loads(body)) == {"Code", "Message"}


def test_a_port_in_use_is_one_clear_message() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortUnavailable, match=f"port {port} is in use: choose another"):
            Front(port)


def test_the_headers_are_those_of_the_declared_policy() -> None:
    policy = {
        "securityHeadersConfig": {
            "contentSecurityPolicy": {
                "contentSecurityPolicy": "default-src 'none'",
                "override": True,
            },
            "contentTypeOptions": {"override": True},
            "frameOptions": {"frameOption": "DENY", "override": True},
            "referrerPolicy": {"referrerPolicy": "no-referrer", "override": True},
            "strictTransportSecurity": {
                "accessControlMaxAgeSec": 60,
                "includeSubdomains": True,
                "override": True,
            },
        },
        "customHeadersConfig": {"items": [{"header": "X-Own", "value": "1", "override": True}]},
    }
    assert headers_of_policy(policy) == {
        "Content-Security-Policy": "default-src 'none'",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Strict-Transport-Security": "max-age=60; includeSubDomains",
        "X-Own": "1",
    }
