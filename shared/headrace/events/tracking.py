"""Events of the tracking service, and those that producers send to it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace.events.base import EventData, Moment, Name, Part

RunStatus = Literal["RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"]


class MetricColumn(Part):
    """Points of one metric, column by column; all columns have the same length."""

    key: Name
    values: list[float]
    steps: list[int] = Field(default_factory=list, description="Empty: all 0")
    timestamps: list[int] = Field(description="Milliseconds since the epoch")


class MetricSummary(Part):
    """What one write added to a metric: its state afterwards, never its points."""

    key: Name
    last: float
    step: int
    timestamp: int = Field(description="Milliseconds since the epoch")
    minimum: float
    maximum: float
    count: int = Field(ge=1)


class RunReported(EventData):
    """A producer reports a run, or more of one; accepted into tracking or refused."""

    run_id: Name
    experiment: Name = "Default"
    run_name: str | None = None
    status: RunStatus | None = None
    start_time: int | None = Field(default=None, description="Milliseconds since the epoch")
    end_time: int | None = Field(default=None, description="Milliseconds since the epoch")
    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    metrics: list[MetricColumn] = Field(default_factory=list)


class RunLogged(EventData):
    """Something was logged to a run and is durable."""

    run_id: Name
    experiment_id: Name
    run_name: str | None = None
    params: dict[str, str] = Field(default_factory=dict)
    tags: dict[str, str] = Field(default_factory=dict)
    metrics: list[MetricSummary] = Field(default_factory=list)


class RunFinished(EventData):
    """A run reached a final status."""

    run_id: Name
    experiment_id: Name
    run_name: str | None = None
    status: RunStatus
    started_at: Moment | None = None
    finished_at: Moment
    metrics: dict[str, float] = Field(default_factory=dict, description="Last value of each")
