"""The events that tracking says: what changed of a run, and that it is over."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final, TypeVar

import numpy as np
import orjson

from headrace.events import MetricSummary, RunFinished, RunLogged
from services.tracking.domain.batches import Written
from services.tracking.domain.entities import FINAL_STATUSES, RunInfo
from services.tracking.domain.summaries import Summaries, Summary

ItemT = TypeVar("ItemT")
_MOST: Final = 3 * 1024 * 1024
"""Bytes of params, tags and metrics in one event; a record has room for a third more."""
_NUMBERS: Final = 256
"""More than the numbers of a metric take, with their names."""
_LONGEST_ESCAPE: Final = 6


def run_logged(project: str, run: RunInfo, written: Written) -> Iterator[RunLogged]:
    """What a write changed: new params, changed tags, states of the metrics.

    One event tells of it, or several if a record could not carry it.
    """
    for portion in _portions(written):
        yield RunLogged(
            project=project,
            run_id=run.run_id,
            experiment_id=run.experiment_id,
            run_name=run.name,
            params=dict(portion.params),
            tags=dict(portion.tags),
            metrics=_summaries(portion.metrics),
        )


def run_finished(
    project: str, run: RunInfo, summaries: Iterable[Summary], *, now: datetime
) -> RunFinished:
    """The end of a run; `now` stands in for an end time that nobody gave.

    Of very many metrics it tells the first by key: as many as a record carries.
    """
    told = next(_cut(summaries, lambda one: _key_size(one.key)), [])
    return RunFinished(
        project=project,
        run_id=run.run_id,
        experiment_id=run.experiment_id,
        run_name=run.name,
        status=run.status,
        started_at=_moment(run.start_time) if run.start_time else None,
        finished_at=_moment(run.end_time) if run.end_time else now,
        metrics={one.key: one.last.value for one in told},
    )


def has_finished(before: RunInfo, after: RunInfo) -> bool:
    """Whether a change took a run to another final status."""
    return after.status in FINAL_STATUSES and after.status != before.status


def _portions(written: Written) -> Iterator[Written]:
    """What was written, whole or in parts of `_MOST` bytes."""
    if _bound(written) <= _MOST:
        yield written
        return
    for params in _cut(written.params.items(), _pair_size):
        yield Written(params=dict(params))
    for tags in _cut(written.tags.items(), _pair_size):
        yield Written(tags=dict(tags))
    keys = written.metrics.keys
    for places in _cut(range(len(keys)), lambda place: _key_size(keys[place])):
        yield Written(metrics=written.metrics.at(np.array(places, dtype=np.intp)))


def _bound(written: Written) -> int:
    """At least the bytes of it as JSON, without a look at any character."""
    texts = sum(
        len(key) + len(value)
        for pairs in (written.params, written.tags)
        for key, value in pairs.items()
    )
    keys = written.metrics.keys
    return _LONGEST_ESCAPE * (texts + sum(map(len, keys))) + _NUMBERS * len(keys)


def _cut(items: Iterable[ItemT], size_of: Callable[[ItemT], int]) -> Iterator[list[ItemT]]:
    """The items in order, in lists of at most `_MOST` bytes."""
    some: list[ItemT] = []
    sum_ = 0
    for item in items:
        size = size_of(item)
        if some and sum_ + size > _MOST:
            yield some
            some, sum_ = [], 0
        some.append(item)
        sum_ += size
    if some:
        yield some


def _pair_size(pair: tuple[str, str]) -> int:
    return len(orjson.dumps(pair))


def _key_size(key: str) -> int:
    return len(key.encode()) + _NUMBERS


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
