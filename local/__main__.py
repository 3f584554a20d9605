"""``python -m local``: runs the whole system until Ctrl-C. ``PORT`` chooses the port."""

from __future__ import annotations

import os
import signal
import sys
import time

from local.child import StartError
from local.deploy import DeployError, own_settings
from local.front import PortUnavailable
from local.system import PROJECT, LocalSystem, PartEnded

DEFAULT_PORT = 8000
_CHECK_SECONDS = 0.3


class BadPort(Exception):
    """``PORT`` is no port."""


def main() -> int:
    """Run until told to stop. Return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        _run(_port(os.environ.get("PORT", "")))
    except KeyboardInterrupt:
        print("Stopped.")
        return 0
    except (BadPort, PortUnavailable, StartError, DeployError, PartEnded) as error:
        print(f"Stopped: {error}", file=sys.stderr)
        return 1
    return 0


def _stop(*_: object) -> None:
    """Stop at the first signal; no second one interrupts the cleaning up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= 65535):
        raise BadPort(f"PORT is {text!r}; it must be a number from 1 to 65535, as in PORT=9000")
    return int(text)


def _run(port: int) -> None:
    with LocalSystem(port, own_settings(PROJECT), say=_say) as system:
        _say(f"Ready: {system.url}  (Ctrl-C stops everything)")
        while True:
            time.sleep(_CHECK_SECONDS)
            system.check()


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
