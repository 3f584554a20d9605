"""API Gateway's own errors, worded as the program declares them.

``chalice local`` answers a path that does not exist as API Gateway does by itself. The
declared API maps these errors to another status and shape, and so does this module.
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-gatewayResponse-definition.html
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_RESPONSES = "x-amazon-apigateway-gateway-responses"


@dataclass(frozen=True)
class GatewayError:
    """One of API Gateway's errors: its kind, its own status and its message."""

    kind: str
    status: HTTPStatus
    message: str


NO_SUCH_ROUTE = GatewayError(
    "MISSING_AUTHENTICATION_TOKEN", HTTPStatus.FORBIDDEN, "Missing Authentication Token"
)
TOO_LARGE = GatewayError(
    "REQUEST_TOO_LARGE", HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Request Too Long"
)
NO_ANSWER = GatewayError("DEFAULT_5XX", HTTPStatus.BAD_GATEWAY, "the API does not answer")
BAD_REQUEST = GatewayError("DEFAULT_4XX", HTTPStatus.BAD_REQUEST, "Bad Request")


class GatewayResponses:
    """The gateway responses of an API.

    :param api_body: its OpenAPI description, as JSON.
    """

    def __init__(self, api_body: str) -> None:
        self._declared: Mapping[str, Any] = json.loads(api_body).get(_RESPONSES, {})

    def render(self, error: GatewayError) -> tuple[HTTPStatus, bytes]:
        """Return status and body of an error."""
        default = (
            "DEFAULT_5XX" if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "DEFAULT_4XX"
        )
        declared = self._declared.get(error.kind) or self._declared.get(default) or {}
        status = HTTPStatus(int(declared.get("statusCode", error.status)))
        template = declared.get("responseTemplates", {}).get(
            "application/json", '{"message": $context.error.messageString}'
        )
        text = template.replace("$context.error.messageString", json.dumps(error.message))
        return status, text.encode()
