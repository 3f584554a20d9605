"""The configuration: each key has its effect, a wrong value is one clear error."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

import jobs
from infra import settings
from tests.infra.conftest import CHANGED
from tests.infra.program import ROOT, Run, run

DECLARED = {
    key: value
    for key, value in yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"].items()
    if ":" not in key
}


@pytest.fixture(autouse=True)
def _no_settings_left() -> Iterator[None]:
    yield
    pulumi.runtime.set_all_config({})


def _load(values: dict[str, Any]) -> settings.Settings:
    texts = {key: v if isinstance(v, str) else json.dumps(v) for key, v in values.items()}
    pulumi.runtime.set_all_config({f"addendum:{key}": text for key, text in texts.items()})
    return settings.load()


@pytest.mark.parametrize("key", DECLARED)
def test_every_key_has_a_type_a_default_and_a_description(key: str) -> None:
    declaration = DECLARED[key]
    kinds = {"string": str, "integer": int, "boolean": bool, "array": list}
    assert type(declaration["default"]) is kinds[declaration["type"]]
    assert declaration["description"].endswith(".")


def test_the_settings_are_exactly_the_declared_keys() -> None:
    loaded = _load({})
    values = {**vars(loaded)}
    for group in [name for name, value in values.items() if is_dataclass(value)]:
        values |= vars(values.pop(group))
    assert set(values) == set(DECLARED)


def test_the_defaults_are_those_of_the_design() -> None:
    loaded = _load({})
    assert loaded.uploads == settings.Uploads((".txt",), 2**30, 7)
    assert loaded.machines.backlog_per_instance == 10
    assert loaded.machines.max_instances == 2
    assert loaded.machines.fresh_vm_per_job is False
    assert loaded.machines.idle_seconds == 90
    assert loaded.availability_zones == 2


def test_every_key_is_tried_with_another_value() -> None:
    assert set(CHANGED) == set(DECLARED)
    for key, value in CHANGED.items():
        assert value != DECLARED[key]["default"]


def _variable(run: Run, function: str, name: str) -> Any:
    return run.one("Function", function).inputs["environment"]["variables"][name]


EFFECTS: dict[str, Callable[[Run], Any]] = {
    "file_types": lambda r: _variable(r, "api", jobs.Env.FILE_TYPES),
    "max_file_bytes": lambda r: _variable(r, "api", jobs.Env.MAX_FILE_BYTES),
    "retention_days": lambda r: _variable(r, "api", jobs.Env.RETENTION_DAYS),
    "backlog_per_instance": lambda r: _variable(r, "reconciler", jobs.Env.BACKLOG_PER_INSTANCE),
    "fresh_vm_per_job": lambda r: _variable(r, "reconciler", jobs.Env.FRESH_VM_PER_JOB),
    "max_instances": lambda r: _variable(r, "reconciler", jobs.Env.MAX_INSTANCES),
    "instance_types": lambda r: _variable(r, "reconciler", jobs.Env.INSTANCE_TYPES),
    "spot": lambda r: _variable(r, "reconciler", jobs.Env.SPOT),
    "max_life": lambda r: _variable(r, "reconciler", jobs.Env.MAX_LIFE),
    "lambda_runtime": lambda r: r.one("Function", "api").inputs["runtime"],
    "log_retention_days": lambda r: r.all("LogGroup")[-1].inputs["retentionInDays"],
    "availability_zones": lambda r: len(r.all("Subnet")),
    "api_requests_per_second": lambda r: r.one("MethodSettings").inputs["settings"],
    "api_access_logs": lambda r: "accessLogSettings" in r.one("Stage").inputs,
    "alarm_email": lambda r: [one.inputs["endpoint"] for one in r.all("TopicSubscription")],
    "monthly_budget_usd": lambda r: [one.inputs["limitAmount"] for one in r.all("Budget")],
}
EXPECTED = {
    "file_types": (".txt", ".txt,.md"),
    "max_file_bytes": ("1073741824", "5368709120"),
    "retention_days": ("7", "13"),
    "backlog_per_instance": ("10", "3"),
    "fresh_vm_per_job": ("false", "true"),
    "max_instances": ("2", "5"),
    "instance_types": ("t4g.small,t4g.medium,c7g.medium,m7g.medium", "c7g.xlarge"),
    "spot": ("false", "true"),
    "max_life": ("3600", "7200"),
    "lambda_runtime": ("python3.13", "python3.12"),
    "log_retention_days": (30, 7),
    "availability_zones": (2, 3),
    "api_requests_per_second": (
        {"throttlingRateLimit": 20, "throttlingBurstLimit": 40},
        {"throttlingRateLimit": 5, "throttlingBurstLimit": 10},
    ),
    "api_access_logs": (False, True),
    "alarm_email": ([], ["someone@example.org"]),
    "monthly_budget_usd": ([], ["25"]),
}
SHOWN_ELSEWHERE = {
    "script": "test_fleet: the script's key",
    "job_timeout": "test_fleet: user data",
    "idle_seconds": "test_fleet: user data",
    "site_origins": "test_storage: CORS",
    "upload_origin": "test_site: content security policy",
    "deletion_protection": "test_storage: table and buckets",
    "domain": "test_site: certificate, records",
    "hosted_zone_id": "test_site: records",
}


@pytest.mark.parametrize("key", EFFECTS)
def test_a_key_has_its_effect_in_the_resources(declared: Run, changed: Run, key: str) -> None:
    assert (EFFECTS[key](declared), EFFECTS[key](changed)) == EXPECTED[key]


def test_no_key_is_without_a_test_of_its_effect() -> None:
    assert set(EFFECTS) | set(SHOWN_ELSEWHERE) == set(DECLARED)


WRONG = [
    ("file_types", [], "at least one ending"),
    ("file_types", ["txt"], "a dot"),
    ("file_types", [".TXT"], "without capitals"),
    ("file_types", ".txt", "JSON list of strings"),
    ("file_types", [1], "JSON list of strings"),
    ("max_file_bytes", 0, "from 1 to 5368709120"),
    ("max_file_bytes", 5 * 2**30 + 1, "from 1 to 5368709120"),
    ("max_file_bytes", "1 GB", "whole number"),
    ("max_file_bytes", "1.5", "whole number"),
    ("retention_days", 0, "from 1 to 13"),
    ("retention_days", 14, "from 1 to 13"),
    ("script", "ec2_userdata/nothing.sh", "path of a file"),
    ("script", "", "absolute, or relative to the folder"),
    ("backlog_per_instance", 0, "from 1 to 1000"),
    ("fresh_vm_per_job", "yes", "true or false"),
    ("max_instances", 0, "from 1 to 1000"),
    ("instance_types", [], "at least one Arm instance type"),
    ("instance_types", ["t3.small"], "Arm instance type"),
    ("instance_types", ["m7g.metal"], "none of metal"),
    ("spot", "1", "true or false"),
    ("availability_zones", 0, "from 1 to 6"),
    ("availability_zones", 7, "from 1 to 6"),
    ("job_timeout", 0, "at least 1"),
    ("job_timeout", 43140, "less than 43140"),
    ("idle_seconds", -1, "from 0 to 86400"),
    ("max_life", 1289, "job_timeout + idle_seconds + 300, which is 1290"),
    ("site_origins", ["https://example.org/"], "origins such as"),
    ("site_origins", ["*"], "origins such as"),
    ("upload_origin", "example.org", "an origin such as"),
    ("lambda_runtime", "python3.9", "python3.13"),
    ("deletion_protection", "no", "true or false"),
    ("log_retention_days", 2, "one of 1, 3, 5"),
    ("domain", "https://example.org", "a host name"),
    ("domain", "example.org", "set together with domain"),
    ("hosted_zone_id", "example.org", "id of a Route 53 zone"),
    ("api_requests_per_second", 0, "from 1 to 10000"),
    ("api_access_logs", "maybe", "true or false"),
    ("alarm_email", "someone", "an e-mail address"),
    ("monthly_budget_usd", 0, "from 1 to 1000000"),
]


@pytest.mark.parametrize(("key", "value", "rule"), WRONG)
def test_a_wrong_value_is_one_error_that_names_key_value_and_rule(
    key: str, value: Any, rule: str
) -> None:
    with pytest.raises(settings.SettingsError) as error:
        _load({key: value})
    message = str(error.value)
    assert rule in message
    if "together" not in rule:
        assert f"addendum:{key} is {json.dumps(value)}; it " in message
    assert message.count("\n") == 0


def test_no_key_is_without_a_wrong_value() -> None:
    assert {key for key, _, _ in WRONG} == set(DECLARED)


def test_a_key_that_does_not_exist_is_one_clear_error() -> None:
    with pytest.raises(settings.SettingsError, match=r"; is max_instances meant\? Pulumi\.yaml"):
        _load({"max_instance": 3})
    with pytest.raises(settings.SettingsError, match=r"color is no setting\. Pulumi\.yaml"):
        _load({"color": "red"})


def test_nothing_is_created_when_a_value_is_wrong() -> None:
    with pytest.raises(settings.SettingsError):
        run({"retention_days": 30})


def test_the_example_stack_can_be_destroyed(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "Pulumi.dev.yaml").read_text())["config"]
    loaded = _load({key.removeprefix("addendum:"): value for key, value in values.items()})
    assert loaded.deletion_protection is False


def test_another_script_is_a_matter_of_configuration(tmp_path: Path) -> None:
    script = tmp_path / "upper.sh"
    shutil.copy(ROOT / "ec2_userdata/append.sh", script)
    assert _load({"script": os.fspath(script)}).machines.script == script
