"""A reported run as a batch, by the rules of the REST API."""

from __future__ import annotations

from headrace.errors import InvalidInput
from headrace.events import RunReported
from services.tracking.domain.batches import MAX_REPORTED_POINTS, Batch
from services.tracking.domain.names import (
    check_experiment_name,
    check_key,
    check_run_id,
    param_of,
    tag_of,
)
from services.tracking.domain.points import Points, integer_of


def check_report(report: RunReported, *, project: str) -> None:
    """Refuse what names or dates a run wrongly. Raises InvalidInput naming the field."""
    if report.project != project:
        raise InvalidInput(
            f"project: this service keeps {project!r}, the report is for {report.project!r}",
            field="project",
        )
    check_run_id(report.run_id)
    check_experiment_name(report.experiment)
    for name in ("start_time", "end_time"):
        moment = getattr(report, name)
        if moment is not None:
            integer_of(moment, path=name, least=0)
    points = sum(len(column.values) for column in report.metrics)
    if points > MAX_REPORTED_POINTS:
        raise InvalidInput(
            f"metrics: a report can contain at most {MAX_REPORTED_POINTS} points, got {points}",
            field="metrics",
        )


def batch_of(report: RunReported) -> Batch:
    """What the report brings. Raises InvalidInput naming the field."""
    points = Points()
    for index, column in enumerate(report.metrics):
        path = f"metrics[{index}]"
        check_key(column.key, path=f"{path}.key", what="Metric name")
        steps = column.steps or [0] * len(column.values)
        if not len(column.values) == len(column.timestamps) == len(steps):
            raise InvalidInput(
                f"{path}: columns differ in length: {len(column.values)} values, "
                f"{len(column.timestamps)} timestamps, {len(steps)} steps",
                field=path,
            )
        for value, timestamp, step in zip(column.values, column.timestamps, steps, strict=True):
            points.add(
                column.key,
                value,
                integer_of(timestamp, path=f"{path}.timestamps", least=0),
                integer_of(step, path=f"{path}.steps"),
            )
    return Batch(
        points=points,
        params=dict(param_of(key, value, path="params") for key, value in report.params.items()),
        tags=dict(tag_of(key, value, path="tags") for key, value in report.tags.items()),
    )
