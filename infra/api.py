"""The API: the function that records jobs and signs uploads, and its REST API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

import jobs
from infra import policies
from infra.chalice_app import API_HANDLER, ChaliceApp, ChaliceAppArgs, FunctionArgs
from infra.settings import ApiLimits, Functions, Uploads
from infra.storage import Storage


@dataclass(frozen=True)
class ApiArgs:
    """Inputs of :class:`Api`."""

    stack: str
    storage: Storage
    uploads: Uploads
    limits: ApiLimits
    functions: Functions


class Api(pulumi.ComponentResource):
    """The Chalice app of ``api/`` with the environment and the role of its one function."""

    def __init__(
        self, name: str, args: ApiArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Api", name, None, opts)
        storage, uploads = args.storage, args.uploads
        environment: dict[str, pulumi.Input[str]] = {
            jobs.Env.STACK: args.stack,
            jobs.Env.TABLE: storage.table.name,
            jobs.Env.BUCKET: storage.bucket.name,
            jobs.Env.MAX_FILE_BYTES: str(uploads.max_file_bytes),
            jobs.Env.FILE_TYPES: ",".join(uploads.file_types),
            jobs.Env.RETENTION_DAYS: str(uploads.retention_days),
        }
        statements = policies.render(
            policies.api, table_arn=storage.table.arn, bucket_arn=storage.bucket.arn
        )
        self._name = name
        logging = self._log_access() if args.limits.api_access_logs else []
        self.app = ChaliceApp(
            name,
            ChaliceAppArgs(
                folder=Path("api"),
                functions={API_HANDLER: FunctionArgs(environment, statements)},
                runtime=args.functions.lambda_runtime,
                log_retention_days=args.functions.log_retention_days,
                requests_per_second=args.limits.api_requests_per_second,
                access_logs=args.limits.api_access_logs,
            ),
            pulumi.ResourceOptions(parent=self, depends_on=logging),
        )
        self.function_name = self.app.functions[API_HANDLER].name
        if self.app.rest_api is None or self.app.url is None:
            raise pulumi.RunError("api/app.py has no routes: it must be the API")
        self.rest_api = self.app.rest_api
        self.stage_name = self.app.stage_name
        self.url = self.app.url
        self.register_outputs({"function_name": self.function_name, "url": self.url})

    def _log_access(self) -> list[pulumi.Resource]:
        """Let API Gateway write logs: one role for the whole account and region.

        https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-logging.html
        """
        child = pulumi.ResourceOptions(parent=self)
        name = f"{self._name}-gateway-logs"
        role = aws.iam.Role(
            name,
            assume_role_policy=pulumi.Output.json_dumps(policies.assume_role("apigateway")),
            opts=child,
        )
        partition = aws.get_partition_output(opts=pulumi.InvokeOutputOptions(parent=self)).partition
        # AWS's own policy, for the role serves every API of the account.
        attached = aws.iam.RolePolicyAttachment(
            name,
            role=role.name,
            policy_arn=pulumi.Output.format(
                "arn:{0}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs",
                partition,
            ),
            opts=child,
        )
        account = aws.apigateway.Account(
            name,
            cloudwatch_role_arn=role.arn,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[attached]),
        )
        return [account]
