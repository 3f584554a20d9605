"""The processor's environment and its event sources: exactly these, and no more."""

from __future__ import annotations

import json
from typing import Any

import jobs
from tests.infra.program import STACK, Run


def _variables(run: Run, function: str) -> dict[str, Any]:
    return dict(run.one("Function", function).inputs["environment"]["variables"])


def test_each_function_is_told_what_it_reads_and_nothing_else(declared: Run) -> None:
    launching = {
        jobs.Env.TABLE,
        jobs.Env.QUEUE_URL,
        jobs.Env.STACK,
        jobs.Env.BACKLOG_PER_INSTANCE,
        jobs.Env.FRESH_VM_PER_JOB,
        jobs.Env.MAX_INSTANCES,
        jobs.Env.MAX_LIFE,
        jobs.Env.LAUNCH_TEMPLATE_ID,
        jobs.Env.LAUNCH_TEMPLATE_VERSION,
        jobs.Env.INSTANCE_TYPES,
        jobs.Env.SUBNET_IDS,
        jobs.Env.SPOT,
    }
    api = {
        jobs.Env.STACK,
        jobs.Env.TABLE,
        jobs.Env.BUCKET,
        jobs.Env.MAX_FILE_BYTES,
        jobs.Env.FILE_TYPES,
        jobs.Env.RETENTION_DAYS,
    }
    assert set(_variables(declared, "stream-handler")) == launching
    assert set(_variables(declared, "reconciler")) == launching
    assert set(_variables(declared, "dead-letter-handler")) == {jobs.Env.STACK, jobs.Env.TABLE}
    assert set(_variables(declared, "api-handler")) == api
    assert _variables(declared, "reconciler")[jobs.Env.STACK] == STACK


def test_new_records_call_the_stream_handler_and_are_soon_given_up(declared: Run) -> None:
    mapping = dict(declared.one("EventSourceMapping", "stream").inputs)
    assert mapping.pop("eventSourceArn").endswith("table/FileTable/stream/2026-01-01")
    assert mapping.pop("functionName").endswith(":processor-stream-handler")
    assert json.loads(mapping.pop("filterCriteria")["filters"][0]["pattern"]) == {
        "eventName": ["INSERT"]
    }
    del mapping["tags"]
    assert mapping == {
        "startingPosition": "TRIM_HORIZON",
        "batchSize": 100,
        "maximumBatchingWindowInSeconds": 1,
        "maximumRetryAttempts": 2,
        "maximumRecordAgeInSeconds": 60,
    }


def test_expired_records_call_nothing(declared: Run) -> None:
    """Expiry is a REMOVE in the stream."""
    (source,) = declared.one("EventSourceMapping", "stream").inputs["filterCriteria"]["filters"]
    assert "REMOVE" not in source["pattern"]


def test_the_reconciler_runs_every_minute_and_is_never_retried(declared: Run) -> None:
    rule = declared.one("EventRule")
    assert rule.inputs["scheduleExpression"] == "rate(1 minute)"
    target = declared.one("EventTarget").inputs
    assert target["arn"].endswith(":processor-reconciler")
    assert target["retryPolicy"]["maximumRetryAttempts"] == 0
    invoke = declared.one("FunctionEventInvokeConfig").inputs
    assert (invoke["functionName"], invoke["maximumRetryAttempts"]) == ("processor-reconciler", 0)


def test_only_this_rule_may_call_the_reconciler(declared: Run) -> None:
    permission = declared.one("Permission", "minute").inputs
    assert permission["principal"] == "events.amazonaws.com"
    assert permission["function"] == "processor-reconciler"
    assert permission["sourceArn"].endswith(":processor-minute")


def test_dead_letters_call_their_handler(declared: Run) -> None:
    mapping = declared.one("EventSourceMapping", "dead-letters").inputs
    assert mapping["eventSourceArn"].endswith(":storage-dead-letters")
    assert mapping["functionName"].endswith(":processor-dead-letter-handler")


def test_there_are_no_other_event_sources(declared: Run) -> None:
    assert len(declared.all("EventSourceMapping")) == 2
    assert len(declared.all("EventTarget")) == len(declared.all("EventRule")) == 1
    assert len(declared.all("Permission")) == 2
