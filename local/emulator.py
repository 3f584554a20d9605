"""The AWS emulator: ``ministack`` as a child process on a loopback port of its own.

With ``AUTH=true`` it enforces signatures, form policies and IAM on S3, DynamoDB, SQS
and the roles of functions. Objects live in its memory, where a 1 GiB job needs 5 GB for
a while. Its other way, ``S3_PERSIST=1``, needs hardly less, since it handles every
object whole, and reads a whole file for each part of a download: minutes instead of
seconds. While it takes in 1 GiB it answers nothing else for some 20 seconds.
"""

from __future__ import annotations

import sys
from pathlib import Path

from local.account import Account, Credentials, new_root
from local.child import HOST, SYSTEM_PATH, ServerProcess, free_port

_MINISTACK = Path(__file__).with_name("audited_ministack.py")


class Emulator:
    """A running emulator, and the account in it.

    ``access_log`` is the file that says what its IAM allowed and refused to whom.

    :param scratch: an existing folder for its log and its functions' code.
    :param port: where it listens, if that can be had; else, and for 0, on any free port.
    :raises StartError: if it ends, or is not ready in time.
    """

    def __init__(self, scratch: Path, region: str, port: int = 0) -> None:
        port = free_port(port)
        root = new_root()
        self.access_log = scratch / "access.log"
        self.process = ServerProcess(
            "the emulator",
            [sys.executable, "-P", str(_MINISTACK), str(self.access_log)],
            env=_environment(scratch, port, region, root),
            cwd=scratch,
            log=scratch / "emulator.log",
            port=port,
            health="/_ministack/health",
        )
        self.account = Account(f"http://{HOST}:{port}", region, root)

    def stop(self) -> None:
        """End it and its functions' processes."""
        self.account.close()
        self.process.stop()


def _environment(scratch: Path, port: int, region: str, root: Credentials) -> dict[str, str]:
    """Return all that the emulator, and so every function in it, gets to see."""
    return {
        "PATH": SYSTEM_PATH,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "GATEWAY_PORT": str(port),
        "BIND_HOST": HOST,
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
        "AUTH": "true",
        "AWS_ACCESS_KEY_ID": root.access_key_id,
        "AWS_SECRET_ACCESS_KEY": root.secret_access_key,
        "AWS_EC2_METADATA_DISABLED": "true",
        "MINISTACK_REGION": region,
        # It would tidy up containers that other copies of it have left behind.
        "DOCKER_HOST": f"unix://{scratch}/no-docker",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
