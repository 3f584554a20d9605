"""The API: ``chalice local`` with the environment and the role of the API function.

The credentials come the way a container gets them: from a loopback address, with a
token, and newer ones whenever the SDK asks, so that they never run out.
https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
"""

from __future__ import annotations

import os
import secrets
import sys
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from local.account import RoleSession
from local.cage import Cage
from local.emulator import HOST, SYSTEM_PATH, answers, free_port, tail
from local.loopback import Handler, Server
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.account import Account, Credentials
    from local.deploy import Resource

STAGE = "api"
_READY_SECONDS = 30.0
_CHALICE = "from chalice.cli import main; main()"


class ApiError(Exception):
    """The API did not start. The message ends with the tail of its log."""


class CredentialsService(Server):
    """Hands out a role's credentials to whoever shows the token."""

    def __init__(self, credentials: Callable[[], Credentials]) -> None:
        super().__init__(_CredentialsHandler)
        self.token = secrets.token_urlsafe(32)
        self.credentials = credentials


class _CredentialsHandler(Handler):
    server: CredentialsService

    def do_GET(self) -> None:  # noqa: N802
        """Answer with the credentials."""
        shown = self.headers.get("Authorization", "")
        if not secrets.compare_digest(shown.encode(), self.server.token.encode()):
            self.answer_json(HTTPStatus.UNAUTHORIZED, {"message": "wrong token"})
            return
        credentials = self.server.credentials()
        assert credentials.expires_at is not None
        self.answer_json(
            HTTPStatus.OK,
            {
                "AccessKeyId": credentials.access_key_id,
                "SecretAccessKey": credentials.secret_access_key,
                "Token": credentials.session_token,
                "Expiration": credentials.expires_at.isoformat(),
            },
        )


class Api:
    """A running ``chalice local``.

    :param function: the API function as the program declares it.
    :raises ApiError: if it ends, or is not ready in time.
    """

    def __init__(self, account: Account, function: Resource, app: Path, scratch: Path) -> None:
        self.log = scratch / "api.log"
        self.port = free_port()
        session = RoleSession(account, function.outputs["role"], function.id)
        self._credentials = CredentialsService(session.credentials)
        self._credentials.start()
        command = [sys.executable, "-c", _CHALICE, "local", "--no-autoreload"]
        with self.log.open("wb") as output:
            self._cage = Cage(
                [*command, "--host", HOST, "--port", str(self.port), "--stage", STAGE],
                env=_environment(function, account, self._credentials, scratch),
                cwd=app,
                output=output,
            )
        self._await_ready()

    def _await_ready(self) -> None:
        def ready() -> bool:
            return not self.running or answers(self.port, "/health")

        try:
            wait_until(ready, seconds=_READY_SECONDS, what="the API's start")
        except TimeoutError as error:
            self.stop()
            raise ApiError(f"{error}\n{tail(self.log)}") from None
        if not self.running:
            self.stop()
            raise ApiError(f"the API ended at once\n{tail(self.log)}")

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._cage.running

    def stop(self) -> None:
        """End it."""
        self._cage.kill()
        self._credentials.stop()


def _environment(
    function: Resource, account: Account, credentials: CredentialsService, scratch: Path
) -> dict[str, str]:
    """Return what Lambda would give the function, and where AWS is."""
    declared: dict[str, str] = function.outputs["environment"]["variables"]
    return {
        **declared,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), SYSTEM_PATH]),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "AWS_ENDPOINT_URL": account.url,
        "AWS_REGION": account.region,
        "AWS_DEFAULT_REGION": account.region,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{credentials.url}/",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": credentials.token,
    }
