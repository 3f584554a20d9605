"""What an operator can set: read, checked and frozen before anything is created.

``Pulumi.yaml`` declares every key with its type and default, and this module reads
both from there, so that they are written once. What a type cannot say is a rule here.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import pulumi
import yaml
from pulumi.runtime.config import CONFIG, get_config_env

NAMESPACE = "addendum"

QUEUE_LIMIT_SECONDS = 12 * 3600
"""The longest that a message can be held without being lost:
https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

WIND_DOWN_SECONDS = 300
"""What a virtual machine needs besides a job and its wait: to boot, fetch and upload."""


LOG_RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731)
"""Some of the days that CloudWatch Logs allows:
https://docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutRetentionPolicy.html
"""


class SettingsError(pulumi.RunError):
    """A configuration value breaks a rule. The message names key, value and rule."""


@dataclass(frozen=True)
class Uploads:
    """What may be uploaded, and for how long it is kept. ``Pulumi.yaml`` describes each key."""

    file_types: tuple[str, ...]
    max_file_bytes: int
    retention_days: int


@dataclass(frozen=True)
class Machines:
    """The virtual machines: which, how many, how long. Times in seconds."""

    script: Path
    instance_types: tuple[str, ...]
    spot: bool
    fresh_vm_per_job: bool
    backlog_per_instance: int
    max_instances: int
    job_timeout: int
    idle_seconds: int
    max_life: int


@dataclass(frozen=True)
class OwnDomain:
    """A host name of one's own for the page, and its zone. Both empty means CloudFront's."""

    domain: str
    hosted_zone_id: str


@dataclass(frozen=True)
class ApiLimits:
    """The API's rate, and whether it writes access logs."""

    api_requests_per_second: int
    api_access_logs: bool


@dataclass(frozen=True)
class Functions:
    """What all functions share."""

    lambda_runtime: str
    log_retention_days: int


@dataclass(frozen=True)
class Alerts:
    """Whom to tell, and at which cost a month."""

    alarm_email: str
    monthly_budget_usd: int


@dataclass(frozen=True)
class Settings:
    """The whole configuration. A component gets the part that it needs."""

    uploads: Uploads
    machines: Machines
    domain: OwnDomain
    api: ApiLimits
    functions: Functions
    alerts: Alerts
    availability_zones: int
    site_origins: tuple[str, ...]
    upload_origin: str
    deletion_protection: bool


_Group = TypeVar("_Group")
_GROUPS = {
    "uploads": Uploads,
    "machines": Machines,
    "domain": OwnDomain,
    "api": ApiLimits,
    "functions": Functions,
    "alerts": Alerts,
}


def load(project_file: Path = Path("Pulumi.yaml")) -> Settings:
    """Return the stack's settings.

    :raises SettingsError: for the first value that breaks a rule.
    """
    declared = yaml.safe_load(project_file.read_text())["config"]
    _refuse_unknown_keys(declared)
    config = pulumi.Config(NAMESPACE)
    values = {
        key: _typed(key, config.get(key), declaration)
        for key, declaration in declared.items()
        if ":" not in key
    }
    for key, value in values.items():
        _check(key, value, *_RULES.get(key, _ANYTHING))
    _check_together(values)
    values["script"] = Path(values["script"])
    groups: dict[str, Any] = {name: _pick(kind, values) for name, kind in _GROUPS.items()}
    return _pick(Settings, {**values, **groups})


def _pick(kind: type[_Group], values: Mapping[str, Any]) -> _Group:
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: values[name] for name in names})


def _refuse_unknown_keys(declared: Mapping[str, Any]) -> None:
    for key in sorted({**get_config_env(), **CONFIG.get()}):
        namespace, _, name = key.partition(":")
        if namespace == NAMESPACE and name not in declared:
            near = difflib.get_close_matches(name, declared, 1)
            raise SettingsError(
                f"{key} is no setting{f'; is {near[0]} meant?' if near else '.'} Pulumi.yaml lists"
                f" them all. Remove it with: pulumi config rm {key}"
            )


def _typed(key: str, text: str | None, declaration: Mapping[str, Any]) -> Any:
    kind = declaration["type"]
    value = declaration["default"] if text is None else _TYPES[kind](key, text)
    return tuple(value) if kind == "array" else value


def _boolean(key: str, text: str) -> bool:
    _check(key, text, lambda value: value in ("true", "false"), "must be true or false")
    return text == "true"


def _integer(key: str, text: str) -> int:
    _check(key, text, _INTEGER.fullmatch, "must be a whole number")
    return int(text)


