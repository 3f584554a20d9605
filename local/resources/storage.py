"""Buckets, objects, the table and the queues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi

from local.resources.declared import CannotCreate, Created, Declared, chosen, pascal


def bucket(declared: Declared) -> Created:
    """Create a bucket."""
    name = declared.physical_name("bucket")
    region = declared.account.region
    # https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucketConfiguration.html
    place = {} if region == "us-east-1" else {"LocationConstraint": region}
    where = {"CreateBucketConfiguration": place} if place else {}
    declared.client("s3").create_bucket(Bucket=name, **where)
    return Created(
        name,
        {
            "bucket": name,
            "arn": f"arn:aws:s3:::{name}",
            "region": region,
            "bucketDomainName": f"{name}.s3.amazonaws.com",
            "bucketRegionalDomainName": f"{name}.s3.{region}.amazonaws.com",
        },
    )


def bucket_ownership_controls(declared: Declared) -> Created:
    """Turn ACLs off."""
    declared.client("s3").put_bucket_ownership_controls(
        Bucket=declared.inputs["bucket"],
        OwnershipControls={"Rules": [pascal(declared.inputs["rule"])]},
    )
    return Created(declared.inputs["bucket"], {})


def bucket_public_access_block(declared: Declared) -> Created:
    """Refuse public access."""
    names = {
        "blockPublicAcls": "BlockPublicAcls",
        "blockPublicPolicy": "BlockPublicPolicy",
        "ignorePublicAcls": "IgnorePublicAcls",
        "restrictPublicBuckets": "RestrictPublicBuckets",
    }
    declared.client("s3").put_public_access_block(
        Bucket=declared.inputs["bucket"],
        PublicAccessBlockConfiguration=chosen(declared.inputs, names),
    )
    return Created(declared.inputs["bucket"], {})


def bucket_encryption(declared: Declared) -> Created:
    """Encrypt by default."""
    rules = [
        {
            "ApplyServerSideEncryptionByDefault": {
                "SSEAlgorithm": rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"]
            }
        }
        for rule in declared.inputs["rules"]
    ]
    declared.client("s3").put_bucket_encryption(
        Bucket=declared.inputs["bucket"], ServerSideEncryptionConfiguration={"Rules": rules}
    )
    return Created(declared.inputs["bucket"], {})


def bucket_policy(declared: Declared) -> Created:
    """Attach a bucket policy, without the refusal of plain HTTP: loopback has no TLS."""
    policy = _document(declared.inputs["policy"])
    statements = [one for one in policy["Statement"] if not _refuses_plain_http(one)]
    if statements:
        declared.client("s3").put_bucket_policy(
            Bucket=declared.inputs["bucket"],
            Policy=json.dumps({**policy, "Statement": statements}),
        )
    return Created(declared.inputs["bucket"], {})


def _refuses_plain_http(statement: dict[str, Any]) -> bool:
    insecure = {"Bool": {"aws:SecureTransport": "false"}}
    return statement["Effect"] == "Deny" and statement.get("Condition") == insecure


def _document(policy: str | dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(policy) if isinstance(policy, str) else policy
    return document


def bucket_cors(declared: Declared) -> Created:
    """Let the page's origin upload."""
    names = {
        "allowedHeaders": "AllowedHeaders",
        "allowedMethods": "AllowedMethods",
        "allowedOrigins": "AllowedOrigins",
        "exposeHeaders": "ExposeHeaders",
        "maxAgeSeconds": "MaxAgeSeconds",
    }
    rules = [chosen(rule, names) for rule in declared.inputs["corsRules"]]
    declared.client("s3").put_bucket_cors(
        Bucket=declared.inputs["bucket"], CORSConfiguration={"CORSRules": rules}
    )
    return Created(declared.inputs["bucket"], {})


def bucket_lifecycle(declared: Declared) -> Created:
    """Let objects expire."""
    rules = [
        {
            ("ID" if key == "id" else key[0].upper() + key[1:]): pascal(value)
            for key, value in rule.items()
        }
        for rule in declared.inputs["rules"]
    ]
    declared.client("s3").put_bucket_lifecycle_configuration(
        Bucket=declared.inputs["bucket"], LifecycleConfiguration={"Rules": rules}
    )
    return Created(declared.inputs["bucket"], {})


def bucket_notification(declared: Declared) -> Created:
    """Send the bucket's events to queues."""
    queues = [
        {
            "QueueArn": queue["queueArn"],
            "Events": queue["events"],
            "Filter": {"Key": {"FilterRules": _filter_rules(queue)}},
        }
        for queue in declared.inputs["queues"]
    ]
    declared.client("s3").put_bucket_notification_configuration(
        Bucket=declared.inputs["bucket"],
        NotificationConfiguration={"QueueConfigurations": queues},
    )
    return Created(declared.inputs["bucket"], {})


def _filter_rules(queue: dict[str, Any]) -> list[dict[str, str]]:
    wanted = {"prefix": queue.get("filterPrefix"), "suffix": queue.get("filterSuffix")}
    return [{"Name": name, "Value": value} for name, value in wanted.items() if value]


