"""Days, watermarks and lateness are decided by the stream alone, not by its batches."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.monitoring.event_time import (
    HOUR_US,
    Calendar,
    IntArray,
    Placed,
    Watermark,
    date_of,
    days_since_epoch,
    microseconds,
    moment,
)

DAY = 24 * HOUR_US


def hours(*values: float) -> IntArray:
    return np.array([int(value * HOUR_US) for value in values], dtype=np.int64)


def place(calendar: Calendar, times: IntArray, after: Watermark | None = None) -> Placed:
    return calendar.place(times, after=after or Watermark(), may_step_back=True)


def test_a_day_closes_when_the_watermark_passes_its_end_and_the_lateness() -> None:
    calendar = Calendar(lateness=timedelta(hours=6))

    assert calendar.closes(0) == 30 * HOUR_US
    assert calendar.first_open_day(30 * HOUR_US - 1) == 0
    assert calendar.first_open_day(30 * HOUR_US) == 1


def test_the_day_may_begin_at_another_hour() -> None:
    calendar = Calendar(starts_at_hour=5, lateness=timedelta(0))

    assert calendar.days_of(hours(4.9, 5, 28.9, 29)).tolist() == [-1, 0, 0, 1]
    assert (calendar.begins(0), calendar.ends(0)) == (5 * HOUR_US, 29 * HOUR_US)
    assert calendar.first_open_day(29 * HOUR_US) == 1


def test_a_row_is_late_only_behind_the_rows_before_it() -> None:
    placed = place(Calendar(), hours(1, 31, 2, 25))

    assert placed.late.tolist() == [False, False, True, False]
    assert placed.open_days.tolist()[2:] == [1, 1]
    assert placed.watermark.through_us == 31 * HOUR_US


def test_a_row_beyond_the_horizon_is_too_old() -> None:
    placed = place(Calendar(horizon_days=2), hours(24 * 5, 24 * 3, 24 * 3 - 1))

    assert placed.too_old.tolist() == [False, False, True]


def test_a_wrong_clock_does_not_move_the_watermark() -> None:
    calendar = Calendar()
    ahead = place(calendar, hours(1, 2, 24 * 400, 3))
    behind = place(calendar, hours(24 * 400, 1))

    assert ahead.watermark == Watermark(through_us=3 * HOUR_US)
    assert ahead.late.tolist() == ahead.too_old.tolist() == [False] * 4
    assert behind.watermark.through_us == 24 * 400 * HOUR_US
    assert behind.too_old.tolist() == [False, False]
    assert behind.open_days.tolist()[1] == 0


def test_many_rows_in_succession_move_the_watermark_however_far() -> None:
    calendar = Calendar(step_count=3)

    assert place(calendar, hours(1, 5000, 5001, 5002)).watermark.through_us == 5002 * HOUR_US
    assert place(calendar, hours(5000, 1, 3, 2)).watermark.through_us == 3 * HOUR_US
    assert place(calendar, hours(1, 5000, 2, 5001, 3, 5002)).watermark.through_us == 3 * HOUR_US


def test_one_record_never_moves_the_watermark_far_ahead_however_many_rows_it_has() -> None:
    calendar = Calendar()
    good = Watermark(through_us=HOUR_US)
    wrong = hours(*range(5000, 5600))

    placed = calendar.place(
        wrong, after=good, may_step_back=False, records=np.zeros(600, dtype=np.int64)
    )
    after = calendar.place(hours(2, 3), after=placed.watermark, may_step_back=False)

    assert placed.watermark == Watermark(through_us=HOUR_US, strays=1, stray_us=int(wrong[-1]))
    assert after.watermark == Watermark(through_us=3 * HOUR_US)
    assert not after.late.any()
    assert not after.too_old.any()


def test_rows_of_many_records_in_succession_do_move_it() -> None:
    calendar = Calendar(step_count=3)
    records = np.array([0, 1, 1, 2, 2, 3])

    times = hours(1, 5000, 5001, 5002, 5003, 5004)

    def through(rows: int) -> int | None:
        placed = calendar.place(
            times[:rows], after=Watermark(), may_step_back=False, records=records[:rows]
        )
        return placed.watermark.through_us

    assert through(5) == HOUR_US
    assert through(6) == 5004 * HOUR_US


def test_once_a_day_is_closed_time_does_not_step_back() -> None:
    calendar = Calendar(step_count=3)
    closed = Watermark(through_us=5000 * HOUR_US)

    placed = calendar.place(hours(1, 2, 3, 4), after=closed, may_step_back=False)

    assert placed.watermark == closed
    assert placed.too_old.all()


@given(
    times=st.lists(
        st.one_of(st.integers(0, 10 * DAY), st.integers(190 * DAY, 200 * DAY)),
        min_size=1,
        max_size=50,
    ),
    cuts=st.sets(st.integers(1, 49)),
    may_step_back=st.booleans(),
)
def test_batches_of_any_size_place_rows_alike(
    times: list[int], cuts: set[int], may_step_back: bool
) -> None:
    calendar = Calendar(horizon_days=3, step_count=3)
    whole = calendar.place(
        np.array(times, dtype=np.int64), after=Watermark(), may_step_back=may_step_back
    )
    watermark = Watermark()
    open_days, late, too_old = [], [], []
    for part in np.split(
        np.array(times, dtype=np.int64), sorted(c for c in cuts if c < len(times))
    ):
        placed = calendar.place(part, after=watermark, may_step_back=may_step_back)
        watermark = placed.watermark
        open_days += placed.open_days.tolist()
        late += placed.late.tolist()
        too_old += placed.too_old.tolist()

    assert watermark == whole.watermark
    assert open_days == whole.open_days.tolist()
    assert (late, too_old) == (whole.late.tolist(), whole.too_old.tolist())


@given(st.datetimes(timezones=st.just(UTC)))
def test_moments_and_microseconds_are_opposites(time: datetime) -> None:
    assert moment(microseconds(time)) == time


@given(st.dates())
def test_days_and_dates_are_opposites(day: date) -> None:
    assert date_of(days_since_epoch(day)) == day
