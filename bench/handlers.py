"""The API and the stream handler as Lambda runs them, against bare handlers with boto3."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import chalice.app

import jobs
from bench import ROOT
from bench.markdown import table
from bench.part import Goal
from bench.spread import percentile, ratios, spread, told
from bench.stub import JOB_ID, TABLE
from bench.usage import peak_memory
from infra.chalice_package import package

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Self

    from matplotlib.figure import Figure

    from bench.part import Result, Tell
    from bench.spread import Spread

    Told = dict[str, Any]
    """What one process told."""
    Round = tuple[Told, Told]
    """Ours and the bare one."""

NAME = "handlers"
TITLE = "The functions, cold and warm"

ROUNDS = 5
BLOCKS = 6
CALLS = 50
"""So many calls of one side, then of the other, so many times in a round."""
BARE = ROOT / "bench/bare"
FRAMEWORK = Path(chalice.app.__file__)
PROCESS = ROOT / "bench/handler_process.py"
RUNTIME, ARCHITECTURE = "python3.13", "arm64"
FULL_CPU_MB = 1769
"""Memory with which a function has one whole vCPU:
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

COLD_GOAL = 1.2
WARM_GOAL = 1.15


@dataclass(frozen=True)
class Case:
    """One kind of request, with who answers it."""

    name: str
    app: str
    ours: str
    bare: str
    event: dict[str, Any]


def request(method: str, path: str, **more: Any) -> dict[str, Any]:
    """Return what API Gateway hands to the function.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """
    headers = {"Content-Type": "application/json", "Accept": "*/*"}
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {"resourcePath": path, "httpMethod": method, "identity": {}},
        "body": None,
        "isBase64Encoded": False,
        **more,
    }


def batch(count: int) -> dict[str, Any]:
    """Return what the table's stream hands to the function: keys only."""
    records = [
        {
            "eventID": f"{number:032x}",
            "eventName": "INSERT",
            "eventSource": "aws:dynamodb",
            "dynamodb": {
                "Keys": {"id": {"S": f"{number:022}"}},
                "SequenceNumber": f"{number:021}",
                "StreamViewType": "KEYS_ONLY",
            },
        }
        for number in range(count)
    ]
    return {"Records": records}


_POSTED = json.dumps({"file_name": "a.txt", "input_text": "and more", "file_size": 1000})
CASES = (
    Case("POST /files", "api", "app.app", "api.handler", request("POST", "/files", body=_POSTED)),
    Case(
        "GET /files/{id}",
        "api",
        "app.app",
        "api.handler",
        request("GET", "/files/{job_id}", pathParameters={"job_id": JOB_ID}),
    ),
    *(
        Case(f"stream, {count}", "processor", "app.stream_handler", "stream.handler", batch(count))
        for count in (1, 10, 100)
    ),
)


def measure(tell: Tell) -> Result:
    """Start both sides of each case afresh, in turns, and let them answer in turns."""
    tell(0, "packaging the apps")
    with tempfile.TemporaryDirectory() as name, _stub() as url:
        folder = Path(name)
        apps = {app: _unpacked(app, folder) for app in ("api", "processor")}
        found: dict[str, list[Round]] = {case.name: [] for case in CASES}
        for number in range(ROUNDS):
            tell(0.05 + 0.95 * number / ROUNDS, f"round {number + 1} of {ROUNDS}")
            for case in CASES:
                found[case.name].append(_round(case, apps[case.app].folder, folder, url))
    return {
        "cases": {name: _case(rounds) for name, rounds in found.items()},
        "packages": {app: made.told() for app, made in apps.items()},
        "framework": {"bytes": FRAMEWORK.stat().st_size, "compile": _compile_seconds()},
    }


def _compile_seconds() -> Spread:
    """Return what each cold start pays to compile Chalice's one large module."""
    source = FRAMEWORK.read_text()
    took = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        compile(source, "app.py", "exec")
        took.append(time.perf_counter() - began)
    return spread(took)


def _round(case: Case, app: Path, folder: Path, url: str) -> Round:
    event = folder / "event.json"
    event.write_text(json.dumps(case.event))
    with (
        _Process(app, case.ours, event, url) as ours,
        _Process(BARE, case.bare, event, url) as bare,
    ):
        for _ in range(BLOCKS):
            ours.call(CALLS)
            bare.call(CALLS)
        return ours.told, bare.told


