"""The metadata service answers as IMDSv2 does."""

from __future__ import annotations

import http.client
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from botocore.utils import InstanceMetadataFetcher

from local.account import Credentials
from local.metadata import TOKEN_HEADER, TTL_HEADER, Identity, MetadataService

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLE = "/latest/meta-data/iam/security-credentials/"


@pytest.fixture
def service() -> Iterator[MetadataService]:
    keys = Credentials("AKID", "secret", "token", datetime(2100, 1, 1, tzinfo=UTC))
    service = MetadataService(Identity("i-123", "eu-west-1", "the-role", lambda: keys))
    service.start()
    yield service
    service.stop()


def ask(
    service: MetadataService, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", service.server_port, timeout=5)
    connection.request(method, path, headers=headers or {})
    answer = connection.getresponse()
    result = answer.status, answer.read().decode()
    connection.close()
    return result


def token(service: MetadataService) -> dict[str, str]:
    status, text = ask(service, "PUT", "/latest/api/token", {TTL_HEADER: "60"})
    assert status == 200
    return {TOKEN_HEADER: text}


@pytest.mark.parametrize("lifetime", [None, "0", "21601", "-1", "soon"])
def test_a_token_needs_a_lifetime_of_at_most_six_hours(
    service: MetadataService, lifetime: str | None
) -> None:
    headers = {} if lifetime is None else {TTL_HEADER: lifetime}
    assert ask(service, "PUT", "/latest/api/token", headers)[0] == 400


@pytest.mark.parametrize("headers", [{}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: "made-up"}])
def test_nothing_is_told_without_a_token(service: MetadataService, headers: dict[str, str]) -> None:
    assert ask(service, "GET", "/latest/meta-data/instance-id", headers)[0] == 401
    assert ask(service, "GET", "/latest/nothing", headers)[0] == 401


def test_a_machine_learns_its_id_region_and_role(service: MetadataService) -> None:
    shown = token(service)
    assert ask(service, "GET", "/latest/meta-data/instance-id", shown) == (200, "i-123")
    assert ask(service, "GET", "/latest/meta-data/placement/region", shown) == (200, "eu-west-1")
    assert ask(service, "GET", ROLE, shown) == (200, "the-role")
    status, text = ask(service, "GET", f"{ROLE}the-role", shown)
    assert status == 200
    assert json.loads(text)["Expiration"] == "2100-01-01T00:00:00Z"


@pytest.mark.parametrize("path", ["/", "/latest/user-data", f"{ROLE}another", "/latest/api/token"])
def test_everything_else_is_unknown(service: MetadataService, path: str) -> None:
    assert ask(service, "GET", path, token(service))[0] == 404


def test_the_sdk_finds_the_credentials_of_the_role(service: MetadataService) -> None:
    fetcher = InstanceMetadataFetcher(timeout=5, num_attempts=1, base_url=service.url)
    found = fetcher.retrieve_iam_role_credentials()
    assert (found["role_name"], found["access_key"], found["token"]) == (
        "the-role",
        "AKID",
        "token",
    )


def test_the_spot_notice_comes_only_when_it_is_announced(service: MetadataService) -> None:
    path = "/latest/meta-data/spot/instance-action"
    assert ask(service, "GET", path, token(service))[0] == 404
    service.announce_interruption(120)
    status, text = ask(service, "GET", path, token(service))
    assert status == 200
    assert json.loads(text)["action"] == "terminate"
