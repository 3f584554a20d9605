"""Resources that are only written down here, each with the reason."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from local.resources.declared import Created, Declared

_CHALICE_LOCAL = "`chalice local` is the API here"
_FRONT = "the front serves the page here, with the headers declared"
_NO_ALARMS = "nobody is on call for a laptop, and the terminal tells of each job"
_NO_DOMAIN = "a laptop is reached by no host name"

RECORDED: Mapping[str, str] = {
    "aws:apigateway/restApi:RestApi": _CHALICE_LOCAL,
    "aws:apigateway/deployment:Deployment": _CHALICE_LOCAL,
    "aws:apigateway/stage:Stage": _CHALICE_LOCAL,
    "aws:apigateway/methodSettings:MethodSettings": _CHALICE_LOCAL,
    "aws:apigateway/account:Account": _CHALICE_LOCAL,
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment": "only API Gateway's log role has one",
    "aws:cloudfront/distribution:Distribution": _FRONT,
    "aws:cloudfront/originAccessControl:OriginAccessControl": _FRONT,
    "aws:cloudfront/responseHeadersPolicy:ResponseHeadersPolicy": _FRONT,
    "aws:cloudfront/cachePolicy:CachePolicy": _FRONT,
    "aws:acm/certificate:Certificate": _NO_DOMAIN,
    "aws:acm/certificateValidation:CertificateValidation": _NO_DOMAIN,
    "aws:route53/record:Record": _NO_DOMAIN,
    "aws:cloudwatch/metricAlarm:MetricAlarm": _NO_ALARMS,
    "aws:cloudwatch/dashboard:Dashboard": _NO_ALARMS,
    "aws:sns/topic:Topic": _NO_ALARMS,
    "aws:sns/topicSubscription:TopicSubscription": _NO_ALARMS,
    "aws:budgets/budget:Budget": "nothing costs money here",
}
"""Type and reason."""


def record(declared: Declared) -> Created:
    """Return what the provider would answer, with names that look like AWS's."""
    made = f"{declared.name}-{secrets.token_hex(4)[:7]}"
    service, _, kind = declared.type.split(":")[1].partition("/")
    outputs = {"name": made, "arn": declared.arn(service, f"{kind}/{made}")}
    special = _OUTPUTS.get(declared.type)
    return Created(made, {**outputs, **(special(declared, made) if special else {})})


def _rest_api(declared: Declared, made: str) -> dict[str, Any]:
    return {"executionArn": declared.arn("execute-api", made), "rootResourceId": f"{made}-root"}


def _stage(declared: Declared, _: str) -> dict[str, Any]:
    api, stage = declared.inputs["restApi"], declared.inputs["stageName"]
    host = f"{api}.execute-api.{declared.account.region}.amazonaws.com"
    return {
        "invokeUrl": f"https://{host}/{stage}",
        "executionArn": declared.arn("execute-api", f"{api}/{stage}"),
        "arn": f"arn:aws:apigateway:{declared.account.region}::/restapis/{api}/stages/{stage}",
    }


def _distribution(declared: Declared, made: str) -> dict[str, Any]:
    return {
        "domainName": f"{made}.cloudfront.net",
        "hostedZoneId": "Z2FDTNDATAQYW2",
        "arn": declared.arn("cloudfront", f"distribution/{made}", region=""),
    }


def _certificate(declared: Declared, _: str) -> dict[str, Any]:
    host = declared.inputs["domainName"]
    proof = {
        "domainName": host,
        "resourceRecordName": f"_proof.{host}",
        "resourceRecordType": "CNAME",
        "resourceRecordValue": "_proof.acm-validations.aws.",
    }
    return {"domainValidationOptions": [proof]}


def _record(declared: Declared, _: str) -> dict[str, Any]:
    return {"fqdn": declared.inputs["name"], "name": declared.inputs["name"]}


_OUTPUTS: Mapping[str, Callable[[Declared, str], dict[str, Any]]] = {
    "aws:apigateway/restApi:RestApi": _rest_api,
    "aws:apigateway/stage:Stage": _stage,
    "aws:cloudfront/distribution:Distribution": _distribution,
    "aws:acm/certificate:Certificate": _certificate,
    "aws:route53/record:Record": _record,
}