def _strings(key: str, text: str) -> list[str]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    _check(
        key,
        text if value is None else value,
        lambda _: _are_strings(value),
        'must be a JSON list of strings, as ["a"]',
    )
    return list(value)


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_INTEGER = re.compile(r"-?[0-9]+")
_TYPES: Mapping[str, Callable[[str, str], Any]] = {
    "string": lambda _, text: text,
    "boolean": _boolean,
    "integer": _integer,
    "array": _strings,
}


def _check(key: str, value: Any, holds: Callable[[Any], object], rule: str) -> None:
    if not holds(value):
        shown = list(value) if isinstance(value, tuple) else value
        raise SettingsError(
            f"{NAMESPACE}:{key} is {json.dumps(shown)}; it {rule}."
            f" Change it with: pulumi config set {NAMESPACE}:{key} ..."
        )


def _between(low: int, high: int) -> tuple[Callable[[int], bool], str]:
    return (lambda value: low <= value <= high), f"must be from {low} to {high}"


def _every(pattern: str) -> Callable[[tuple[str, ...]], bool]:
    compiled = re.compile(pattern)
    return lambda values: all(compiled.fullmatch(value) for value in values)


_ORIGIN = r"https?://[a-z0-9.-]+(:[0-9]+)?"
_ARM_TYPE = r"[a-z]+[0-9]+g[a-z]*\.(nano|micro|small|medium|large|[0-9]*xlarge)"
_ANYTHING: tuple[Callable[[Any], bool], str] = ((lambda _: True), "")
_RULES: Mapping[str, tuple[Callable[[Any], object], str]] = {
    "file_types": (
        lambda values: values and _every(r"\.[^\s,/\\A-Z]{1,20}")(values),
        "must list at least one ending, each a dot and up to 20 characters, without capitals",
    ),
    "max_file_bytes": _between(1, 5 * 2**30),
    "retention_days": _between(1, 13),
    "script": (
        lambda value: Path(value).is_file(),
        "must be the path of a file: absolute, or relative to the folder of Pulumi.yaml",
    ),
    "backlog_per_instance": _between(1, 1000),
    "max_instances": _between(1, 1000),
    "instance_types": (
        lambda values: values and _every(_ARM_TYPE)(values),
        "must list at least one Arm instance type, such as t4g.small, and none of metal",
    ),
    "availability_zones": _between(1, 6),
    "job_timeout": (
        lambda value: 1 <= value < QUEUE_LIMIT_SECONDS - 60,
        f"must be at least 1 and less than {QUEUE_LIMIT_SECONDS - 60}, the longest that the"
        " queue can hold a message",
    ),
    "idle_seconds": _between(0, 86400),
    "max_life": _between(1, 7 * 86400),
    "site_origins": (_every(_ORIGIN), "must list origins such as https://files.example.org"),
    "upload_origin": (
        lambda value: not value or _every(_ORIGIN)((value,)),
        "must be empty or an origin such as https://files.example.org",
    ),
    "log_retention_days": (
        lambda value: value in LOG_RETENTIONS,
        f"must be one of {', '.join(map(str, LOG_RETENTIONS))}",
    ),
    "domain": (
        lambda value: not value or _every(r"([a-z0-9-]+\.)+[a-z]{2,}")((value,)),
        "must be empty or a host name such as files.example.org",
    ),
    "hosted_zone_id": (
        lambda value: not value or _every(r"Z[A-Z0-9]+")((value,)),
        "must be empty or the id of a Route 53 zone, such as Z0123456789ABC",
    ),
    "api_requests_per_second": _between(1, 10000),
    "alarm_email": (
        lambda value: not value or _every(r"[^@\s]+@[^@\s]+\.[^@\s]+")((value,)),
        "must be empty or an e-mail address",
    ),
    "monthly_budget_usd": _between(1, 1000000),
    "lambda_runtime": (
        lambda value: _every(r"python3\.1[1-4]")((value,)),
        "must be one of python3.11, python3.12, python3.13, python3.14",
    ),
}


def _check_together(values: Mapping[str, Any]) -> None:
    least = values["job_timeout"] + values["idle_seconds"] + WIND_DOWN_SECONDS
    _check(
        "max_life",
        values["max_life"],
        lambda value: value >= least,
        f"must be at least job_timeout + idle_seconds + {WIND_DOWN_SECONDS}, which is {least},"
        " or a machine could never finish a job",
    )
    _check(
        "hosted_zone_id",
        values["hosted_zone_id"],
        lambda value: bool(value) == bool(values["domain"]),
        "must be set together with domain, and only then",
    )
