"""The front: one address for the page and the API, as CloudFront is on AWS."""

from __future__ import annotations

import errno
import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import ClientError

from local import gateway
from local.child import HOST
from local.gateway import GatewayError, GatewayResponses
from local.loopback import Handler, Server

API_PREFIX = "/api"
MAX_BODY_BYTES = 10_000_000
"""API Gateway's limit, 10 MB:
https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
"""

_UPSTREAM_SECONDS = 60.0
_REASONS = {errno.EADDRINUSE: "is in use", errno.EACCES: "is for root only"}
_HOP_BY_HOP = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "host",
        "keep-alive",
        "proxy-connection",
        "server",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True)
class Routes:
    """What the front serves.

    :param s3: an S3 client that may read the site's bucket.
    :param page_headers: headers that CloudFront adds to every answer.
    """

    s3: Any
    site_bucket: str
    api_port: int
    page_headers: Mapping[str, str]
    gateway_responses: GatewayResponses


class PortUnavailable(Exception):
    """The port cannot be had. The message says why, and what to do."""


class Front(Server):
    """Holds its port from the beginning, and serves once it has its routes.

    :param port: 0 for any free one.
    :raises PortUnavailable: if somebody else listens there, or only root may.
    """

    routes: Routes

    def __init__(self, port: int) -> None:
        try:
            super().__init__(_FrontHandler, port)
        except OSError as error:
            reason = _REASONS.get(error.errno or 0)
            if reason is None:
                raise
            message = f"port {port} {reason}: choose another one, as in PORT=9000 make run"
            raise PortUnavailable(message) from None

    def serve(self, routes: Routes) -> None:
        """Begin to answer."""
        self.routes = routes
        self.start()


class _FrontHandler(Handler):
    server: Front

    def _dispatch(self) -> None:
        path = self.path.partition("?")[0]
        if path == API_PREFIX or path.startswith(f"{API_PREFIX}/"):
            self._forward()
        elif self.command in ("GET", "HEAD"):
            self._send_page(unquote(path).removeprefix("/") or "index.html")
        else:
            self.discard_body()
            self._send(HTTPStatus.METHOD_NOT_ALLOWED, b"", {"Allow": "GET, HEAD"})

    do_GET = do_HEAD = do_POST = do_PUT = _dispatch  # noqa: N815
    do_PATCH = do_DELETE = do_OPTIONS = _dispatch  # noqa: N815

    def _send_page(self, key: str) -> None:
        found = self._find_page(key)
        if found is None:
            text = {"Content-Type": "text/plain; charset=utf-8"}
            self._send(HTTPStatus.NOT_FOUND, b"There is no such page.\n", text)
            return
        headers = {"Content-Type": found["ContentType"], "ETag": found["ETag"]}
        if "CacheControl" in found:
            headers["Cache-Control"] = found["CacheControl"]
        if found["ETag"] in self.headers.get("If-None-Match", ""):
            self._send(HTTPStatus.NOT_MODIFIED, b"", headers)
        else:
            self._send(HTTPStatus.OK, found["Body"].read(), headers)

    def _find_page(self, key: str) -> dict[str, Any] | None:
        routes = self.server.routes
        try:
            found: dict[str, Any] = routes.s3.get_object(Bucket=routes.site_bucket, Key=key)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                raise
            return None
        return found

    def _forward(self) -> None:
        length = self.body_length
        is_url = self.path.isascii() and self.path.isprintable()
        if "Transfer-Encoding" in self.headers or length is None or not is_url:
            self.close_connection = True
            self._refuse(gateway.BAD_REQUEST)
        elif length > MAX_BODY_BYTES:
            self.discard_body()
            self._refuse(gateway.TOO_LARGE)
        else:
            self._exchange(self.rfile.read(length))

    def _exchange(self, body: bytes) -> None:
        """Ask the API and pass its answer on, with errors worded as declared."""
        try:
            status, headers, answer = self._ask_api(body)
        except (OSError, http.client.HTTPException):
            self._refuse(gateway.NO_ANSWER)
            return
        if self._is_no_such_route(status, answer):
            self._refuse(gateway.NO_SUCH_ROUTE)
        else:
            self._send(status, answer, headers)

    def _is_no_such_route(self, status: HTTPStatus, answer: bytes) -> bool:
        """Whether API Gateway, unlike ``chalice local``, would say only that of this request."""
        if self.command == "OPTIONS" or status == HTTPStatus.METHOD_NOT_ALLOWED:
            return True  # the API declares no OPTIONS, which `chalice local` answers by itself
        said = self.command == "HEAD" or gateway.NO_SUCH_ROUTE.message.encode() in answer
        return said and status == HTTPStatus.FORBIDDEN

    def _ask_api(self, body: bytes) -> tuple[HTTPStatus, dict[str, str], bytes]:
        # API Gateway hands over text: what is no UTF-8 becomes replacement characters.
        text = body.decode(errors="replace").encode()
        connection = http.client.HTTPConnection(
            HOST, self.server.routes.api_port, timeout=_UPSTREAM_SECONDS
        )
        try:
            path = self.path.removeprefix(API_PREFIX)
            connection.request(
                self.command,
                path if path.startswith("/") else f"/{path}",
                text or None,
                {**_end_to_end(self.headers), "Host": self.headers.get("Host", HOST)},
            )
            response = connection.getresponse()
            answer = response.read()
            return HTTPStatus(response.status), _end_to_end(response.headers), answer
        finally:
            connection.close()

    def _refuse(self, error: GatewayError) -> None:
        """Answer as API Gateway does by itself."""
        status, body = self.server.routes.gateway_responses.render(error)
        self._send(status, body, {"Content-Type": "application/json"})

    def _send(self, status: HTTPStatus, body: bytes, headers: Mapping[str, str]) -> None:
        self.answer(status, body, {**self.server.routes.page_headers, **headers})


def _end_to_end(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP_BY_HOP}


def headers_of_policy(policy: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that a CloudFront response headers policy adds.

    :param policy: the properties of a declared ``ResponseHeadersPolicy``.
    """
    security = policy.get("securityHeadersConfig") or {}
    found = {
        "Content-Security-Policy": _inner(security, "contentSecurityPolicy"),
        "Referrer-Policy": _inner(security, "referrerPolicy"),
        "X-Frame-Options": _inner(security, "frameOptions", "frameOption"),
        "X-Content-Type-Options": "nosniff" if security.get("contentTypeOptions") else None,
        "Strict-Transport-Security": _transport_security(security),
    }
    for item in (policy.get("customHeadersConfig") or {}).get("items") or []:
        found[item["header"]] = item["value"]
    return {name: value for name, value in found.items() if value}


def _inner(config: Mapping[str, Any], key: str, inner: str | None = None) -> str | None:
    value: str | None = (config.get(key) or {}).get(inner or key)
    return value


def _transport_security(security: Mapping[str, Any]) -> str | None:
    config = security.get("strictTransportSecurity")
    if not config:
        return None
    parts = [f"max-age={config['accessControlMaxAgeSec']}"]
    parts += ["includeSubDomains"] if config.get("includeSubdomains") else []
    parts += ["preload"] if config.get("preload") else []
    return "; ".join(parts)
