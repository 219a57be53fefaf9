"""The events that tracking says: what changed of a run, and that it is over."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from headrace.events import MetricSummary, RunFinished, RunLogged
from services.tracking.domain.batches import Written
from services.tracking.domain.entities import FINAL_STATUSES, RunInfo
from services.tracking.domain.summaries import Summaries, Summary


def run_logged(project: str, run: RunInfo, written: Written) -> RunLogged:
    """What a write changed: new params, changed tags, states of the metrics."""
    return RunLogged(
        project=project,
        run_id=run.run_id,
        experiment_id=run.experiment_id,
        run_name=run.name,
        params=dict(written.params),
        tags=dict(written.tags),
        metrics=_summaries(written.metrics),
    )


def run_finished(
    project: str, run: RunInfo, summaries: Iterable[Summary], *, now: datetime
) -> RunFinished:
    """The end of a run; `now` stands in for an end time that nobody gave."""
    return RunFinished(
        project=project,
        run_id=run.run_id,
        experiment_id=run.experiment_id,
        run_name=run.name,
        status=run.status,
        started_at=_moment(run.start_time) if run.start_time else None,
        finished_at=_moment(run.end_time) if run.end_time else now,
        metrics={one.key: one.last.value for one in summaries},
    )


def has_finished(before: RunInfo, after: RunInfo) -> bool:
    """Whether a change took a run to another final status."""
    return after.status in FINAL_STATUSES and after.status != before.status


def _summaries(summaries: Summaries) -> list[MetricSummary]:
    """Column by column: a run may have thousands of metrics."""
    last, minimum, maximum = summaries.last, summaries.minimum, summaries.maximum
    return [
        MetricSummary(
            key=key,
            last=value,
            step=step,
            timestamp=timestamp,
            minimum=least,
            maximum=most,
            count=count,
        )
        for key, value, step, timestamp, least, most, count in zip(
            summaries.keys,
            last.value.tolist(),
            last.step.tolist(),
            last.timestamp.tolist(),
            minimum.value.tolist(),
            maximum.value.tolist(),
            summaries.count.tolist(),
            strict=True,
        )
    ]


def _moment(milliseconds: int) -> datetime:
    """The moment, or the nearest one that a calendar has."""
    try:
        return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return (
            datetime.max.replace(tzinfo=UTC)
            if milliseconds > 0
            else datetime.min.replace(tzinfo=UTC)
        )
