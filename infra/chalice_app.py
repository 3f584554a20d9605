"""A Chalice app as a Pulumi component: Chalice compiles, Pulumi deploys.

Chalice knows how to turn an app into a Lambda package and its routes into an API
description; Pulumi knows the real names of everything around it. So::

    app folder ──chalice package──▶ zip + Swagger ──▶ Function, Role, LogGroup for each
                                                      handler; RestApi, Deployment, Stage

Nothing of Chalice's own deployment is used: not its roles, not its event sources, not
its runtime (which would be that of the Python that happens to build). Handlers,
memory, timeout and routes come from the app; environment and permissions are given
for each function by its name.

The component depends on nothing else in this project but the modules that run Chalice
and keep what it built.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pulumi
import pulumi_aws as aws

from infra import chalice_package
from infra.chalice_package import ChaliceAppError, PackagedFunction, refuse_placeholders

API_HANDLER = "api_handler"
"""Chalice's name for the function behind its routes."""

Statement = dict[str, Any]


@dataclass(frozen=True)
class FunctionArgs:
    """What one function gets from outside its app."""

    environment: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    statements: pulumi.Input[list[Statement]] = field(default_factory=list)
    """The IAM statements that its code needs. Logs and traces are added."""
    reserved_concurrency: int | None = None
    """New accounts have as few as 10 concurrent executions and refuse any reservation:
    https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    """


@dataclass(frozen=True, kw_only=True)
class ChaliceAppArgs:
    """Inputs of :class:`ChaliceApp`."""

    folder: Path
    functions: Mapping[str, FunctionArgs]
    """By Chalice's name; the one behind the routes is ``api_handler``."""
    runtime: str
    """Such as ``python3.13``."""
    architecture: str = "arm64"
    stage: str = "api"
    """Chalice's stage and API Gateway's: the first part of every path."""
    log_retention_days: int = 30
    requests_per_second: int = 20
    """The API's steady rate for all callers; short bursts may have twice as many."""
    access_logs: bool = False
    """Needs the account's CloudWatch role for API Gateway."""
    build_folder: Path = Path("build/chalice")


class ChaliceApp(pulumi.ComponentResource):
    """The functions of a Chalice app, each with role and log group, and its REST API.

    ``functions`` holds the Lambda functions and ``timeouts`` their seconds, by name;
    ``url`` is the stage's, ``host`` its host name, or None if the app has no routes.

    :raises ChaliceAppError: if the app cannot be packaged or deployed as it is.
    """

    def __init__(
        self, name: str, args: ChaliceAppArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("chalice:aws:App", name, None, opts)
        self._name = name
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        package = chalice_package.package(
            args.folder,
            stage=args.stage,
            build_folder=args.build_folder,
            runtime=args.runtime,
            architecture=args.architecture,
        )
        self._match(package.functions)
        self._code = pulumi.FileArchive(str(package.zip_path))
        self.stage_name = args.stage
        self.log_groups: dict[str, aws.cloudwatch.LogGroup] = {}
        self.functions = {key: self._function(each) for key, each in package.functions.items()}
        self.timeouts = {key: each.timeout for key, each in package.functions.items()}
        self.url: pulumi.Output[str] | None = None
        self.rest_api: aws.apigateway.RestApi | None = None
        if package.swagger is not None:
            body = self._api_body(package.swagger)
            self.rest_api = self._rest_api(body)
            self.url = self._stage(self.rest_api, body).invoke_url
        self.log_group_names = {
            str(key).replace("_", "-"): logs.name for key, logs in self.log_groups.items()
        }
        self.register_outputs({"url": self.url})

    def _match(self, packaged: Mapping[str, PackagedFunction]) -> None:
        unknown = sorted(set(packaged) ^ set(self._args.functions))
        if unknown:
            raise ChaliceAppError(
                f"the app in {self._args.folder} has the functions {', '.join(sorted(packaged))};"
                f" settings are given for {', '.join(sorted(self._args.functions))}"
            )

    def _function(self, packaged: PackagedFunction) -> aws.lambda_.Function:
        args = self._args.functions[packaged.name]
        name = self._name_of(packaged.name)
        logs = aws.cloudwatch.LogGroup(
            name, retention_in_days=self._args.log_retention_days, opts=self._child
        )
        self.log_groups[packaged.name] = logs
        role, policy = self._role(name, args, logs)
        return aws.lambda_.Function(
            name,
            code=self._code,
            handler=packaged.handler,
            runtime=self._args.runtime,
            architectures=[self._args.architecture],
            memory_size=packaged.memory_size,
            timeout=packaged.timeout,
            role=role.arn,
            environment=aws.lambda_.FunctionEnvironmentArgs(variables=args.environment),
            reserved_concurrent_executions=args.reserved_concurrency,
            tracing_config=aws.lambda_.FunctionTracingConfigArgs(mode="Active"),
            logging_config=aws.lambda_.FunctionLoggingConfigArgs(
                log_format="JSON", log_group=logs.name
            ),
            # Without its permissions a first invocation could fail, and its log be lost.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )

    def _name_of(self, function: str) -> str:
        """Return ``api-handler`` for ``api_handler`` of ``api``: no word twice in a row."""
        words = function.replace("_", "-")
        return words if words.startswith(f"{self._name}-") else f"{self._name}-{words}"

    def _role(
        self, name: str, args: FunctionArgs, logs: aws.cloudwatch.LogGroup
    ) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        role = aws.iam.Role(name, assume_role_policy=json.dumps(TRUST), opts=self._child)
        statements = pulumi.Output.all(args.statements, logs.arn.apply(observability))
        policy = aws.iam.RolePolicy(
            name,
            role=role.name,
            policy=statements.apply(lambda both: _document([*both[0], *both[1]])),
            opts=self._child,
        )
        return role, policy

    def _api_body(self, swagger: str) -> pulumi.Output[str]:
        invoke_arns = {key: each.invoke_arn for key, each in self.functions.items()}
        return pulumi.Output.all(**invoke_arns).apply(lambda arns: api_body(swagger, arns))

    def _rest_api(self, body: pulumi.Output[str]) -> aws.apigateway.RestApi:
        api = aws.apigateway.RestApi(
            self._name,
            body=body,
            endpoint_configuration=aws.apigateway.RestApiEndpointConfigurationArgs(
                types="REGIONAL"
            ),
            opts=self._child,
        )
        aws.lambda_.Permission(
            self._name,
            function=self.functions[API_HANDLER].name,
            action="lambda:InvokeFunction",
            principal="apigateway.amazonaws.com",
            source_arn=pulumi.Output.concat(api.execution_arn, f"/{self._args.stage}/*"),
            opts=self._child,
        )
        return api

    def _stage(self, api: aws.apigateway.RestApi, body: pulumi.Output[str]) -> aws.apigateway.Stage:
        # API Gateway serves a snapshot; a new one is made whenever the body changes.
        # https://docs.aws.amazon.com/apigateway/latest/developerguide/how-to-deploy-api.html
        deployment = aws.apigateway.Deployment(
            self._name,
            rest_api=api.id,
            triggers={"body": body.apply(_sha256)},
            opts=self._child,
        )
        stage = aws.apigateway.Stage(
            self._name,
            rest_api=api.id,
            deployment=deployment.id,
            stage_name=self._args.stage,
            xray_tracing_enabled=True,
            access_log_settings=self._access_log() if self._args.access_logs else None,
            opts=self._child,
        )
        self._throttle(stage)
        return stage

    def _throttle(self, stage: aws.apigateway.Stage) -> None:
        rate = self._args.requests_per_second
        aws.apigateway.MethodSettings(
            self._name,
            rest_api=stage.rest_api,
            stage_name=stage.stage_name,
            method_path="*/*",
            settings=aws.apigateway.MethodSettingsSettingsArgs(
                throttling_rate_limit=rate, throttling_burst_limit=2 * rate
            ),
            opts=self._child,
        )

    def _access_log(self) -> aws.apigateway.StageAccessLogSettingsArgs:
        logs = aws.cloudwatch.LogGroup(
            f"{self._name}-access",
            retention_in_days=self._args.log_retention_days,
            opts=self._child,
        )
        self.log_groups["access"] = logs
        return aws.apigateway.StageAccessLogSettingsArgs(
            destination_arn=logs.arn, format=json.dumps(ACCESS_LOG_FIELDS)
        )


TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "lambda.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }
    ],
}

