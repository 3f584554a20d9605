"""The metrics that the applications write: one place for their names.

They carry no dimension but the one named here.
"""

from __future__ import annotations

NAMESPACE = "Addendum"

JOBS_RECORDED = "JobsRecorded"
JOBS_SUCCEEDED = "JobsSucceeded"
JOBS_FAILED = "JobsFailed"
TIME_TO_RESULT = "TimeToResult"
"""Seconds from the record to its result."""
LAUNCHES_ASKED = "LaunchesAsked"
LAUNCHES_GOT = "LaunchesGot"
LAUNCH_ERRORS = "LaunchErrors"
"""By :data:`ERROR_CLASS`: capacity, quota, throttle..."""
ERROR_CLASS = "Class"
INSTANCES_PAST_LIFE = "InstancesPastLife"
