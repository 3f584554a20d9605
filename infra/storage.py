"""Where jobs and their files live, and the queue that announces an upload."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

import jobs
from infra import policies
from infra.bucket import PrivateBucket, PrivateBucketArgs

MESSAGE_LIFE_SECONDS = 14 * 86400
"""The most that SQS allows; no job lives longer, for ``retention_days`` is at most 13."""

VISIBILITY_SECONDS = 60
"""How long a worker may go without a heartbeat before another takes its message."""

MAX_RECEIVE_COUNT = 20
"""A net only: tries are counted in the record."""

DEAD_LETTER_VISIBILITY_SECONDS = 360
"""At least six times the timeout of the function that the queue feeds:
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
"""


@dataclass(frozen=True)
class StorageArgs:
    """Inputs of :class:`Storage`."""

    retention_days: int
    deletion_protection: bool


class Storage(pulumi.ComponentResource):
    """The data bucket, ``FileTable``, the work queue with its dead letters, and S3's events."""

    def __init__(
        self, name: str, args: StorageArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Storage", name, None, opts)
        self._name = name
        self._child = pulumi.ResourceOptions(parent=self)
        self.table = self._table(args.deletion_protection)
        self.bucket = PrivateBucket(
            f"{name}-data",
            PrivateBucketArgs(deletion_protection=args.deletion_protection),
            self._child,
        )
        self.bucket.attach_policy()
        self._expire_objects(args.retention_days + 1)
        self.dead_letter_queue = self._queue("dead-letters", DEAD_LETTER_VISIBILITY_SECONDS)
        self.queue = self._queue("work", VISIBILITY_SECONDS, self.dead_letter_queue)
        self._announce_uploads()
        self.upload_origin = self._upload_origin()
        self.register_outputs({"table": self.table.name, "queue_url": self.queue.url})

    def _table(self, deletion_protection: bool) -> aws.dynamodb.Table:
        keys = [
            aws.dynamodb.TableAttributeArgs(name=name, type="S") for name in ("id", "instance_id")
        ]
        by_instance = aws.dynamodb.TableGlobalSecondaryIndexArgs(
            name=jobs.INSTANCE_INDEX,
            key_schemas=[
                aws.dynamodb.TableGlobalSecondaryIndexKeySchemaArgs(
                    attribute_name="instance_id", key_type="HASH"
                )
            ],
            projection_type="KEYS_ONLY",
        )
        return aws.dynamodb.Table(
            "FileTable",
            billing_mode="PAY_PER_REQUEST",
            attributes=keys,
            hash_key="id",
            global_secondary_indexes=[by_instance],
            stream_enabled=True,
            stream_view_type="KEYS_ONLY",
            ttl=aws.dynamodb.TableTtlArgs(attribute_name="expires_at", enabled=True),
            point_in_time_recovery=aws.dynamodb.TablePointInTimeRecoveryArgs(enabled=True),
            deletion_protection_enabled=deletion_protection,
            opts=self._child,
        )

    def _expire_objects(self, days: int) -> None:
        temporary = (jobs.INPUT_PREFIX, jobs.OUTPUT_PREFIX, jobs.LOG_PREFIX)
        aws.s3.BucketLifecycleConfiguration(
            f"{self._name}-data",
            bucket=self.bucket.name,
            rules=[_expiry(prefix, days) for prefix in temporary],
            opts=self._child,
        )

    def _queue(
        self, name: str, visibility: int, dead_letters: aws.sqs.Queue | None = None
    ) -> aws.sqs.Queue:
        return aws.sqs.Queue(
            f"{self._name}-{name}",
            visibility_timeout_seconds=visibility,
            message_retention_seconds=MESSAGE_LIFE_SECONDS,
            sqs_managed_sse_enabled=True,
            redrive_policy=dead_letters.arn.apply(_redrive) if dead_letters else None,
            opts=self._child,
        )

    def _upload_origin(self) -> pulumi.Output[str]:
        """Return the origin that signed forms post to: the bucket's regional host, in every
        region, as the API's client is told too.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html
        """
        options = pulumi.InvokeOutputOptions(parent=self)
        region = aws.get_region_output(opts=options).region
        suffix = aws.get_partition_output(opts=options).dns_suffix
        return pulumi.Output.format("https://{0}.s3.{1}.{2}", self.bucket.name, region, suffix)

    def _announce_uploads(self) -> None:
        permission = policies.render(
            policies.send_from_bucket,
            queue_arn=self.queue.arn,
            bucket_arn=self.bucket.arn,
            account_id=aws.get_caller_identity_output(
                opts=pulumi.InvokeOutputOptions(parent=self)
            ).account_id,
        )
        queue_policy = aws.sqs.QueuePolicy(
            f"{self._name}-work",
            queue_url=self.queue.url,
            policy=policies.as_json(permission),
            opts=self._child,
        )
        uploads = aws.s3.BucketNotificationQueueArgs(
            id="uploads",
            queue_arn=self.queue.arn,
            events=["s3:ObjectCreated:*"],
            filter_prefix=jobs.INPUT_PREFIX,
        )
        aws.s3.BucketNotification(
            f"{self._name}-data",
            bucket=self.bucket.name,
            queues=[uploads],
            # S3 checks that it may send when the notification is made:
            # https://docs.aws.amazon.com/AmazonS3/latest/userguide/how-to-enable-disable-notification-intro.html
            opts=pulumi.ResourceOptions(parent=self, depends_on=[queue_policy]),
        )


class UploadAccess(pulumi.ComponentResource):
    """From which origins a browser may upload, and read the end of a result for a preview.

    Made last: the page's own origin is known late.
    """

    def __init__(
        self,
        name: str,
        bucket: pulumi.Input[str],
        origins: Sequence[pulumi.Input[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("addendum:infra:UploadAccess", name, None, opts)
        forms = aws.s3.BucketCorsConfigurationCorsRuleArgs(
            allowed_methods=["POST"],
            allowed_origins=origins,
            allowed_headers=["content-type"],
            max_age_seconds=3600,
        )
        previews = aws.s3.BucketCorsConfigurationCorsRuleArgs(
            allowed_methods=["GET"],
            allowed_origins=origins,
            allowed_headers=["range"],
            expose_headers=["Content-Range"],
            max_age_seconds=3600,
        )
        aws.s3.BucketCorsConfiguration(
            name,
            bucket=bucket,
            cors_rules=[forms, previews],
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.register_outputs({})


def _redrive(dead_letter_queue_arn: str) -> str:
    return json.dumps(
        {"deadLetterTargetArn": dead_letter_queue_arn, "maxReceiveCount": MAX_RECEIVE_COUNT}
    )


def _expiry(prefix: str, days: int) -> aws.s3.BucketLifecycleConfigurationRuleArgs:
    return aws.s3.BucketLifecycleConfigurationRuleArgs(
        id=prefix.rstrip("/"),
        status="Enabled",
        filter=aws.s3.BucketLifecycleConfigurationRuleFilterArgs(prefix=prefix),
        expiration=aws.s3.BucketLifecycleConfigurationRuleExpirationArgs(days=days),
        abort_incomplete_multipart_upload=aws.s3.BucketLifecycleConfigurationRuleAbortIncompleteMultipartUploadArgs(
            days_after_initiation=1
        ),
    )