ACCESS_LOG_FIELDS = {
    "time": "$context.requestTime",
    "request": "$context.requestId",
    "address": "$context.identity.sourceIp",
    "method": "$context.httpMethod",
    "path": "$context.path",
    "status": "$context.status",
    "milliseconds": "$context.responseLatency",
    "error": "$context.error.message",
}

GATEWAY_ERRORS = {
    "DEFAULT_4XX": (None, "BadRequestError"),
    "DEFAULT_5XX": (None, "InternalServerError"),
    "ACCESS_DENIED": (403, "ForbiddenError"),
    # What API Gateway says of a path or method that does not exist.
    "MISSING_AUTHENTICATION_TOKEN": (404, "NotFoundError"),
    "RESOURCE_NOT_FOUND": (404, "NotFoundError"),
    "REQUEST_TOO_LARGE": (413, "RequestEntityTooLargeError"),
    "UNSUPPORTED_MEDIA_TYPE": (415, "UnsupportedMediaType"),
    "THROTTLED": (429, "TooManyRequestsError"),
    "QUOTA_EXCEEDED": (429, "TooManyRequestsError"),
}
"""Status (None: API Gateway's own) and Chalice-like code of API Gateway's own errors:
https://docs.aws.amazon.com/apigateway/latest/developerguide/supported-gateway-response-types.html
"""


def observability(log_group_arn: str) -> list[Statement]:
    """Return the statements for a function's own log group and for its traces.

    X-Ray's actions cannot be limited to a resource:
    https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsx-ray.html
    """
    return [
        {
            "Effect": "Allow",
            "Action": ["logs:CreateLogStream", "logs:PutLogEvents"],
            "Resource": f"{log_group_arn}:*",
        },
        {
            "Effect": "Allow",
            "Action": ["xray:PutTraceSegments", "xray:PutTelemetryRecords"],
            "Resource": "*",
        },
    ]


def api_body(swagger: str, invoke_arns: Mapping[str, str]) -> str:
    """Return the API description with real ARNs, and errors in Chalice's own shape.

    :raises ChaliceAppError: if a placeholder is left.
    """
    for name, arn in invoke_arns.items():
        swagger = swagger.replace(f"${{aws_lambda_function.{name}.invoke_arn}}", arn)
    refuse_placeholders(swagger, "the API description")
    responses = {kind: _gateway_response(*error) for kind, error in GATEWAY_ERRORS.items()}
    body = {**json.loads(swagger), "x-amazon-apigateway-gateway-responses": responses}
    return json.dumps(body, sort_keys=True)


def _gateway_response(status: int | None, code: str) -> dict[str, Any]:
    # messageString is the message as a JSON string, quotes and all:
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-mapping-template-reference.html
    body = f'{{"Code": "{code}", "Message": $context.error.messageString}}'
    response: dict[str, Any] = {"responseTemplates": {"application/json": body}}
    return response if status is None else {"statusCode": str(status), **response}


def _document(statements: list[Statement]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": statements})


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
