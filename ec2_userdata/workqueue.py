"""The work queue, as the worker uses it: receive, keep, delete, show again."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG = logging.getLogger("worker")


@dataclass(frozen=True)
class Message:
    """One delivery of a message."""

    id: str
    receipt: str
    body: str


class WorkQueue:
    """Messages that this machine works on stay invisible to others until they are settled.

    :param client: an SQS client (boto3).
    :param visibility_timeout: the queue's, in seconds.
    """

    def __init__(self, client: Any, url: str, *, visibility_timeout: int) -> None:
        self._client = client
        self._url = url
        self._seconds = visibility_timeout
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()

    def receive(self, *, wait: int) -> Message | None:
        """Wait up to ``wait`` seconds for a message."""
        answer = self._client.receive_message(
            QueueUrl=self._url, MaxNumberOfMessages=1, WaitTimeSeconds=wait
        )
        for found in answer.get("Messages", []):
            return Message(found["MessageId"], found["ReceiptHandle"], found["Body"])
        return None

    @contextmanager
    def holding(self, message: Message) -> Iterator[bool]:
        """Keep a message invisible until the block ends or the message is settled.

        Yields False if another thread holds it: the queue has sent it twice. Then the
        newer receipt is the one that counts from now on:
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
        """
        with self._lock:
            mine = message.id not in self._held
            self._held[message.id] = message.receipt
        try:
            yield mine
        finally:
            if mine:
                self._release(message)

    def delete(self, message: Message) -> None:
        """Delete a message whose part is done."""
        self._client.delete_message(QueueUrl=self._url, ReceiptHandle=self._release(message))

    def show_again(self, message: Message, *, after: int) -> None:
        """Let the queue deliver a message again, ``after`` seconds from now."""
        self._set_visibility(self._release(message), after)

    def renew_until(self, done: threading.Event) -> None:
        """Renew what is held three times in each timeout, so that a miss does no harm."""
        while not done.wait(self._seconds / 3):
            for message_id in list(self._held):
                self._renew(message_id)

    def _renew(self, message_id: str) -> None:
        # Under the lock, or a renewal could follow on the heels of `show_again`.
        with self._lock:
            receipt = self._held.get(message_id)
            if receipt is None:
                return
            try:
                self._set_visibility(receipt, self._seconds)
            except (BotoCoreError, ClientError) as error:
                LOG.warning("could not renew message %s: %s", message_id, error)

    def _release(self, message: Message) -> str:
        with self._lock:
            return self._held.pop(message.id, message.receipt)

    def _set_visibility(self, receipt: str, seconds: int) -> None:
        self._client.change_message_visibility(
            QueueUrl=self._url, ReceiptHandle=receipt, VisibilityTimeout=seconds
        )
