"""What all tests share."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent

TABLE = "FileTable"
BUCKET = "data-bucket"


def load_app(folder: str) -> ModuleType:
    """Import a Chalice app afresh: both are named ``app``, and both cache their clients."""
    spec = importlib.util.spec_from_file_location(f"{folder}_app", ROOT / folder / "app.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that a script's user, who is not ours, can reach.

    Not one of pytest's: all of them are closed to others whenever another run begins.
    """
    with tempfile.TemporaryDirectory(prefix="addendum-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """AWS inside this process, with credentials that open nothing else."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # A session of its own for each test would read boto3's descriptions of AWS again and again.
    with mock_aws(config={"core": {"reset_boto3_session": False}}):
        yield


@pytest.fixture
def dynamodb(aws: None) -> Any:
    """A DynamoDB client with ``FileTable`` made."""
    client = boto3.client("dynamodb")
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[
            {"AttributeName": "id", "AttributeType": "S"},
            {"AttributeName": "instance_id", "AttributeType": "S"},
        ],
        GlobalSecondaryIndexes=[
            {
                "IndexName": jobs.INSTANCE_INDEX,
                "KeySchema": [{"AttributeName": "instance_id", "KeyType": "HASH"}],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
    )
    return client


@pytest.fixture
def table(dynamodb: Any) -> jobs.JobTable:
    """The table of jobs."""
    return jobs.JobTable(dynamodb, TABLE)
