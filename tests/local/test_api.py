"""The credentials of the API come the way a container gets them."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from botocore.utils import ContainerMetadataFetcher

from local.account import Credentials
from local.api import CredentialsService

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def service() -> Iterator[CredentialsService]:
    keys = Credentials("AKID", "secret", "token", datetime(2100, 1, 1, tzinfo=UTC))
    service = CredentialsService(lambda: keys)
    service.start()
    yield service
    service.stop()


def test_the_sdk_finds_them(service: CredentialsService) -> None:
    headers = {"Authorization": service.token}
    found = ContainerMetadataFetcher().retrieve_full_uri(f"{service.url}/", headers)
    assert (found["AccessKeyId"], found["Token"]) == ("AKID", "token")


@pytest.mark.parametrize("shown", [None, "another"])
def test_nobody_else_does(service: CredentialsService, shown: str | None) -> None:
    headers = {} if shown is None else {"Authorization": shown}
    request = urllib.request.Request(service.url, headers=headers)
    with pytest.raises(urllib.error.HTTPError, match="401") as refusal:
        urllib.request.urlopen(request)
    refusal.value.close()
