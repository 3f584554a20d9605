"""Small HTTP servers on loopback, each with a thread for every connection."""

from __future__ import annotations

import json
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from local.child import HOST

if TYPE_CHECKING:
    from collections.abc import Mapping

_POLL_SECONDS = 0.05
_IDLE_SECONDS = 60
_DISCARD_BYTES = 64 * 1024 * 1024
_LENGTH_DIGITS = 20


class Handler(BaseHTTPRequestHandler):
    """A request handler that answers with whole bodies and writes no log."""

    protocol_version = "HTTP/1.1"
    server_version = "addendum"
    sys_version = ""
    timeout = _IDLE_SECONDS

    @property
    def body_length(self) -> int | None:
        """How many bytes the body has by its header, or None if that is no sensible number."""
        length = self.headers.get("Content-Length", "0")
        return int(length) if length.isdecimal() and len(length) < _LENGTH_DIGITS else None

    def answer(
        self, status: HTTPStatus, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send a whole answer; the body is left out where HTTP forbids it."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != HTTPStatus.NOT_MODIFIED:
            self.wfile.write(body)

    def answer_json(self, status: HTTPStatus, body: Mapping[str, Any]) -> None:
        """Send a JSON object."""
        headers = {"Content-Type": "application/json"}
        self.answer(status, json.dumps(body).encode(), headers)

    def discard_body(self) -> None:
        """Read a body that nobody wants: a client that still sends sees no answer."""
        left = min(self.body_length or 0, _DISCARD_BYTES)
        while left > 0 and (chunk := self.rfile.read(min(left, 65536))):
            left -= len(chunk)
        self.close_connection = True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse a request that is no HTTP, or has a method that nobody handles."""
        status = HTTPStatus(code)
        self.close_connection = True
        self.answer_json(status, {"Code": status.phrase, "Message": message or explain or ""})

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: the narrator tells what matters."""


class Server(ThreadingHTTPServer):
    """A server that runs in a thread of its own until it is stopped.

    :param port: 0 for any free one.
    :raises OSError: if the port is in use.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, handler: type[Handler], port: int = 0) -> None:
        super().__init__((HOST, port), handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_POLL_SECONDS,), name=handler.__name__, daemon=True
        )

    @property
    def url(self) -> str:
        """The server's address, without a slash at the end."""
        return f"http://{HOST}:{self.server_port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Answer nobody any more and free the port."""
        if self._thread.is_alive():
            self.shutdown()
            self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Forget clients that hang up in the middle; show what else goes wrong."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)
