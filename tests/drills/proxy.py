"""A proxy between machines and emulator, which can hold one call while the drill acts.

It passes bytes on as they come. A call is known by words of its request, and a call that was
held is never passed on: whoever made it is dead by then.
"""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

from local.child import HOST

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = 65536
HELD_SECONDS = 60
"""A drill that forgets to let go must not hang."""


@dataclass
class Hold:
    """One call to hold: its request, or with ``answer`` what AWS says to it.

    :param words: what the call's request has in it, as sent.
    """

    words: tuple[bytes, ...]
    answer: bool = False
    reached: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)

    def keep(self) -> None:
        """Keep whoever comes here until the drill lets go."""
        self.reached.set()
        self.let_go.wait(HELD_SECONDS)


class Connection(socketserver.BaseRequestHandler):
    """One connection, a thread for each of its two ways."""

    server: Proxy
    request: socket.socket

    def handle(self) -> None:
        """Pass bytes on until one side hangs up or a call is held."""
        self._asked = b""
        self._held: Hold | None = None
        with socket.create_connection(self.server.emulator) as aws:
            answers = threading.Thread(target=self._pass_answers, args=(aws,), daemon=True)
            answers.start()
            with contextlib.suppress(ConnectionError):
                self._pass_requests(aws)
            with contextlib.suppress(OSError):
                aws.shutdown(socket.SHUT_RDWR)
            answers.join()

    def _pass_requests(self, aws: socket.socket) -> None:
        while chunk := self.request.recv(CHUNK):
            self._asked = (self._asked + chunk)[-CHUNK:]
            hold = self.server.hold_on(self._asked)
            if hold is not None and not hold.answer:
                hold.keep()
                return
            self._held = hold or self._held
            aws.sendall(chunk)

    def _pass_answers(self, aws: socket.socket) -> None:
        with contextlib.suppress(ConnectionError):
            while chunk := aws.recv(CHUNK):
                self._asked = b""
                if self._held is not None:
                    self.request.sendall(chunk[: len(chunk) // 2])
                    self._held.keep()
                    break
                self.request.sendall(chunk)
        with contextlib.suppress(OSError):
            self.request.shutdown(socket.SHUT_RDWR)


class Proxy(socketserver.ThreadingTCPServer):
    """Stands before the emulator at ``url``, within its block."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, url: str) -> None:
        super().__init__((HOST, 0), Connection)
        parts = urlsplit(url)
        self.emulator = (parts.hostname or "", parts.port or 0)
        self._hold: Hold | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """The address to give to those whose calls may be held."""
        return f"http://{HOST}:{self.server_address[1]}"

    def __enter__(self) -> Self:
        """Begin to pass on."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take no connection any more."""
        self.shutdown()
        self.server_close()

    @contextmanager
    def holding(self, *words: bytes, answer: bool = False) -> Iterator[Hold]:
        """Hold the first call with all these words, until the block ends."""
        self._hold = hold = Hold(words, answer)
        try:
            yield hold
        finally:
            self._hold = None
            hold.let_go.set()

    def hold_on(self, asked: bytes) -> Hold | None:
        """Return the hold for a request, if it is the one; each holds one call."""
        with self._lock:
            hold = self._hold
            if hold is None or not all(word in asked for word in hold.words):
                return None
            self._hold = None
            return hold
