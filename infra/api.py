"""The API: the function that records jobs and signs uploads, and its REST API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi

import jobs
from infra import policies
from infra.chalice_app import API_HANDLER, ChaliceApp, ChaliceAppArgs, FunctionArgs
from infra.settings import Uploads
from infra.storage import Storage


@dataclass(frozen=True)
class ApiArgs:
    """Inputs of :class:`Api`."""

    storage: Storage
    uploads: Uploads
    runtime: str


class Api(pulumi.ComponentResource):
    """The Chalice app of ``api/`` with the environment and the role of its one function."""

    def __init__(
        self, name: str, args: ApiArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Api", name, None, opts)
        storage, uploads = args.storage, args.uploads
        environment: dict[str, pulumi.Input[str]] = {
            jobs.Env.TABLE: storage.table.name,
            jobs.Env.BUCKET: storage.bucket.name,
            jobs.Env.MAX_FILE_BYTES: str(uploads.max_file_bytes),
            jobs.Env.FILE_TYPES: ",".join(uploads.file_types),
            jobs.Env.RETENTION_DAYS: str(uploads.retention_days),
        }
        statements = policies.render(
            policies.api, table_arn=storage.table.arn, bucket_arn=storage.bucket.arn
        )
        self.app = ChaliceApp(
            name,
            ChaliceAppArgs(
                folder=Path("api"),
                functions={API_HANDLER: FunctionArgs(environment, statements)},
                runtime=args.runtime,
            ),
            pulumi.ResourceOptions(parent=self),
        )
        self.function_name = self.app.functions[API_HANDLER].name
        self.url = self.app.url
        self.register_outputs({"function_name": self.function_name, "url": self.url})
