"""Listens between a machine and the emulator, and notes each call to AWS."""

from __future__ import annotations

import http.client
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from local.loopback import Handler, Server

if TYPE_CHECKING:
    from email.message import Message

_LEFT_OUT = frozenset(
    {"connection", "content-length", "date", "expect", "server", "transfer-encoding"}
)
_SECONDS = 60
EMPTY = " (no message)"


@dataclass(frozen=True)
class Call:
    """One call, with the moments when its question came and its answer came."""

    name: str
    began: float
    ended: float


class Wiretap(Server):
    """Passes all on to ``url``; ``calls`` holds what others than ``host_key`` asked.

    :param host_key: access key of the user whose calls are none of the machine's.
    """

    def __init__(self, url: str, host_key: str) -> None:
        super().__init__(_Passing)
        self.target = urlsplit(url).netloc
        self.host_key = host_key
        self.calls: list[Call] = []

    def named(self, name: str) -> list[Call]:
        """Return the calls of one operation so far."""
        return [call for call in list(self.calls) if call.name == name]


class _Passing(Handler):
    server: Wiretap
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self._upstream = http.client.HTTPConnection(self.server.target, timeout=_SECONDS)

    def finish(self) -> None:
        self._upstream.close()
        super().finish()

    def _pass_on(self) -> None:
        began = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._upstream.request(self.command, self.path, body, _passed(self.headers))
        response = self._upstream.getresponse()
        answer = response.read()
        if self.server.host_key not in self.headers.get("Authorization", ""):
            name = operation(self.command, self.path, self.headers)
            if name == "ReceiveMessage" and b'"ReceiptHandle"' not in answer:
                name += EMPTY
            # Before the answer: whoever has it finds its call noted.
            self.server.calls.append(Call(name, began, time.monotonic()))
        self._send(response, answer)

    def _send(self, response: http.client.HTTPResponse, answer: bytes) -> None:
        self.send_response(response.status)
        for name, value in _passed(response.headers).items():
            self.send_header(name, value)
        # A HEAD tells the length of what it leaves out.
        self.send_header("Content-Length", response.headers.get("Content-Length", str(len(answer))))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815


def _passed(headers: Message) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _LEFT_OUT}


def operation(method: str, path: str, headers: Message) -> str:
    """Return the operation that a request asks for, as AWS names it."""
    target = headers.get("X-Amz-Target", "")
    if target:
        return target.rpartition(".")[2]
    found = re.search(r"/([a-z0-9]+)/aws4_request", headers.get("Authorization", ""))
    service = found[1] if found else ""
    if service != "s3":
        return f"{service} {method}"
    key = urlsplit(path).path.strip("/").partition("/")[2]
    return f"{method.capitalize()}{'Object' if key else 'Bucket'}"
