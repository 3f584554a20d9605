"""A host name of one's own: its certificate, and the records that lead to the page."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.settings import OwnDomain

CERTIFICATE_REGION = "us-east-1"
"""Where CloudFront looks for certificates, wherever the stack is:
https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/cnames-and-https-requirements.html
"""


class Domain(pulumi.ComponentResource):
    """A host name in a Route 53 zone, with a certificate that renews itself."""

    def __init__(
        self, name: str, args: OwnDomain, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Domain", name, None, opts)
        self._name = name
        self._zone = args.hosted_zone_id
        self._child = pulumi.ResourceOptions(parent=self)
        self.host = args.domain
        self.certificate_arn = self._certificate()
        self.register_outputs({"host": self.host})

    def _certificate(self) -> pulumi.Output[str]:
        certificate = aws.acm.Certificate(
            self._name,
            domain_name=self.host,
            validation_method="DNS",
            region=CERTIFICATE_REGION,
            opts=self._child,
        )
        proof = certificate.domain_validation_options[0]
        record = aws.route53.Record(
            f"{self._name}-proof",
            zone_id=self._zone,
            name=proof.resource_record_name,
            type=proof.resource_record_type,
            records=[proof.resource_record_value],
            ttl=300,
            opts=self._child,
        )
        validation = aws.acm.CertificateValidation(
            self._name,
            certificate_arn=certificate.arn,
            validation_record_fqdns=[record.fqdn],
            region=CERTIFICATE_REGION,
            opts=self._child,
        )
        return validation.certificate_arn

    def point_at(self, distribution: aws.cloudfront.Distribution) -> None:
        """Lead the host name to a distribution, by IPv4 and IPv6."""
        alias = aws.route53.RecordAliasArgs(
            name=distribution.domain_name,
            zone_id=distribution.hosted_zone_id,
            evaluate_target_health=False,
        )
        for kind in ("A", "AAAA"):
            aws.route53.Record(
                f"{self._name}-{kind.lower()}",
                zone_id=self._zone,
                name=self.host,
                type=kind,
                aliases=[alias],
                opts=self._child,
            )
