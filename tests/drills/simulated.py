"""A small AWS with a clock of its own, and machines that move only when they are told.

Each machine runs the worker's real loop in a thread, and stops before every call of it.
Whoever holds the strings lets the call happen, fail, happen twice or happen unheard, or
cuts the power, so that any interleaving of any machines can be had, and had again.

SQS is modelled with what its documentation allows: at least once, in any order, again
after the visibility timeout, to the dead letters after 20 receives, and a receipt that
is not the newest moves nothing:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
"""

from __future__ import annotations

import enum
import hashlib
import itertools
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import script
import worker
from botocore.exceptions import ClientError, EndpointConnectionError
from machine import Metadata, Stop
from transfer import InputLost

import jobs
from tests.conftest import BUCKET, TABLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

VISIBILITY = 60
MAX_RECEIVES = 20
MAX_LIFE = 1800
JOB_TIMEOUT = 300
FIRST_WAIT = 360
IDLE = 90


class Fate(enum.Enum):
    """What can become of one call."""

    GOES = "it happens"
    CUT = "the power goes before it"
    CUT_AFTER = "the power goes after it"
    FAILS = "AWS does not answer"
    UNHEARD = "it happens, and the answer is lost for good"
    TWICE = "it happens, the answer is lost, and the SDK sends it again"
    STOPPED = "the order to stop comes before it"


class PowerCut(BaseException):
    """The machine is gone. No ``except Exception`` of its code sees that."""


class Clock:
    """Time, as ``jobs`` and ``worker`` ask for it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@dataclass
class Letter:
    """A message in the queue, and the job it is about."""

    id: str
    body: str
    job_id: str
    visible_at: float
    receives: int = 0

    @property
    def receipt(self) -> str:
        return f"{self.id}/{self.receives}"


class Queue:
    """The work queue, as an SQS client sees it, and its dead letters."""

    def __init__(self, clock: Clock, dice: Callable[[], Random]) -> None:
        self._clock = clock
        self._dice = dice
        self._numbers = itertools.count()
        self.letters: dict[str, Letter] = {}
        self.dead: list[Letter] = []

    def send(self, body: str, job_id: str = "") -> None:
        message_id = f"m{next(self._numbers)}"
        self.letters[message_id] = Letter(message_id, body, job_id, self._clock.now)

    def visible(self) -> list[Letter]:
        return [one for one in self.letters.values() if one.visible_at <= self._clock.now]

    def receive_message(self, **_: Any) -> dict[str, Any]:
        letters = self.visible()
        if not letters:
            return {}
        letter = self._dice().choice(letters)
        if letter.receives >= MAX_RECEIVES:
            self.dead.append(self.letters.pop(letter.id))
            return {}
        letter.receives += 1
        letter.visible_at = self._clock.now + VISIBILITY
        found = {"MessageId": letter.id, "ReceiptHandle": letter.receipt, "Body": letter.body}
        return {"Messages": [found]}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:  # noqa: N803
        letter = self._find(ReceiptHandle)
        if letter is not None:
            del self.letters[letter.id]

    def change_message_visibility(
        self,
        *,
        QueueUrl: str,  # noqa: N803
        ReceiptHandle: str,  # noqa: N803
        VisibilityTimeout: int,  # noqa: N803
    ) -> None:
        letter = self._find(ReceiptHandle)
        if letter is None or letter.visible_at <= self._clock.now:
            raise client_error("MessageNotInflight", 400)
        letter.visible_at = self._clock.now + VisibilityTimeout

    def _find(self, receipt: str) -> Letter | None:
        letter = self.letters.get(receipt.partition("/")[0])
        return letter if letter is not None and letter.receipt == receipt else None


@dataclass
class Store:
    """The bucket, as the worker's ``Transfer`` sees it."""

    objects: dict[str, bytes] = field(default_factory=dict)

    def download(self, upload: jobs.Upload, *, etag: str, to: Path) -> None:
        content = self.objects[upload.key]
        if etag_of(content) != etag:
            raise InputLost("the upload was replaced by another one: send the file again")
        to.write_bytes(content)

    def upload(self, path: Path, bucket: str, key: str) -> None:
        self.objects[key] = path.read_bytes()


