"""The launch template, the functions and what calls them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pulumi

from local.resources.declared import CannotCreate, Created, Declared, chosen, pascal


def launch_template(declared: Declared) -> Created:
    """Create a launch template with its first version."""
    name = declared.physical_name()
    made = declared.client("ec2").create_launch_template(
        LaunchTemplateName=name, LaunchTemplateData=_template_data(declared.inputs)
    )["LaunchTemplate"]
    outputs = {
        "name": name,
        "arn": declared.arn("ec2", f"launch-template/{made['LaunchTemplateId']}"),
        "latestVersion": made["LatestVersionNumber"],
        "defaultVersion": made["DefaultVersionNumber"],
    }
    return Created(made["LaunchTemplateId"], outputs)


_NOT_IN_TEMPLATE = ("name", "namePrefix", "description", "tags", "updateDefaultVersion")


def _template_data(inputs: Any) -> dict[str, Any]:
    """Return the template as EC2 takes it: real booleans, and ``Groups`` in interfaces."""
    data = {key: value for key, value in inputs.items() if key not in _NOT_IN_TEMPLATE}
    shaped: dict[str, Any] = _booleans(pascal(data))
    for interface in shaped.get("NetworkInterfaces", []):
        interface["Groups"] = interface.pop("SecurityGroups", [])
    return shaped


def _booleans(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _booleans(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_booleans(inner) for inner in value]
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


def function(declared: Declared) -> Created:
    """Create a Lambda function. The emulator runs it with its own Python."""
    inputs = declared.inputs
    name = declared.physical_name()
    names = {
        "memorySize": "MemorySize",
        "timeout": "Timeout",
        "architectures": "Architectures",
        "description": "Description",
    }
    made = declared.client("lambda").create_function(
        FunctionName=name,
        Role=inputs["role"],
        Runtime=inputs["runtime"],
        Handler=inputs["handler"],
        Code={"ZipFile": _zipped(inputs["code"])},
        Environment=pascal_once(inputs.get("environment") or {"variables": {}}),
        TracingConfig=pascal(inputs.get("tracingConfig") or {"mode": "PassThrough"}),
        LoggingConfig=pascal(inputs.get("loggingConfig") or {"logFormat": "Text"}),
        **chosen(inputs, names),
    )
    arn = made["FunctionArn"]
    path = f"2015-03-31/functions/{arn}/invocations"
    invoke = f"arn:aws:apigateway:{declared.account.region}:lambda:path/{path}"
    return Created(name, {"name": name, "arn": arn, "invokeArn": invoke, "version": "$LATEST"})


def pascal_once(value: dict[str, Any]) -> dict[str, Any]:
    """Spell only the outer keys as boto3 does: the inner ones are names of variables."""
    return {key[0].upper() + key[1:]: inner for key, inner in value.items()}


def _zipped(code: object) -> bytes:
    """Return a zip of the code: a zip file's own bytes, or those of a folder's files."""
    if not isinstance(code, pulumi.FileArchive):
        raise CannotCreate(
            f"the code is a {type(code).__name__}; only FileArchive is known here: add it to"
            " local/resources/compute.py"
        )
    path = Path(code.path)
    if path.is_file():
        return path.read_bytes()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(path))
    return packed.getvalue()


def function_permission(declared: Declared) -> Created:
    """Let a service call a function."""
    names = {"sourceArn": "SourceArn", "sourceAccount": "SourceAccount"}
    statement = declared.inputs.get("statementId") or declared.physical_name("statementId")
    declared.client("lambda").add_permission(
        FunctionName=declared.inputs["function"],
        StatementId=statement,
        Action=declared.inputs["action"],
        Principal=declared.inputs["principal"],
        **chosen(declared.inputs, names),
    )
    return Created(statement, {"statementId": statement})


def function_event_invoke_config(declared: Declared) -> Created:
    """Say how often a function's own queue tries again."""
    name = declared.inputs["functionName"]
    names = {
        "maximumRetryAttempts": "MaximumRetryAttempts",
        "maximumEventAgeInSeconds": "MaximumEventAgeInSeconds",
    }
    declared.client("lambda").put_function_event_invoke_config(
        FunctionName=name, **chosen(declared.inputs, names)
    )
    return Created(name, {})


def event_source_mapping(declared: Declared) -> Created:
    """Feed a function from a stream or a queue."""
    request = {key: value for key, value in declared.inputs.items() if key != "tags"}
    made = declared.client("lambda").create_event_source_mapping(**pascal(request))
    return Created(made["UUID"], {"uuid": made["UUID"]})


def event_rule(declared: Declared) -> Created:
    """Create an EventBridge rule."""
    name = declared.physical_name()
    names = {
        "scheduleExpression": "ScheduleExpression",
        "eventPattern": "EventPattern",
        "description": "Description",
        "state": "State",
    }
    made = declared.client("events").put_rule(Name=name, **chosen(declared.inputs, names))
    return Created(name, {"name": name, "arn": made["RuleArn"]})


def event_target(declared: Declared) -> Created:
    """Give an EventBridge rule its target."""
    inputs = declared.inputs
    target = {
        "Id": inputs.get("targetId") or declared.physical_name("targetId"),
        "Arn": inputs["arn"],
        **chosen(inputs, {"input": "Input"}),
    }
    if policy := inputs.get("retryPolicy"):
        target["RetryPolicy"] = pascal(policy)
    answer = declared.client("events").put_targets(Rule=inputs["rule"], Targets=[target])
    if answer["FailedEntryCount"]:
        raise CannotCreate(f"target {declared.name}: {answer['FailedEntries']}")
    return Created(f"{inputs['rule']}-{target['Id']}", {"targetId": target["Id"]})


def log_group(declared: Declared) -> Created:
    """Create a log group."""
    name = declared.physical_name()
    client = declared.client("logs")
    client.create_log_group(logGroupName=name)
    if days := declared.inputs.get("retentionInDays"):
        client.put_retention_policy(logGroupName=name, retentionInDays=days)
    return Created(name, {"name": name, "arn": declared.arn("logs", f"log-group:{name}")})


CREATE = {
    "aws:ec2/launchTemplate:LaunchTemplate": launch_template,
    "aws:lambda/function:Function": function,
    "aws:lambda/permission:Permission": function_permission,
    "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig": (
        function_event_invoke_config
    ),
    "aws:lambda/eventSourceMapping:EventSourceMapping": event_source_mapping,
    "aws:cloudwatch/eventRule:EventRule": event_rule,
    "aws:cloudwatch/eventTarget:EventTarget": event_target,
    "aws:cloudwatch/logGroup:LogGroup": log_group,
}
