"""The whole system on one machine, from the emulator to the front."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import jobs
from local import deploy
from local.api import Api
from local.child import tail
from local.emulator import Emulator
from local.front import Front, Routes, headers_of_policy
from local.gateway import GatewayResponses
from local.narrator import Narrator
from local.scratch import scratch_folder
from local.vm import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from local.account import Account

PROJECT = Path(__file__).resolve().parent.parent
DEFAULT_REGION = "us-east-1"
EMULATOR_OFFSET = 10_000
"""How far the emulator's port is from the front's: not next to it, where others start theirs."""


class PartEnded(Exception):
    """A part of the running system ended by itself. The message says which, and why."""


def _silent(_: str) -> None:
    return


class LocalSystem:
    """A context manager: the system runs within its block.

    ``url`` is the front's address, ``account`` the emulator's, ``access_log`` a file with
    the decisions of its IAM, ``deployment`` what the Pulumi program made, ``host`` runs
    the virtual machines.

    :param port: the front's port; 0 for any free one. The emulator's is 10,000 above it, if
        that can be had, since a page that is open still uploads there after a restart.
    :param config: configuration over the defaults, as ``{"addendum:max_instances": 1}``.
    :param say: takes each line of progress and narration.
    :raises PortUnavailable: if the port cannot be had.
    :raises StartError: if the emulator or the API does not start.
    :raises DeployError: if the Pulumi program fails.
    """

    url: str
    account: Account
    access_log: Path
    deployment: deploy.Deployment
    host: Host

    def __init__(
        self,
        port: int = 0,
        config: Mapping[str, Any] | None = None,
        *,
        project: Path = PROJECT,
        say: Callable[[str], None] = _silent,
    ) -> None:
        self._port = port
        self._config = config or {}
        self._project = project
        self._say = say
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Start all parts, each as soon as those it needs are there."""
        with contextlib.ExitStack() as stack:
            self._front = Front(self._port)  # first: a port in use stops us at once
            stack.callback(self._front.stop)
            self.url = self._front.url
            scratch = stack.enter_context(scratch_folder())
            self._say(f"Logs, while it runs: {scratch}")
            self._start_emulator(stack, scratch)
            self._deploy(scratch)
            self._start_host(stack, scratch)
            self._start_api(stack, scratch)
            self._serve()
            self._start_narrator(stack)
            stack.callback(self._end_emulator)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all parts, the last one first, and leave nothing behind."""
        self._stack.close()

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service, as the account's root user."""
        return self.account.client(service)

    def role(self, name: str) -> Account:
        """Return the account as a role sees it, by the role's logical name."""
        seen = self.account.within(self.deployment.role_arn(name))
        self._stack.callback(seen.close)
        return seen

    def check(self) -> None:
        """Look whether all parts still run.

        :raises PartEnded: naming the first that does not.
        """
        for process in (self._emulator.process, self._api.process):
            if not process.running:
                raise PartEnded(f"{process.name} ended by itself\n{tail(process.log)}")
        for loop in (self.host.loop, self._narrator.loop):
            if loop.error is not None:
                raise PartEnded(f"{loop.name} failed: {loop.error}") from loop.error

    def _start_emulator(self, stack: contextlib.ExitStack, scratch: Path) -> None:
        self._say("Starting the AWS emulator ...")
        region = self._config.get("aws:region", DEFAULT_REGION)
        port = self._port + EMULATOR_OFFSET if self._port else 0
        self._emulator = Emulator(scratch, region, port)
        stack.callback(self._emulator.stop)
        self.account = self._emulator.account
        self.access_log = self._emulator.access_log

    def _end_emulator(self) -> None:
        """End it before the rest, so that nobody waits for an answer of it any more."""
        self.host.loop.cancel()
        self._narrator.loop.cancel()
        self._emulator.stop()

    def _deploy(self, scratch: Path) -> None:
        self._say("Deploying the Pulumi program into it ...")
        port = self._front.server_port
        origins = {
            "addendum:site_origins": [f"http://127.0.0.1:{port}", f"http://localhost:{port}"],
            "addendum:upload_origin": self.account.url,
        }
        config = deploy.configuration(self._config, origins)
        self.deployment = deploy.deploy(self._project, self.account, scratch, config)

    def _start_host(self, stack: contextlib.ExitStack, scratch: Path) -> None:
        machines = scratch / "vm"
        machines.mkdir()
        machines.chmod(0o711)
        environment = self._processor_environment()
        tag = (jobs.STACK_TAG, environment[jobs.Env.STACK])
        template: str = self.deployment.exports["launch_template"]
        self.host = Host(self.account, template, tag, machines)
        stack.callback(self.host.stop)
        self.host.start()

    def _processor_environment(self) -> Mapping[str, str]:
        """Return the environment of a function that launches, which knows the tag."""
        for resource in self.deployment.resources:
            variables: Mapping[str, str]
            variables = (resource.outputs.get("environment") or {}).get("variables") or {}
            if jobs.Env.STACK in variables:
                return variables
        raise LookupError(f"no function has {jobs.Env.STACK} in its environment")

    def _start_api(self, stack: contextlib.ExitStack, scratch: Path) -> None:
        self._say("Starting the API ...")
        made: str = self.deployment.exports["api_function"]
        function = self.deployment.find("aws:lambda/function:Function", made=made)
        self._api = Api(self.account, function, self._project / "api", scratch)
        stack.callback(self._api.stop)

    def _serve(self) -> None:
        rest_api = self.deployment.find("aws:apigateway/restApi:RestApi")
        self._front.serve(
            Routes(
                s3=self.client("s3"),
                site_bucket=self.deployment.exports["site_bucket"],
                api_port=self._api.port,
                page_headers=self._page_headers(),
                gateway_responses=GatewayResponses(rest_api.outputs["body"]),
            )
        )

    def _page_headers(self) -> dict[str, str]:
        kind = "aws:cloudfront/responseHeadersPolicy:ResponseHeadersPolicy"
        declared = [resource for resource in self.deployment.resources if resource.type == kind]
        return headers_of_policy(declared[0].outputs) if declared else {}

    def _start_narrator(self, stack: contextlib.ExitStack) -> None:
        exports = self.deployment.exports
        self._narrator = Narrator(
            self.account,
            self.host,
            table=exports["table"],
            bucket=exports["data_bucket"],
            write=self._say,
        )
        stack.callback(self._narrator.stop)
        self._narrator.start()
