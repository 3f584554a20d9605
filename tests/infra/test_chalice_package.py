"""Chalice as a compiler: the same app gives the same bytes, and failures are loud."""

from __future__ import annotations

import hashlib
import os
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pytest

from infra.chalice_package import (
    ChaliceAppError,
    Package,
    check_binaries,
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
CONFIG = """{"version": "2.0", "app_name": "tiny", "stages": {"api": {
    "lambda_memory_size": 320, "lambda_timeout": 17}}}"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A small app in a folder of its own."""
    folder = tmp_path / "tiny"
    (folder / ".chalice").mkdir(parents=True)
    (folder / ".chalice/config.json").write_text(CONFIG)
    (folder / "app.py").write_text(APP)
    (folder / "requirements.txt").touch()
    return folder


def _package(folder: Path, build: Path | None = None) -> Package:
    return package(
        folder,
        stage="api",
        build_folder=build or folder.parent / "build",
        runtime="python3.13",
        architecture="arm64",
    )


def _digest(package: Package) -> str:
    return hashlib.sha256(package.zip_path.read_bytes()).hexdigest()


def test_functions_and_routes_come_from_the_app(app: Path) -> None:
    result = _package(app)
    worker = result.functions["worker"]
    assert (worker.handler, worker.memory_size, worker.timeout) == ("app.worker", 320, 17)
    assert result.functions["api_handler"].handler == "app.app"
    assert result.swagger is not None
    assert "/hello/{name}" in result.swagger


def test_an_app_without_routes_has_no_api(app: Path) -> None:
    (app / "app.py").write_text(APP.replace('@app.route("/hello/{name}")', ""))
    result = _package(app)
    assert result.swagger is None
    assert set(result.functions) == {"worker"}


@pytest.mark.parametrize("name", ["api", "processor"])
def test_the_same_app_gives_the_same_bytes(name: str, tmp_path: Path) -> None:
    first, second = (_package(ROOT / name, tmp_path / str(number)) for number in (1, 2))
    assert _digest(first) == _digest(second)
    assert first.swagger == second.swagger


def test_file_modes_and_times_do_not_matter(app: Path) -> None:
    first = _package(app, app.parent / "first")
    (app / "app.py").chmod(0o600)
    os.utime(app / "app.py", (0, 0))
    assert _digest(_package(app, app.parent / "second")) == _digest(first)


def test_symlinks_are_packaged_by_content(app: Path) -> None:
    (app.parent / "shared.py").write_text("VALUE = 42\n")
    (app / "vendor").mkdir()
    (app / "vendor/shared.py").symlink_to("../../shared.py")
    first = _package(app)
    with zipfile.ZipFile(first.zip_path) as archive:
        assert archive.read("shared.py") == b"VALUE = 42\n"
    (app.parent / "shared.py").write_text("VALUE = 43\n")
    assert _digest(_package(app)) != _digest(first)


def test_an_unchanged_app_is_not_packaged_again(app: Path) -> None:
    first = _package(app)
    before = first.zip_path.stat().st_mtime_ns
    assert _package(app).zip_path.stat().st_mtime_ns == before


def test_nothing_is_written_into_the_app(app: Path) -> None:
    before = sorted(app.rglob("*"))
    _package(app)
    assert sorted(app.rglob("*")) == before


def test_what_chalice_left_behind_does_not_count(app: Path) -> None:
    first = _package(app)
    (app / ".chalice/deployments").mkdir()
    (app / ".chalice/deployments/old.zip").write_bytes(b"old")
    assert _package(app).zip_path == first.zip_path


def test_runs_at_the_same_time_do_not_disturb_each_other(app: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        packages = list(pool.map(_package, [app] * 2))
    assert len({each.zip_path for each in packages}) == 1
    assert [path.name for path in packages[0].zip_path.parent.parent.iterdir()] == [
        packages[0].zip_path.parent.name
    ]


def test_a_folder_without_an_app_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ChaliceAppError, match=r"nothing has no app\.py"):
        _package(tmp_path / "nothing")


def test_a_failing_package_step_shows_what_chalice_said(app: Path) -> None:
    (app / "app.py").write_text("raise RuntimeError('broken on purpose')\n")
    with pytest.raises(ChaliceAppError, match=r"(?s)chalice package failed.*broken on purpose"):
        _package(app)
    assert list((app.parent / "build").iterdir()) == []


def test_code_that_chalices_policy_analysis_cannot_read_is_no_obstacle(app: Path) -> None:
    """It would derive a policy that nobody uses, and can crash on ordinary code."""
    text = APP + "\n\ndef _count(one: list) -> int:\n    return sum(dict(x) for x in one)\n"
    (app / "app.py").write_text(text)
    assert _package(app).functions


@pytest.mark.parametrize(
    ("decorator", "kind"),
    [
        ('@app.schedule("rate(1 minute)")', "aws_cloudwatch_event_rule"),
        ('@app.on_sqs_message(queue="q")', "aws_lambda_event_source_mapping"),
    ],
)
def test_event_sources_of_chalices_own_are_refused(app: Path, decorator: str, kind: str) -> None:
    (app / "app.py").write_text(f"{APP}\n\n{decorator}\ndef on_event(event):\n    pass\n")
    with pytest.raises(ChaliceAppError, match=kind):
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


def test_a_package_with_a_wheel_for_another_platform_is_refused(app: Path) -> None:
    (app / "vendor").mkdir()
    (app / "vendor/libfast.so").write_bytes(_library(0x3E))
    with pytest.raises(ChaliceAppError, match=r"libfast\.so in .* vendor folder"):
        _package(app)
