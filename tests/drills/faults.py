"""Faults at the wire: what AWS answers for a while to one kind of request.

They strike below the SDK's own retries, where real ones do, and instead of moto.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import botocore.endpoint
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

FAULTS = ("500", "503", "timeout", "reset")

ERRORS = {
    "s3": "<Error><Code>{}</Code><Message>Please try again.</Message></Error>",
    "ec2": "<Response><Errors><Error><Code>{}</Code></Error></Errors></Response>",
    "": '{{"__type": "{}", "message": "Please try again."}}',
}
"""How a service words an error, by what its address begins with."""

_NOBODY = "https://nobody.invalid"

CODES = {
    ("s3", "503"): "SlowDown",
    ("ec2", "503"): "RequestLimitExceeded",
    ("", "503"): "ThrottlingException",
}


class Raw(io.BytesIO):
    """A body, as urllib3 hands it over."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


class PowerCut(BaseException):
    """The machine is gone. No ``except Exception`` of its code sees that."""


@dataclass
class Outage:
    """Some requests of one operation, counted from ``first``, that meet a fault.

    Those that are ``unheard`` are done all the same; only their answer is lost.
    """

    fault: str
    first: int = 0
    count: int = 1
    unheard: bool = False
    seen: int = 0

    def strike(self, request: Any, **_: Any) -> AWSResponse | None:
        """Answer instead of AWS, if it is time."""
        hit = self.first <= self.seen < self.first + self.count
        self.seen += 1
        if not hit:
            return None
        told = answer(self.fault, request.url)
        return told if self.unheard else instead_of_moto(request, told)

    @property
    def over(self) -> bool:
        """Whether it struck as often as it was to."""
        return self.seen > self.first + self.count


def answer(fault: str, url: str) -> AWSResponse:
    """Return or raise what the SDK sees of a fault."""
    if fault == "timeout":
        raise ReadTimeoutError(endpoint_url=url)
    if fault == "reset":
        raise ConnectionClosedError(endpoint_url=url)
    if fault == "power cut":
        raise PowerCut
    service = next(name for name in ERRORS if f"//{name}" in url or f".{name}." in url)
    body = ERRORS[service].format(CODES.get((service, fault), "InternalError"))
    return AWSResponse(url, int(fault), {}, Raw(body.encode()))


def instead_of_moto(request: Any, response: AWSResponse) -> AWSResponse:
    """Return a response; moto, who is asked next, would do what is asked all the same."""
    request.url = _NOBODY
    return response


def was_struck(request: Any) -> bool:
    """Whether a request has its answer already."""
    return bool(request.url == _NOBODY)


def strike_at(client: Any, operation: str, outage: Outage) -> None:
    """Let an outage strike one operation of a client."""
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register_first(f"before-send.{service}.{operation}", outage.strike)


def cut_power_after(client: Any, operation: str, first: int) -> None:
    """Cut the power once an operation's answer is there."""
    countdown = iter(range(first, -1, -1))

    def cut(**_: Any) -> None:
        if next(countdown, 1) == 0:
            raise PowerCut

    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"after-call.{service}.{operation}", cut)


def skip_back_off(patch: pytest.MonkeyPatch) -> list[float]:
    """Let the SDK's pauses between its retries take no time. Return their list."""
    pauses: list[float] = []
    sleep: Callable[[float], None] = pauses.append
    patch.setattr(botocore.endpoint, "time", SimpleNamespace(sleep=sleep))
    return pauses