def bucket_object(declared: Declared) -> Created:
    """Upload an object."""
    names = {
        "contentType": "ContentType",
        "cacheControl": "CacheControl",
        "contentDisposition": "ContentDisposition",
        "contentEncoding": "ContentEncoding",
        "metadata": "Metadata",
    }
    answer = declared.client("s3").put_object(
        Bucket=declared.inputs["bucket"],
        Key=declared.inputs["key"],
        Body=_content(declared),
        **chosen(declared.inputs, names),
    )
    return Created(declared.inputs["key"], {"etag": answer["ETag"].strip('"')})


def _content(declared: Declared) -> bytes:
    source = declared.inputs["source"]
    if not isinstance(source, pulumi.FileAsset):
        raise CannotCreate(
            f"the source of {declared.name} is a {type(source).__name__}; only FileAsset is"
            " known here: add it to local/resources/storage.py"
        )
    return Path(source.path).read_bytes()


def table(declared: Declared) -> Created:
    """Create a DynamoDB table, with its indexes, stream and expiry."""
    name = declared.physical_name()
    inputs = declared.inputs
    client = declared.client("dynamodb")
    request: dict[str, Any] = {
        "TableName": name,
        "KeySchema": [{"AttributeName": inputs["hashKey"], "KeyType": "HASH"}],
        "AttributeDefinitions": [
            {"AttributeName": one["name"], "AttributeType": one["type"]}
            for one in inputs["attributes"]
        ],
        "BillingMode": inputs["billingMode"],
        "DeletionProtectionEnabled": bool(inputs.get("deletionProtectionEnabled")),
    }
    if inputs.get("globalSecondaryIndexes"):
        request["GlobalSecondaryIndexes"] = [_index(i) for i in inputs["globalSecondaryIndexes"]]
    if inputs.get("streamEnabled"):
        request["StreamSpecification"] = {
            "StreamEnabled": True,
            "StreamViewType": inputs["streamViewType"],
        }
    made = client.create_table(**request)["TableDescription"]
    _let_items_expire(declared, name)
    outputs = {"name": name, "arn": made["TableArn"], "streamArn": made.get("LatestStreamArn")}
    return Created(name, outputs)


def _index(index: dict[str, Any]) -> dict[str, Any]:
    keys = index.get("keySchemas") or [{"attributeName": index["hashKey"], "keyType": "HASH"}]
    return {
        "IndexName": index["name"],
        "KeySchema": [pascal(key) for key in keys],
        "Projection": {"ProjectionType": index["projectionType"]},
    }


def _let_items_expire(declared: Declared, name: str) -> None:
    client = declared.client("dynamodb")
    if expiry := declared.inputs.get("ttl"):
        specification = {"Enabled": expiry["enabled"], "AttributeName": expiry["attributeName"]}
        client.update_time_to_live(TableName=name, TimeToLiveSpecification=specification)
    if recovery := declared.inputs.get("pointInTimeRecovery"):
        client.update_continuous_backups(
            TableName=name,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": recovery["enabled"]},
        )


def queue(declared: Declared) -> Created:
    """Create a queue."""
    names = {
        "visibilityTimeoutSeconds": "VisibilityTimeout",
        "messageRetentionSeconds": "MessageRetentionPeriod",
        "redrivePolicy": "RedrivePolicy",
        "sqsManagedSseEnabled": "SqsManagedSseEnabled",
    }
    name = declared.physical_name()
    attributes = {key: _text(value) for key, value in chosen(declared.inputs, names).items()}
    url = declared.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
    return Created(url, {"name": name, "url": url, "arn": declared.arn("sqs", name)})


def queue_policy(declared: Declared) -> Created:
    """Attach a queue policy, without the refusal of plain HTTP: loopback has no TLS."""
    policy = _document(declared.inputs["policy"])
    statements = [one for one in policy["Statement"] if not _refuses_plain_http(one)]
    document = json.dumps({**policy, "Statement": statements})
    declared.client("sqs").set_queue_attributes(
        QueueUrl=declared.inputs["queueUrl"], Attributes={"Policy": document}
    )
    return Created(declared.inputs["queueUrl"], {})


def _text(value: Any) -> str:
    """Return an attribute as SQS takes it: everything is a string there."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(int(value))


CREATE = {
    "aws:s3/bucket:Bucket": bucket,
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": bucket_ownership_controls,
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": bucket_public_access_block,
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration": (
        bucket_encryption
    ),
    "aws:s3/bucketPolicy:BucketPolicy": bucket_policy,
    "aws:s3/bucketCorsConfiguration:BucketCorsConfiguration": bucket_cors,
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": bucket_lifecycle,
    "aws:s3/bucketNotification:BucketNotification": bucket_notification,
    "aws:s3/bucketObjectv2:BucketObjectv2": bucket_object,
    "aws:dynamodb/table:Table": table,
    "aws:sqs/queue:Queue": queue,
    "aws:sqs/queuePolicy:QueuePolicy": queue_policy,
}
