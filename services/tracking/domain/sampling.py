"""Fewer points for a chart, evenly drawn by rank."""

from __future__ import annotations

import numpy as np

from services.tracking.domain.points import Columns


def sample(columns: Columns, *, most: int, steps: tuple[int, int] | None = None) -> Columns:
    """At most `most` points of one metric, by step, timestamp and value.

    The ranks are cut into `most` groups as SQL's ntile does; the first point of each group is
    drawn, and the very last point is always kept.
    """
    nans = np.isnan(columns.values)
    order = np.lexsort(
        (nans, np.where(nans, 0.0, columns.values), columns.timestamps, columns.steps)
    )
    if steps is not None:
        within = (columns.steps[order] >= steps[0]) & (columns.steps[order] <= steps[1])
        order = order[within]
    if len(order) <= most:
        return columns.at(order)
    size, larger = divmod(len(order), most)
    group = np.arange(most)
    drawn = order[group * size + np.minimum(group, larger)]
    drawn[-1] = order[-1]
    return columns.at(drawn)
