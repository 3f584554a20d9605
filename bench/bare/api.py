"""The API as one writes it with boto3 alone: the same calls to AWS, and no more rules."""

from __future__ import annotations

import json
import os
import secrets
import time
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config

TABLE = os.environ["ADDENDUM_TABLE"]
BUCKET = os.environ["ADDENDUM_BUCKET"]
NAMES = (
    "id",
    "status",
    "file_name",
    "input_file_path",
    "output_file_path",
    "error",
    "attempts",
    "created_at",
    "started_at",
    "finished_at",
    "expires_at",
)

dynamodb = boto3.client(
    "dynamodb",
    config=Config(retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=2),
)
s3 = boto3.client(
    "s3",
    config=Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
    ),
)


def handler(event: dict[str, Any], context: object) -> dict[str, Any]:  # noqa: ARG001
    """Answer a request of API Gateway."""
    if event["httpMethod"] == "POST":
        return _answer(201, _record(json.loads(event["body"])))
    return _answer(200, _show(event["pathParameters"]["job_id"]))


def _record(body: dict[str, Any]) -> dict[str, Any]:
    job_id = secrets.token_urlsafe(16)
    key = f"input/{job_id}/{body['file_name']}"
    now = time.time()
    item = {
        "id": {"S": job_id},
        "file_name": {"S": body["file_name"]},
        "input_text": {"S": body["input_text"]},
        "input_file_path": {"S": f"{BUCKET}/{key}"},
        "status": {"S": "PENDING"},
        "attempts": {"N": "0"},
        "created_at": {"S": datetime.fromtimestamp(now, UTC).isoformat()},
        "expires_at": {"N": str(int(now) + 7 * 86400)},
    }
    dynamodb.put_item(TableName=TABLE, Item=item)
    conditions = [["content-length-range", 0, 2**30]]
    form = s3.generate_presigned_post(BUCKET, key, Conditions=conditions, ExpiresIn=300)
    return {
        "id": job_id,
        "status": "PENDING",
        "upload": form,
        "upload_expires_at": datetime.fromtimestamp(now + 300, UTC).isoformat(),
    }


def _show(job_id: str) -> dict[str, Any]:
    aliases = {f"#{name}": name for name in NAMES}
    question = {
        "Keys": [{"id": {"S": job_id}}],
        "ConsistentRead": True,
        "ProjectionExpression": ",".join(aliases),
        "ExpressionAttributeNames": aliases,
    }
    found = dynamodb.batch_get_item(RequestItems={TABLE: question})["Responses"][TABLE][0]
    shown: dict[str, Any] = {name: next(iter(value.values())) for name, value in found.items()}
    bucket, _, key = shown["output_file_path"].partition("/")
    shown["download_url"] = s3.generate_presigned_url(
        "get_object",
        Params={
            "Bucket": bucket,
            "Key": key,
            "ResponseContentDisposition": f"attachment; filename*=UTF-8''{shown['file_name']}",
            "ResponseContentType": "application/octet-stream",
        },
        ExpiresIn=300,
    )
    return shown


def _answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
