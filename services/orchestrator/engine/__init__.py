"""The durable engine: every transition of a run or a step, with its events, in one transaction."""

from services.orchestrator.engine.attempts import claim, end_attempt
from services.orchestrator.engine.model import Ended, RunRequest, Started
from services.orchestrator.engine.starting import (
    cancel,
    plan_waiting_runs,
    start_or_fail,
    start_run,
)

__all__ = [
    "Ended",
    "RunRequest",
    "Started",
    "cancel",
    "claim",
    "end_attempt",
    "plan_waiting_runs",
    "start_or_fail",
    "start_run",
]
