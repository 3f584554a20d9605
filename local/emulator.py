"""The AWS emulator: ``ministack`` as a child process on a loopback port of its own.

With ``AUTH=true`` it enforces signatures, form policies and IAM on S3, DynamoDB, SQS
and the roles of functions. Objects live in its memory, where a 1 GiB job needs 5 GB for
a while. Its other way, ``S3_PERSIST=1``, needs hardly less, since it handles every
object whole, and reads a whole file for each part of a download: minutes instead of
seconds. While it takes in 1 GiB it answers nothing else for some 20 seconds.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys
from typing import TYPE_CHECKING

from local import account
from local.cage import Cage
from local.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

_READY_SECONDS = 30.0


class EmulatorError(Exception):
    """The emulator did not start. The message ends with the tail of its log."""


class Emulator:
    """A running emulator.

    :param scratch: an existing folder for its log, its objects and its functions' code.
    :raises EmulatorError: if it ends, or is not ready in time.
    """

    def __init__(self, scratch: Path, region: str) -> None:
        self.log = scratch / "emulator.log"
        port = free_port()
        root = account.new_root()
        with self.log.open("wb") as output:
            self._cage = Cage(
                [sys.executable, "-m", "ministack"],
                env=_environment(scratch, port, region, root),
                cwd=scratch,
                output=output,
            )
        self.account = account.Account(f"http://{HOST}:{port}", region, root)
        self._await_ready(port)

    def _await_ready(self, port: int) -> None:
        def ready() -> bool:
            return not self.running or answers(port, "/_ministack/health")

        try:
            wait_until(ready, seconds=_READY_SECONDS, what="the emulator's start")
        except TimeoutError as error:
            self.stop()
            raise EmulatorError(f"{error}\n{tail(self.log)}") from None
        if not self.running:
            self.stop()
            raise EmulatorError(f"the emulator ended at once\n{tail(self.log)}")

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._cage.running

    def stop(self) -> None:
        """End it and its functions' processes."""
        self.account.close()
        self._cage.kill()


def _environment(
    scratch: Path, port: int, region: str, root: account.Credentials
) -> dict[str, str]:
    """Return all that the emulator, and so every function in it, gets to see."""
    return {
        "PATH": SYSTEM_PATH,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": root.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MINISTACK_REGION": region,
        # It would tidy up containers that other copies of it have left behind.
        "DOCKER_HOST": f"unix://{scratch}/no-docker",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def free_port() -> int:
    """Return a loopback port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, path: str) -> bool:
    """Whether a GET on a loopback port answers 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def tail(log: Path, characters: int = 2000) -> str:
    """Return the end of a log file."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - characters))
        return file.read().decode(errors="replace").strip()
