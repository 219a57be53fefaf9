"""Steps may be any 64-bit integer: their differences are none."""

from __future__ import annotations

from services.tracking.domain.points import Points, columns_of
from services.tracking.domain.resolution import by_step
from services.tracking.domain.summaries import summaries_of
from services.tracking.domain.values import INT64_MAX

FAR_BACK = columns_of(Points.of([("loss", 1.0, 1, INT64_MAX), ("loss", 2.0, 2, -INT64_MAX)]))


def test_the_last_point_is_the_one_of_the_largest_step() -> None:
    (summary,) = summaries_of(FAR_BACK)
    assert (summary.first.step, summary.last.step) == (-INT64_MAX, INT64_MAX)


def test_a_chart_shows_the_smallest_step_first() -> None:
    assert by_step(FAR_BACK).steps.tolist() == [-INT64_MAX, INT64_MAX]
