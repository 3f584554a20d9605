"""Runs the real ``__main__.py`` under Pulumi's mocks and keeps what it declares."""

from __future__ import annotations

import asyncio
import json
import runpy
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws
from pulumi.runtime import mocks
from pulumi.runtime.settings import SETTINGS, get_root_resource
from pulumi.runtime.stack import Stack, run_pulumi_func

ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
STACK = "addendum-dev"

with warnings.catch_warnings():
    # The SDK's modules load when first used, and some warn about names of their own.
    warnings.simplefilter("ignore", DeprecationWarning)
    for _module in ("apigateway", "ec2", "iam", "lambda_", "s3"):
        hasattr(getattr(pulumi_aws, _module), "anything")


@dataclass(frozen=True)
class Resource:
    """One declared resource: its type token, logical name and inputs."""

    type: str
    name: str
    inputs: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """The last part of the type, such as ``Bucket``."""
        return self.type.rpartition(":")[2]

    def json(self, key: str) -> Any:
        """An input that holds JSON, parsed."""
        return json.loads(self.inputs[key])


@dataclass(frozen=True)
class Run:
    """All that one run declared, and its exports."""

    resources: list[Resource]
    exports: Mapping[str, Any]
    retained: frozenset[str]
    """Names of what stays when it is no longer declared, or the stack is destroyed."""

    def all(self, kind: str, name: str = "") -> list[Resource]:
        """The resources of a kind whose name contains ``name``."""
        found = [one for one in self.resources if one.kind == kind and name in one.name]
        return sorted(found, key=lambda one: one.name)

    def one(self, kind: str, name: str = "") -> Resource:
        """The only resource of a kind whose name contains ``name``."""
        found = self.all(kind, name)
        assert len(found) == 1, f"{kind} {name!r}: {[one.name for one in found]}"
        return found[0]

    def statements(self, role: str) -> list[dict[str, Any]]:
        """The statements of a role's policy."""
        return list(self.one("RolePolicy", role).json("policy")["Statement"])


class Recorder(mocks.Mocks):
    """Answers as AWS would, with names that are easy to recognise."""

    def __init__(self, region: str, *, preview: bool) -> None:
        self._region = region
        self._preview = preview
        self._lock = threading.Lock()
        self.resources: list[Resource] = []
        self.retained: set[str] = set()

    def look_at_options(self, args: pulumi.ResourceTransformationArgs) -> None:
        """Keep what mocks are not told."""
        if args.opts.retain_on_delete:
            self.retained.add(args.name)

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        if not args.custom:
            return "", {}
        with self._lock:
            self.resources.append(Resource(args.typ, args.name, args.inputs))
        if self._preview:
            # In a preview nothing exists yet: no id, and no output that is not an input.
            return "", dict(args.inputs)
        return f"{args.name}-id", {**self._outputs(args.typ, args.name), **args.inputs}

    def _outputs(self, type_: str, name: str) -> dict[str, Any]:
        service, _, kind = type_.removeprefix("aws:").replace("/", ":").split(":")
        region = "" if service in ("iam", "s3", "cloudfront") else self._region
        account = "" if service == "s3" else ACCOUNT
        resource = {
            "LaunchTemplate": "launch-template/lt-1",
            "Role": f"role/{name}",
            "Table": f"table/{name}",
            "Subnet": f"subnet/{name}",
            "SecurityGroup": f"security-group/{name}",
            "LogGroup": f"log-group:{name}",
            "Distribution": f"distribution/{name}",
        }.get(kind, name)
        arn = f"arn:aws:{_ARN_SERVICES.get(service, service)}:{region}:{account}:{resource}"
        outputs: dict[str, Any] = {"arn": arn, "name": name, "url": f"https://queues/{name}"}
        return {**outputs, **self._special_outputs(kind, name, arn)}

    def _special_outputs(self, kind: str, name: str, arn: str) -> dict[str, Any]:
        host = f"{name}.s3.{self._region}.amazonaws.com"
        api = f"https://abc123.execute-api.{self._region}.amazonaws.com"
        proof = {"resourceRecordName": "_p", "resourceRecordType": "CNAME"}
        outputs: dict[str, dict[str, Any]] = {
            "Bucket": {"bucket": name, "bucketRegionalDomainName": host},
            "Certificate": {"domainValidationOptions": [{**proof, "resourceRecordValue": "_v"}]},
            "Distribution": {"domainName": "d1.cloudfront.net", "hostedZoneId": "Z2"},
            "Function": {"invokeArn": f"arn:aws:apigateway:{self._region}:lambda:path/{arn}"},
            "LaunchTemplate": {"latestVersion": 7},
            "Record": {"fqdn": f"{name}.example.org"},
            "RestApi": {"executionArn": f"arn:aws:execute-api:{self._region}:{ACCOUNT}:abc123"},
            "Stage": {"invokeUrl": f"{api}/api"},
            "Table": {"streamArn": f"{arn}/stream/2026-01-01"},
        }
        return outputs.get(kind, {})

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        zones = [f"{self._region}{letter}" for letter in "abc"]
        answers: dict[str, dict[str, Any]] = {
            "getAvailabilityZones": {"names": zones},
            "getCachePolicy": {"id": f"cache policy {args.args.get('name')}"},
            "getCallerIdentity": {"accountId": ACCOUNT},
            "getOriginRequestPolicy": {"id": f"request policy {args.args.get('name')}"},
            "getPartition": {"partition": "aws", "dnsSuffix": "amazonaws.com"},
            "getRegion": {"region": self._region, "id": self._region},
        }
        return answers[args.token.rpartition(":")[2]], []


_ARN_SERVICES = {"cloudwatch": "logs"}


def run(
    config: Mapping[str, Any] | None = None,
    *,
    region: str = "eu-central-1",
    preview: bool = False,
    program: Path = ROOT / "__main__.py",
) -> Run:
    """Run the program in the current folder and return what it declares.

    :param config: by key, without the namespace.
    """
    recorder = Recorder(region, preview=preview)
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in (config or {}).items()}
    with _event_loop() as loop:
        mocks.set_mocks(recorder, project="addendum", stack="dev", preview=preview)
        pulumi.runtime.set_all_config({f"addendum:{key}": text for key, text in texts.items()})
        exports = loop.run_until_complete(_run(program, recorder))
    return Run(recorder.resources, exports, frozenset(recorder.retained))


@contextmanager
def _event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop whose threads have loops too, as the SDK's mocks want, all closed at the end."""
    loops = [asyncio.new_event_loop()]

    def give_thread_a_loop() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    asyncio.set_event_loop(loops[0])
    loops[0].set_default_executor(ThreadPoolExecutor(4, initializer=give_thread_a_loop))
    try:
        yield loops[0]
    finally:
        _forget_what_a_failed_run_left(loops[0])
        loops[0].run_until_complete(loops[0].shutdown_default_executor())
        asyncio.set_event_loop(None)
        for loop in loops:
            loop.close()


def _forget_what_a_failed_run_left(loop: asyncio.AbstractEventLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    SETTINGS.outputs.clear()
    SETTINGS.rpc_manager.clear()


async def _run(program: Path, recorder: Recorder) -> dict[str, Any]:
    def execute() -> None:
        pulumi.runtime.register_stack_transformation(recorder.look_at_options)
        runpy.run_path(str(program), run_name="__main__")

    await run_pulumi_func(execute)
    stack = get_root_resource()
    assert isinstance(stack, Stack)
    return dict(await pulumi.Output.from_input(stack.outputs).future() or {})
