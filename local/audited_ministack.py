"""Runs the emulator, and keeps what its IAM decided: who called what on which resource.

A JSON object a line; the account's root user, who may do everything, is left out. The
emulator's own trail would not do: it leaves out what was refused, and names requests
instead of the permissions that they need.

Usage: ``python -P local/audited_ministack.py FILE``. It is not run as a module of this
project, which the emulator and its functions do not get to see.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ministack.app import main  # type: ignore[import-untyped]
from ministack.core import iam_evaluator  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO


def logged(enforce: Callable[..., Any], log: TextIO) -> Callable[..., Any]:
    """Return the emulator's decision function, with a line written for each decision."""

    def decide(
        access_key_id: str, action: str, *rest: Any, resource_arn: str = "*", **more: Any
    ) -> Any:
        refusal = enforce(access_key_id, action, *rest, resource_arn=resource_arn, **more)
        caller = (iam_evaluator.resolve_caller_identity(access_key_id) or {}).get("userArn", "")
        if not caller.endswith(":root"):
            line = {"who": caller, "action": action, "on": resource_arn, "allowed": not refusal}
            print(json.dumps(line), file=log, flush=True)
        return refusal

    return decide


if __name__ == "__main__":
    with Path(sys.argv.pop(1)).open("a") as access_log:
        iam_evaluator.enforce = logged(iam_evaluator.enforce, access_log)
        main()
