"""A large file: it passes, and the worker's memory stays flat."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psutil
import pytest
import requests

from local.system import LocalSystem
from tests.e2e.person import Person, until

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBIBYTE = 1024 * 1024
GIBIBYTE = 1024 * MEBIBYTE
MEMORY_LIMIT = 150 * MEBIBYTE


class Memory:
    """The most memory that any worker process had, in bytes."""

    def __init__(self, system: LocalSystem) -> None:
        self.peak = 0
        self._system = system
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.2):
            for machine in self._system.host.machines():
                self._measure(machine.pid)

    def _measure(self, pid: int) -> None:
        try:
            for process in psutil.Process(pid).children(recursive=True):
                if "worker.py" in " ".join(process.cmdline()):
                    self.peak = max(self.peak, process.memory_info().rss)
        except psutil.NoSuchProcess:
            return


def blocks() -> Iterator[bytes]:
    """Yield 1 GiB of blocks that all differ."""
    rest = os.urandom(MEBIBYTE - 8)
    for number in range(GIBIBYTE // MEBIBYTE):
        yield number.to_bytes(8, "big") + rest


def post(form: dict[str, Any], digest: Any) -> int:
    """Post the form with 1 GiB, streamed as a browser does. Return the status."""
    boundary = "boundary-of-the-large-file"
    parts = "".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in form["fields"].items()
    )
    head = (
        f'{parts}--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    ).encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    url = urlsplit(form["url"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=120)
    connection.putrequest("POST", url.path)
    connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
    connection.putheader("Content-Length", str(len(head) + GIBIBYTE + len(tail)))
    connection.endheaders()
    connection.send(head)
    for block in blocks_into(digest):
        connection.send(block)
    connection.send(tail)
    status = connection.getresponse().status
    connection.close()
    return status


def blocks_into(digest: Any) -> Iterator[bytes]:
    for block in blocks():
        digest.update(block)
        yield block


def booked(system: LocalSystem) -> list[Any]:
    """Return the instances that EC2 would still bill, or keep."""
    names = ["pending", "running", "stopping", "stopped"]
    answer = system.client("ec2").describe_instances(
        Filters=[{"Name": "instance-state-name", "Values": names}]
    )
    found: list[Any] = answer["Reservations"]
    return found


def minutes(system: LocalSystem) -> list[Any]:
    """Return what the reconciler has logged: here, only its schedule calls it."""
    group = system.deployment.exports["log_groups"]["reconciler"]
    events: list[Any] = system.client("logs").filter_log_events(logGroupName=group)["events"]
    return events


@pytest.mark.timeout(240)
def test_a_gibibyte_passes_and_its_machine_powers_itself_off() -> None:
    sent, got = hashlib.sha256(), hashlib.sha256()
    config = {"addendum:idle_seconds": 2}
    with LocalSystem(config=config) as system, Memory(system) as memory:
        person = Person(system.url)
        answer = person.record(" more", file_size=GIBIBYTE).json()
        assert post(answer["upload"], sent) == 204
        shown = person.wait(answer["id"], 180)
        assert shown["status"] == "SUCCEEDED", shown
        with requests.get(shown["download_url"], stream=True, timeout=120) as result:
            for block in result.iter_content(MEBIBYTE):
                got.update(block)
        until(lambda: not system.host.machines(), "the machine to power itself off", 30)
        assert booked(system) == []
        until(lambda: minutes(system), "the schedule to run the reconciler")
    sent.update(b" more")
    assert got.digest() == sent.digest()
    assert 20 * MEBIBYTE < memory.peak < MEMORY_LIMIT
