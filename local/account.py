"""The AWS account inside the emulator: its address, its root user, its roles."""

from __future__ import annotations

import os
import secrets
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import botocore.session
from botocore.config import Config

ROLE_SECONDS = 3600
"""Life of a role's credentials, which is also what STS gives by default."""

_RENEW_BEFORE = timedelta(minutes=20)
"""The SDKs ask again 15 minutes before their credentials run out, and want newer ones."""

_CONNECTIONS = 32


@dataclass(frozen=True)
class Credentials:
    """Keys of a principal. ``expires_at`` is None for those of the root user."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    expires_at: datetime | None = None


def new_root() -> Credentials:
    """Return random keys for a root user.

    The emulator takes an all-digit key for an account's number, so these are none.
    """
    return Credentials(f"AKIA{secrets.token_hex(8).upper()}", secrets.token_urlsafe(30))


class Account:
    """Clients for the emulator, made once for each service and safe to share by threads.

    :param url: the emulator's address.
    """

    def __init__(self, url: str, region: str, credentials: Credentials) -> None:
        self.url = url
        self.region = region
        self.credentials = credentials
        self._session = _session(credentials, region)
        self._clients: dict[str, Any] = {}
        self._lock = threading.Lock()

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service, such as ``"s3"``."""
        with self._lock:
            if service not in self._clients:
                config = Config(
                    max_pool_connections=_CONNECTIONS,
                    proxies={},
                    # On loopback nothing gets lost: who does not answer is gone.
                    retries={"mode": "standard", "total_max_attempts": 2},
                )
                self._clients[service] = self._session.client(
                    service, endpoint_url=self.url, config=config
                )
            return self._clients[service]

    def assume(self, role_arn: str, session_name: str) -> Credentials:
        """Return fresh credentials of a role, as the service it trusts would have them."""
        answer = self.client("sts").assume_role(
            RoleArn=role_arn, RoleSessionName=session_name, DurationSeconds=ROLE_SECONDS
        )
        keys = answer["Credentials"]
        return Credentials(
            keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], keys["Expiration"]
        )

    def close(self) -> None:
        """Close the connections that the clients keep open."""
        with self._lock:
            for client in self._clients.values():
                client.close()

    def within(self, role_arn: str, session_name: str = "test") -> Account:
        """Return this account as seen with a role's permissions only."""
        return Account(self.url, self.region, self.assume(role_arn, session_name))


class RoleSession:
    """A role's credentials, at hand without asking and renewed before they run out.

    EC2 and Lambda have them ready too, however busy the account's other services are.
    """

    def __init__(self, account: Account, role_arn: str, name: str) -> None:
        self._account = account
        self._role_arn = role_arn
        self._name = name
        self._lock = threading.Lock()
        self._credentials = self._assume()

    def credentials(self) -> Credentials:
        """Return credentials that are good for some minutes at least."""
        with self._lock:
            assert self._credentials.expires_at is not None
            left = self._credentials.expires_at - datetime.now(UTC)
            if left < _RENEW_BEFORE:
                self._credentials = self._assume()
            return self._credentials

    def _assume(self) -> Credentials:
        return self._account.assume(self._role_arn, self._name)


def _session(credentials: Credentials, region: str) -> boto3.Session:
    """Return a session that heeds nothing of the developer's own AWS configuration."""
    empty = (None, None, os.devnull, None)
    nobody = (None, None, None, None)
    return boto3.Session(
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        aws_session_token=credentials.session_token,
        region_name=region,
        botocore_session=botocore.session.Session(
            session_vars={"config_file": empty, "credentials_file": empty, "profile": nobody}
        ),
    )
