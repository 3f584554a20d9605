"""What the benchmark's measuring parts are made of, where it is more than it seems."""

from __future__ import annotations

import http.client
from email.message import Message
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from bench import stub
from bench.spread import percentile, ratios, spread, told
from bench.wiretap import Wiretap, operation
from local.loopback import Handler, Server

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_spread_is_the_median_between_the_quartiles() -> None:
    assert spread([5, 1, 4, 2, 3]) == {"median": 3, "low": 2, "high": 4, "values": 5}
    assert percentile([10, 20], 0.25) == 12.5
    assert told(spread([0.1, 0.2, 0.3]), " ms", scale=1000) == "200 ms (150 to 250)"


def test_ratios_are_taken_round_by_round() -> None:
    """A machine that was slow for a while was so for both."""
    assert ratios([2, 20, 200], [1, 10, 100])["low"] == 2


@pytest.mark.parametrize(
    ("method", "path", "headers", "name"),
    [
        ("POST", "/", {"X-Amz-Target": "DynamoDB_20120810.UpdateItem"}, "UpdateItem"),
        ("PUT", "/b/output/x", {"Authorization": "Credential=A/d/r/s3/aws4_request"}, "PutObject"),
        ("GET", "/b?list", {"Authorization": "Credential=A/d/r/s3/aws4_request"}, "GetBucket"),
        ("POST", "/", {"Authorization": "Credential=A/d/r/monitoring/aws4_request"}, "monitoring"),
    ],
)
def test_a_call_is_named_by_its_request(
    method: str, path: str, headers: dict[str, str], name: str
) -> None:
    message = Message()
    for header, value in headers.items():
        message[header] = value
    assert operation(method, path, message).startswith(name)


class _Echo(Handler):
    """Answers with what it was sent."""

    def do_PUT(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(HTTPStatus.OK, self.headers["Host"].encode() + body, {"ETag": "e"})

    def do_HEAD(self) -> None:  # noqa: N802
        self.answer(HTTPStatus.OK, b"12345")


@pytest.fixture
def tap() -> Iterator[Wiretap]:
    """A wiretap before a server."""
    echo = Server(_Echo)
    echo.start()
    tap = Wiretap(echo.url, "ROOT")
    tap.start()
    yield tap
    tap.stop()
    echo.stop()


def ask(tap: Wiretap, method: str, key: str) -> tuple[bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", tap.server_port, timeout=5)
    headers = {"Authorization": f"Credential={key}/d/r/s3/aws4_request", "Host": "signed"}
    connection.request(method, "/b/k", b"body" if method == "PUT" else None, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return content, answer.headers


def test_a_wiretap_passes_on_what_is_signed_and_notes_who_asked(tap: Wiretap) -> None:
    content, headers = ask(tap, "PUT", "MACHINE")
    assert content == b"signedbody"
    assert headers["ETag"] == "e"
    ask(tap, "PUT", "ROOT")
    content, headers = ask(tap, "HEAD", "MACHINE")
    assert (content, headers["Content-Length"]) == (b"", "5")
    assert [call.name for call in tap.calls] == ["PutObject", "HeadObject"]


def test_the_stub_tells_operations_apart() -> None:
    json_call = b"POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.GetQueueAttributes\r\n\r\n"
    assert stub.operation(json_call, b"{}") == "GetQueueAttributes"
    assert stub.operation(b"POST / HTTP/1.1\r\n\r\n", b"Action=CreateFleet&x=1") == "CreateFleet"
