"""Runs a command so that nothing of it outlives its parent.

A cage is a small process between us and the command. It holds the read end of a
pipe whose write end only we hold, the lifeline: when we close it, or die in any
way, the cage kills every process that came out of the command. On Linux it is a
"child subreaper", so that processes whose own parent is gone (daemons, scripts
started in sessions of their own) stay its descendants and are found too:
https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
Elsewhere it finds the living descendants and the command's process group.

A cage that is itself killed with SIGKILL cannot do that. Then we kill, once we call
``kill``, what is left of its session: the command and all that it started, but for
what made a session of its own (a job's script) or is another user's. Should we be
killed too before that, all of it runs on.

The file runs as a script of its own, without this package.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PR_SET_CHILD_SUBREAPER = 36
_LINGER = "--linger"
_KILL_SECONDS = 5.0


class Cage:
    """A running command that ends, with all it started, when we say so or die.

    :param command: program and arguments.
    :param env: the command's whole environment.
    :param output: file that gets its standard output and error.
    :param linger: keep what the command started when the command itself ends.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        output: IO[bytes] | int,
        linger: bool = False,
    ) -> None:
        flags = [_LINGER] if linger else []
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(Path(__file__).resolve()), *flags, *command],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The process id of the cage: the root of the command's process tree."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the cage, and so anything in it, is still there."""
        return self._process.poll() is None

    def wait(self, seconds: float) -> int:
        """Wait for the end of a command that does not linger and return its exit code.

        :raises subprocess.TimeoutExpired: if it is still running after ``seconds``.
        """
        return self._process.wait(seconds)

    def kill(self) -> None:
        """Kill everything inside with SIGKILL and wait until it is gone."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the cage is gone already
            self._process.stdin.close()
        if self._process.wait(_KILL_SECONDS) == -signal.SIGKILL:  # it had no time to do so
            _kill_session(self.pid)


def main(arguments: Sequence[str]) -> None:
    """Be the cage: run the command until it ends or the lifeline does."""
    linger = arguments[0] == _LINGER
    command = arguments[1:] if linger else arguments
    _become_subreaper()
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0)
    signal.signal(signal.SIGTERM, lambda *_: _end(child, 128 + signal.SIGTERM))
    lifeline = threading.Thread(target=_watch_lifeline, args=(child,), daemon=True)
    lifeline.start()
    code = child.wait()
    if linger:
        lifeline.join()
    _end(child, code if code >= 0 else 128 - code)


def _kill_session(session: int) -> None:
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; another user's
            if os.getsid(pid) == session:
                os.kill(pid, signal.SIGKILL)


def _become_subreaper() -> None:
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "cannot become a child subreaper")


def _watch_lifeline(child: subprocess.Popen[bytes]) -> None:
    while sys.stdin.buffer.read(1):
        pass
    _end(child, 128 + signal.SIGKILL)


def _end(child: subprocess.Popen[bytes], code: int) -> None:
    """Kill until no descendant is left, since each kill may hand us new orphans."""
    while alive := _alive_descendants():
        if sys.platform != "linux":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=0.05)
    os._exit(code)


def _alive_descendants() -> list[psutil.Process]:
    alive = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                alive.append(process)
    return alive


if __name__ == "__main__":
    main(sys.argv[1:])
