"""Counts what the machine does and tells CloudWatch once a minute, not once a job."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

LOG = logging.getLogger("worker")

SEND_SECONDS = 60
MAX_VALUES = 150
"""https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html"""


class Meter:
    """Collects metrics of all threads. What a machine has not sent when it dies is lost.

    :param client: a CloudWatch client (boto3).
    """

    def __init__(self, client: Any, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._counted: dict[tuple[str, str], Counter[float]] = {}
        self._lock = threading.Lock()

    def count(self, name: str, value: float = 1, *, unit: str = "Count") -> None:
        """Add one value of a metric."""
        with self._lock:
            self._counted.setdefault((name, unit), Counter())[round(value, 1)] += 1

    def send_until(self, done: threading.Event) -> None:
        """Send what was counted, once a minute."""
        while not done.wait(SEND_SECONDS):
            self.send()

    def send(self) -> None:
        """Send what was counted since the last time. Metrics are not worth a machine's end."""
        with self._lock:
            counted, self._counted = self._counted, {}
        data = [
            _datum(name, unit, list(values.items())[start : start + MAX_VALUES])
            for (name, unit), values in counted.items()
            for start in range(0, len(values), MAX_VALUES)
        ]
        if not data:
            return
        try:
            self._client.put_metric_data(Namespace=self._namespace, MetricData=data)
        except (BotoCoreError, ClientError) as error:
            LOG.warning("metrics are lost: %s", error)


def _datum(name: str, unit: str, values: list[tuple[float, int]]) -> dict[str, Any]:
    return {
        "MetricName": name,
        "Unit": unit,
        "Values": [value for value, _ in values],
        "Counts": [count for _, count in values],
    }
