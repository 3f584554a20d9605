"""The page: its files in a private bucket."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pulumi
import pulumi_aws as aws

from infra.bucket import PrivateBucket, PrivateBucketArgs

CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".txt": "text/plain; charset=utf-8",
    ".woff2": "font/woff2",
}


@dataclass(frozen=True)
class SiteArgs:
    """Inputs of :class:`Site`."""

    folder: Path
    deletion_protection: bool


class Site(pulumi.ComponentResource):
    """The page's bucket and files."""

    def __init__(
        self, name: str, args: SiteArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("addendum:infra:Site", name, None, opts)
        self._name = name
        self._child = pulumi.ResourceOptions(parent=self)
        self.bucket = PrivateBucket(name, PrivateBucketArgs(args.deletion_protection), self._child)
        for path in page_files(args.folder):
            self._upload(path, path.relative_to(args.folder).as_posix())
        self.bucket.attach_policy()
        self.register_outputs({"bucket": self.bucket.name})

    def _upload(self, path: Path, key: str) -> None:
        aws.s3.BucketObjectv2(
            f"{self._name}-{key}",
            bucket=self.bucket.name,
            key=key,
            source=pulumi.FileAsset(path),
            content_type=CONTENT_TYPES[path.suffix],
            # Kept by caches, but asked about every time: never stale after a deploy.
            cache_control="no-cache",
            opts=self._child,
        )


def page_files(folder: Path) -> list[Path]:
    """Return the page's files in a stable order.

    :raises pulumi.RunError: if there is no page, or a file of unknown kind.
    """
    if not (folder / "index.html").is_file():
        raise pulumi.RunError(f"{folder} has no index.html: it must be the folder of the page")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    files = [path for path in files if not path.name.startswith(".")]
    for path in files:
        if path.suffix not in CONTENT_TYPES:
            raise pulumi.RunError(
                f"{path} has no known content type: add {path.suffix or 'its ending'} to"
                " CONTENT_TYPES in infra/site.py, or move the file out of the page"
            )
    return files
