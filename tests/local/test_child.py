"""A server that does not start says why."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from local.child import ServerProcess, StartError, free_port

if TYPE_CHECKING:
    from pathlib import Path


def start(folder: Path, *command: str) -> ServerProcess:
    port = free_port()
    return ServerProcess(
        "the server",
        [sys.executable, *(word.format(port=port) for word in command)],
        env={"PATH": os.environ["PATH"]},
        cwd=folder,
        log=folder / "log",
        port=port,
        health="/",
    )


def test_a_port_that_one_wishes_for_is_had_again_as_soon_as_it_is_left() -> None:
    wish = free_port()
    with socket.create_server(("127.0.0.1", wish)) as server:
        assert free_port(wish) != wish
        with socket.create_connection(("127.0.0.1", wish)) as client:
            server.accept()[0].close()  # who closes first keeps the port for a minute
            assert client.recv(1) == b""
    assert free_port(wish) == wish


def test_a_port_that_cannot_be_is_any_other() -> None:
    assert 0 < free_port(65536) < 65536


def test_it_is_there_once_it_answers(tmp_path: Path) -> None:
    server = start(tmp_path, "-m", "http.server", "--bind", "127.0.0.1", "{port}")
    assert server.running
    server.stop()
    assert not server.running


def test_one_that_ends_shows_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"the server ended at once\n(?s:.*)no luck"):
        start(tmp_path, "-c", "raise SystemExit('no luck')")
