"""Runs the script: ``SCRIPT INPUT_FILE TEXT_FILE OUTPUT_FILE``, within its limits.

The script gets its own session, its own user where the host has one, and a minimal
environment without credentials. It is trusted code all the same: it can reach the
metadata service as every process of the machine can.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import threading
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import jobs

if TYPE_CHECKING:
    from pathlib import Path

    from machine import Stop

USER = "nobody"
"""Whom the script runs as, where the worker may choose: it is root on the machine."""

TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits.h."""

MAX_LOG_BYTES = 10 * 1024 * 1024
TAIL_BYTES = jobs.MAX_ERROR_CHARACTERS - 200
"""Of stderr, at the end of a reason: what stands before it must not be cut off."""
PIPE_SECONDS = 2.0
"""How long a process that the script left behind can hold its output open."""


class ScriptFailed(Exception):
    """The script did not do its job. The message is the reason, for the user."""


class ScriptWantsAnotherTry(Exception):
    """The script exited with 75."""


@dataclass(frozen=True)
class Files:
    """One job's files, all in one folder that the script owns."""

    folder: Path

    @property
    def input(self) -> Path:
        """The uploaded file."""
        return self.folder / "input"

    @property
    def text(self) -> Path:
        """The text, as UTF-8."""
        return self.folder / "text"

    @property
    def output(self) -> Path:
        """What the script has to write."""
        return self.folder / "output"

    @property
    def log(self) -> Path:
        """What the script printed."""
        return self.folder / "log"


class Log:
    """What a script prints: the beginning in a file, the end of stderr at hand."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._room = MAX_LOG_BYTES
        self._lock = threading.Lock()
        self.error_tail = b""

    def copy(self, pipe: IO[bytes], *, is_error: bool) -> None:
        """Read a pipe to its end, keeping what fits."""
        with pipe:
            while chunk := os.read(pipe.fileno(), 65536):
                self._keep(chunk, is_error=is_error)

    def _keep(self, chunk: bytes, *, is_error: bool) -> None:
        with self._lock:
            if is_error:
                self.error_tail = (self.error_tail + chunk)[-TAIL_BYTES:]
            if not self._file.closed:  # or a process that escaped still prints
                self._file.write(chunk[: self._room])
                self._room = max(0, self._room - len(chunk))


def run(script: Path, files: Files, *, timeout: float, stop: Stop) -> None:
    """Run the script on a job's files; return when its output is there.

    :param timeout: seconds until it is killed.
    :param stop: kills it when ordered; the caller looks whether that was so.
    :raises ScriptFailed: with the reason for the user.
    :raises ScriptWantsAnotherTry: if it exited with 75.
    """
    give_to_user(files.folder)
    try:
        process = _start(script, files)
    except OSError as error:
        raise ScriptFailed(f"the script could not be started: {error}") from error
    timed_out = threading.Event()

    def expire() -> None:
        timed_out.set()
        _kill(process)

    timer = threading.Timer(timeout, expire)
    timer.daemon = True
    timer.start()
    try:
        with files.log.open("wb") as file, stop.calling(lambda: _kill(process)):
            tail = _follow(process, Log(file))
    finally:
        timer.cancel()
    if timed_out.is_set():
        raise ScriptFailed(f"the script ran longer than {timeout:g} s and was killed{tail}")
    _judge(process.returncode, files, tail)


def give_to_user(path: Path) -> None:
    """Give a folder and the files in it to the script's user, if there is one for it."""
    user = _user()
    if user is not None:
        for one in (path, *path.iterdir()):
            os.chown(one, user.pw_uid, user.pw_gid)


def _user() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(USER)
    except KeyError:
        return None


def _start(script: Path, files: Files) -> subprocess.Popen[bytes]:
    user = _user()
    as_user: dict[str, Any] = {}
    if user is not None:
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    folder = str(files.folder)
    return subprocess.Popen(
        [script, files.input, files.text, files.output],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **as_user,
    )


def _follow(process: subprocess.Popen[bytes], log: Log) -> str:
    """Wait for the script and return the end of its stderr, ready to stand in a message."""
    pipes = ((process.stdout, False), (process.stderr, True))
    threads = [
        threading.Thread(target=log.copy, args=(pipe,), kwargs={"is_error": is_error}, daemon=True)
        for pipe, is_error in pipes
    ]
    for thread in threads:
        thread.start()
    process.wait()
    _kill(process)  # what it left running in its session
    for thread in threads:
        thread.join(PIPE_SECONDS)
    tail = log.error_tail.decode(errors="replace").strip()
    return f": {tail}" if tail else ""


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the script's whole process group; nobody may be left in it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _judge(code: int, files: Files, tail: str) -> None:
    if code == TRY_AGAIN:
        raise ScriptWantsAnotherTry(f"the script asked to be tried again{tail}")
    if code < 0:
        raise ScriptFailed(f"the script was killed by {_signal_name(-code)}{tail}")
    if code > 0:
        raise ScriptFailed(f"the script exited with {code}{tail}")
    if not files.output.is_file() or files.output.is_symlink():
        raise ScriptFailed(f"the script exited with 0 but wrote no output file{tail}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
