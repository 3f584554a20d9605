"""Starts a server as a caged child on a loopback port, and waits until it answers."""

from __future__ import annotations

import http.client
import os
import socket
from typing import TYPE_CHECKING

from local.cage import Cage
from local.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

HOST = "127.0.0.1"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

_READY_SECONDS = 30.0


class StartError(Exception):
    """A part did not start. The message ends with the tail of its log."""


class ServerProcess:
    """A child that answers HTTP on ``port``.

    :param name: what it is, for errors, as in "the API".
    :param command: program and arguments.
    :param env: its whole environment.
    :param health: the path that answers 200 once it is ready.
    :raises StartError: if it ends, or is not ready within half a minute.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        port: int,
        health: str,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            self._cage = Cage(command, env=env, cwd=cwd, output=output)
        try:
            wait_until(
                lambda: not self.running or answers(port, health),
                seconds=_READY_SECONDS,
                what=f"the start of {name}",
            )
        except TimeoutError as error:
            self.stop()
            raise StartError(f"{error}\n{tail(log)}") from None
        if not self.running:
            self.stop()
            raise StartError(f"{name} ended at once\n{tail(log)}")

    @property
    def running(self) -> bool:
        """Whether its process is alive."""
        return self._cage.running

    def stop(self) -> None:
        """End it and all that it started."""
        self._cage.kill()


def free_port(wish: int = 0) -> int:
    """Return a loopback port that nothing listens on just now: ``wish``, if it can be had."""
    with socket.socket() as probe:
        # As servers do, since closed connections hold a port for a minute:
        # https://man7.org/linux/man-pages/man7/socket.7.html
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wish))
        except (OSError, OverflowError):  # in use, or over 65535
            probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, path: str) -> bool:
    """Whether a GET on a loopback port answers 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def tail(log: Path, characters: int = 2000) -> str:
    """Return the end of a log file."""
    with log.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - characters))
        return file.read().decode(errors="replace").strip()
