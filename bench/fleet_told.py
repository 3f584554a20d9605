"""What came of the simulation, in words, tables and plots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.fleet_scenes import ARRIVALS, DEFAULT, FRESH, ONE_EACH, POLICIES
from bench.markdown import bullets, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from matplotlib.figure import Figure

    from bench.part import Result

    Act = dict[str, Any]

CAPS = (2, 20, 200)
GOAL_BURST = "1,000 at once"
DAY = "a day with a peak"
MANY = "1,000 small jobs, 200 machines"
FEW = "10 small files at a time"
SLOW_JOBS = "100 jobs of 30 s, 20 machines"
LONG = "lone uploads of 1 to 5 minutes"

QUOTA = "1,000 at once, `max_instances` 20, a new account's 5 vCPUs"
API_RATE = "1,000 at the API's default rate, `max_instances` 2"
TWICE = "100 at once and, 7 minutes later, 300; `max_instances` 20"
TWICE_UNBRAKED = "the same, if the launch brake looked back for the first wait only"
ON_DEMAND = "1/s for an hour, on demand"
SPOT = "1/s for an hour, Spot, each machine taken back once an hour"

HEADINGS = [
    "first result",
    "last",
    "p50",
    "p99",
    "launch calls",
    "of them throttled",
    "over quota",
    "machines",
    "VM-seconds billed",
    "$ per 1,000 jobs",
    "never done",
]


def find(result: Result, **names: Any) -> Act:
    """Return the one act that has these names."""
    (found,) = (act for act in result["played"] if names.items() <= act.items())
    act: Act = found
    return act


def times(result: Result, key: str, *, cap: int) -> dict[str, float]:
    """Return how many times less of something Addendum needs for the burst that goals are about."""
    names = {"act": "grid", "arrivals": GOAL_BURST, "cap": cap}
    theirs = find(result, policy=ONE_EACH, **names)
    ours = find(result, policy=DEFAULT, **names)
    return {
        "middle": theirs["middle"][key] / ours["middle"][key],
        "least": theirs["least"][key] / ours["most"][key],
        "most": theirs["most"][key] / ours["least"][key],
    }


def told(ratio: dict[str, float]) -> str:
    """Return a ratio with its spread."""
    return f"{ratio['middle']:.3g}× ({ratio['least']:.3g} to {ratio['most']:.3g})"


def cells(result: Result, act: Act) -> list[str]:
    """Return an act's figures below :data:`HEADINGS`."""
    got = act["middle"]
    return [
        *(span(got[key]) for key in ("first", "last", "p50", "p99")),
        *(f"{got[key]:,.0f}" for key in ("calls", "throttled", "over_quota", "machines", "billed")),
        f"{dollars(result, got):.3f}",
        f"{got['lost']:,.0f}",
    ]


def dollars(result: Result, got: dict[str, float]) -> float:
    """Return what the machines of 1,000 jobs cost."""
    return float(got["billed"] / 3600 * result["price"] / got["jobs"] * 1000)


