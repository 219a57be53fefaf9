"""Series at the resolution of a screen: extremes of parts, so that no spike is lost."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from services.tracking.domain.points import Columns

PARTS: Final = 128
"""Parts of a block that its preview shows."""


def extremes(columns: Columns, *, parts: int) -> Columns:
    """The smallest and the largest point of each of so many equal parts, in their order.

    Also the first and the last point of all. NaN is passed over where a part has anything else;
    so at most 2 * parts + 2 points come back. Points of one metric are expected in order.
    """
    count = len(columns)
    if count <= 2 * parts:
        return columns
    starts = np.linspace(0, count, parts, endpoint=False).astype(np.intp)
    least = np.where(np.isnan(columns.values), np.inf, columns.values)
    most = np.where(np.isnan(columns.values), -np.inf, columns.values)
    chosen = np.concatenate(
        [
            _first_at(least, np.minimum.reduceat(least, starts), starts),
            _first_at(most, np.maximum.reduceat(most, starts), starts),
            np.array([0, count - 1]),
        ]
    )
    return columns.at(np.unique(chosen))


def _first_at(
    values: NDArray[np.float64], wanted: NDArray[np.float64], starts: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Where the value wanted of each part stands first in it."""
    sizes = np.diff(starts, append=len(values))
    here = np.flatnonzero(values == np.repeat(wanted, sizes))
    part = np.searchsorted(starts, here, side="right") - 1
    _, first = np.unique(part, return_index=True)
    return here[first]


def by_step(columns: Columns) -> Columns:
    """Points of one metric by step, then by timestamp and value, as charts show them."""
    if len(columns) < 2 or bool((columns.steps[1:] >= columns.steps[:-1]).all()):
        return columns
    nans = np.isnan(columns.values)
    ranked = np.where(nans, 0.0, columns.values)
    return columns.at(np.lexsort((nans, ranked, columns.timestamps, columns.steps)))


def within(columns: Columns, steps: tuple[int, int]) -> Columns:
    """The points whose steps lie in an interval, both ends included."""
    inside = (columns.steps >= steps[0]) & (columns.steps <= steps[1])
    return columns if inside.all() else columns.at(np.flatnonzero(inside))
