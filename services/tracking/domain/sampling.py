"""Fewer points for a chart, evenly drawn by rank."""

from __future__ import annotations

import numpy as np

from services.tracking.domain.points import Columns


def sample(columns: Columns, *, most: int) -> Columns:
    """At most `most` points of those given, in their order.

    The ranks are cut into `most` groups as SQL's ntile does; the first point of each group is
    drawn, and the very last point is always kept.
    """
    count = len(columns)
    if count <= most:
        return columns
    size, larger = divmod(count, most)
    group = np.arange(most)
    drawn = group * size + np.minimum(group, larger)
    drawn[-1] = count - 1
    return columns.at(drawn)
