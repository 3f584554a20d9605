"""The page: its files in a private bucket, and the one address for page and API."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pulumi
import pulumi_aws as aws

from infra import policies
from infra.bucket import PrivateBucket, PrivateBucketArgs
from infra.domain import Domain

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}

READ = ["GET", "HEAD"]
EVERY_METHOD = [*READ, "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]
PAGE = "page"
API = "api"
YEAR_SECONDS = 365 * 86400


@dataclass(frozen=True)
class SiteArgs:
    """Inputs of :class:`Site`."""

    folder: Path
    api_url: pulumi.Input[str]
    """The API's stage, whose name is the first part of every path."""
    upload_origin: pulumi.Input[str]
    deletion_protection: bool
    domain: Domain | None = None


class Site(pulumi.ComponentResource):
    """Bucket, files, and the CloudFront distribution before them and before the API.

    ``origin`` is the page's, such as ``https://d111111abcdef8.cloudfront.net``.
    """

    def __init__(
        self, name: str, args: SiteArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Site", name, None, opts)
        self._name = name
        self._args = args
        self._child = pulumi.ResourceOptions(parent=self)
        self.bucket = PrivateBucket(
            name, PrivateBucketArgs(deletion_protection=args.deletion_protection), self._child
        )
        for path in page_files(args.folder):
            self._upload(path, path.relative_to(args.folder).as_posix())
        self.distribution = self._distribution()
        statements = policies.render(
            policies.read_by_distribution,
            bucket_arn=self.bucket.arn,
            distribution_arn=self.distribution.arn,
        )
        self.bucket.attach_policy(statements)
        host: pulumi.Input[str] = self.distribution.domain_name
        if args.domain is not None:
            args.domain.point_at(self.distribution)
            host = args.domain.host
        self.origin = pulumi.Output.concat("https://", host)
        self.register_outputs({"origin": self.origin})

    def _upload(self, path: Path, key: str) -> None:
        aws.s3.BucketObjectv2(
            f"{self._name}-{key}",
            bucket=self.bucket.name,
            key=key,
            source=pulumi.FileAsset(path),
            content_type=CONTENT_TYPES[path.suffix],
            # Kept by caches, but asked about every time: never stale after a deploy.
            cache_control="no-cache",
            opts=self._child,
        )

    def _distribution(self) -> aws.cloudfront.Distribution:
        headers = self._security_headers().id
        domain = self._args.domain
        return aws.cloudfront.Distribution(
            self._name,
            enabled=True,
            http_version="http2and3",
            is_ipv6_enabled=True,
            price_class="PriceClass_100",
            default_root_object="index.html",
            origins=[self._page_origin(), self._api_origin()],
            default_cache_behavior=self._page_behavior(headers),
            ordered_cache_behaviors=[self._api_behavior(headers)],
            custom_error_responses=_UNCACHED_ERRORS,
            aliases=[domain.host] if domain else None,
            viewer_certificate=_certificate(domain),
            restrictions=_NO_RESTRICTIONS,
            opts=self._child,
        )

    def _page_origin(self) -> aws.cloudfront.DistributionOriginArgs:
        control = aws.cloudfront.OriginAccessControl(
            self._name,
            origin_access_control_origin_type="s3",
            signing_behavior="always",
            signing_protocol="sigv4",
            opts=self._child,
        )
        return aws.cloudfront.DistributionOriginArgs(
            origin_id=PAGE,
            domain_name=self.bucket.domain_name,
            origin_access_control_id=control.id,
        )

    def _api_origin(self) -> aws.cloudfront.DistributionOriginArgs:
        host = pulumi.Output.from_input(self._args.api_url).apply(lambda url: urlsplit(url).netloc)
        return aws.cloudfront.DistributionOriginArgs(
            origin_id=API,
            domain_name=host,
            custom_origin_config=aws.cloudfront.DistributionOriginCustomOriginConfigArgs(
                http_port=80,
                https_port=443,
                origin_protocol_policy="https-only",
                origin_ssl_protocols=["TLSv1.2"],
            ),
        )

    def _page_behavior(
        self, headers: pulumi.Input[str]
    ) -> aws.cloudfront.DistributionDefaultCacheBehaviorArgs:
        return aws.cloudfront.DistributionDefaultCacheBehaviorArgs(
            target_origin_id=PAGE,
            viewer_protocol_policy="redirect-to-https",
            allowed_methods=READ,
            cached_methods=READ,
            cache_policy_id=self._page_cache().id,
            response_headers_policy_id=headers,
            compress=True,
        )

    def _page_cache(self) -> aws.cloudfront.CachePolicy:
        """Cache, but do as the files' Cache-Control says.

        AWS's own policy would keep a ``no-cache`` file for a second, and with no cache at
        all CloudFront compresses nothing:
        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/ServingCompressedFiles.html
        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/Expiration.html
        """
        return aws.cloudfront.CachePolicy(
            self._name,
            min_ttl=0,
            default_ttl=1,
            max_ttl=YEAR_SECONDS,
            parameters_in_cache_key_and_forwarded_to_origin={
                "enable_accept_encoding_brotli": True,
                "enable_accept_encoding_gzip": True,
                "cookies_config": {"cookie_behavior": "none"},
                "headers_config": {"header_behavior": "none"},
                "query_strings_config": {"query_string_behavior": "none"},
            },
            opts=self._child,
        )

    def _api_behavior(
        self, headers: pulumi.Input[str]
    ) -> aws.cloudfront.DistributionOrderedCacheBehaviorArgs:
        """Hand every call on as it is.

        API Gateway answers to its own host name only, so the viewer's must not arrive:
        https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/using-managed-origin-request-policies.html
        """
        options = pulumi.InvokeOutputOptions(parent=self)
        uncached = aws.cloudfront.get_cache_policy_output(
            name="Managed-CachingDisabled", opts=options
        )
        forwarded = aws.cloudfront.get_origin_request_policy_output(
            name="Managed-AllViewerExceptHostHeader", opts=options
        )
        return aws.cloudfront.DistributionOrderedCacheBehaviorArgs(
            path_pattern="/api/*",
            target_origin_id=API,
            viewer_protocol_policy="https-only",
            allowed_methods=EVERY_METHOD,
            cached_methods=READ,
            cache_policy_id=uncached.id.apply(str),
            origin_request_policy_id=forwarded.id.apply(str),
            response_headers_policy_id=headers,
        )

    def _security_headers(self) -> aws.cloudfront.ResponseHeadersPolicy:
        origin = pulumi.Output.from_input(self._args.upload_origin)
        policy = origin.apply(content_security_policy)
        return aws.cloudfront.ResponseHeadersPolicy(
            self._name, security_headers_config=_security_headers(policy), opts=self._child
        )


def content_security_policy(upload_origin: str) -> str:
    """Return what the page needs, and nothing else: its own files, its API, the uploads."""
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            f"connect-src 'self' {upload_origin}",
            "form-action 'none'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _security_headers(
    policy: pulumi.Input[str],
) -> aws.cloudfront.ResponseHeadersPolicySecurityHeadersConfigArgsDict:
    return {
        "content_security_policy": {"content_security_policy": policy, "override": True},
        "content_type_options": {"override": True},
        "frame_options": {"frame_option": "DENY", "override": True},
        "referrer_policy": {"referrer_policy": "no-referrer", "override": True},
        "strict_transport_security": {
            "access_control_max_age_sec": 2 * YEAR_SECONDS,
            "override": True,
        },
    }


