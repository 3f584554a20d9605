"""Buckets, table and queues: private, encrypted, kept as long as promised."""

from __future__ import annotations

import pytest

import jobs
from infra import storage
from tests.infra.program import ACCOUNT, Run

BUCKETS = ("storage-data", "site")


@pytest.mark.parametrize("bucket", BUCKETS)
def test_every_bucket_is_private(declared: Run, bucket: str) -> None:
    block = declared.one("BucketPublicAccessBlock", bucket).inputs
    switches = (
        "blockPublicAcls",
        "blockPublicPolicy",
        "ignorePublicAcls",
        "restrictPublicBuckets",
    )
    assert all(block[switch] is True for switch in switches)
    rule = declared.one("BucketOwnershipControls", bucket).inputs["rule"]
    assert rule == {"objectOwnership": "BucketOwnerEnforced"}


@pytest.mark.parametrize("bucket", BUCKETS)
def test_every_bucket_is_encrypted(declared: Run, bucket: str) -> None:
    encryption = declared.one("BucketServerSideEncryptionConfiguration", bucket).inputs
    (rule,) = encryption["rules"]
    assert rule["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "AES256"


@pytest.mark.parametrize("bucket", BUCKETS)
def test_every_bucket_refuses_plain_http(declared: Run, bucket: str) -> None:
    statements = declared.one("BucketPolicy", bucket).json("policy")["Statement"]
    (deny,) = [one for one in statements if one["Effect"] == "Deny"]
    assert deny["Principal"] == "*"
    assert deny["Action"] == "s3:*"
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert deny["Resource"] == [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]


def test_there_is_no_bucket_without_all_of_this(declared: Run) -> None:
    assert {one.name for one in declared.all("Bucket")} == set(BUCKETS)


def test_inputs_outputs_and_logs_expire_a_day_after_their_records(everything: list[Run]) -> None:
    for each, days in zip(everything, (8, 14), strict=True):
        rules = each.one("BucketLifecycleConfiguration").inputs["rules"]
        assert {rule["filter"]["prefix"] for rule in rules} == {"input/", "output/", "logs/"}
        for rule in rules:
            assert rule["status"] == "Enabled"
            assert rule["expiration"] == {"days": days}
            assert rule["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 1}


def test_scripts_never_expire(declared: Run) -> None:
    rules = declared.one("BucketLifecycleConfiguration").inputs["rules"]
    assert not any(jobs.SCRIPT_PREFIX.startswith(rule["filter"]["prefix"]) for rule in rules)


def test_no_message_is_older_than_its_record_can_be(changed: Run) -> None:
    for queue in changed.all("Queue"):
        assert queue.inputs["messageRetentionSeconds"] > 13 * 86400


def test_exactly_the_pages_origin_may_upload_and_read_results(
    everything: list[Run],
) -> None:
    for each, origin in zip(
        everything, ("https://d1.cloudfront.net", "http://127.0.0.1:8000"), strict=True
    ):
        forms, previews = each.one("BucketCorsConfiguration").inputs["corsRules"]
        assert forms["allowedOrigins"] == previews["allowedOrigins"] == [origin]
        assert forms["allowedMethods"] == ["POST"]
        assert previews["allowedMethods"] == ["GET"]


def test_the_table_is_as_the_records_need_it(declared: Run) -> None:
    table = declared.one("Table").inputs
    assert (table["hashKey"], table["billingMode"]) == ("id", "PAY_PER_REQUEST")
    assert (table["streamEnabled"], table["streamViewType"]) == (True, "KEYS_ONLY")
    assert table["ttl"] == {"attributeName": "expires_at", "enabled": True}
    assert table["pointInTimeRecovery"] == {"enabled": True}
    (index,) = table["globalSecondaryIndexes"]
    assert index["name"] == jobs.INSTANCE_INDEX
    assert index["projectionType"] == "KEYS_ONLY"
    assert index["keySchemas"] == [{"attributeName": "instance_id", "keyType": "HASH"}]


def test_deletion_protection_holds_table_and_buckets_or_lets_all_go(
    declared: Run, changed: Run
) -> None:
    assert declared.one("Table").inputs["deletionProtectionEnabled"] is True
    assert changed.one("Table").inputs["deletionProtectionEnabled"] is False
    assert [one.inputs["forceDestroy"] for one in declared.all("Bucket")] == [False, False]
    assert [one.inputs["forceDestroy"] for one in changed.all("Bucket")] == [True, True]


def test_a_message_comes_back_after_a_minute_and_goes_aside_after_twenty_tries(
    declared: Run,
) -> None:
    work = declared.one("Queue", "work")
    assert work.inputs["visibilityTimeoutSeconds"] == 60
    redrive = work.json("redrivePolicy")
    assert redrive["maxReceiveCount"] == 20
    assert redrive["deadLetterTargetArn"].endswith(":storage-dead-letters")
    assert all(queue.inputs["sqsManagedSseEnabled"] for queue in declared.all("Queue"))


def test_the_dead_letter_queue_outlasts_its_function_six_times(declared: Run) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html"""
    timeout = declared.one("Function", "dead-letter").inputs["timeout"]
    visibility = declared.one("Queue", "dead-letters").inputs["visibilityTimeoutSeconds"]
    assert visibility == storage.DEAD_LETTER_VISIBILITY_SECONDS >= 6 * timeout


def test_s3_announces_uploads_and_nothing_else(declared: Run) -> None:
    (queue,) = declared.one("BucketNotification").inputs["queues"]
    assert queue["events"] == ["s3:ObjectCreated:*"]
    assert queue["filterPrefix"] == jobs.INPUT_PREFIX
    assert queue["queueArn"].endswith(":storage-work")


def test_only_this_bucket_of_this_account_may_send_to_the_queue(declared: Run) -> None:
    (statement,) = declared.one("QueuePolicy").json("policy")["Statement"]
    assert statement["Principal"] == {"Service": "s3.amazonaws.com"}
    assert statement["Action"] == "sqs:SendMessage"
    assert statement["Condition"] == {
        "ArnEquals": {"aws:SourceArn": "arn:aws:s3:::storage-data"},
        "StringEquals": {"aws:SourceAccount": ACCOUNT},
    }


def test_the_queue_policy_is_there_before_s3_tries_it(declared: Run) -> None:
    """S3 sends a test event when the notification is made, and fails if it may not."""
    order = [one.kind for one in declared.resources]
    assert order.index("QueuePolicy") < order.index("BucketNotification")