@contextlib.contextmanager
def _stub() -> Iterator[str]:
    command = [sys.executable, "-m", "bench.stub"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


@dataclass(frozen=True)
class _Unpacked:
    folder: Path
    zip_bytes: int
    code_bytes: int
    memory: int

    def told(self) -> dict[str, int]:
        return {"zip": self.zip_bytes, "code": self.code_bytes, "memory": self.memory}


def _unpacked(app: str, folder: Path) -> _Unpacked:
    """Unpack the package that is deployed, as Lambda does."""
    made = package(
        ROOT / app,
        stage="api",
        build_folder=ROOT / "build/chalice",
        runtime=RUNTIME,
        architecture=ARCHITECTURE,
    )
    with zipfile.ZipFile(made.zip_path) as archive:
        archive.extractall(folder / app)
        code = sum(entry.file_size for entry in archive.infolist())
    (memory,) = {each.memory_size for each in made.functions.values()}
    return _Unpacked(folder / app, made.zip_path.stat().st_size, code, memory)


class _Process:
    """A handler in a process of its own; ``told`` is what it has told so far."""

    def __init__(self, folder: Path, handler: str, event: Path, url: str) -> None:
        # No bytecode is written: on Lambda the code's folder is read-only.
        self._process = subprocess.Popen(
            [sys.executable, "-IB", str(PROCESS), str(folder), handler, str(event)],
            env=_environment(handler, url),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        first = self._read()
        memory = peak_memory(self._process.pid)
        self.told: dict[str, Any] = {**first, "memory": memory, "blocks": []}
        answer = self.told["answer"]
        assert answer.get("statusCode") in (200, 201) or answer.get("launched"), answer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def call(self, times: int) -> None:
        """Have it answer the event some more times."""
        assert self._process.stdin is not None
        print(times, file=self._process.stdin, flush=True)
        self.told["blocks"].append(self._read())

    def _read(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


def _environment(handler: str, url: str) -> dict[str, str]:
    """Return what Lambda, the infrastructure and the stub's address make together."""
    names = jobs.Env
    return {
        "PATH": os.environ["PATH"],
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ACCESS_KEY_ID": "stub",
        "AWS_SECRET_ACCESS_KEY": "stub",
        "AWS_SESSION_TOKEN": "stub",
        "AWS_LAMBDA_FUNCTION_NAME": "bench",
        "_HANDLER": handler,
        names.STACK: "bench",
        names.TABLE: TABLE,
        names.BUCKET: "data-bucket",
        names.QUEUE_URL: f"{url}/123456789012/work",
        names.MAX_FILE_BYTES: str(2**30),
        names.FILE_TYPES: ".txt",
        names.RETENTION_DAYS: "7",
        names.BACKLOG_PER_INSTANCE: "10",
        names.FRESH_VM_PER_JOB: "false",
        names.MAX_INSTANCES: "2",
        names.MAX_LIFE: "3600",
        names.LAUNCH_TEMPLATE_ID: "lt-1",
        names.LAUNCH_TEMPLATE_VERSION: "1",
        names.INSTANCE_TYPES: "t4g.small,t4g.medium,c7g.medium,m7g.medium",
        names.SUBNET_IDS: "subnet-1,subnet-2",
        names.SPOT: "false",
    }


def _case(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return both sides' figures, and ratios of what was measured one after the other."""
    ours, bare = ([one[side] for one in rounds] for side in (0, 1))
    return {
        "ours": _side(ours),
        "bare": _side(bare),
        "cold_ratio": ratios(_cold(ours), _cold(bare)),
        "cold_cpu_ratio": ratios([one["cpu"] for one in ours], [one["cpu"] for one in bare]),
        "warm_ratio": ratios(_block_medians(ours), _block_medians(bare)),
    }


def _cold(processes: Sequence[Told]) -> list[float]:
    return [one["import"] + one["first"] for one in processes]


def _block_medians(processes: Sequence[Told]) -> list[float]:
    return [percentile(block, 0.5) for one in processes for block in one["blocks"]]


def _side(processes: Sequence[Told]) -> dict[str, Any]:
    calls = [seconds for one in processes for block in one["blocks"] for seconds in block]
    return {
        "import": spread([one["import"] for one in processes]),
        "first": spread([one["first"] for one in processes]),
        "cold": spread(_cold(processes)),
        "cpu": spread([one["cpu"] for one in processes]),
        "memory": max(one["memory"] for one in processes),
        "warm": {**spread(calls), "p99": percentile(calls, 0.99)},
    }


# --- what is told of it --------------------------------------------------------------


def goals(result: Result) -> list[Goal]:
    """Return what is decided by the API."""
    api = [result["cases"][case.name] for case in CASES if case.app == "api"]
    cold, warm = (
        max((one[ratio] for one in api), key=lambda found: float(found["median"]))
        for ratio in ("cold_ratio", "warm_ratio")
    )
    return [
        Goal(
            "API, import and first answer, against bare boto3",
            f"≤ {COLD_GOAL} times",
            f"{told(cold)} times",
            cold["median"] <= COLD_GOAL,
        ),
        Goal(
            "API, warm, against bare boto3",
            f"≤ {WARM_GOAL} times",
            f"{told(warm)} times",
            warm["median"] <= WARM_GOAL,
        ),
    ]


def rows(result: Result) -> list[list[str]]:
    """Return the comparison."""
    heading = ["", "cold, bare", "cold", "times", "warm, bare", "warm", "times", "warm p99"]
    return [heading, *(_row(case.name, result["cases"][case.name]) for case in CASES)]


def _row(name: str, case: Mapping[str, Any]) -> list[str]:
    bare, ours = case["bare"], case["ours"]
    return [
        name,
        f"{bare['cold']['median'] * 1000:.0f} ms",
        f"{ours['cold']['median'] * 1000:.0f} ms",
        told(case["cold_ratio"]),
        f"{bare['warm']['median'] * 1000:.2f} ms",
        f"{ours['warm']['median'] * 1000:.2f} ms",
        told(case["warm_ratio"]),
        f"{ours['warm']['p99'] * 1000:.1f} ms",
    ]


def section(result: Result) -> str:
    """Return what the figures say, and whose the difference is."""
    packages, framework = result["packages"], result["framework"]
    cases = result["cases"]
    post, stream = cases["POST /files"], cases["stream, 100"]
    return f"""\
The packages that are deployed, unpacked and run by a process for each measurement, against
[handlers with boto3 alone](../bench/bare) that make the same calls to AWS with the same clients.
Both are alike in what Lambda gives: a folder without bytecode that cannot be written, boto3 from
outside the package. AWS is [a stub](../bench/stub.py) on loopback that always gives the same
answers at once: the emulator takes longer for an answer than the handlers do, and would hide them.

Cold is the import and the first answer in a fresh process; warm are {BLOCKS * CALLS} calls after
it, {CALLS} of one side and {CALLS} of the other in turns, {len(cases)} cases {ROUNDS} times:

{table(rows(result))}

Most of a cold start is boto3's: its own import and the descriptions of the services, which the
bare handler loads as well. What is ours to answer for is mostly Chalice's one module:
{framework["bytes"]} bytes that Python compiles in {told(framework["compile"], " ms", scale=1000)},
again at each cold start, for the package holds no bytecode:
[AWS advises against it](https://docs.aws.amazon.com/lambda/latest/dg/python-package.html), since
what one machine compiles may not suit another. The rest is the import of
`jobs.py` and `app.py`. A bare handler has no routes, no rules for input and no errors in words.

The functions make their clients while Lambda starts them, not at the first request. The cold
start is as long as before, but of it only the first answer is within a request that has arrived
already: {told(post["ours"]["first"], " ms", scale=1000)} for `POST /files`,
{told(stream["ours"]["first"], " ms", scale=1000)} for the stream handler, where making the clients
at the first request took 160 to 250 ms more on this machine.

A function gets CPU in proportion to its memory, one whole vCPU at {FULL_CPU_MB} MB
([AWS](https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html)). With what is
configured, the {_warm(post)} ms of a warm `POST /files` become about
{_on_lambda(post, packages["api"]):.0f} ms, and the {_warm(stream)} ms of a batch of 100 about
{_on_lambda(stream, packages["processor"]):.0f} ms, before the network; the batch's size makes no
difference, for the handler only counts it. The processes need at most
{_megabytes(cases, "api"):.0f} MB (API) and {_megabytes(cases, "processor"):.0f} MB (processor).
That is no reason for other sizes.

{_sizes(packages)}
"""


def _sizes(packages: Mapping[str, Mapping[str, int]]) -> str:
    heading = ["package", "zip", "unpacked", "memory configured"]
    return table([heading, *([name, *_size(one)] for name, one in packages.items())])


def _size(package: Mapping[str, int]) -> list[str]:
    kilobytes = [f"{package[name] / 1000:.0f} kB" for name in ("zip", "code")]
    return [*kilobytes, f"{package['memory']} MB"]


def _warm(case: Mapping[str, Any]) -> str:
    return f"{case['ours']['warm']['median'] * 1000:.1f}"


def _on_lambda(case: Mapping[str, Any], package: Mapping[str, int]) -> float:
    """Return a warm call's milliseconds with the share of a vCPU that the memory brings."""
    milliseconds = case["ours"]["warm"]["median"] * 1000
    return float(milliseconds * FULL_CPU_MB / package["memory"])


def _megabytes(cases: Mapping[str, Any], app: str) -> float:
    needed = [cases[case.name]["ours"]["memory"] for case in CASES if case.app == app]
    return float(max(needed) / 1e6)


def figures(result: Result) -> dict[str, Figure]:
    """Return both sides, cold and warm."""
    from bench.plots import COLOURS, figure

    made, axes = figure(2)
    names = [case.name for case in CASES]
    for one, kind in zip(axes, ("cold", "warm"), strict=True):
        for shift, side in ((-0.2, "bare"), (0.2, "ours")):
            values = [result["cases"][name][side][kind]["median"] * 1000 for name in names]
            places = [number + shift for number in range(len(names))]
            label = "Addendum" if side == "ours" else "bare boto3"
            one.bar(places, values, 0.38, color=COLOURS[side == "ours"], label=label)
        one.set_xticks(range(len(names)), names, rotation=30, ha="right")
        one.set_ylabel(f"{kind}, milliseconds")
        one.margins(y=0.3)
    axes[0].legend()
    return {"handlers": made}
