from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.domain.facts import Day
from services.console.domain.performance import curve, swaps

FIRST = date(2013, 2, 1)


def day(
    offset: int, *, auc: float | None = 0.7, labelled: int = 100, version: int = 1, rows: int = 100
) -> Day:
    return Day(
        model="m",
        version=version,
        day=FIRST + timedelta(days=offset),
        predictions=rows,
        labelled=labelled,
        auc=auc,
        log_loss=0.5,
    )


@given(
    st.lists(
        st.tuples(st.integers(0, 40), st.floats(0.4, 0.9), st.integers(1, 1000)),
        unique_by=lambda row: row[0],
        min_size=1,
    )
)
def test_weekly_figure_is_the_mean_over_rows_of_the_seven_days(
    rows: list[tuple[int, float, int]],
) -> None:
    points = curve("m", [day(at, auc=auc, labelled=n) for at, auc, n in rows], "auc").points

    for point in points:
        inside = [(auc, n) for at, auc, n in rows if 0 <= (point.day - FIRST).days - at < 7]
        expected = sum(auc * n for auc, n in inside) / sum(n for _, n in inside)
        assert point.weekly == pytest.approx(expected)


def test_versions_that_shared_a_day_are_weighted_by_their_labels() -> None:
    shared = [day(0, auc=0.6, labelled=300), day(0, auc=0.8, labelled=100, version=2)]

    (point,) = curve("m", shared, "auc").points

    assert point.value == pytest.approx(0.65)
    assert point.labelled == 400


def test_days_without_the_metric_are_left_out() -> None:
    days = [day(0), day(1, auc=None), day(2, labelled=0), day(3, auc=float("nan"))]

    assert [point.day for point in curve("m", days, "auc").points] == [FIRST]


def test_a_swap_is_the_first_day_on_which_a_later_version_answered() -> None:
    days = [day(0), day(3), day(3, version=2), day(4, version=2), day(5, version=3, rows=0)]

    assert [(swap.day, swap.version) for swap in swaps(days)] == [(FIRST + timedelta(days=3), 2)]
