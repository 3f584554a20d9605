"""One run of the whole system along every path, as evidence of what each role needs."""

from __future__ import annotations

import json
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psutil
import requests
from transfer import PART_BYTES, Transfer

import jobs
from bench.backstage import workers
from tests.e2e.person import Person, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet
    from pathlib import Path

    from local.system import LocalSystem

OBEDIENT = b"""#!/bin/bash
text=$(<"$2")
case $text in
  fail) echo 'as told' >&2; exit 1 ;;
  again) exit 75 ;;
esac
while [[ -d $text ]]; do sleep 0.05; done
cat "$1" "$2" >"$3"
"""
"""A script that fails, asks for another try or waits for a folder to go, as its text says."""

MANY = 30
"""So many jobs at once that two machines are wanted: then the deciders look back, too."""

RECEIVED_AGAIN_AFTER = 5
"""Seconds until a message comes again that went to a machine just killed."""


class FullRun:
    """Drives a running system; :meth:`all_paths` is the run. It ends without machines.

    :param folder: an empty folder that a script's user can see.
    """

    def __init__(self, system: LocalSystem, folder: Path) -> None:
        self._system = system
        self._folder = folder
        self._person = Person(system.url)
        self._exports = system.deployment.exports

    def all_paths(self) -> None:
        """Take every path that calls AWS, once."""
        with self._impatient_queue():
            self._every_route()
            self._minutes_that_end_machines_and_launch_some()
            with self._content("script", OBEDIENT):
                self._many_new_records()
                replaced = self._an_upload_that_is_replaced()
                self._a_script_that_fails_and_one_that_asks_again()
            self._person.wait(replaced)
            self._a_job_handed_back()
            self._end(self._machines())
            with self._content("worker", b"broken"):
                self._a_machine_that_cannot_boot()
        self._uploads_that_break_off()

    def _every_route(self) -> None:
        person = self._person
        shown = person.wait(person.submit(b"x" * (PART_BYTES + 1)))
        assert person.download(shown).content == b"x" * (PART_BYTES + 1) + b" more"
        for path in (f"files?ids={shown['id']}", "limits", "health"):
            assert requests.get(f"{person.url}/api/{path}", timeout=30).status_code == 200

    def _minutes_that_end_machines_and_launch_some(self) -> None:
        """Machines cannot be made older, but the reconciler can be told of a shorter life.

        With a template that is not there it asks for machines in vain, which is quicker.
        """
        told = {jobs.Env.MAX_LIFE: "-600", jobs.Env.LAUNCH_TEMPLATE_ID: "lt-00000000000000000"}
        with self._told("reconciler", **told):
            self._invoke("reconciler", {"time": str(time.time())})
            until(lambda: not self._machines(), "the machines to be terminated")
            for number in range(MANY):
                self._system.client("sqs").send_message(
                    QueueUrl=self._exports["queue_url"], MessageBody=f"garbage {number}"
                )
            answer = self._invoke("reconciler", {"time": str(time.time())})
            assert "launched nothing" in answer

    def _a_machine_that_cannot_boot(self) -> None:
        self._person.record()
        until(self._machines, "a machine to boot")
        until(lambda: not self._machines(), "the machine to give up")

    def _many_new_records(self) -> None:
        record = {"dynamodb": {"SequenceNumber": str(time.time())}}
        self._invoke("stream-handler", {"Records": [record] * MANY})

    def _an_upload_that_is_replaced(self) -> str:
        """While the machines boot, so that the first message finds the second file."""
        recorded = self._person.record().json()
        for content in (b"first", b"second"):
            self._person.upload(recorded["upload"], content)
        job_id: str = recorded["id"]
        return job_id

    def _a_script_that_fails_and_one_that_asks_again(self) -> None:
        person = self._person
        failing, again = person.submit(b"", "fail"), person.submit(b"", "again")
        assert "as told" in person.wait(failing)["error"]
        until(lambda: person.look(again)["attempts"], "the first try")
        until(lambda: person.look(again)["status"] == jobs.PENDING, "another try to be due")
        self._a_dead_letter(again)
        assert person.wait(again)["status"] == jobs.FAILED

    def _a_dead_letter(self, job_id: str) -> None:
        upload = jobs.Upload(job_id, "bucket", f"{jobs.INPUT_PREFIX}{job_id}/a.txt", "etag", 1)
        record = {"messageId": "another", "body": jobs.announcement(upload)}
        self._invoke("dead-letter-handler", {"Records": [record]})

    def _a_job_handed_back(self) -> None:
        """What a spot notice orders, SIGTERM orders at once. Another machine takes the job."""
        wait = self._folder / "wait"
        wait.mkdir()
        waiting = self._person.submit(b"input", str(wait))
        until(lambda: self._person.look(waiting)["status"] == jobs.RUNNING, "the job to run")
        table = jobs.JobTable(self._system.client("dynamodb"), self._exports["table"])
        self._end({table.get(waiting).instance_id})
        wait.rmdir()
        assert self._person.wait(waiting)["status"] == jobs.SUCCEEDED

    def _machines(self) -> set[str]:
        return {machine.instance_id for machine in self._system.host.machines()}

    def _end(self, instance_ids: AbstractSet[str | None]) -> None:
        """Let workers go home at once, and wait until their machines have powered off."""
        for machine in self._system.host.machines():
            if machine.instance_id in instance_ids:
                for worker in workers(machine.pid):
                    with suppress(psutil.NoSuchProcess):
                        worker.terminate()
        until(lambda: not instance_ids & self._machines(), "the machines to power off")

    def _uploads_that_break_off(self) -> None:
        """With the machine's role: the file vanishes between two parts."""
        client = self._system.role("fleet").client("s3")
        path = self._folder / "large"
        client.meta.events.register(
            "after-call.s3.CreateMultipartUpload", lambda **_: path.unlink()
        )
        for prefix in (jobs.OUTPUT_PREFIX, jobs.LOG_PREFIX):
            path.write_bytes(bytes(PART_BYTES + 1))
            with suppress(FileNotFoundError):
                Transfer(client).upload(path, self._exports["data_bucket"], f"{prefix}broken")

    def _function(self, key: str) -> str:
        """Return the name of a function of the processor, by its key in ``log_groups``."""
        kind = "aws:lambda/function:Function"
        return self._system.deployment.find(kind, name=f"processor-{key}").id

    def _invoke(self, key: str, event: dict[str, Any]) -> str:
        answer = self._system.client("lambda").invoke(
            FunctionName=self._function(key), Payload=json.dumps(event).encode()
        )
        text: str = answer["Payload"].read().decode()
        return text

    @contextmanager
    def _impatient_queue(self) -> Iterator[None]:
        """Start with an empty queue that shows messages again soon."""
        sqs, queue = self._system.client("sqs"), self._exports["queue_url"]
        before = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])
        sqs.purge_queue(QueueUrl=queue)
        changed = {"VisibilityTimeout": str(RECEIVED_AGAIN_AFTER)}
        sqs.set_queue_attributes(QueueUrl=queue, Attributes=changed)
        try:
            yield
        finally:
            sqs.set_queue_attributes(QueueUrl=queue, Attributes=before["Attributes"])

    @contextmanager
    def _told(self, key: str, **changes: str) -> Iterator[None]:
        """Change a function's environment for a while."""
        client, name = self._system.client("lambda"), self._function(key)
        before = client.get_function_configuration(FunctionName=name)["Environment"]
        changed = {"Variables": {**before["Variables"], **changes}}
        client.update_function_configuration(FunctionName=name, Environment=changed)
        try:
            yield
        finally:
            client.update_function_configuration(FunctionName=name, Environment=before)

    @contextmanager
    def _content(self, name: str, content: bytes) -> Iterator[None]:
        """Put other content under the key of the worker's bundle or the script for a while."""
        s3, bucket = self._system.client("s3"), self._exports["data_bucket"]
        listed = s3.list_objects_v2(Bucket=bucket, Prefix=f"{jobs.SCRIPT_PREFIX}{name}-")
        (key,) = [one["Key"] for one in listed["Contents"]]
        before = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        s3.put_object(Bucket=bucket, Key=key, Body=content)
        try:
            yield
        finally:
            s3.put_object(Bucket=bucket, Key=key, Body=before)
