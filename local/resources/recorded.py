"""Resources that are only written down here, each with the reason."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from local.resources.declared import Created, Declared

_CHALICE_LOCAL = "`chalice local` is the API here"
_FRONT = "the front serves the page here, with the headers declared"

RECORDED: Mapping[str, str] = {
    "aws:apigateway/restApi:RestApi": _CHALICE_LOCAL,
    "aws:apigateway/deployment:Deployment": _CHALICE_LOCAL,
    "aws:apigateway/stage:Stage": _CHALICE_LOCAL,
    "aws:apigateway/methodSettings:MethodSettings": _CHALICE_LOCAL,
    "aws:apigateway/account:Account": _CHALICE_LOCAL,
    "aws:cloudfront/distribution:Distribution": _FRONT,
    "aws:cloudfront/originAccessControl:OriginAccessControl": _FRONT,
    "aws:cloudfront/responseHeadersPolicy:ResponseHeadersPolicy": _FRONT,
    "aws:cloudfront/cachePolicy:CachePolicy": _FRONT,
    "aws:cloudfront/originRequestPolicy:OriginRequestPolicy": _FRONT,
    "aws:cloudfront/function:Function": _FRONT,
    "aws:cloudwatch/metricAlarm:MetricAlarm": "nobody is on call for a laptop",
    "aws:cloudwatch/dashboard:Dashboard": "the terminal tells the story of each job",
    "aws:cloudwatch/logMetricFilter:LogMetricFilter": "no alarm reads its metric here",
    "aws:sns/topic:Topic": "no alarm sends to it here",
    "aws:sns/topicPolicy:TopicPolicy": "no alarm sends to it here",
    "aws:sns/topicSubscription:TopicSubscription": "no alarm sends to it here",
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
        "arn": declared.arn("cloudfront", f"distribution/{made}", region=""),
    }


_OUTPUTS: Mapping[str, Callable[[Declared, str], dict[str, Any]]] = {
    "aws:apigateway/restApi:RestApi": _rest_api,
    "aws:apigateway/stage:Stage": _stage,
    "aws:cloudfront/distribution:Distribution": _distribution,
}
