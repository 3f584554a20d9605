"""The machine we run on: who it is, and whether it has to go."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Callable

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN_SECONDS = 21600


class Metadata:
    """The instance metadata service, version 2.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
    """

    def __init__(self) -> None:
        endpoint = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://169.254.169.254")
        self._base = endpoint.rstrip("/") + "/latest/"
        # The service is on this machine: no proxy is between.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def instance_id(self) -> str:
        """Return this machine's instance id."""
        return self._get("meta-data/instance-id")

    def interruption_is_near(self) -> bool:
        """Whether EC2 has announced that it takes this Spot instance back.

        The path answers 404 until two minutes before:
        https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html
        """
        try:
            self._get("meta-data/spot/instance-action")
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return False
            raise
        return True

    def _get(self, path: str) -> str:
        lifetime = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
        token = self._open("api/token", method="PUT", headers=lifetime)
        return self._open(path, method="GET", headers={"X-aws-ec2-metadata-token": token})

    def _open(self, path: str, *, method: str, headers: dict[str, str]) -> str:
        request = urllib.request.Request(self._base + path, method=method, headers=headers)  # noqa: S310
        with self._opener.open(request, timeout=5) as answer:
            text: str = answer.read().decode()
        return text


class Stop:
    """The one order to stop: jobs are handed back, running scripts killed."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: set[Callable[[], None]] = set()

    def order(self) -> None:
        """Give the order; a second one changes nothing."""
        with self._lock:
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            callback()

    @property
    def ordered(self) -> bool:
        """Whether the order was given."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Sleep, but not beyond the order. Return whether it was given."""
        return self._event.wait(seconds)

    @contextmanager
    def calling(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call ``callback`` at the order, if it comes within the block or came before."""
        with self._lock:
            self._callbacks.add(callback)
        if self.ordered:
            callback()
        try:
            yield
        finally:
            with self._lock:
                self._callbacks.discard(callback)
