"""The worker's bundle: its code, and a boto3 of its own, trimmed to what it uses.

Nothing is installed on a virtual machine when it boots, so a package index that is
down stops no job, and every machine of a version runs the same code. The bundle has
the same bytes for the same inputs, and a key that names them.

``python -m infra.bundle`` fetches the dependencies ahead of time.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pulumi

import jobs
import metrics
from infra.build_folder import move_into_place

WORKER_FOLDER = Path("ec2_userdata")
BUILD_FOLDER = Path("build/worker")
PYTHON_VERSION = "3.9"
"""Amazon Linux 2023's own: https://docs.aws.amazon.com/linux/al2023/ug/python.html"""

COMPRESSION = 6
"""The highest level, 9, takes three times as long and saves one byte in a hundred."""

SERVICES = frozenset({"s3", "sqs", "dynamodb", "cloudwatch"})
"""The services that the worker calls; botocore's descriptions of the others stay out."""


@dataclass(frozen=True)
class Bundle:
    """A finished bundle: the file, and the key it belongs under in the data bucket."""

    path: Path
    key: str


def build(worker_folder: Path = WORKER_FOLDER, build_folder: Path = BUILD_FOLDER) -> Bundle:
    """Build the bundle, unless it is there already."""
    dependencies = install(worker_folder / "requirements.txt", build_folder)
    files = dict(_dependency_files(dependencies))
    files.update({path.name: path for path in sorted(worker_folder.glob("*.py"))})
    files.update({path.name: path for path in map(Path, (jobs.__file__, metrics.__file__))})
    archive = _archive(sorted(files.items()))
    # Named after what is in it: compressed bytes differ between versions of zlib.
    name = f"worker-{hashlib.sha256(archive).hexdigest()[:12]}.tar.gz"
    path = build_folder / name
    if not path.exists():
        _write(path, gzip.compress(archive, COMPRESSION, mtime=0))
    return Bundle(path, f"{jobs.SCRIPT_PREFIX}{name}")


def install(requirements: Path, build_folder: Path = BUILD_FOLDER) -> Path:
    """Install the worker's dependencies into a folder, unless they are there already.

    The requirements are an exact list for Amazon Linux's Python, which pip could not
    resolve from another, so pip must not look for more.

    :raises pulumi.RunError: with pip's own words.
    """
    digest = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    target = build_folder / f"dependencies-{digest}"
    if target.is_dir():
        return target
    build_folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=build_folder))
    try:
        _pip_install(requirements, scratch)
        move_into_place(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target


def _pip_install(requirements: Path, target: Path) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    command += ["--no-deps", "--no-compile", "--only-binary=:all:", "--implementation=py"]
    command += ["--platform=any", f"--python-version={PYTHON_VERSION}", f"--target={target}"]
    command += ["--requirement", str(requirements)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise pulumi.RunError(
            f"pip could not install {requirements} for Python {PYTHON_VERSION}:\n{result.stderr}"
        )


def _dependency_files(root: Path) -> Iterator[tuple[str, Path]]:
    for path in root.rglob("*"):
        relative = path.relative_to(root)
        if path.is_file() and _is_needed(relative):
            yield relative.as_posix(), path


def _is_needed(path: Path) -> bool:
    top, *rest = path.parts
    if top == "bin" or top.endswith(".dist-info") or "__pycache__" in path.parts:
        return False
    if top == "botocore" and rest[0] == "data" and len(rest) > 2:
        return rest[1] in SERVICES
    return not (top == "boto3" and rest[0] in ("data", "examples") and len(rest) > 1)


def _archive(files: Iterable[tuple[str, Path]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, path in files:
            content = path.read_bytes()
            # A fresh TarInfo has no owner, no time and mode 644, whoever builds it.
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _write(path: Path, content: bytes) -> None:
    """Write a file at once, so that a run beside this one never sees half of it."""
    handle, scratch = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(scratch).replace(path)


if __name__ == "__main__":
    print(build().path)
