"""The emulator's account, and the credentials of its roles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, cast

import pytest

from local.account import Account, Credentials, RoleSession, new_root

if TYPE_CHECKING:
    from collections.abc import Sequence


class Roles:
    """An account whose roles' credentials last as long as told."""

    def __init__(self, minutes: Sequence[int]) -> None:
        self._minutes = list(minutes)

    def assume(self, role_arn: str, session_name: str) -> Credentials:
        left = timedelta(minutes=self._minutes.pop(0))
        return Credentials(f"{role_arn}/{session_name}/{left}", "s", "t", datetime.now(UTC) + left)


def session(*minutes: int) -> RoleSession:
    return RoleSession(cast(Account, Roles(minutes)), "role", "i-1")


def test_credentials_are_kept_while_they_last() -> None:
    role = session(60)
    assert role.credentials() is role.credentials()


def test_credentials_that_run_out_soon_are_renewed() -> None:
    role = session(16, 60)
    assert role.credentials().access_key_id == "role/i-1/1:00:00"


def test_the_root_user_is_the_account_itself(account: Account) -> None:
    answer = account.client("sts").get_caller_identity()
    assert answer["Arn"] == "arn:aws:iam::000000000000:root"


def test_nobody_else_gets_in(account: Account) -> None:
    stranger = Account(account.url, account.region, new_root())
    with pytest.raises(Exception, match="does not exist in our records"):
        stranger.client("s3").list_buckets()
    stranger.close()


def test_the_developers_own_configuration_does_not_matter(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "no-such-profile")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    again = Account(account.url, account.region, account.credentials)
    again.client("s3").list_buckets()
    again.close()
