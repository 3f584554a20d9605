"""Whether the figures support each default."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.fleet_told import DAY, FEW, LONG, MANY, SLOW_JOBS, dollars, find, span
from bench.markdown import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.part import Result


def section(measured: Mapping[str, Any]) -> str:
    """Return what the results say about the defaults, as Markdown."""
    if "fleet" not in measured:
        return "## The defaults\n\nThey are weighed by `make bench PARTS=fleet`."
    result = measured["fleet"]["result"]
    weighed = [_backlog, _first_wait, _idle, _threads, _window]
    rows = [["default", "by the figures", "so"], *(weigh(result) for weigh in weighed)]
    if "handlers" in measured:
        rows.append(_memory(measured["handlers"]["result"]))
    return "\n\n".join([INTRODUCTION, table(rows), PLOT])


INTRODUCTION = """\
## The defaults

`make bench PARTS=fleet` changes one number at a time, where it matters, and leaves the others as
they are."""

PLOT = """\
![What each value costs, and how long people wait](performance-fleet-defaults.svg)

Each point is a value of the setting. Down is cheaper, left is sooner."""


def _at(result: Result, setting: str, stage: str, value: float) -> dict[str, float]:
    found = find(result, act="sweep", setting=setting, stage=stage, value=value)
    middle: dict[str, float] = found["middle"]
    return middle


def _default(result: Result, setting: str) -> float:
    return float(result["deployed"][setting])


def _backlog(result: Result) -> list[str]:
    setting = "backlog_per_instance"
    now = _default(result, setting)
    ours, more = (_at(result, setting, MANY, value) for value in (now, 50))
    slow, slower, slow_few = (_at(result, setting, SLOW_JOBS, value) for value in (now, 50, 5))
    return [
        f"`{setting}` {now:g}",
        f"1,000 small jobs with 200 machines: ${dollars(result, ours):.3f} per 1,000 and"
        f" {span(ours['last'])}; with 50, ${dollars(result, more):.3f} and {span(more['last'])}."
        f" 100 jobs of 30 s: {span(slow['last'])}; with 50, {span(slower['last'])}; with 5,"
        f" {span(slow_few['last'])}, for {slow_few['billed'] / slow['billed']:.2g} times the money",
        "kept: no value is best for every script. With the default `max_instances` of"
        f" {result['max_instances']} it hardly matters. Raise both together for small jobs, lower"
        " it for jobs of minutes",
    ]


def _first_wait(result: Result) -> list[str]:
    setting = "first_wait_seconds"
    now = _default(result, setting)
    few, few_less = (_at(result, setting, FEW, value)["billed"] for value in (now, 120))
    many, many_less = (_at(result, setting, MANY, value)["billed"] for value in (now, 120))
    lone, lone_less = (_at(result, setting, LONG, value) for value in (now, 120))
    return [
        f"first wait {now:g} s, as long as a form can be used and a minute",
        f"With 120 s, machines that boot too late to get a job cost less: 10 files at once"
        f" {_percent(few_less, few)}, 1,000 with 200 machines {_percent(many_less, many)}. A lone"
        f" upload of 1 to 5 minutes would have its result after {span(lone_less['mean'])} in the"
        f" mean instead of {span(lone['mean'])}, for its machine has gone before it ends",
        "kept: the long upload is what booting early is for, and it is the one case where people"
        " would notice. Where files are small, 120 is the better value: `FIRST_WAIT_SECONDS` in"
        " `infra/fleet.py`",
    ]


def _idle(result: Result) -> list[str]:
    setting = "idle_seconds"
    now = _default(result, setting)
    ours, less = (_at(result, setting, DAY, value) for value in (now, 30))
    cold = less["machines"] - ours["machines"]
    each = (ours["billed"] - less["billed"]) / cold / 3600 * result["price"]
    return [
        f"`{setting}` {now:g}",
        f"A day with a peak: ${dollars(result, ours):.3f} per 1,000 and"
        f" {ours['mean']:.2g} s to a result in the mean; with 30, ${dollars(result, less):.3f} and"
        f" {less['mean']:.2g} s. Each of the {cold:.0f} boots that nobody had to wait for cost"
        f" ${each:.5f}",
        "kept: a boot is 20 s of somebody's time, and who looks at one result often sends the next"
        " file within a minute and a half. Cheapest is 30",
    ]


def _threads(result: Result) -> list[str]:
    setting = "threads"
    now = _default(result, setting)
    one, ours, four = (_at(result, setting, SLOW_JOBS, value) for value in (1, now, 4))
    return [
        "one thread a vCPU",
        f"100 jobs of 30 s: {span(one['last'])} with 1 thread on a machine of 2 vCPUs,"
        f" {span(ours['last'])} with {now:g}, {span(four['last'])} with 4, if the script"
        " only waits",
        "kept: a script that computes gains nothing by a third thread, and the disk is sized for"
        " one job a vCPU",
    ]


def _window(result: Result) -> list[str]:
    setting = "batch window"
    now = _default(result, setting)
    ours, none = (_at(result, setting, DAY, value) for value in (now, 0))
    many, many_none = (_at(result, setting, MANY, value) for value in (now, 0))
    return [
        f"batch window of the stream {now:g} s",
        f"Without it a machine boots {now:g} s sooner: {none['mean']:.3g} s to a result in the"
        f" mean of a day instead of {ours['mean']:.3g} s. A burst of 1,000 then takes"
        f" {many_none['calls']:.0f} launch calls instead of {many['calls']:.0f}, since the first"
        " batches are small",
        "kept: it keeps a burst at a few calls for a second that uploads mostly hide. More than 1 s"
        " saves nothing",
    ]


def _memory(result: Result) -> list[str]:
    sizes = ", ".join(f"{one['memory']} MB ({name})" for name, one in result["packages"].items())
    return [
        f"memory of the functions: {sizes}",
        "See [the functions](#the-functions-cold-and-warm): they need far less, and what they do"
        " is over in milliseconds with the CPU that it brings",
        "kept: how much longer a cold start is with less CPU, only AWS can show",
    ]


def _percent(less: float, now: float) -> str:
    return f"{(1 - less / now) * 100:.0f} % less"
