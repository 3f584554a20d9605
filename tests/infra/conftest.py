"""The program's runs that tests look at: each is made once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.program import ROOT, Run, run

CHANGED = {
    "file_types": [".txt", ".md"],
    "max_file_bytes": 5 * 2**30,
    "retention_days": 13,
    "script": "ec2_userdata/boot.sh",
    "backlog_per_instance": 3,
    "fresh_vm_per_job": True,
    "max_instances": 5,
    "instance_types": ["c7g.xlarge"],
    "spot": True,
    "availability_zones": 3,
    "job_timeout": 1800,
    "idle_seconds": 30,
    "max_life": 7200,
    "site_origins": ["http://127.0.0.1:8000"],
    "upload_origin": "http://127.0.0.1:4566",
    "lambda_runtime": "python3.12",
    "deletion_protection": False,
    "log_retention_days": 7,
    "domain": "files.example.org",
    "hosted_zone_id": "Z0123456789",
    "api_requests_per_second": 5,
    "api_access_logs": True,
    "alarm_email": "someone@example.org",
    "monthly_budget_usd": 25,
}
"""Every key with another value than its default."""


@pytest.fixture(scope="session", autouse=True)
def _in_the_programs_folder() -> Iterator[None]:
    """The program's paths are relative to its own folder, where Pulumi runs it."""
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture(scope="session")
def declared() -> Run:
    """What the program declares with every key at its default."""
    return run()


@pytest.fixture(scope="session")
def changed() -> Run:
    """What it declares with every key at another value."""
    return run(CHANGED)


@pytest.fixture(scope="session")
def elsewhere() -> Run:
    """What it declares in the region that AWS treats unlike all others."""
    return run(region="us-east-1")


@pytest.fixture(scope="session")
def everything(declared: Run, changed: Run) -> list[Run]:
    """Both, for what must hold whatever the settings."""
    return [declared, changed]


GROUPS = {
    "program": {"declared", "changed", "elsewhere", "everything"},
    "packaging": {"packaged", "other"},
}
"""Fixtures that take seconds to make, by the group whose tests share them."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share what is slow to make in one process, which makes it once."""
    for item in items:
        for name, fixtures in GROUPS.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.xdist_group(name))
