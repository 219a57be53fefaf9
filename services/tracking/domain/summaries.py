"""What is kept of every metric at write time, so that search and reads never touch points.

Merging is associative and commutative (the total up to rounding): the summary of a run is the
merge of the summaries of its writes, whatever their order. All of it is done on columns, for
all metrics of a write at once: a batch may bring a thousand metrics of one point each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from services.tracking.domain.entities import LatestMetrics
from services.tracking.domain.points import Columns
from services.tracking.domain.values import INT64_MAX

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_SELDOM: Final = np.int64(INT64_MAX)


class At(NamedTuple):
    """A point without its key."""

    step: int
    timestamp: int
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """State of one metric of one run. Minimum and maximum are over what is not NaN, or None.

    `last` and `first` are by (step, timestamp, value), NaN counting as 0, as MLflow has it.
    `total` is the sum of the finite values.
    """

    key: str
    last: At
    first: At
    minimum: float | None
    minimum_step: int | None
    maximum: float | None
    maximum_step: int | None
    count: int
    total: float
    nans: int
    infinities: int


class Moments(NamedTuple):
    """Points without their keys, one for each metric; arrays of shape (m,)."""

    step: Integers
    timestamp: Integers
    value: Floats

    def at(self, places: NDArray[np.intp]) -> Moments:
        """Those at these places."""
        return Moments(self.step[places], self.timestamp[places], self.value[places])

    def then(self, other: Moments) -> Moments:
        """These and then the others."""
        return Moments(
            np.concatenate([self.step, other.step]),
            np.concatenate([self.timestamp, other.timestamp]),
            np.concatenate([self.value, other.value]),
        )

    def where(self, condition: NDArray[np.bool_], other: Moments) -> Moments:
        """These where the condition holds, the others elsewhere."""
        return Moments(
            np.where(condition, self.step, other.step),
            np.where(condition, self.timestamp, other.timestamp),
            np.where(condition, self.value, other.value),
        )

    def after(self, other: Moments) -> NDArray[np.bool_]:
        """Which come after their counterparts, by (step, timestamp, value), NaN counting as 0."""
        found = np.isnan(self.value) & ~np.isnan(other.value)
        for mine, theirs in (
            (_ranked(self.value), _ranked(other.value)),
            (self.timestamp, other.timestamp),
            (self.step, other.step),
        ):
            found = (mine > theirs) | ((mine == theirs) & found)
        return found


class Extremes(NamedTuple):
    """The smallest or largest values of metrics and the first step that has each.

    NaN, with a step that means nothing, where a metric has none.
    """

    value: Floats
    step: Integers

    def at(self, places: NDArray[np.intp]) -> Extremes:
        """Those at these places."""
        return Extremes(self.value[places], self.step[places])

    def then(self, other: Extremes) -> Extremes:
        """These and then the others."""
        return Extremes(
            np.concatenate([self.value, other.value]), np.concatenate([self.step, other.step])
        )

    def optional(self) -> tuple[list[float | None], list[int | None]]:
        """Values and steps; None where there is none."""
        values: list[float | None] = list(self.value.tolist())
        steps: list[int | None] = list(self.step.tolist())
        for place in np.flatnonzero(np.isnan(self.value)).tolist():
            values[place] = steps[place] = None
        return values, steps

    def better(self, other: Extremes, *, sign: int) -> Extremes:
        """The more extreme of both; `sign` is 1 for minima, -1 for maxima."""
        mine, theirs = sign * self.value, sign * other.value
        keep = np.isnan(theirs) | (mine < theirs) | ((mine == theirs) & (self.step <= other.step))
        return Extremes(
            np.where(keep, self.value, other.value), np.where(keep, self.step, other.step)
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Summaries:
    """Summaries of some metrics of one run, column by column; arrays of shape (m,)."""

    keys: tuple[str, ...]
    last: Moments
    first: Moments
    minimum: Extremes
    maximum: Extremes
    count: Integers
    total: Floats
    nans: Integers
    infinities: Integers

    def __len__(self) -> int:
        return len(self.keys)

    def __iter__(self) -> Iterator[Summary]:
        """Row by row."""
        last, first = (
            map(At._make, zip(*(column.tolist() for column in part), strict=True))
            for part in (self.last, self.first)
        )
        for row in zip(
            self.keys,
            last,
            first,
            *self.minimum.optional(),
            *self.maximum.optional(),
            self.count.tolist(),
            self.total.tolist(),
            self.nans.tolist(),
            self.infinities.tolist(),
            strict=True,
        ):
            key, at_last, at_first, least, least_step, most, most_step, count, total, nans, infs = (
                row
            )
            yield Summary(
                key=key,
                last=at_last,
                first=at_first,
                minimum=least,
                minimum_step=least_step,
                maximum=most,
                maximum_step=most_step,
                count=count,
                total=total,
                nans=nans,
                infinities=infs,
            )

    def at(self, places: NDArray[np.intp]) -> Summaries:
        """Those of the metrics at these places."""
        return Summaries(
            keys=tuple(self.keys[place] for place in places.tolist()),
            last=self.last.at(places),
            first=self.first.at(places),
            minimum=self.minimum.at(places),
            maximum=self.maximum.at(places),
            count=self.count[places],
            total=self.total[places],
            nans=self.nans[places],
            infinities=self.infinities[places],
        )

    def places_of(self, keys: Sequence[str]) -> NDArray[np.intp]:
        """Where each key stands; -1 if it is not here."""
        place = {key: number for number, key in enumerate(self.keys)}
        return np.fromiter((place.get(key, -1) for key in keys), np.intp, len(keys))

    def onto(self, before: Summaries) -> Summaries:
        """These metrics as they are after what was before: each merged with its counterpart."""
        places = before.places_of(self.keys)
        if not len(before) or (places < 0).all():
            return self
        known = np.flatnonzero(places >= 0)
        merged = self.at(known)._merged(before.at(places[known]))  # noqa: SLF001 - its own class
        if len(known) == len(self):
            return merged
        return joined(merged, self.at(np.flatnonzero(places < 0)))

    def _merged(self, other: Summaries) -> Summaries:
        return Summaries(
            keys=self.keys,
            last=self.last.where(self.last.after(other.last), other.last),
            first=other.first.where(self.first.after(other.first), self.first),
            minimum=self.minimum.better(other.minimum, sign=1),
            maximum=self.maximum.better(other.maximum, sign=-1),
            count=self.count + other.count,
            total=self.total + other.total,
            nans=self.nans + other.nans,
            infinities=self.infinities + other.infinities,
        )


def joined(one: Summaries, other: Summaries) -> Summaries:
    """Summaries of two sets of metrics that have none in common."""
    return Summaries(
        keys=(*one.keys, *other.keys),
        last=one.last.then(other.last),
        first=one.first.then(other.first),
        minimum=one.minimum.then(other.minimum),
        maximum=one.maximum.then(other.maximum),
        count=np.concatenate([one.count, other.count]),
        total=np.concatenate([one.total, other.total]),
        nans=np.concatenate([one.nans, other.nans]),
        infinities=np.concatenate([one.infinities, other.infinities]),
    )


def no_summaries() -> Summaries:
    """Of no metric at all."""
    floats, integers = np.zeros(0), np.zeros(0, dtype=np.int64)
    moments, extremes = Moments(integers, integers, floats), Extremes(floats, integers)
    return Summaries(
        keys=(),
        last=moments,
        first=moments,
        minimum=extremes,
        maximum=extremes,
        count=integers,
        total=floats,
        nans=integers,
        infinities=integers,
    )


def summaries_of(columns: Columns) -> Summaries:
    """Of points in canonical order (`Columns.canonical`), for the keys that have any."""
    if not len(columns):
        return no_summaries()
    places, values, steps = columns.places, columns.values, columns.steps
    starts = np.flatnonzero(np.diff(places, prepend=places[0] + np.uint32(1)))
    counts = np.diff(starts, append=len(places))
    ends = starts + counts - 1
    order = _by_step(columns, starts)
    nans, finite = np.isnan(values), np.isfinite(values)
    moments = Moments(steps, columns.timestamps, values)
    return Summaries(
        keys=tuple(columns.keys[place] for place in places[starts].tolist()),
        last=moments.at(order[ends]),
        first=moments.at(order[starts]),
        minimum=_extremes(np.fmin.reduceat(values, starts), columns, starts, counts),
        maximum=_extremes(np.fmax.reduceat(values, starts), columns, starts, counts),
        count=counts.astype(np.int64),
        total=np.add.reduceat(np.where(finite, values, 0.0), starts),
        nans=np.add.reduceat(nans.astype(np.int64), starts),
        infinities=np.add.reduceat((~finite & ~nans).astype(np.int64), starts),
    )


def latest(stored: LatestMetrics, columns: Columns) -> LatestMetrics:
    """The latest point of each metric, by key, of what is stored and of points on top of it."""
    found = {
        key: At(step, timestamp, value)
        for key, value, timestamp, step in zip(
            stored.keys, stored.values, stored.timestamps, stored.steps, strict=True
        )
    }
    for one in summaries_of(columns):
        before = found.get(one.key)
        if before is None or _rank(one.last) > _rank(before):
            found[one.key] = one.last
    keys = sorted(found)
    return LatestMetrics(
        keys=keys,
        values=[found[key].value for key in keys],
        timestamps=[found[key].timestamp for key in keys],
        steps=[found[key].step for key in keys],
    )


def _rank(at: At) -> tuple[int, int, float, bool]:
    nan = math.isnan(at.value)
    return at.step, at.timestamp, 0.0 if nan else at.value, nan


def _by_step(columns: Columns, starts: NDArray[np.intp]) -> NDArray[np.intp]:
    """Places in order of key, step, timestamp, value; most often as they stand already."""
    back = np.flatnonzero(columns.steps[1:] < columns.steps[:-1]) + 1
    if np.isin(back, starts, assume_unique=True).all():
        return np.arange(len(columns))
    nans = np.isnan(columns.values)
    ranked = np.where(nans, 0.0, columns.values)
    return np.lexsort((nans, ranked, columns.timestamps, columns.steps, columns.places))


def _extremes(
    values: Floats, columns: Columns, starts: NDArray[np.intp], counts: NDArray[np.intp]
) -> Extremes:
    here = columns.values == np.repeat(values, counts)
    return Extremes(values, np.minimum.reduceat(np.where(here, columns.steps, _SELDOM), starts))


def _ranked(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)
