"""What is kept of every metric at write time, so that search and reads never touch points.

Merging is associative and commutative (the total up to rounding): a summary of a run is the
merge of the summaries of its writes, whatever their order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.tracking.domain.points import Columns, Point

_FEW: Final = 16


@dataclass(frozen=True, slots=True)
class At:
    """A point without its key; `rank` orders points as MLflow does, NaN counting as 0."""

    step: int
    timestamp: int
    value: float

    @property
    def rank(self) -> tuple[int, int, float, bool]:
        """Position in the order (step, timestamp, value)."""
        nan = math.isnan(self.value)
        return (self.step, self.timestamp, 0.0 if nan else self.value, nan)


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """State of one metric of one run. Minimum and maximum are over what is not NaN, or None.

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


def summary_of(point: Point) -> Summary:
    """The summary of one point."""
    key, value, timestamp, step = point
    at = At(step, timestamp, value)
    nan = math.isnan(value)
    return Summary(
        key=key,
        last=at,
        first=at,
        minimum=None if nan else value,
        minimum_step=None if nan else step,
        maximum=None if nan else value,
        maximum_step=None if nan else step,
        count=1,
        total=value if math.isfinite(value) else 0.0,
        nans=int(nan),
        infinities=int(math.isinf(value)),
    )


def merge(one: Summary, other: Summary) -> Summary:
    """The summary of both. Of equal extremes the one at the smallest step is kept."""
    minimum, minimum_step = _extreme(
        (one.minimum, one.minimum_step), (other.minimum, other.minimum_step), sign=1
    )
    maximum, maximum_step = _extreme(
        (one.maximum, one.maximum_step), (other.maximum, other.maximum_step), sign=-1
    )
    return Summary(
        key=one.key,
        last=max(one.last, other.last, key=lambda at: at.rank),
        first=min(one.first, other.first, key=lambda at: at.rank),
        minimum=minimum,
        minimum_step=minimum_step,
        maximum=maximum,
        maximum_step=maximum_step,
        count=one.count + other.count,
        total=one.total + other.total,
        nans=one.nans + other.nans,
        infinities=one.infinities + other.infinities,
    )


def summarise(columns: Columns, onto: Mapping[str, Summary]) -> dict[str, Summary]:
    """Summaries of the keys that these points touch, on top of what was kept before."""
    touched: dict[str, Summary] = {}
    points = list(columns.points())  # most keys have few points: Python beats numpy there
    for key, place in columns.by_key():
        count = place.stop - place.start
        if not count:
            continue
        if count < _FEW:
            fresh = reduce(merge, map(summary_of, points[place]))
        else:
            fresh = summary_of_columns(
                key, columns.values[place], columns.timestamps[place], columns.steps[place]
            )
        touched[key] = merge(onto[key], fresh) if key in onto else fresh
    return touched


def summary_of_columns(
    key: str,
    values: NDArray[np.float64],
    timestamps: NDArray[np.int64],
    steps: NDArray[np.int64],
) -> Summary:
    """The summary of n >= 1 points of one key; columns of shape (n,)."""
    nans = np.isnan(values)
    order = np.lexsort((nans, np.where(nans, 0.0, values), timestamps, steps))
    minimum, minimum_step = _extreme_of(values[~nans], steps[~nans], np.min)
    maximum, maximum_step = _extreme_of(values[~nans], steps[~nans], np.max)

    def at(place: np.int64) -> At:
        return At(int(steps[place]), int(timestamps[place]), float(values[place]))

    return Summary(
        key=key,
        last=at(order[-1]),
        first=at(order[0]),
        minimum=minimum,
        minimum_step=minimum_step,
        maximum=maximum,
        maximum_step=maximum_step,
        count=len(values),
        total=float(values[np.isfinite(values)].sum()),
        nans=int(nans.sum()),
        infinities=int(np.isinf(values).sum()),
    )


def _extreme_of(
    values: NDArray[np.float64],
    steps: NDArray[np.int64],
    choose: Callable[[NDArray[np.float64]], np.float64],
) -> tuple[float | None, int | None]:
    if not len(values):
        return None, None
    extreme = choose(values)
    return float(extreme), int(steps[values == extreme].min())


def _extreme(
    one: tuple[float | None, int | None], other: tuple[float | None, int | None], *, sign: int
) -> tuple[float | None, int | None]:
    if one[0] is None or one[1] is None:
        return other
    if other[0] is None or other[1] is None:
        return one
    return min(one, other, key=lambda pair: (sign * (pair[0] or 0.0), pair[1]))
