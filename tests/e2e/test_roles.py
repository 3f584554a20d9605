"""Each role can do what its code does, which the other tests show, and nothing beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from local.system import LocalSystem

API = "api-handler"
STREAM = "processor-stream-handler"
RECONCILER = "processor-reconciler"
DEAD_LETTERS = "processor-dead-letter-handler"
MACHINE = "fleet"

Act = tuple[str, str, dict[str, Any]]


def acts(system: LocalSystem) -> dict[str, Act]:
    """Return what somebody might try, by a name."""
    made = system.deployment.exports
    bucket, table, queue = made["data_bucket"], made["table"], made["queue_url"]
    key = {"id": {"S": "x"}}

    def get(key: str) -> Act:
        return ("s3", "get_object", {"Bucket": bucket, "Key": key})

    def put(key: str) -> Act:
        return ("s3", "put_object", {"Bucket": bucket, "Key": key, "Body": b"x"})

    return {
        "read an input": get("input/x/a.txt"),
        "read a result": get("output/x/1/a.txt"),
        "read a script": get("scripts/x"),
        "read a log": get("logs/x/1"),
        "write an input": put("input/x/a.txt"),
        "write a result": put("output/x/1/a.txt"),
        "write a script": put("scripts/x"),
        "write a log": put("logs/x/1"),
        "write the page": (
            "s3",
            "put_object",
            {"Bucket": made["site_bucket"], "Key": "index.html", "Body": b"x"},
        ),
        "delete an object": ("s3", "delete_object", {"Bucket": bucket, "Key": "output/x/1/a.txt"}),
        "list the bucket": ("s3", "list_objects_v2", {"Bucket": bucket}),
        "put a record": ("dynamodb", "put_item", {"TableName": table, "Item": key}),
        "read records": (
            "dynamodb",
            "batch_get_item",
            {"RequestItems": {table: {"Keys": [key]}}},
        ),
        "read a record": ("dynamodb", "get_item", {"TableName": table, "Key": key}),
        "scan the table": ("dynamodb", "scan", {"TableName": table}),
        "update a record": (
            "dynamodb",
            "update_item",
            {
                "TableName": table,
                "Key": key,
                "UpdateExpression": "SET a=:a",
                "ConditionExpression": "attribute_exists(id)",
                "ExpressionAttributeValues": {":a": {"S": "x"}},
            },
        ),
        "delete a record": ("dynamodb", "delete_item", {"TableName": table, "Key": key}),
        "send a message": ("sqs", "send_message", {"QueueUrl": queue, "MessageBody": "x"}),
        "take a message": (
            "sqs",
            "receive_message",
            {"QueueUrl": queue, "VisibilityTimeout": 0, "MaxNumberOfMessages": 1},
        ),
        "count messages": (
            "sqs",
            "get_queue_attributes",
            {"QueueUrl": queue, "AttributeNames": ["ApproximateNumberOfMessages"]},
        ),
        "purge the queue": ("sqs", "purge_queue", {"QueueUrl": queue}),
        "make a role": ("iam", "create_role", {"RoleName": "x", "AssumeRolePolicyDocument": "{}"}),
        "call a function": (
            "lambda",
            "invoke",
            {"FunctionName": made["api_function"], "Payload": b"{}"},
        ),
    }


ALLOWED = {
    API: {"write an input", "read a result", "put a record", "read records"},
    STREAM: {"count messages"},
    RECONCILER: {"count messages"},
    DEAD_LETTERS: {"update a record"},
    MACHINE: {
        "read an input",
        "read a script",
        "write a result",
        "write a log",
        "list the bucket",
        "update a record",
        "take a message",
    },
}

DENIALS = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "403"}


@pytest.mark.parametrize("role", ALLOWED)
def test_a_role_is_refused_all_that_its_code_does_not_do(system: LocalSystem, role: str) -> None:
    account = system.role(role)
    can = set()
    for name, (service, operation, parameters) in acts(system).items():
        call: Callable[..., Any] = getattr(account.client(service), operation)
        try:
            call(**parameters)
        except ClientError as error:
            if error.response["Error"]["Code"] in DENIALS:
                continue
        can.add(name)
    assert can == ALLOWED[role]
