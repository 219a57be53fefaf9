"""Whether two things are found together more often than by chance."""

from __future__ import annotations

import math


def normalized_pmi(
    *, joint: int, first: int, second: int, total: int, smoothing: float = 0.0
) -> float:
    """Pointwise mutual information over -log of the joint probability: from -1 to 1.

    Bouma, Normalized (Pointwise) Mutual Information in Collocation Extraction (2009).
    `smoothing` is added to each cell of the two by two table (0.5: Jeffreys' prior). NaN if one of
    the two is never found.
    """
    if not (first and second and total):
        return math.nan
    if joint == total:
        return 1.0
    if joint == 0 and not smoothing:
        return -1.0
    together = joint + smoothing
    all_cells = total + 4 * smoothing
    one, other = first + 2 * smoothing, second + 2 * smoothing
    information = math.log(together) + math.log(all_cells) - math.log(one) - math.log(other)
    scale = math.log(all_cells) - math.log(together)
    return max(-1.0, min(1.0, information / scale))