def _certificate(
    domain: Domain | None,
) -> aws.cloudfront.DistributionViewerCertificateArgs:
    """Return the certificate: the own domain's, or CloudFront's.

    With CloudFront's the minimum TLS version cannot be chosen:
    https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/secure-connections-supported-viewer-protocols-ciphers.html
    """
    if domain is None:
        return aws.cloudfront.DistributionViewerCertificateArgs(cloudfront_default_certificate=True)
    return aws.cloudfront.DistributionViewerCertificateArgs(
        acm_certificate_arn=domain.certificate_arn,
        ssl_support_method="sni-only",
        minimum_protocol_version="TLSv1.2_2021",
    )


# CloudFront keeps errors for 10 seconds unless told otherwise, and a page of its own would
# stand in for the API's JSON:
# https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/HTTPStatusCodes.html
_UNCACHED_ERRORS = [
    aws.cloudfront.DistributionCustomErrorResponseArgs(error_code=code, error_caching_min_ttl=0)
    for code in (403, 404, 500, 501, 502, 503, 504)
]

_NO_RESTRICTIONS = aws.cloudfront.DistributionRestrictionsArgs(
    geo_restriction=aws.cloudfront.DistributionRestrictionsGeoRestrictionArgs(
        restriction_type="none"
    )
)


def page_files(folder: Path) -> list[Path]:
    """Return the page's files in a stable order.

    :raises pulumi.RunError: if there is no page, or a file of unknown kind.
    """
    if not (folder / "index.html").is_file():
        raise pulumi.RunError(f"{folder} has no index.html: it must be the folder of the page")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in files if not path.name.startswith(".")]
    for path in files:
        if path.suffix not in CONTENT_TYPES:
            raise pulumi.RunError(
                f"{path} has no known content type: add {path.suffix or 'its ending'} to"
                " CONTENT_TYPES in infra/site.py, or move the file out of the page"
            )
    return files
