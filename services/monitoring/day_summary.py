"""What an event-day of each version looked like, from its logged rows and their labels.

Rows are taken in stream order and in one go, so sums come out bit for bit the same whatever
the interleaving of predictions and labels was and however often the day is summed up.

Where only a sample was logged, each row stands for as many as its sampling rate says (the
Horvitz-Thompson estimator, JASA 1952): rates may change in the course of a day.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headrace.errors import InvalidInput
from headrace.profiles import DayStatistics, InputStatistics, PerformanceStatistics, ProfileSchema
from services.monitoring.columns import FloatArray, Predictions
from services.monitoring.event_time import BoolArray, IntArray
from services.monitoring.segments import LabelledRows

UNPROFILED = ProfileSchema(numeric=(), categorical=())
"""The schema of versions without a training profile: rows and scores are counted, inputs not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DayRows:
    """The rows of one micro-batch that count on the day: row numbers, ascending."""

    batch: Predictions
    rows: IntArray
    labels: FloatArray
    """The label of each such row; NaN where none was known in time."""

    @property
    def weight(self) -> float:
        """How many predictions each row stands for."""
        return 1 / self.batch.sampling_rate


@dataclass(frozen=True, kw_only=True, slots=True)
class DaySummary:
    """One version's day. `mismatch` says why some inputs could not be profiled, if so.

    `estimated`: the predictions that those logged stand for.
    """

    predictions: int
    estimated: float
    labelled: int
    statistics: DayStatistics
    mismatch: str | None


def rows_by_version(
    batches: Mapping[int, tuple[Predictions, BoolArray]], labelled: LabelledRows
) -> dict[int, list[DayRows]]:
    """Rows that count, by version in order, micro-batches in stream order.

    `batches`: by id, with a mask of the rows that count on the day.
    """
    labels = {batch_id: np.full(batch.rows, np.nan) for batch_id, (batch, _) in batches.items()}
    for batch_id, row, label in zip(
        labelled.batch_ids.tolist(), labelled.row_numbers.tolist(), labelled.labels, strict=True
    ):
        if batch_id in labels:
            labels[batch_id][row] = label
    found: dict[int, list[DayRows]] = defaultdict(list)
    for batch_id in sorted(batches):
        batch, mask = batches[batch_id]
        rows = np.flatnonzero(mask)
        if len(rows):
            found[batch.version].append(
                DayRows(batch=batch, rows=rows, labels=labels[batch_id][rows])
            )
    return {version: found[version] for version in sorted(found)}


def summarise(schema: ProfileSchema, parts: Sequence[DayRows]) -> DaySummary:
    """Sum up one version's day under the schema of its training profile."""
    inputs, mismatch = _inputs(schema, parts)
    performance = _performance(parts)
    return DaySummary(
        predictions=sum(len(part.rows) for part in parts),
        estimated=estimated_rows(parts),
        labelled=sum(int((~np.isnan(part.labels)).sum()) for part in parts),
        statistics=DayStatistics(inputs=inputs, performance=performance),
        mismatch=mismatch,
    )


def estimated_rows(parts: Sequence[DayRows]) -> float:
    """How many predictions the rows stand for."""
    return sum(len(part.rows) * part.weight for part in parts)


def _inputs(schema: ProfileSchema, parts: Sequence[DayRows]) -> tuple[InputStatistics, str | None]:
    """Micro-batches of the same inputs are profiled together; those that do not fit, not at all."""
    groups: dict[object, list[DayRows]] = defaultdict(list)
    for part in parts:
        kinds = ((name, c.dtype.kind, c.ndim) for name, c in sorted(part.batch.inputs.items()))
        groups[part.weight, tuple(kinds)].append(part)
    total = InputStatistics.empty(schema)
    mismatch = None
    for group in groups.values():
        try:
            total = total.merge(_profile(schema, group).weighted(group[0].weight))
        except InvalidInput as error:
            mismatch = str(error)
    return total, mismatch


def _profile(schema: ProfileSchema, group: Sequence[DayRows]) -> InputStatistics:
    names = group[0].batch.inputs
    columns = {
        name: np.concatenate([part.batch.inputs[name][part.rows] for part in group])
        for name in names
    }
    return InputStatistics.of(schema, columns, np.concatenate([_scores(part) for part in group]))


def _scores(part: DayRows) -> FloatArray:
    if part.batch.scores is None:
        raise InvalidInput("outputs: no floating point output of one or two columns")
    return part.batch.scores[part.rows]


def _performance(parts: Sequence[DayRows]) -> PerformanceStatistics:
    """Of rows with a probability and a binary label."""
    by_weight: dict[float, list[DayRows]] = defaultdict(list)
    for part in parts:
        if part.batch.scores is not None:
            by_weight[part.weight].append(part)
    total = PerformanceStatistics()
    for weight, group in by_weight.items():
        total = total.merge(_met(group).weighted(weight))
    return total


def _met(parts: Sequence[DayRows]) -> PerformanceStatistics:
    scores = np.concatenate([_scores(part) for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    usable = ((labels == 0) | (labels == 1)) & (scores >= 0) & (scores <= 1)
    return PerformanceStatistics.of(scores[usable], labels[usable])
