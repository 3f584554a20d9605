"""Runs the real Pulumi program, unmodified, against the emulator.

This is a process of its own, as under the Pulumi engine: the program's modules, the
SDK's global state and a program that never ends stay out of the system's process. The
SDK's mocks stand where the engine would: each resource that the program declares is
created by :mod:`local.resources`, and its real ids and ARNs go back to the program.

Usage: ``python -m local.program REQUEST RESULT``, in the program's folder; both are
JSON files, as :mod:`local.deploy` writes and reads them.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
import threading
from pathlib import Path
from typing import Any

import pulumi
import yaml
from pulumi.runtime import mocks
from pulumi.runtime.settings import get_root_resource
from pulumi.runtime.stack import Stack, run_pulumi_func

from local import resources
from local.account import Account, Credentials
from local.resources import data_sources
from local.resources.declared import CannotCreate, Declared, whole


class Engine(mocks.Mocks):
    """Answers the program as engine and provider would, out of the emulator.

    The SDK calls it from several threads at a time.
    """

    def __init__(self, account: Account, project: str) -> None:
        self._account = account
        self._project = project
        self._lock = threading.Lock()
        self.records: list[dict[str, Any]] = []
        self.failure: CannotCreate | None = None

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        """Create a resource; a component has nothing to create."""
        if not args.custom:
            return "", {}
        inputs = whole(args.inputs)
        declared = Declared(args.typ, args.name, inputs, self._project, self._account)
        try:
            created = resources.create(declared)
        except CannotCreate as failure:
            self.failure = self.failure or failure
            raise
        outputs = {**inputs, **created.outputs}
        with self._lock:
            self.records.append(
                {"type": args.typ, "name": args.name, "id": created.id, "outputs": outputs}
            )
        return created.id, outputs

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        """Answer a data source."""
        try:
            return data_sources.answer(self._account, args.token, args.args), []
        except CannotCreate as failure:
            self.failure = self.failure or failure
            raise


def main(request_file: Path, result_file: Path) -> int:
    """Run the program and write what it made. Return the exit code."""
    request = json.loads(request_file.read_text())
    account = Account(request["url"], request["region"], Credentials(*request["root"]))
    project = yaml.safe_load(Path("Pulumi.yaml").read_text())["name"]
    engine = Engine(account, project)
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    mocks.set_mocks(engine, project=project, stack=request["stack"], preview=False)
    pulumi.runtime.set_all_config(request["config"])
    try:
        exports = loop.run_until_complete(_run())
    except Exception as error:
        if engine.failure is None and not isinstance(error, pulumi.RunError):
            raise
        print(engine.failure or error, file=sys.stderr)
        return 1
    result = {"exports": exports, "resources": engine.records}
    result_file.write_text(json.dumps(result, default=_shown))
    return 0


async def _run() -> dict[str, Any]:
    await run_pulumi_func(_program)
    stack = get_root_resource()
    assert isinstance(stack, Stack)
    exports = await pulumi.Output.from_input(stack.outputs).future()
    return dict(exports or {})


def _program() -> None:
    runpy.run_path("__main__.py", run_name="__main__")


def _shown(value: object) -> str:
    """Return an asset, which JSON has no form for, as its path."""
    return str(getattr(value, "path", value))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
