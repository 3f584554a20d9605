"""The schedule, last of the tests that share a system: by now a minute has passed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.e2e.person import until

if TYPE_CHECKING:
    from local.system import LocalSystem


def test_the_schedule_calls_the_reconciler_every_minute(system: LocalSystem) -> None:
    group = system.deployment.exports["log_groups"]["reconciler"]
    logs = system.client("logs")

    def calls() -> list[Any]:
        """Return what the reconciler has logged: here, only its schedule calls it."""
        events: list[Any] = logs.filter_log_events(logGroupName=group)["events"]
        return events

    until(calls, "the schedule to run the reconciler")
