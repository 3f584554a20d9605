"""The metadata service of one virtual machine, version 2 as its template demands.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from local.loopback import Handler, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.account import Credentials

TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105  a header's name
TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
MAX_TOKEN_SECONDS = 21600

_ROOT = "/latest/"
_ROLES = "meta-data/iam/security-credentials/"


@dataclass(frozen=True)
class Identity:
    """What a machine can learn about itself.

    :param credentials: returns the current credentials of the machine's role.
    """

    instance_id: str
    region: str
    role_name: str
    credentials: Callable[[], Credentials]


class MetadataService(Server):
    """Answers one machine. Every process of the machine can ask, as on EC2."""

    def __init__(self, identity: Identity) -> None:
        super().__init__(_MetadataHandler)
        self._identity = identity
        self._tokens: dict[str, float] = {}
        self._interruption: datetime | None = None

    def announce_interruption(self, seconds: float) -> None:
        """Tell the machine that EC2 takes it back in ``seconds``."""
        self._interruption = datetime.now(UTC) + timedelta(seconds=seconds)

    def new_token(self, seconds: int) -> str:
        """Return a token that is good for so many seconds."""
        token = secrets.token_urlsafe(32)
        self._tokens[token] = time.monotonic() + seconds
        return token

    def is_valid(self, token: str | None) -> bool:
        """Whether this is a token of ours that has not run out."""
        return token is not None and self._tokens.get(token, 0.0) > time.monotonic()

    def look_up(self, path: str) -> str | None:
        """Return what stands under a path below ``/latest/``, if anything does."""
        if path == "meta-data/instance-id":
            return self._identity.instance_id
        if path == "meta-data/placement/region":
            return self._identity.region
        if path in (_ROLES, _ROLES.rstrip("/")):
            return self._identity.role_name
        if path == _ROLES + self._identity.role_name:
            return _as_document(self._identity.credentials())
        if path == "meta-data/spot/instance-action" and self._interruption is not None:
            return json.dumps({"action": "terminate", "time": _iso(self._interruption)})
        return None


class _MetadataHandler(Handler):
    server: MetadataService

    def do_PUT(self) -> None:  # noqa: N802
        """Hand out a token."""
        lifetime = self.headers.get(TTL_HEADER, "")
        if self.path != f"{_ROOT}api/token":
            self.answer(HTTPStatus.NOT_FOUND)
        elif not lifetime.isdecimal() or not 1 <= int(lifetime) <= MAX_TOKEN_SECONDS:
            self.answer(HTTPStatus.BAD_REQUEST)
        else:
            token = self.server.new_token(int(lifetime))
            self.answer(HTTPStatus.OK, token.encode(), {TTL_HEADER: lifetime})

    def do_GET(self) -> None:  # noqa: N802
        """Answer a question that comes with a token."""
        if not self.server.is_valid(self.headers.get(TOKEN_HEADER)):
            self.answer(HTTPStatus.UNAUTHORIZED)
            return
        found = None
        if self.path.startswith(_ROOT):
            found = self.server.look_up(self.path.removeprefix(_ROOT))
        if found is None:
            self.answer(HTTPStatus.NOT_FOUND)
        else:
            self.answer(HTTPStatus.OK, found.encode(), {"Content-Type": "text/plain"})


def _as_document(credentials: Credentials) -> str:
    assert credentials.expires_at is not None
    return json.dumps(
        {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": _iso(datetime.now(UTC)),
            "AccessKeyId": credentials.access_key_id,
            "SecretAccessKey": credentials.secret_access_key,
            "Token": credentials.session_token,
            "Expiration": _iso(credentials.expires_at),
        }
    )


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
