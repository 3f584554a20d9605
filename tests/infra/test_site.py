"""Page and API behind one address: never stale, never insecure, JSON stays JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pulumi
import pytest

from infra.site import content_security_policy, page_files
from tests.infra.program import Run


def _distribution(run: Run) -> dict[str, Any]:
    return dict(run.one("Distribution").inputs)


def _page(run: Run) -> dict[str, Any]:
    return dict(_distribution(run)["defaultCacheBehavior"])


def _api(run: Run) -> dict[str, Any]:
    (behavior,) = _distribution(run)["orderedCacheBehaviors"]
    return dict(behavior)


def test_http_2_and_3_over_ipv4_and_ipv6(declared: Run) -> None:
    distribution = _distribution(declared)
    assert (distribution["httpVersion"], distribution["isIpv6Enabled"]) == ("http2and3", True)


def test_plain_http_never_gets_an_answer_of_ours(declared: Run) -> None:
    assert _page(declared)["viewerProtocolPolicy"] == "redirect-to-https"
    assert _api(declared)["viewerProtocolPolicy"] == "https-only"
    api = _origin(declared, "api")["customOriginConfig"]
    assert (api["originProtocolPolicy"], api["originSslProtocols"]) == ("https-only", ["TLSv1.2"])


def _origin(run: Run, name: str) -> dict[str, Any]:
    (origin,) = [one for one in _distribution(run)["origins"] if one["originId"] == name]
    return dict(origin)


def test_only_this_distribution_reads_the_page(declared: Run) -> None:
    control = declared.one("OriginAccessControl").inputs
    assert control["originAccessControlOriginType"] == "s3"
    assert (control["signingBehavior"], control["signingProtocol"]) == ("always", "sigv4")
    assert _origin(declared, "page")["originAccessControlId"] == "site-id"
    statements = declared.one("BucketPolicy", "site").json("policy")["Statement"]
    (allow,) = [one for one in statements if one["Effect"] == "Allow"]
    assert allow["Principal"] == {"Service": "cloudfront.amazonaws.com"}
    assert allow["Action"] == "s3:GetObject"
    assert allow["Condition"]["StringEquals"]["AWS:SourceArn"].endswith("distribution/site")


def test_the_page_is_cached_and_compressed_but_never_stale(declared: Run) -> None:
    cache = declared.one("CachePolicy").inputs
    assert cache["minTtl"] == 0, "or CloudFront would keep a no-cache file for as long"
    assert cache["maxTtl"] > 0, "or CloudFront would compress nothing"
    keys = cache["parametersInCacheKeyAndForwardedToOrigin"]
    assert keys["enableAcceptEncodingBrotli"] is keys["enableAcceptEncodingGzip"] is True
    assert _page(declared)["cachePolicyId"] == "site-id"
    assert _page(declared)["compress"] is True
    for each in declared.all("BucketObjectv2", "site-"):
        assert each.inputs["cacheControl"] == "no-cache"


def test_the_api_is_not_cached_and_gets_all_but_the_host_header(declared: Run) -> None:
    api = _api(declared)
    assert api["pathPattern"] == "/api/*"
    assert api["cachePolicyId"] == "cache policy Managed-CachingDisabled"
    assert api["originRequestPolicyId"] == "request policy Managed-AllViewerExceptHostHeader"
    methods = {"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"}
    assert set(api["allowedMethods"]) == methods


def test_the_apis_path_begins_with_its_stage_so_it_is_forwarded_unchanged(declared: Run) -> None:
    assert declared.one("Stage").inputs["stageName"] == "api"
    origin = _origin(declared, "api")
    assert origin["domainName"] == "abc123.execute-api.eu-central-1.amazonaws.com"
    assert "originPath" not in origin


def test_errors_are_not_kept_and_not_replaced(declared: Run) -> None:
    """A page for errors would stand in for the API's JSON; a kept 404 for a new job."""
    responses = _distribution(declared)["customErrorResponses"]
    assert {one["errorCode"] for one in responses} == {403, 404, 500, 501, 502, 503, 504}
    for response in responses:
        assert response["errorCachingMinTtl"] == 0
        assert not {"responsePagePath", "responseCode"} & set(response)


