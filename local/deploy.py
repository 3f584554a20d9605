"""Deploys the Pulumi program to the emulator, and tells what came of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from local.cage import Cage
from local.child import tail

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from local.account import Account

STACK = "local"
STACK_FILE = "Pulumi.local.yaml"

_SECONDS = 120.0


class DeployError(Exception):
    """The program failed, or did not end. The message ends with what it said last."""


@dataclass(frozen=True)
class Resource:
    """A resource of the stack: the provider's type and properties, and its real id."""

    type: str
    name: str
    id: str
    outputs: Mapping[str, Any]


@dataclass(frozen=True)
class Deployment:
    """What the program exports and declares."""

    exports: Mapping[str, Any]
    resources: Sequence[Resource]

    def find(self, kind: str, *, name: str | None = None, made: str | None = None) -> Resource:
        """Return the one resource of a type, chosen by logical name or real id.

        :raises LookupError: if there is no such resource, or more than one.
        """
        found = [
            resource
            for resource in self.resources
            if resource.type == kind
            and name in (None, resource.name)
            and made in (None, resource.id)
        ]
        if len(found) != 1:
            raise LookupError(
                f"{len(found)} resources of type {kind} are {name or made or 'there'}"
            )
        return found[0]

    def role_arn(self, name: str) -> str:
        """Return the ARN of the role with this logical name."""
        arn: str = self.find("aws:iam/role:Role", name=name).outputs["arn"]
        return arn


def own_settings(project: Path) -> Mapping[str, Any]:
    """Return the developer's own configuration, from ``Pulumi.local.yaml`` if there is one.

    :raises DeployError: if the file cannot be understood.
    """
    stack_file = project / STACK_FILE
    if not stack_file.is_file():
        return {}
    try:
        stack = yaml.safe_load(stack_file.read_text()) or {}
        return dict(stack.get("config") or {})
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise DeployError(
            f"{stack_file.name} must be a stack's settings, as pulumi config set --stack {STACK}"
            f" writes them: {error!r}"
        ) from error


def configuration(*layers: Mapping[str, Any]) -> dict[str, str]:
    """Return configuration as the Pulumi engine passes it on, all text.

    A later layer counts over an earlier one. The defaults of ``Pulumi.yaml`` are read by
    the program itself.
    """
    merged = {key: value for layer in layers for key, value in layer.items()}
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in merged.items()
    }


def deploy(project: Path, account: Account, scratch: Path, config: Mapping[str, str]) -> Deployment:
    """Run the program in ``project`` and return what it made.

    :raises DeployError: if it fails, or takes longer than two minutes.
    """
    request, result, log = (scratch / f"deploy.{end}" for end in ("request", "result", "log"))
    root = (account.credentials.access_key_id, account.credentials.secret_access_key)
    request.touch(mode=0o600)
    request.write_text(
        json.dumps(
            {
                "url": account.url,
                "region": account.region,
                "root": root,
                "stack": STACK,
                "config": dict(config),
            }
        )
    )
    command = [sys.executable, "-m", "local.program", str(request), str(result)]
    with log.open("wb") as output:
        cage = Cage(command, env=_environment(), cwd=project, output=output)
    try:
        code = cage.wait(_SECONDS)
    except subprocess.TimeoutExpired:
        raise DeployError(f"the program did not end in {_SECONDS:g} s\n{tail(log)}") from None
    finally:
        cage.kill()
    if code != 0:
        raise DeployError(f"the program failed\n{tail(log)}")
    made = json.loads(result.read_text())
    return Deployment(made["exports"], [Resource(**one) for one in made["resources"]])


def _environment() -> dict[str, str]:
    """Return our environment without what would point the program at a real account."""
    foreign = ("AWS_", "PULUMI_")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**inherited, "PATH": path}
