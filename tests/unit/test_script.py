"""Running a script: what it gets, what it must do, and how it is stopped."""

from __future__ import annotations

import os
import pwd
import threading
import time
from pathlib import Path

import psutil
import pytest
import script
from machine import Stop

import jobs
from tests.conftest import ROOT

APPEND = ROOT / "ec2_userdata" / "append.sh"


@pytest.fixture
def files(open_folder: Path) -> script.Files:
    folder = open_folder / "job"
    folder.mkdir()
    files = script.Files(folder)
    files.input.write_bytes(b"input")
    files.text.write_bytes(b"text")
    return files


def bash(files: script.Files, body: str) -> Path:
    path = files.folder.parent / "script"
    path.write_text(f"#!/bin/bash\n{body}\n")
    path.chmod(0o755)
    return path


def run(files: script.Files, body: str, *, timeout: float = 20, stop: Stop | None = None) -> None:
    script.run(bash(files, body), files, timeout=timeout, stop=stop or Stop())


def sleepers(seconds: str) -> list[psutil.Process]:
    return [
        one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", seconds]
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", b""),
        (b"", b"text"),
        (b"input", b""),
        (b"no final newline", b"x"),
        (b"a\r\nb\r\n", b"c\r\n"),
        (b"\xef\xbb\xbfbom", "𝄞\n".encode()),
        (bytes(range(256)) * 100, b"`$(rm -rf ~)` \"'\\ \n %s ${x}"),
        (b"-n", b"-e x" * 25600),
    ],
)
def test_append_writes_the_input_then_the_text_byte_for_byte(
    files: script.Files, content: bytes, text: bytes
) -> None:
    files.input.write_bytes(content)
    files.text.write_bytes(text)
    script.run(APPEND, files, timeout=20, stop=Stop())
    assert files.output.read_bytes() == content + text


def test_append_fails_without_an_input(files: script.Files) -> None:
    files.input.unlink()
    with pytest.raises(script.ScriptFailed, match="No such file"):
        script.run(APPEND, files, timeout=20, stop=Stop())


def test_a_script_that_fails_gives_its_code_and_the_end_of_its_stderr(files: script.Files) -> None:
    with pytest.raises(script.ScriptFailed, match=r"(?s)exited with 3: .*last words$") as failed:
        run(files, "seq 9999 >&2; echo last words >&2; exit 3")
    told = f"gave up after 3 tries: {failed.value}"
    assert len(told) <= jobs.MAX_ERROR_CHARACTERS, "the record would lose the beginning"


def test_a_script_that_exits_with_75_wants_another_try(files: script.Files) -> None:
    with pytest.raises(script.ScriptWantsAnotherTry, match="busy"):
        run(files, "echo busy >&2; exit 75")


def test_a_script_killed_by_a_signal_is_told_by_its_name(files: script.Files) -> None:
    with pytest.raises(script.ScriptFailed, match="killed by SIGSEGV"):
        run(files, "kill -SEGV $$")


def test_a_script_without_output_has_failed(files: script.Files) -> None:
    with pytest.raises(script.ScriptFailed, match="wrote no output"):
        run(files, "exit 0")


def test_a_link_is_no_output(files: script.Files) -> None:
    with pytest.raises(script.ScriptFailed, match="wrote no output"):
        run(files, 'ln -s /etc/passwd "$3"')


def test_a_script_that_cannot_start_says_why(files: script.Files) -> None:
    path = bash(files, "")
    path.write_text("#!/no/such/interpreter\n")
    with pytest.raises(script.ScriptFailed, match="could not be started"):
        script.run(path, files, timeout=20, stop=Stop())


def test_a_script_that_hangs_is_killed_with_all_it_started(files: script.Files) -> None:
    begin = time.monotonic()
    with pytest.raises(script.ScriptFailed, match=r"longer than 0\.5 s"):
        run(files, "sleep 71.5 & sleep 71.5", timeout=0.5)
    assert time.monotonic() - begin < 10
    assert not sleepers("71.5")


def test_what_a_script_leaves_running_ends_with_it(files: script.Files) -> None:
    run(files, 'sleep 72.5 & cp "$1" "$3"')
    assert not sleepers("72.5")


def test_a_process_that_escapes_with_the_output_open_does_not_hold_the_job(
    files: script.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "PIPE_SECONDS", 0.1)
    begin = time.monotonic()
    run(
        files,
        "setsid bash -c 'echo $$ >new; mv new away; exec sleep 30.25' &"
        # Before it has left the session, it would be killed with it.
        ' until [ -e away ]; do sleep 0.01; done; cp "$1" "$3"',
    )
    assert time.monotonic() - begin < 10
    escaped = psutil.Process(int((files.folder / "away").read_text()))
    assert escaped.status() != psutil.STATUS_ZOMBIE
    escaped.kill()


def test_the_order_to_stop_kills_the_script(files: script.Files) -> None:
    stop = Stop()
    timer = threading.Timer(0.3, stop.order)
    timer.start()
    with pytest.raises(script.ScriptFailed, match="SIGKILL"):
        run(files, "sleep 73.5", stop=stop)
    assert not sleepers("73.5")


def test_an_order_that_came_before_the_script_kills_it_too(files: script.Files) -> None:
    stop = Stop()
    stop.order()
    with pytest.raises(script.ScriptFailed, match="SIGKILL"):
        run(files, "sleep 74.5", stop=stop)


def test_a_flood_of_output_is_cut_and_does_not_block(
    files: script.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "MAX_LOG_BYTES", 1000)
    run(files, 'yes | head -c 50000000; cp "$1" "$3"')
    assert files.log.stat().st_size == 1000


def test_the_environment_is_minimal_and_has_no_credentials(
    files: script.Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    run(files, 'env >"$3"')
    names = {line.split("=")[0] for line in files.output.read_text().splitlines()}
    assert names <= {"PATH", "HOME", "TMPDIR", "LANG", "PWD", "SHLVL", "_"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may choose another user")
def test_the_script_runs_as_its_own_user(files: script.Files) -> None:
    run(files, 'id -un >"$3"')
    assert files.output.read_text().strip() == pwd.getpwnam(script.USER).pw_name
