"""Events of monitoring: labelled data, drift, alerts; and the labels sent to it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace.events.base import Digest, EventData, Moment, Name, Part

AlertKind = Literal["data_drift", "performance_drift", "quality", "service_level", "spent_drift"]
Severity = Literal["info", "warning", "critical"]


class LabelObserved(EventData):
    """The truth about one prediction became known; a later one supersedes an earlier one."""

    model: Name
    prediction_id: Name
    label: float
    observed_at: Moment = Field(description="Event time: when the truth became known")
    features: dict[Name, float] | None = Field(
        default=None, description="For learners that are told to learn from labels alone"
    )


class Segment(Part):
    """One immutable Parquet file of labelled predictions."""

    uri: str
    digest: Digest
    size: int = Field(ge=0, description="Bytes")
    rows: int = Field(ge=1)
    first_event_time: Moment
    last_event_time: Moment
    observed_through: Moment = Field(description="No label in it was observed later (event time)")


class LabelledDataWritten(EventData):
    """Predictions joined with features and late labels were written to the blob store."""

    dataset: Name
    model: Name
    segments: list[Segment] = Field(min_length=1)
    labelled_through: Moment = Field(
        description="Every label observed up to here is in a segment (event time)"
    )


class FeatureShift(Part):
    """How one statistic moved against the baseline; the largest contribution first."""

    feature: Name
    statistic: Name
    baseline: float
    current: float
    deviation: float = Field(description="In baseline standard deviations")


class Evidence(Part):
    """Why a detector spoke."""

    detector: Name
    statistic: Name
    value: float = Field(description="The detector's statistic at the alarm")
    threshold: float
    expected_days_between_false_alarms: float
    baseline_days: int = Field(ge=0)
    window_start: Moment
    window_end: Moment
    window_rows: int = Field(ge=0)
    onset: Moment | None = Field(default=None, description="Estimated begin of the drift")
    features: list[FeatureShift] = Field(default_factory=list)


class DriftDetected(EventData):
    """A version no longer sees, or no longer predicts, what it was trained for."""

    model: Name
    version: int = Field(ge=1)
    monitor: Name
    drift_epoch: Name = Field(description="One open epoch per model; its id")
    kind: Literal["data", "performance"]
    severity: Severity
    detected_at: Moment = Field(description="Event time of the alarm")
    evidence: Evidence
    dataset: Name = Field(description="Labelled dataset to retrain from")
    labelled_through: Moment


class AlertRaised(EventData):
    """Somebody on call should know; `alert_id` is the same in its AlertResolved."""

    alert_id: Name
    model: Name
    version: int | None = None
    kind: AlertKind
    severity: Severity
    title: str
    detected_at: Moment = Field(description="Event time")
    evidence: Evidence | None = None


class AlertResolved(EventData):
    """An alert is over."""

    alert_id: Name
    model: Name
    reason: str
    resolved_at: Moment = Field(description="Event time")


class MonitoredDayClosed(EventData):
    """One event-day of one version is complete: what it looked like, for curves and reports."""

    model: Name
    version: int = Field(ge=1)
    day: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    predictions: int = Field(ge=0)
    predictions_estimated: float | None = Field(
        default=None, ge=0, description="How many those stand for, where a sample is logged"
    )
    labelled: int = Field(ge=0)
    auc: float | None = None
    log_loss: float | None = None
    positive_rate: float | None = None
    mean_score: float | None = None
    closed_at: Moment = Field(description="Event time")