def test_the_page_may_connect_to_the_host_that_forms_are_signed_for(
    declared: Run, elsewhere: Run
) -> None:
    """The bucket's regional host, in us-east-1 too, as the API's client is told."""
    for each, region in ((declared, "eu-central-1"), (elsewhere, "us-east-1")):
        upload = f"https://storage-data.s3.{region}.amazonaws.com"
        assert f"connect-src 'self' {upload};" in _content_security_policy(each)


def _content_security_policy(run: Run) -> str:
    headers = run.one("ResponseHeadersPolicy").inputs["securityHeadersConfig"]
    assert headers["contentSecurityPolicy"]["override"] is True
    return str(headers["contentSecurityPolicy"]["contentSecurityPolicy"])


def test_the_content_security_policy_allows_what_the_page_needs_and_nothing_else() -> None:
    directives = content_security_policy("https://up.example.org").split("; ")
    assert directives == [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self' https://up.example.org",
        "form-action 'none'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]


def test_the_upload_origin_can_be_set(changed: Run) -> None:
    assert "connect-src 'self' http://127.0.0.1:4566;" in _content_security_policy(changed)


def test_page_and_api_answer_with_security_headers(declared: Run) -> None:
    assert _page(declared)["responseHeadersPolicyId"] == "site-id"
    assert _api(declared)["responseHeadersPolicyId"] == "site-id"
    headers = declared.one("ResponseHeadersPolicy").inputs["securityHeadersConfig"]
    assert headers["contentTypeOptions"] == {"override": True}
    assert headers["frameOptions"]["frameOption"] == "DENY"
    assert headers["referrerPolicy"]["referrerPolicy"] == "no-referrer"
    assert headers["strictTransportSecurity"]["accessControlMaxAgeSec"] >= 31536000


def test_without_a_domain_the_certificate_is_cloudfronts(declared: Run) -> None:
    distribution = _distribution(declared)
    assert distribution["viewerCertificate"] == {"cloudfrontDefaultCertificate": True}
    assert "aliases" not in distribution
    assert declared.all("Certificate") == declared.all("Record") == []


def test_an_own_domain_has_a_certificate_for_tls_1_2_and_newer(changed: Run) -> None:
    assert changed.one("Certificate").inputs["region"] == "us-east-1"
    assert changed.one("CertificateValidation").inputs["region"] == "us-east-1"
    distribution = _distribution(changed)
    assert distribution["aliases"] == ["files.example.org"]
    certificate = distribution["viewerCertificate"]
    assert certificate["minimumProtocolVersion"] == "TLSv1.2_2021"
    assert certificate["sslSupportMethod"] == "sni-only"
    assert changed.exports["site_url"] == "https://files.example.org"


def test_an_own_domain_leads_to_the_page_by_ipv4_and_ipv6(changed: Run) -> None:
    records = {one.inputs["type"]: one.inputs for one in changed.all("Record")}
    assert set(records) == {"A", "AAAA", "CNAME"}
    for kind in ("A", "AAAA"):
        (alias,) = records[kind]["aliases"]
        assert (alias["name"], alias["zoneId"]) == ("d1.cloudfront.net", "Z2")
        assert records[kind]["zoneId"] == "Z0123456789"


def test_every_file_of_the_page_is_uploaded_with_its_type(declared: Run) -> None:
    objects = {
        one.inputs["key"]: one.inputs["contentType"]
        for one in declared.all("BucketObjectv2", "site-")
    }
    files = {path.relative_to("static_site").as_posix() for path in page_files(Path("static_site"))}
    assert set(objects) == files
    assert objects["index.html"] == "text/html; charset=utf-8"
    assert all(
        kind.startswith("text/javascript") for key, kind in objects.items() if key.endswith(".js")
    )


def test_a_folder_without_a_page_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(pulumi.RunError, match=r"has no index\.html"):
        page_files(tmp_path)


def test_a_file_of_unknown_kind_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "index.html").touch()
    (tmp_path / "film.mkv").touch()
    with pytest.raises(pulumi.RunError, match=r"film\.mkv has no known content type: add \.mkv"):
        page_files(tmp_path)
