"""A reported run as an entry of the log, by the rules of the REST API."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InvalidInput
from headrace.events import MetricColumn, RunReported
from services.tracking.domain.batches import MAX_REPORTED_POINTS
from services.tracking.domain.entries import Chain, Entry, entry_of
from services.tracking.domain.names import (
    check_experiment_name,
    check_key,
    check_run_id,
    param_of,
    tag_of,
)
from services.tracking.domain.points import Columns, places_of
from services.tracking.domain.values import INT64_MAX, integer_of


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


def entry_of_report(report: RunReported, *, chain: Chain | None = None) -> Entry:
    """What the report adds to its run. Raises InvalidInput naming the field."""
    return entry_of(
        report.run_id,
        _columns(report.metrics),
        params=dict(param_of(key, value, path="params") for key, value in report.params.items()),
        tags=dict(tag_of(key, value, path="tags") for key, value in report.tags.items()),
        chain=chain,
    )


def _columns(reported: Sequence[MetricColumn]) -> Columns | None:
    keys = tuple(dict.fromkeys(column.key for column in reported))
    for index, column in enumerate(reported):
        check_key(column.key, path=f"metrics[{index}].key", what="Metric name")
        _check_lengths(column, path=f"metrics[{index}]")
    if not reported:
        return None
    lengths = [len(column.values) for column in reported]
    return Columns(
        keys=keys,
        places=np.repeat(places_of([column.key for column in reported], keys), lengths),
        values=np.concatenate([np.array(column.values, np.float64) for column in reported]),
        timestamps=np.concatenate(
            [
                _integers(column.timestamps, path=f"metrics[{index}].timestamps", least=0)
                for index, column in enumerate(reported)
            ]
        ),
        steps=np.concatenate(
            [
                _integers(column.steps, path=f"metrics[{index}].steps")
                if column.steps
                else np.zeros(len(column.values), np.int64)
                for index, column in enumerate(reported)
            ]
        ),
    )


def _check_lengths(column: MetricColumn, *, path: str) -> None:
    steps = len(column.steps) or len(column.values)
    if not len(column.values) == len(column.timestamps) == steps:
        raise InvalidInput(
            f"{path}: columns differ in length: {len(column.values)} values, "
            f"{len(column.timestamps)} timestamps, {steps} steps",
            field=path,
        )


def _integers(given: Sequence[int], *, path: str, least: int = -INT64_MAX - 1) -> NDArray[np.int64]:
    try:
        column = np.array(given, dtype=np.int64)
    except OverflowError:
        column = np.zeros(0, np.int64)
    if len(column) < len(given) or (len(column) and column.min() < least):
        for number in given:
            integer_of(number, path=path, least=least)
    return column
