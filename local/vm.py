"""The virtual machines: boots every instance in the emulator's books as a process.

The emulator only keeps the books of EC2. This host watches them: for each new instance
of the stack it runs the launch template's user data with bash, in a folder of its own,
with a metadata service of its own and a ``shutdown`` command that terminates it. When
an instance leaves the books, everything that came out of its user data is killed at
once, as when a real one loses its power.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.account import RoleSession
from local.cage import Cage
from local.child import SYSTEM_PATH
from local.loop import Loop
from local.metadata import Identity, MetadataService
from local.scratch import remove_tree

if TYPE_CHECKING:
    from collections.abc import Mapping

    from local.account import Account

SPOT_SECONDS = 120.0
"""How long before EC2 takes a Spot instance back it says so."""

_WATCH_SECONDS = 0.3
_CONSOLE = "console.log"
_BOOT_LOG = "boot.log"
_SHUTDOWN = Path(__file__).with_name("shutdown.sh")


@dataclass
class Machine:
    """A virtual machine that is running: its process tree and its folder."""

    instance_id: str
    folder: Path
    metadata: MetadataService
    cage: Cage
    taken_back_at: float = field(default=float("inf"))

    @property
    def pid(self) -> int:
        """The root of the machine's process tree."""
        return self.cage.pid

    @property
    def root(self) -> Path:
        """The folder that ``boot.sh`` works in: its log, the worker, the jobs."""
        return self.folder / "root"

    @property
    def powers_off_at(self) -> float:
        """When its power goes off, in seconds since the epoch."""
        with contextlib.suppress(FileNotFoundError):
            return min(self.taken_back_at, float((self.folder / "power-off-at").read_text()))
        return self.taken_back_at

    def end(self) -> None:
        """Kill all of it at once, and free its disk but for its log."""
        self.cage.kill()
        self.metadata.stop()
        with contextlib.suppress(FileNotFoundError, PermissionError):  # not yet; a closed folder
            (self.root / _BOOT_LOG).rename(self.folder / _BOOT_LOG)
        remove_tree(self.root)


