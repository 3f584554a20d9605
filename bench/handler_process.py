"""One Lambda process: imports a handler, calls it, tells how long each call took.

    python handler_process.py FOLDER MODULE.FUNCTION EVENT_FILE

Prints one line of JSON: seconds of the import and of the first answer, CPU seconds of
both, and that answer. Then, for each number on its standard input, it makes so many
further calls and prints their seconds. What the handler prints is dropped.
"""

import importlib
import io
import json
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path


def main(folder: str, handler: str, event_file: str) -> None:
    """Do what the arguments say."""
    event = json.loads(Path(event_file).read_text())
    module, _, function = handler.rpartition(".")
    sys.path.insert(0, folder)
    began, cpu = time.perf_counter(), time.process_time()
    with redirect_stdout(io.StringIO()):
        call = getattr(importlib.import_module(module), function)
        imported = time.perf_counter()
        answer = call(event, None)
        answered = time.perf_counter()
    tell(
        {
            "import": imported - began,
            "first": answered - imported,
            "cpu": time.process_time() - cpu,
            "answer": answer,
        }
    )
    for line in sys.stdin:
        tell([seconds(call, event) for _ in range(int(line))])


def seconds(call: Callable[..., object], event: object) -> float:
    """Return how long one call takes."""
    began = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        call(event, None)
    return time.perf_counter() - began


def tell(what: object) -> None:
    """Print one line of JSON."""
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
