"""Chalice as a compiler: an app folder in, a Lambda zip and an API description out.

``chalice package`` writes a cache into the app, and its zip depends on file modes and
on the order of directory entries. So it runs on a copy with symlinks resolved, and
the zip is written anew: the same app gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import pulumi

from infra.build_folder import move_into_place

NO_SOURCE = shutil.ignore_patterns("__pycache__", "*.pyc", ".venv", ".mypy_cache", ".ruff_cache")
CHALICE_LEAVINGS = shutil.ignore_patterns("deployments", "deployed")
"""What Chalice itself writes into an app's ``.chalice`` folder."""

TAKEN_OVER = frozenset(
    {
        "aws_lambda_function",
        "aws_api_gateway_rest_api",
        "aws_api_gateway_deployment",
        "aws_lambda_permission",
        "aws_iam_role",
        "aws_iam_role_policy",
    }
)
"""Kinds of Chalice's resources that :class:`infra.chalice_app.ChaliceApp` declares itself."""

ELF_MACHINES = {"x86_64": 0x3E, "arm64": 0xB7}
"""https://refspecs.linuxfoundation.org/elf/gabi4+/ch4.eheader.html and the Arm supplement."""


class ChaliceAppError(pulumi.RunError):
    """The app cannot be packaged or deployed as it is. The message says what to do."""


@dataclass(frozen=True)
class PackagedFunction:
    """One Lambda function as Chalice describes it. Memory in MB, timeout in seconds."""

    name: str
    handler: str
    memory_size: int
    timeout: int


@dataclass(frozen=True)
class Package:
    """What ``chalice package`` made of an app."""

    zip_path: Path
    functions: Mapping[str, PackagedFunction]
    swagger: str | None
    """The API as Swagger 2.0 with Terraform placeholders, if the app has routes."""


def package(
    folder: Path, *, stage: str, build_folder: Path, runtime: str, architecture: str
) -> Package:
    """Package the app in ``folder``, unless the same app has been packaged before.

    :raises ChaliceAppError: if the folder has no app, if Chalice fails, if the app asks
        for something that is not taken over, or if the zip could not run on Lambda.
    """
    if not (folder / "app.py").is_file():
        raise ChaliceAppError(f"{folder} has no app.py: it must be the folder of a Chalice app")
    target = build_folder / f"{folder.name}-{fingerprint(folder, stage)}"
    if not target.is_dir():
        build_folder.mkdir(parents=True, exist_ok=True)
        _build(folder, stage, target)
    template = json.loads((target / "chalice.tf.json").read_text())
    zip_path = target / "deployment.zip"
    check_binaries(zip_path, runtime, architecture)
    return _read(template, zip_path, folder)


def fingerprint(folder: Path, stage: str) -> str:
    """Return a hash of all that the package depends on."""
    tools = f"{stage} {metadata.version('chalice')} {sys.version_info[:2]}"
    digest = hashlib.sha256(tools.encode() + Path(__file__).read_bytes())
    for name, path in sorted(_files(folder)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"\n{name} {content}".encode())
    return digest.hexdigest()[:16]


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the app's files with their names in it. Links to folders are followed."""
    for directory, folders, files in os.walk(folder, followlinks=True):
        ignored = NO_SOURCE(directory, [*folders, *files])
        if Path(directory).name == ".chalice":
            ignored |= CHALICE_LEAVINGS(directory, folders)
        folders[:] = [name for name in folders if name not in ignored]
        for name in set(files) - ignored:
            path = Path(directory, name)
            yield path.relative_to(folder).as_posix(), path


def _build(folder: Path, stage: str, target: Path) -> None:
    """Build in a folder of our own and move it into place at once: runs may overlap."""
    scratch = Path(tempfile.mkdtemp(dir=target.parent))
    try:
        app, out = scratch / "app", scratch / "out"
        for name, path in _files(folder):
            copy = app / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        _use_no_role(app / ".chalice" / "config.json")
        _run_chalice(app, out, stage, folder)
        _rewrite_zip(out / "deployment.zip")
        move_into_place(out, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _use_no_role(config: Path) -> None:
    """Keep Chalice from deriving a policy: nobody uses it, and some code makes that crash."""
    if config.is_file():
        values = json.loads(config.read_text())
        values.update(manage_iam_role=False, iam_role_arn="declared elsewhere")
        config.write_text(json.dumps(values))


def _run_chalice(app: Path, out: Path, stage: str, folder: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "import sys; from chalice.cli import main; sys.exit(main())",
        "package",
    ]
    command += ["--pkg-format", "terraform", "--stage", stage, str(out.resolve())]
    result = subprocess.run(
        command,
        cwd=app,
        # Chalice wants a region, and its output does not depend on which.
        env={**os.environ, "AWS_DEFAULT_REGION": "any", "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        raise ChaliceAppError(f"chalice package failed for {folder}:\n{result.stdout}")


def _rewrite_zip(path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(buffer, "w") as target:
        for name in sorted(source.namelist()):
            entry = zipfile.ZipInfo(name)  # from 1980, like all of Chalice's
            entry.external_attr = 0o644 << 16
            target.writestr(entry, source.read(name), zipfile.ZIP_DEFLATED, 9)
    path.write_bytes(buffer.getvalue())


def check_binaries(zip_path: Path, runtime: str, architecture: str) -> None:
    """Check that compiled modules are for the platform that will load them.

    :raises ChaliceAppError: naming the first one that is not.
    """
    with zipfile.ZipFile(zip_path) as archive:
        for name in archive.namelist():
            if ".so" not in Path(name).name:
                continue
            with archive.open(name) as member:
                header = member.read(20)
            if not _fits(name, header, runtime, architecture):
                raise ChaliceAppError(
                    f"{name} in {zip_path} is not for {runtime} on {architecture}: put the"
                    " right wheel, unpacked, into the app's vendor folder"
                )


def _fits(name: str, header: bytes, runtime: str, architecture: str) -> bool:
    if header[:4] != b"\x7fELF":
        return False
    (machine,) = struct.unpack_from("<H", header, 18)
    python = runtime.removeprefix("python").replace(".", "")
    right_python = ".cpython-" not in name or f".cpython-{python}-" in name
    return machine == ELF_MACHINES[architecture] and right_python


def _read(template: Mapping[str, Any], zip_path: Path, folder: Path) -> Package:
    resources = template["resource"]
    strange = sorted(set(resources) - TAKEN_OVER)
    if strange:
        raise ChaliceAppError(
            f"the app in {folder} makes Chalice declare {', '.join(strange)}: declare event"
            " sources, layers and authorizers in Pulumi, and give the app plain"
            " @app.lambda_function handlers"
        )
    functions = {
        name: _function(name, values)
        for name, values in resources.get("aws_lambda_function", {}).items()
    }
    return Package(zip_path, functions, template.get("locals", {}).get("chalice_api_swagger"))


def _function(name: str, values: Mapping[str, Any]) -> PackagedFunction:
    wanted = {key: values[key] for key in ("handler", "memory_size", "timeout")}
    refuse_placeholders(json.dumps(wanted), f"function {name}")
    return PackagedFunction(name=name, **wanted)


def refuse_placeholders(text: str, where: str) -> None:
    """Check that no Terraform placeholder is left.

    :raises ChaliceAppError: naming the first one.
    """
    start = text.find("${")
    if start >= 0:
        placeholder = text[start : text.find("}", start) + 1]
        raise ChaliceAppError(
            f"{where} still has the placeholder {placeholder}, for which this"
            " component has no value: does the app use an authorizer?"
        )