def span(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def grid(result: Result, *, arrivals: Iterable[str], caps: Iterable[int]) -> list[list[str]]:
    """Return a table of the grid, its first row the headings."""
    acts = [
        find(result, act="grid", arrivals=name, cap=cap, policy=policy)
        for name in arrivals
        for cap in caps
        for policy in POLICIES
    ]
    named = [[act["arrivals"], str(act["cap"]), act["policy"], *cells(result, act)] for act in acts]
    return [["uploads", "`max_instances`", "policy", *HEADINGS], *named]


def section(result: Result) -> str:
    """Return the part's Markdown."""
    cap = result["max_instances"]
    others = [name for name in ARRIVALS if name != GOAL_BURST]
    extras = [act for act in result["played"] if act["act"] == "extra"]
    return "\n\n".join(
        [
            INTRODUCTION.format(seeds=result["seeds"], price=result["price"]),
            "![Time to the last result, by number of uploads](performance-fleet-last.svg)",
            "![VM-seconds billed for each job](performance-fleet-billed.svg)",
            "### A thousand at once",
            table(grid(result, arrivals=[GOAL_BURST], caps=CAPS)),
            _observations(result),
            f"### Everything else, with the default `max_instances` of {cap}",
            table(grid(result, arrivals=others, caps=[cap])),
            "With 20 and with 200 machines: `bench/results.json`, and the table that the command"
            " prints.",
            "### A quota, the API's own rate, the launch brake, Spot",
            table(
                [["Addendum", *HEADINGS], *([act["name"], *cells(result, act)] for act in extras)]
            ),
            _on_the_brake(result),
            ASSUMPTIONS,
        ]
    )


INTRODUCTION = """\
Three policies do the same uploads in simulated time, and whoever launches shares one model of EC2.
*One machine each* is what public implementations of this flow do: RunInstances once a record, from
the table's stream. The other two are this project, with its real decision
(`processor/chalicelib/decision.py`) and the numbers that it is deployed with, read from where they
are declared. A machine each knows no `max_instances`; the account's quota is its cap, and fits as
many machines.

Figures are the middle of {seeds} runs with different chance; ratios have their ends beside them.
Times run from the click to the result, upload included. Money is the machines' hours only, at
${price}, the price in [operations](operations.md): no addresses, disks or CPU above the baseline.
The same code and seeds give the same figures on any machine; the rules are held by
`tests/unit/test_fleet_simulation.py`, against cases worked out by
hand."""


def _observations(result: Result) -> str:
    def got(policy: str, arrivals: str, cap: int, key: str) -> float:
        found = find(result, act="grid", arrivals=arrivals, cap=cap, policy=policy)
        return float(found["middle"][key])

    last = {policy: span(got(policy, GOAL_BURST, 200, "last")) for policy in POLICIES}
    wide = find(result, act="grid", arrivals=GOAL_BURST, cap=200, policy=DEFAULT)["middle"]
    lost = got(ONE_EACH, "10,000 at once", 2, "lost")
    return bullets(
        "EC2 admits two RunInstances calls a second. With one call a machine, a thousand machines"
        f" take {last[ONE_EACH]}, however many the quota allows; Addendum asks for many in one call"
        f" and has the last result after {last[DEFAULT]}.",
        f"With {wide['machines']:.0f} machines for jobs of half a second, {wide['in_vain']:.0f}"
        " boot too late to get one, and wait `first_wait_seconds` for it: that is most of the"
        f" {wide['billed']:,.0f} VM-seconds. Whoever raises `max_instances` for such jobs should"
        " raise `backlog_per_instance` too, see [the defaults](#the-defaults).",
        "Addendum is dearer for one lone file:"
        f" {got(DEFAULT, '1 at once', 2, 'billed'):.0f} VM-seconds against"
        f" {got(ONE_EACH, '1 at once', 2, 'billed'):.0f}, because its machine stays `idle_seconds`"
        " for the next. With 20 machines it is for ten at once, too:"
        f" {got(DEFAULT, '10 at once', 20, 'billed'):.0f} against"
        f" {got(ONE_EACH, '10 at once', 20, 'billed'):.0f}, because a new table's stream has four"
        " shards, whose deciders do not see each other's launches of the last seconds.",
        f"{FRESH} is slower than a machine each when more wait than `max_instances`"
        f" ({last[FRESH]} against {last[ONE_EACH]} with 200): after the stream has announced the"
        " jobs, only the reconciler launches, so a round of machines takes a full minute, though"
        " each lives for half of one. It is made for isolation, and loses no job.",
        "A machine each loses the jobs of machines that do not come up, and whatever waits longer"
        f" than the stream's day: {lost:,.0f} of 10,000 with 2 machines. Addendum loses none, as"
        " the queue holds them.",
    )


def _on_the_brake(result: Result) -> str:
    now, then = (
        find(result, act="extra", name=name)["middle"]["mean"] for name in (TWICE, TWICE_UNBRAKED)
    )
    return bullets(
        "The brake on launch loops takes a machine that waited in vain for a broken one: both are"
        " gone without a job. So the surplus of one burst slows the next one down, until ten"
        f" minutes are over: {span(now)} to a result in the mean. If it looked at the machines of"
        f" the last six minutes only, it would be {span(then)}, and a launch loop would be caught"
        " just the same: a machine that waited in vain is older than that when it goes.",
    )


EC2_THROTTLING = "https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html"

ASSUMPTIONS = f"""\
### What is assumed

- RunInstances admits 5 calls and then 2 a second, 1,000 machines and then 2 a second:
  [AWS's documentation]({EC2_THROTTLING}).
  CreateFleet is assumed to have the same buckets; AWS publishes none for it.
- A call that launches answers after 1 s. 1 in 100 finds no capacity.
- A machine has 2 vCPUs, boots in 10 to 30 s and powers off in 5 s. 1 in 100 boots and cannot start
  its worker. It is billed by the second from its launch, a minute at least.
- The quota is 5 vCPUs for 2 machines, as a new account has it, and 2 for each machine above.
- DescribeInstances shows a machine 2 s after its launch; the queue's counts are 5 s old.
- The stream has 4 shards, each looked at 4 times a second.
- A small file takes 1 to 3 s to upload, and 0.3 to 0.7 s of a machine's thread.
- One machine each records after the upload, so that the file is there when the machine boots.
  Addendum records before it, so that machines boot meanwhile.
- One machine each calls once after another in each shard, with boto3's own five attempts. Then
  Lambda tries the record that failed again, after 1 s, doubling to 30 s, until it expires after 24
  hours. Nothing is launched twice, and no record is given up: many implementations do worse."""


def figures(result: Result) -> dict[str, Figure]:
    """Return the plots: last result and billing by size of a burst, and what values cost."""
    return {
        "fleet-last": _by_burst(result, "last", "time to the last result", TIMES),
        "fleet-billed": _by_burst(result, "billed", "VM-seconds billed for each job", EACH),
        "fleet-defaults": _trades(result),
    }


TIMES: dict[float, str] = {
    10: "10 s",
    60: "1 min",
    600: "10 min",
    3600: "1 h",
    36000: "10 h",
    360000: "100 h",
}
EACH: dict[float, str] = {0.1: "0.1", 1: "1", 10: "10", 100: "100"}
SIZES: dict[float, str] = {1: "1", 10: "10", 100: "100", 1000: "1,000", 10000: "10,000"}


def _by_burst(result: Result, key: str, label: str, ticks: Mapping[float, str]) -> Figure:
    from bench import plots

    made, axes = plots.figure(len(CAPS), sharey=True)
    for cap, panel in zip(CAPS, axes, strict=True):
        for number, policy in enumerate(POLICIES):
            names = {"act": "grid", "cap": cap, "policy": policy}
            acts = [find(result, arrivals=f"{size} at once", **names) for size in SIZES.values()]
            shares = [act["middle"]["jobs"] if key == "billed" else 1 for act in acts]
            values = [act["middle"][key] / share for act, share in zip(acts, shares, strict=True)]
            panel.loglog(list(SIZES), values, **plots.line(number), label=policy.strip("`"))
        panel.set_title(f"at most {cap} machines")
        panel.set_xlabel("uploads at once")
        plots.label(panel.xaxis, SIZES)
    axes[0].set_ylabel(label)
    plots.label(axes[0].yaxis, ticks)
    axes[-1].legend()
    return made


def _trades(result: Result) -> Figure:
    """Draw cost against waiting for the two settings that trade one for the other."""
    from bench import plots

    made, axes = plots.figure(2)
    for setting, panel in zip(("idle_seconds", "backlog_per_instance"), axes, strict=True):
        acts = [act for act in result["played"] if act.get("setting") == setting]
        for number, stage in enumerate(dict.fromkeys(act["stage"] for act in acts)):
            here = [act for act in acts if act["stage"] == stage]
            waits = [act["middle"]["mean"] for act in here]
            costs = [dollars(result, act["middle"]) for act in here]
            panel.plot(waits, costs, **plots.line(number), label=stage.replace("`", ""))
            for act, wait, cost in zip(here, waits, costs, strict=True):
                panel.annotate(f"{act['value']:g}", (wait, cost), **plots.BESIDE)
        panel.set_title(setting)
        panel.set_xlabel("mean wait for a result, s")
        panel.set_ylim(bottom=0)
        panel.legend(fontsize=8)
    axes[0].set_ylabel("$ per 1,000 jobs")
    return made