class Silent:
    """A service whose answers nobody waits for."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Wire:
    """A client, as one machine sees it: each call meets its fate."""

    def __init__(self, vm: Vm, client: Any) -> None:
        self._vm = vm
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found
        return lambda *args, **named: self._vm.call(lambda: found(*args, **named))


class Patience(Stop):
    """An order to stop that nobody really waits for."""

    def wait(self, seconds: float) -> bool:
        return self.ordered


class Name(Metadata):
    """A machine that only knows its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def instance_id(self) -> str:
        return self._name


class Vm(threading.Thread):
    """A machine: the worker's real loop, from its boot to its end.

    :param clients: by the service's name.
    :param root: a folder that all machines share.
    """

    def __init__(self, name: str, clients: dict[str, Any], clock: Clock, root: Path) -> None:
        super().__init__(name=name, daemon=True)
        self.born = clock.now
        self.over = False
        self.stop = Patience()
        self._fate = Fate.GOES
        self._told, self._still = threading.Semaphore(0), threading.Semaphore(0)
        with pytest.MonkeyPatch.context() as patch:
            wires = {service: Wire(self, client) for service, client in clients.items()}
            patch.setattr(worker, "_client", lambda service: wires.get(service, Silent()))
            patch.setattr(worker, "Transfer", lambda client: client)
            self.worker = worker.Worker(settings_at(clock.now, root), Name(name), self.stop)
        self.start()
        self._still.acquire()

    def run(self) -> None:
        """Work until there is nothing left to do, or the power goes."""
        try:
            self.call(lambda: None)  # fetches the script
            self.worker._take_jobs()
        except (PowerCut, EndpointConnectionError):
            return  # without a worker, boot.sh powers off
        finally:
            self.over = True
            self._still.release()

    def move(self, fate: Fate) -> None:
        """Let it make its next call, with this fate, and run to the one after."""
        assert not self.over
        self._fate = fate
        self._told.release()
        self._still.acquire()

    def renew(self) -> None:
        """Let its heartbeat renew once what it holds."""
        self.worker._queue.renew_until(Beats(1))

    def call(self, effect: Callable[[], Any]) -> Any:
        """Do something that the world can see, once we are told how it ends."""
        if threading.current_thread() is not self:
            return effect()
        self._still.release()
        self._told.acquire()
        fate = self._fate
        if fate is Fate.CUT:
            raise PowerCut
        if fate is Fate.FAILS:
            raise EndpointConnectionError(endpoint_url="https://aws")
        if fate is Fate.STOPPED:
            self.stop.order()
        result = effect()
        if fate is Fate.CUT_AFTER:
            raise PowerCut
        if fate is Fate.UNHEARD:
            raise EndpointConnectionError(endpoint_url="https://aws")
        return effect() if fate is Fate.TWICE else result


class Beats(threading.Event):
    """An event that sets itself after some waits, which take no time."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def wait(self, timeout: float | None = None) -> bool:
        self._left -= 1
        return self._left < 0


def run_script(outcome: Callable[[], str], runs: itertools.count[int]) -> Callable[..., None]:
    """Return a script for all machines. What it writes tells which run of it wrote it."""

    def effect(vm: Vm, files: script.Files) -> None:
        wish = "is killed" if vm.stop.ordered else outcome()
        if wish == "asks for another try":
            raise script.ScriptWantsAnotherTry("the script asked to be tried again")
        if wish != "works":
            raise script.ScriptFailed(f"the script {wish}")
        text = files.input.read_bytes() + files.text.read_bytes()
        files.output.write_bytes(text + f"|run {next(runs)}".encode())

    def run(_: Path, files: script.Files, **__: Any) -> None:
        vm = threading.current_thread()
        assert isinstance(vm, Vm)
        vm.call(lambda: effect(vm, files))

    return run


def settings_at(now: float, root: Path) -> worker.Settings:
    """Return what the infrastructure tells a machine that boots now."""
    return worker.Settings(
        table=TABLE,
        bucket=BUCKET,
        queue_url="",
        script_key="",
        stack="addendum-dev",
        root=root,
        fresh_vm_per_job=False,
        job_timeout=JOB_TIMEOUT,
        first_wait_seconds=FIRST_WAIT,
        idle_seconds=IDLE,
        visibility_timeout=VISIBILITY,
        take_until=now + MAX_LIFE - JOB_TIMEOUT - worker.MARGIN_SECONDS,
    )


def etag_of(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def client_error(code: str, status: int) -> ClientError:
    """Return an error as botocore words it."""
    meta = {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": code, "Message": ""}, "ResponseMetadata": meta}, "Call")
