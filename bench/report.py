"""``docs/performance.md``, made from ``results.json`` and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench import ROOT, defaults, part, results
from bench.markdown import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.part import Goal, Part

PAGE = ROOT / "docs/performance.md"


def write() -> None:
    """Write the page and its plots."""
    # The page alone is made without matplotlib, for the test that compares it.
    from bench import plots

    measured = results.load()
    results.write_in_one_step(PAGE, page(measured))
    for name in _names(measured):
        plots.write(part.load(name).figures(measured[name]["result"]), PAGE.parent)


def page(measured: Mapping[str, Any]) -> str:
    """Return the page that these results give."""
    told = [(part.load(name), measured[name]) for name in _names(measured)]
    goals = [goal for one, found in told for goal in one.goals(found["result"])]
    sections = [_section(one, found) for one, found in told]
    parts = [INTRODUCTION, _goals(goals), *sections, defaults.section(measured), LIMITS]
    return "\n\n".join(parts) + "\n"


def _names(measured: Mapping[str, Any]) -> list[str]:
    return [name for name in part.PARTS if name in measured]


def _goals(goals: list[Goal]) -> str:
    rows = [["goal", "wanted", "measured", ""]]
    rows += [[one.measure, one.goal, one.got, _verdict(one)] for one in goals]
    return f"## Goals\n\n{table(rows)}"


def _verdict(goal: Goal) -> str:
    verdict = "met" if goal.met else "**missed**"
    return f"{verdict}; {goal.why}" if goal.why else verdict


def _section(one: Part, found: Mapping[str, Any]) -> str:
    machine = found["machine"]
    measured = (
        f"`make bench PARTS={one.NAME}`, {machine['date']}: {machine['seconds']} s on"
        f" {machine['cores']} cores ({machine['architecture']}), {machine['memory_gib']} GiB,"
        f" Python {machine['python']}."
    )
    return f"## {one.TITLE}\n\n{measured}\n\n{one.section(found['result']).strip()}"


INTRODUCTION = """\
# Performance

How fast Addendum is, how far it goes and what it costs, against what people would do instead.
Anyone can have these figures again, in under 12 minutes on two cores and without an AWS account:

    make bench                     # all of it
    make bench PARTS="fleet warm"  # only these parts

Two things are compared by doing the same work in the same run, in turns. What counts are the
ratios; seconds are those of the machine that is named. This page and its plots are made from
`bench/results.json` and nothing else."""

LIMITS = """\
## What these figures cannot say about AWS

- **Nothing here is AWS's latency.** Except for the simulation, all is measured against an emulator
  on the same machine: no network, no TLS, no distance between zones. A call to AWS takes longer, so
  what saves calls saves more there than here, and what saves CPU saves less.
- **The emulator shares the cores** with what is measured, is one process, and is slower than AWS
  when many call it at once. Throughput ends here where the emulator ends.
- **EC2 is simulated.** Boot times, capacity and the buckets of CreateFleet are assumptions, written
  down above. Nobody knows the next hour of a zone. Where AWS publishes a number it is used, and
  cited in `bench/ec2_model.py`.
- **No Graviton.** The machines that are measured are processes on this machine's processor and
  disk. A t4g.small has two Arm vCPUs with CPU credits, and a network and a disk with limits of
  their own: a large file takes as long there as these do, for whoever moves it.
- **Lambda's cold start is only ours in part.** What is measured is the interpreter, the imports and
  the first answer. Before that AWS finds a place, fetches the package and starts the runtime, and
  CPU comes in proportion to memory; none of that is seen here.
- **A laptop is a noisy place.** The spread beside each ratio is what this machine did in that run.
  A figure within the spread of its goal is no verdict.
- **The script is the cheapest there is.** Appending costs nothing; with a script that works for a
  minute, the overhead that is measured here vanishes."""
