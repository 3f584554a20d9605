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
from local.child import HOST, SYSTEM_PATH, ServerProcess, StartError, free_port
from local.loopback import Handler, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.account import Account, Credentials
    from local.deploy import Resource

STAGE = "api"
# Python's servers let 5 connections wait; at the sixth, Linux resets some of them.
_CHALICE = """
import socketserver
socketserver.TCPServer.request_queue_size = 128
from chalice.cli import main
main()
"""


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
    :raises StartError: if it ends, or is not ready in time.
    """

    def __init__(self, account: Account, function: Resource, app: Path, scratch: Path) -> None:
        self.port = free_port()
        session = RoleSession(account, function.outputs["role"], function.id)
        self._credentials = CredentialsService(session.credentials)
        self._credentials.start()
        try:
            self.process = self._start(account, function, app, scratch)
        except StartError:
            self._credentials.stop()
            raise

    def _start(
        self, account: Account, function: Resource, app: Path, scratch: Path
    ) -> ServerProcess:
        command = [sys.executable, "-c", _CHALICE, "local", "--no-autoreload"]
        return ServerProcess(
            "the API",
            [*command, "--host", HOST, "--port", str(self.port), "--stage", STAGE],
            env=_environment(function, account, self._credentials, scratch),
            cwd=app,
            log=scratch / "api.log",
            port=self.port,
            health="/health",
        )

    def stop(self) -> None:
        """End it."""
        self.process.stop()
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
