"""How many machines: the pure decision."""

from __future__ import annotations

import pytest

from chalicelib.decision import Rules, Sight, instances_to_launch

DEFAULT = Rules(backlog_per_instance=10, fresh_vm_per_job=False, max_instances=5)
FRESH = Rules(backlog_per_instance=10, fresh_vm_per_job=True, max_instances=5)


@pytest.mark.parametrize(
    ("announced", "visible", "in_flight", "live", "launched"),
    [
        (0, 0, 0, 0, 0),
        (1, 0, 0, 0, 1),
        (1, 1, 0, 0, 1),
        (10, 0, 0, 0, 1),
        (11, 0, 0, 0, 2),
        (100, 0, 0, 0, 5),
        (1, 0, 0, 1, 0),
        (1, 0, 10, 1, 1),
        (5, 0, 4, 1, 0),
        (0, 7, 0, 0, 1),
        (0, 7, 5, 1, 1),
        (0, 7, 3, 1, 0),
        (1000, 0, 0, 5, 0),
        (1000, 0, 0, 9, 0),
        (0, 0, 500, 0, 0),
    ],
)
def test_waiting_jobs_that_live_machines_have_no_room_for_are_what_counts(
    announced: int, visible: int, in_flight: int, live: int, launched: int
) -> None:
    assert instances_to_launch(DEFAULT, Sight(announced, visible, in_flight, live)) == launched


@pytest.mark.parametrize(
    ("announced", "visible", "in_flight", "live", "launched"),
    [
        (1, 0, 0, 0, 1),
        (3, 0, 0, 0, 3),
        # The live machine waits for another job: an announced one gets its own.
        (1, 0, 0, 1, 1),
        (0, 1, 0, 1, 0),
        (0, 2, 1, 1, 2),
        (9, 0, 0, 3, 2),
    ],
)
def test_with_a_fresh_machine_per_job_an_announced_job_is_never_netted(
    announced: int, visible: int, in_flight: int, live: int, launched: int
) -> None:
    assert instances_to_launch(FRESH, Sight(announced, visible, in_flight, live)) == launched