class Host:
    """Runs the machines of one stack.

    ``endpoint`` is the address that machines which boot from now on know AWS by.

    :param template_id: the launch template whose latest version is the machines' own.
    :param tag: key and value that mark the stack's instances.
    """

    def __init__(
        self, account: Account, template_id: str, tag: tuple[str, str], scratch: Path
    ) -> None:
        self.endpoint = account.url
        self._account = account
        self._template_id = template_id
        self._tag = tag
        self._scratch = scratch
        self._machines: dict[str, Machine] = {}
        self._ended: set[str] = set()
        self._lock = threading.RLock()
        self.loop = Loop("the host of the virtual machines", self._watch, _WATCH_SECONDS)

    def start(self) -> None:
        """Begin to watch the books."""
        self.loop.start()

    def stop(self) -> None:
        """Stop watching and end every machine."""
        self.loop.stop()
        with self._lock:
            for instance_id in list(self._machines):
                self._end(instance_id)

    def machines(self) -> list[Machine]:
        """Return the machines that run now, oldest first."""
        with self._lock:
            return list(self._machines.values())

    def log(self, instance_id: str) -> str:
        """Return what a machine, running or gone, has printed: console, then ``boot.log``."""
        folder = self._scratch / instance_id
        logs = [folder / _CONSOLE, folder / "root" / _BOOT_LOG, folder / _BOOT_LOG]
        return "".join(log.read_text(errors="replace") for log in logs if log.is_file())

    def kill(self, instance_id: str) -> None:
        """Cut a machine's power: all its processes die at once, then EC2 terminates it."""
        with self._lock:
            self._end(instance_id)
        self._terminate([instance_id])

    def spot_notice(self, instance_id: str, *, seconds: float = SPOT_SECONDS) -> None:
        """Announce that EC2 takes a machine back in ``seconds``, and do so then."""
        with self._lock:
            machine = self._machines[instance_id]
            machine.metadata.announce_interruption(seconds)
            machine.taken_back_at = time.time() + seconds

    def _watch(self) -> None:
        with self._lock:
            self._cut_power()
            booked = self._booked()
            for instance_id in set(self._machines) - set(booked):
                self._end(instance_id)
            for instance_id in set(booked) - set(self._machines) - self._ended:
                self._machines[instance_id] = self._boot(booked[instance_id])

    def _cut_power(self) -> None:
        now = time.time()
        due = [
            key
            for key, machine in self._machines.items()
            if machine.powers_off_at <= now or not machine.cage.running
        ]
        for instance_id in due:
            self._end(instance_id)
        if due:
            self._terminate(due)

    def _booked(self) -> dict[str, Mapping[str, Any]]:
        """Return the stack's instances that should run, by id, oldest first."""
        pages = self._account.client("ec2").get_paginator("describe_instances")
        key, value = self._tag
        filters = [
            {"Name": f"tag:{key}", "Values": [value]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
        found = [
            instance
            for page in pages.paginate(Filters=filters)
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        ]
        found.sort(key=lambda instance: instance["LaunchTime"])
        return {instance["InstanceId"]: instance for instance in found}

    def _boot(self, instance: Mapping[str, Any]) -> Machine:
        instance_id: str = instance["InstanceId"]
        folder = self._prepare_folder(instance_id)
        user_data = folder / "user-data"
        user_data.write_bytes(self._user_data())
        metadata = MetadataService(self._identity(instance))
        metadata.start()
        with (folder / _CONSOLE).open("wb") as console:
            cage = Cage(
                ["bash", str(user_data)],
                env=_environment(folder, self.endpoint, metadata.url),
                cwd=folder,
                output=console,
                linger=True,  # without a power-off a machine runs on, as on EC2
            )
        return Machine(instance_id, folder, metadata, cage)

    def _prepare_folder(self, instance_id: str) -> Path:
        folder = self._scratch / instance_id
        for part in ("", "bin", "home", "tmp", "root"):
            (folder / part).mkdir()
            # The script's user, who is not ours, has to get to its job's folder.
            (folder / part).chmod(0o711)
        shutil.copyfile(_SHUTDOWN, folder / "bin" / "shutdown")
        (folder / "bin" / "shutdown").chmod(0o755)
        return folder

    def _user_data(self) -> bytes:
        versions = self._account.client("ec2").describe_launch_template_versions(
            LaunchTemplateId=self._template_id, Versions=["$Latest"]
        )
        return base64.b64decode(
            versions["LaunchTemplateVersions"][0]["LaunchTemplateData"]["UserData"]
        )

    def _identity(self, instance: Mapping[str, Any]) -> Identity:
        profile = instance["IamInstanceProfile"]["Arn"].rpartition("/")[2]
        answer = self._account.client("iam").get_instance_profile(InstanceProfileName=profile)
        role = answer["InstanceProfile"]["Roles"][0]
        session = RoleSession(self._account, role["Arn"], instance["InstanceId"])
        return Identity(
            instance_id=instance["InstanceId"],
            region=self._account.region,
            role_name=role["RoleName"],
            credentials=session.credentials,
        )

    def _end(self, instance_id: str) -> None:
        machine = self._machines.pop(instance_id)
        self._ended.add(instance_id)
        machine.end()

    def _terminate(self, instance_ids: list[str]) -> None:
        self._account.client("ec2").terminate_instances(InstanceIds=instance_ids)


def _environment(folder: Path, endpoint: str, metadata: str) -> dict[str, str]:
    """Return what a machine's processes see: no credentials, and nothing of ours."""
    commands = [str(folder / "bin"), str(Path(sys.executable).parent), SYSTEM_PATH]
    return {
        "PATH": os.pathsep.join(commands),
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata,
        "ADDENDUM_ROOT": str(folder / "root"),
    }
