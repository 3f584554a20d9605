"""A private bucket: no public access, no ACLs, encrypted, TLS only."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra import policies


@dataclass(frozen=True)
class PrivateBucketArgs:
    """Inputs of :class:`PrivateBucket`."""

    deletion_protection: bool
    """Whether deletion is refused while the bucket holds objects."""


class PrivateBucket(pulumi.ComponentResource):
    """An S3 bucket with everything that keeps it private.

    Whoever makes one calls :meth:`attach_policy` once: a bucket has one policy, and
    some statements in it can only be known later.
    """

    def __init__(
        self, name: str, args: PrivateBucketArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:PrivateBucket", name, None, opts)
        self._name = name
        self._child = pulumi.ResourceOptions(parent=self)
        self._bucket = aws.s3.Bucket(
            name, force_destroy=not args.deletion_protection, opts=self._child
        )
        self.name = self._bucket.bucket
        self.arn = self._bucket.arn
        self.domain_name = self._bucket.bucket_regional_domain_name
        self._access_block = self._keep_private()
        self._encrypt()
        self.register_outputs({"name": self.name, "arn": self.arn})

    def _keep_private(self) -> aws.s3.BucketPublicAccessBlock:
        aws.s3.BucketOwnershipControls(
            self._name,
            bucket=self.name,
            rule=aws.s3.BucketOwnershipControlsRuleArgs(object_ownership="BucketOwnerEnforced"),
            opts=self._child,
        )
        return aws.s3.BucketPublicAccessBlock(
            self._name,
            bucket=self.name,
            block_public_acls=True,
            block_public_policy=True,
            ignore_public_acls=True,
            restrict_public_buckets=True,
            opts=self._child,
        )

    def _encrypt(self) -> None:
        by_default = aws.s3.BucketServerSideEncryptionConfigurationRuleApplyServerSideEncryptionByDefaultArgs(  # noqa: E501
            sse_algorithm="AES256"
        )
        aws.s3.BucketServerSideEncryptionConfiguration(
            self._name,
            bucket=self.name,
            rules=[
                aws.s3.BucketServerSideEncryptionConfigurationRuleArgs(
                    apply_server_side_encryption_by_default=by_default
                )
            ],
            opts=self._child,
        )

    def attach_policy(
        self, statements: pulumi.Input[list[policies.Statement]] | None = None
    ) -> aws.s3.BucketPolicy:
        """Give the bucket its policy: TLS only, and ``statements``."""
        tls_only = policies.render(policies.tls_only, bucket_arn=self.arn)
        both = pulumi.Output.all(tls_only, statements or []).apply(
            lambda lists: [*lists[0], *lists[1]]
        )
        return aws.s3.BucketPolicy(
            self._name,
            bucket=self.name,
            policy=policies.as_json(both),
            # S3 refuses two changes of a bucket's access settings at the same time.
            opts=pulumi.ResourceOptions(parent=self, depends_on=[self._access_block]),
        )
