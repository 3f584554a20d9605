"""Faults at the wire: what AWS answers for a while to one kind of request.

They strike below the SDK's own retries, where real ones do, and before moto has done
what was asked.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import botocore.endpoint
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from moto.core.models import botocore_stubber

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

FAULTS = ("500", "503", "timeout", "reset")

_BODIES = {
    "json": '{"__type": "InternalServerError", "message": "We were unable to process it."}',
    "xml": "<Error><Code>SlowDown</Code><Message>Please reduce your rate.</Message></Error>",
}


class Raw(io.BytesIO):
    """A body, as urllib3 hands it over."""

    def stream(self, **_: Any) -> Any:
        yield self.read()


class PowerCut(BaseException):
    """The machine is gone. No ``except Exception`` of its code sees that."""


@dataclass
class Outage:
    """Some requests of one operation, counted from ``first``, that meet a fault."""

    fault: str
    first: int = 0
    count: int = 1
    seen: int = 0

    def strike(self, request: Any, **_: Any) -> AWSResponse | None:
        """Answer instead of AWS, if it is time."""
        hit = self.first <= self.seen < self.first + self.count
        self.seen += 1
        if not hit:
            return None
        answered = answer(self.fault, request.url)
        # Moto, who comes next, would do what is asked even if its answer does not count.
        botocore_stubber.enabled = False
        return answered

    def end(self, **_: Any) -> None:
        """Let AWS answer the next request."""
        botocore_stubber.enabled = True

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
    body = _BODIES["xml" if "s3" in url or "ec2" in url else "json"].encode()
    return AWSResponse(url, int(fault), {}, Raw(body))


def strike_at(client: Any, operation: str, outage: Outage) -> None:
    """Let an outage strike one operation of a client."""
    events = client.meta.events
    service = client.meta.service_model.service_id.hyphenize()
    events.register_first(f"before-send.{service}.{operation}", outage.strike)
    events.register(f"response-received.{service}.{operation}", outage.end)


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
