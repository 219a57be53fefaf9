"""Events of the orchestrator: pipeline runs, steps and what a retrain policy decided."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from headrace.events.base import Digest, EventData, Moment, Name

RunState = Literal["pending", "running", "succeeded", "failed", "cancelled"]
StepState = Literal["pending", "ready", "running", "succeeded", "failed", "skipped"]


class PipelineRunRequested(EventData):
    """Somebody asks for a pipeline run; the same `pipeline_run_id` twice is one run."""

    pipeline_run_id: Name
    pipeline: Name
    parameters: dict[str, Any] = Field(default_factory=dict)
    requested_by: Name
    model: Name | None = None


class PipelineRunChanged(EventData):
    """A pipeline run changed its state."""

    pipeline_run_id: Name
    pipeline: Name
    state: RunState
    model: Name | None = None
    drift_epoch: str | None = None
    parameters: dict[str, Any] = Field(default_factory=dict)
    manifest_digest: Digest | None = None
    error: str | None = None
    changed_at: Moment


class StepChanged(EventData):
    """A step of a pipeline run changed its state."""

    pipeline_run_id: Name
    pipeline: Name
    step: Name
    state: StepState
    attempt: int = Field(ge=0)
    worker: str | None = None
    model: Name | None = None
    seconds: float | None = Field(default=None, description="Duration of a finished attempt")
    error: str | None = None
    changed_at: Moment


class RetrainDecided(EventData):
    """What the retrain policy of a model made of one DriftDetected."""

    model: Name
    drift_event_id: Name
    drift_epoch: Name
    outcome: Literal["started", "awaiting_data", "suppressed"]
    reason: str
    pipeline_run_id: str | None = None
    decided_at: Moment
