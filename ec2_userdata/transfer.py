"""Moves files between S3 and the disk, in parallel parts, with flat memory."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from s3transfer.manager import TransferConfig, TransferManager
from s3transfer.subscribers import BaseSubscriber

if TYPE_CHECKING:
    from pathlib import Path

    from jobs import Upload

MEBIBYTE = 1024 * 1024
PART_BYTES = 8 * MEBIBYTE
MAX_PARTS_AT_ONCE = 10
BUFFER_BYTES = 256 * 1024
MAX_BUFFERS = 64


class InputLost(Exception):
    """The upload is not what the message announced. The message is for the user."""


class Transfer:
    """Downloads and uploads for all threads of the worker.

    :param client: an S3 client (boto3).
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._manager = TransferManager(
            client,
            TransferConfig(
                multipart_threshold=PART_BYTES,
                multipart_chunksize=PART_BYTES,
                max_request_concurrency=MAX_PARTS_AT_ONCE,
                io_chunksize=BUFFER_BYTES,
                max_io_queue_size=MAX_BUFFERS,
            ),
        )

    def download(self, upload: Upload, *, etag: str, to: Path) -> None:
        """Download an input, if it still is the one with this ETag.

        :raises InputLost: if it was replaced or is gone.
        """
        try:
            if upload.size <= PART_BYTES:
                self._download_at_once(upload, etag, to)
            else:
                self._download_in_parts(upload, etag, to)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("PreconditionFailed", "412"):
                raise InputLost(
                    "the upload was replaced by another one: send the file again"
                ) from error
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                raise InputLost("the uploaded file is gone: send it again") from error
            raise

    def _download_at_once(self, upload: Upload, etag: str, to: Path) -> None:
        answer = self._client.get_object(Bucket=upload.bucket, Key=upload.key, IfMatch=f'"{etag}"')
        with answer["Body"] as body, to.open("wb") as file:
            shutil.copyfileobj(body, file, BUFFER_BYTES)

    def _download_in_parts(self, upload: Upload, etag: str, to: Path) -> None:
        future = self._manager.download(
            upload.bucket, upload.key, str(to), subscribers=[_Announced(upload.size, etag)]
        )
        future.result()

    def fetch(self, bucket: str, key: str, to: Path) -> None:
        """Download an object that nobody replaces."""
        self._manager.download(bucket, key, str(to)).result()

    def upload(self, path: Path, bucket: str, key: str) -> None:
        """Upload a file; S3 shows it whole or not at all."""
        self._manager.upload(str(path), bucket, key).result()


class _Announced(BaseSubscriber):  # type: ignore[misc]  # s3transfer has no types
    """Tells the transfer manager what the S3 event said, which saves asking S3.

    With the ETag known, every part is asked for with ``If-Match``.
    """

    def __init__(self, size: int, etag: str) -> None:
        self._size = size
        self._etag = etag

    def on_queued(self, future: Any, **_: Any) -> None:
        """Provide size and ETag before the first request."""
        future.meta.provide_transfer_size(self._size)
        future.meta.provide_object_etag(f'"{self._etag}"')
