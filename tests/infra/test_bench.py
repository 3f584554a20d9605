"""The benchmark plays with the numbers that are deployed, and tells what was measured."""

from __future__ import annotations

from bench import fleet_scenes, report, results
from chalicelib.decision import Rules
from tests.infra.program import ROOT, Run


def test_the_simulation_plays_with_the_numbers_that_are_deployed(declared: Run) -> None:
    numbers = fleet_scenes.deployed()
    (stream,) = (
        one.inputs for one in declared.all("EventSourceMapping") if "filterCriteria" in one.inputs
    )
    assert numbers.stream.batch == stream["batchSize"]
    assert numbers.stream.window == stream["maximumBatchingWindowInSeconds"]
    assert numbers.rules == Rules(backlog_per_instance=10, fresh_vm_per_job=False, max_instances=2)
    assert (numbers.first_wait, numbers.idle, numbers.threads) == (360, 90, 2)


def test_a_machine_costs_what_the_page_on_operations_says() -> None:
    assert f"| ${fleet_scenes.price()}" in (ROOT / "docs/operations.md").read_text()


def test_the_page_on_performance_is_what_the_results_give() -> None:
    """If not: python -m bench report"""
    assert report.PAGE.read_text() == report.page(results.load())
