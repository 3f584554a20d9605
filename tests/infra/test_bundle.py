"""The worker's bundle: the same bytes for the same inputs, and no more than it needs."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pulumi
import pytest

from infra import bundle
from tests.infra.program import ROOT


@pytest.fixture
def build_folder(tmp_path: Path) -> Path:
    """A build folder with some of the dependencies in it, so that nothing is fetched."""
    installed = bundle.install(bundle.WORKER_FOLDER / "requirements.txt")
    for name in ("jmespath", "s3transfer"):
        shutil.copytree(installed / name, tmp_path / installed.name / name)
    return tmp_path


def test_the_same_inputs_give_the_same_bytes_and_key(build_folder: Path) -> None:
    first = bundle.build(build_folder=build_folder)
    content = first.path.read_bytes()
    first.path.unlink()
    for path in build_folder.rglob("*.py"):
        path.touch(mode=0o600)
    second = bundle.build(build_folder=build_folder)
    assert (second.key, second.path.read_bytes()) == (first.key, content)


def test_a_changed_worker_gets_another_key(build_folder: Path, tmp_path: Path) -> None:
    worker = tmp_path / "worker"
    shutil.copytree(bundle.WORKER_FOLDER, worker)
    before = bundle.build(worker, build_folder)
    with (worker / "worker.py").open("a") as file:
        file.write("# changed\n")
    assert bundle.build(worker, build_folder).key != before.key


def test_it_holds_the_worker_jobs_and_a_boto3_of_its_own() -> None:
    result = bundle.build()
    with tarfile.open(result.path) as archive:
        members = {one.name: one for one in archive}
    assert {"worker.py", "jobs.py", "boto3/__init__.py", "urllib3/__init__.py"} <= set(members)
    data = {name.split("/")[2] for name in members if name.startswith("botocore/data/")}
    services = {name for name in data if not name.endswith(".json")}
    assert services == {"s3", "sqs", "dynamodb", "cloudwatch"}
    assert {"endpoints.json", "partitions.json"} <= data
    assert not any(".dist-info/" in name or "__pycache__" in name for name in members)
    for one in members.values():
        assert (one.mtime, one.uid, one.gid, one.mode) == (0, 0, 0, 0o644)
    assert result.path.stat().st_size < 4 * 2**20
    assert result.key == f"scripts/{result.path.name}"


def test_the_list_of_dependencies_is_exact() -> None:
    lines = (ROOT / "ec2_userdata/requirements.txt").read_text().splitlines()
    requirements = [line for line in lines if line and not line.startswith("#")]
    assert requirements
    assert all("==" in line for line in requirements)


def test_pips_own_words_say_why_it_failed(tmp_path: Path) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("this is not a requirement\n")
    with pytest.raises(pulumi.RunError, match=r"(?s)could not install .*requirement"):
        bundle.install(requirements, tmp_path / "build")
    assert list((tmp_path / "build").iterdir()) == []
