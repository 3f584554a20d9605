"""Chalice as a compiler: the same app gives the same bytes, and failures are loud."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.chalice_package import (
    ELF_MACHINES,
    ChaliceAppError,
    Package,
    check_binaries,
    fingerprint,
    package,
    refuse_placeholders,
)
from tests.infra.program import ROOT

APP = """
from chalice import Chalice
app = Chalice(app_name="tiny")

@app.route("/hello/{name}")
def hello(name):
    return {"hello": name}

@app.lambda_function(name="worker")
def worker(event, context):
    return {}
"""
UNREADABLE = """
def _count(one: list) -> int:
    return sum(dict(x) for x in one)
"""
"""Ordinary code that Chalice's policy analysis crashes on."""

CONFIG = """{"version": "2.0", "app_name": "tiny", "stages": {"api": {
    "lambda_memory_size": 320, "lambda_timeout": 17}}}"""


def _write_app(folder: Path) -> Path:
    (folder / ".chalice").mkdir(parents=True)
    (folder / ".chalice/config.json").write_text(CONFIG)
    (folder / "app.py").write_text(APP)
    (folder / "requirements.txt").touch()
    return folder


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app in a folder of its own."""
    return _write_app(tmp_path / "tiny")


@dataclass(frozen=True)
class Packaged:
    """An app with a bit of everything, and what became of it. Chalice is slow: once for all."""

    folder: Path
    files_before: list[Path]
    at_the_same_time: list[Package]
    """Two runs into one build folder, side by side."""
    of_a_copy: Package
    """Of the same content with other modes and times, and with what Chalice leaves behind."""


@pytest.fixture(scope="session")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Packaged:
    """The app, packaged three times."""
    root = tmp_path_factory.mktemp("packaged")
    folder = _write_app(root / "app/tiny")
    (folder / "app.py").write_text(APP + UNREADABLE)
    (folder / "vendor").mkdir()
    (folder / "vendor/libfast.so").write_bytes(_library(ELF_MACHINES["arm64"]))
    (root / "app/shared.py").write_text("VALUE = 42\n")
    (folder / "vendor/shared.py").symlink_to("../../shared.py")
    copy = shutil.copytree(root / "app", root / "copy", symlinks=True) / "tiny"
    (copy / "app.py").chmod(0o600)
    os.utime(copy / "app.py", (0, 0))
    (copy / ".chalice/deployments").mkdir()
    (copy / ".chalice/deployments/old.zip").write_bytes(b"old")
    files = sorted(folder.rglob("*"))
    builds = [(folder, root / "build"), (folder, root / "build"), (copy, root / "build-of-copy")]
    with ThreadPoolExecutor(3) as pool:
        first, second, other = pool.map(lambda each: _package(*each), builds)
    return Packaged(folder, files, [first, second], other)


def _package(folder: Path, build: Path | None = None, architecture: str = "arm64") -> Package:
    return package(
        folder,
        stage="api",
        build_folder=build or folder.parent / "build",
        runtime="python3.13",
        architecture=architecture,
    )


def _digest(package: Package) -> str:
    return hashlib.sha256(package.zip_path.read_bytes()).hexdigest()


def test_functions_and_routes_come_from_the_app(packaged: Packaged) -> None:
    result = packaged.of_a_copy
    worker = result.functions["worker"]
    assert (worker.handler, worker.memory_size, worker.timeout) == ("app.worker", 320, 17)
    assert result.functions["api_handler"].handler == "app.app"
    assert result.swagger is not None
    assert "/hello/{name}" in result.swagger


@pytest.mark.parametrize("name", ["api", "processor"])
def test_the_same_app_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    first, second = _package(ROOT / name, ROOT / "build/chalice"), _package(ROOT / name, tmp_path)
    assert first.zip_path != second.zip_path
    assert _digest(first) == _digest(second)
    assert first.swagger == second.swagger


def test_file_modes_times_and_what_chalice_left_behind_do_not_matter(packaged: Packaged) -> None:
    first, copy = packaged.at_the_same_time[0], packaged.of_a_copy
    assert copy.zip_path.parent.name == first.zip_path.parent.name
    assert copy.zip_path != first.zip_path
    assert _digest(copy) == _digest(first)


def test_symlinks_are_packaged_by_content(packaged: Packaged) -> None:
    with zipfile.ZipFile(packaged.of_a_copy.zip_path) as archive:
        assert archive.read("shared.py") == b"VALUE = 42\n"


def test_what_a_symlink_leads_to_decides_whether_an_app_has_changed(app: Path) -> None:
    (app.parent / "shared.py").write_text("VALUE = 42\n")
    (app / "vendor").mkdir()
    (app / "vendor/shared.py").symlink_to("../../shared.py")
    before = fingerprint(app, "api")
    (app.parent / "shared.py").write_text("VALUE = 43\n")
    assert fingerprint(app, "api") != before


def test_an_unchanged_app_is_not_packaged_again(packaged: Packaged) -> None:
    zip_path = packaged.at_the_same_time[0].zip_path
    before = zip_path.stat().st_mtime_ns
    again = _package(packaged.folder, zip_path.parent.parent)
    assert again.zip_path == zip_path
    assert zip_path.stat().st_mtime_ns == before


def test_nothing_is_written_into_the_app(packaged: Packaged) -> None:
    assert sorted(packaged.folder.rglob("*")) == packaged.files_before


def test_runs_at_the_same_time_do_not_disturb_each_other(packaged: Packaged) -> None:
    first, second = packaged.at_the_same_time
    assert first.zip_path == second.zip_path
    build = first.zip_path.parent.parent
    assert [path.name for path in build.iterdir()] == [first.zip_path.parent.name]


def test_a_folder_without_an_app_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ChaliceAppError, match=r"nothing has no app\.py"):
        _package(tmp_path / "nothing")


def test_a_failing_package_step_shows_what_chalice_said(app: Path) -> None:
    (app / "app.py").write_text("raise RuntimeError('broken on purpose')\n")
    with pytest.raises(ChaliceAppError, match=r"(?s)chalice package failed.*broken on purpose"):
        _package(app)
    assert list((app.parent / "build").iterdir()) == []


def test_code_that_chalices_policy_analysis_cannot_read_is_no_obstacle(packaged: Packaged) -> None:
    """It would derive a policy that nobody uses, and can crash on ordinary code."""
    assert UNREADABLE in (packaged.folder / "app.py").read_text()
    assert packaged.of_a_copy.functions


def test_event_sources_of_chalices_own_are_refused(app: Path) -> None:
    sources = ('@app.schedule("rate(1 minute)")', '@app.on_sqs_message(queue="q")')
    handlers = (f"{each}\ndef f{n}(event):\n    pass" for n, each in enumerate(sources))
    (app / "app.py").write_text("\n\n".join([APP, *handlers]))
    refused = "aws_cloudwatch_event_rule.*aws_lambda_event_source_mapping"
    with pytest.raises(ChaliceAppError, match=refused):
        _package(app)


def test_a_placeholder_that_is_left_is_named() -> None:
    with pytest.raises(ChaliceAppError, match=r"the API .* \$\{aws_lambda_function\.auth\.arn\}"):
        refuse_placeholders('{"uri": "${aws_lambda_function.auth.arn}"}', "the API")


def _library(machine: int) -> bytes:
    return b"\x7fELF" + bytes(14) + struct.pack("<H", machine) + bytes(44)


@pytest.mark.parametrize(
    ("name", "machine", "fits"),
    [
        ("fast.cpython-313-aarch64-linux-gnu.so", 0xB7, True),
        ("fast.abi3.so", 0xB7, True),
        ("libfast.so.1.2", 0xB7, True),
        ("fast.cpython-313-x86_64-linux-gnu.so", 0x3E, False),
        ("fast.cpython-312-aarch64-linux-gnu.so", 0xB7, False),
        ("libfast.so.1.2", 0x3E, False),
    ],
)
def test_a_compiled_module_must_be_for_the_platform_that_loads_it(
    tmp_path: Path, name: str, machine: int, fits: bool
) -> None:
    path = tmp_path / "deployment.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"fast/{name}", _library(machine))
    expected = pytest.raises(ChaliceAppError, match=r"is not for python3\.13 on arm64")
    with nullcontext() if fits else expected:
        check_binaries(path, "python3.13", "arm64")


def test_a_package_with_a_wheel_for_another_platform_is_refused(packaged: Packaged) -> None:
    build = packaged.of_a_copy.zip_path.parent.parent
    with pytest.raises(ChaliceAppError, match=r"libfast\.so in .* vendor folder"):
        _package(packaged.folder, build, architecture="x86_64")
