"""What a function that creates a resource gets, and small helpers they share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from local.account import Account

ACCOUNT_ID = "000000000000"


@dataclass(frozen=True)
class Declared:
    """A resource as the program declares it, and where to make it.

    :param inputs: the provider's own property names, as in ``forceDestroy``.
    """

    type: str
    name: str
    inputs: Mapping[str, Any]
    project: str
    account: Account

    def client(self, service: str) -> Any:
        """Return the boto3 client of a service."""
        return self.account.client(service)

    def arn(self, service: str, resource: str, *, region: str | None = None) -> str:
        """Return the ARN of a resource of this account; IAM's and S3's have no region."""
        region = self.account.region if region is None else region
        return f"arn:aws:{service}:{region}:{ACCOUNT_ID}:{resource}"

    def physical_name(self, key: str = "name") -> str:
        """Return the name given under ``key``, or one by the pattern of ``Pulumi.yaml``."""
        given: str | None = self.inputs.get(key)
        return given or f"{self.project}-{self.name}-{secrets.token_hex(4)[:7]}"


@dataclass(frozen=True)
class Created:
    """What the provider would answer: the id, and outputs beside the inputs."""

    id: str
    outputs: Mapping[str, Any]


Create = Callable[[Declared], Created]


class CannotCreate(Exception):
    """The emulator has no such resource, or refuses it."""


def pascal(value: Any) -> Any:
    """Return ``value`` with all its keys as boto3 spells them: ``batchSize`` is ``BatchSize``."""
    if isinstance(value, Mapping):
        return {key[0].upper() + key[1:]: pascal(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [pascal(inner) for inner in value]
    return value


def whole(value: Any) -> Any:
    """Return ``value`` with whole numbers as int: the SDK passes all numbers as float."""
    if isinstance(value, Mapping):
        return {key: whole(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [whole(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def chosen(inputs: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return the inputs named in ``names`` that are set, under boto3's names for them."""
    return {
        ours: inputs[theirs] for theirs, ours in names.items() if inputs.get(theirs) is not None
    }
