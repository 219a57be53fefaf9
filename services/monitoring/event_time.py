"""Event-days, watermarks and lateness of one stream.

Everything here is decided by the position of a row in its own stream, never by the other
stream and never by the wall clock: so it comes out the same however the two streams interleave
and however they are cut into batches. Times are microseconds since the epoch, days are whole
days since the epoch, both int64.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
EARLIEST_DAY: Final = -719_162  # 0001-01-01
BEFORE_ALL_US: Final = EARLIEST_DAY * DAY_US
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Watermark:
    """How far a stream has come: `through_us`, None before its first row.

    Rows that are far from it (another clock, a client that gave no event time) do not move it;
    `strays` such records (rows, if they are behind it) came one after another, the latest of
    their rows at `stray_us`.
    """

    through_us: int | None = None
    strays: int = 0
    stray_us: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Where the rows of one batch stand in their stream.

    `open_days`: the first day that the rows before it had not yet closed. `late`: its own day
    was closed by then. `too_old`: so far behind that the stream's memory of it may be gone.
    `watermark`: as it is after the batch.
    """

    days: IntArray
    open_days: IntArray
    late: BoolArray
    too_old: BoolArray
    watermark: Watermark


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    """How event time is cut into days, and when a day is over.

    A row further than `largest_step` ahead of the watermark moves it only when rows of
    `step_count` records in succession are, so that one batch of a wrong clock does not close all
    days. To step back, which closes nothing, as many rows are enough.
    """

    starts_at_hour: int = 0
    lateness: timedelta = timedelta(hours=6)
    horizon_days: int = 14
    largest_step: timedelta = timedelta(days=45)
    step_count: int = 100

    def days_of(self, times_us: IntArray) -> IntArray:
        """The event-day of each time."""
        return (times_us - self.starts_at_hour * HOUR_US) // DAY_US

    def begins(self, day: int) -> int:
        """The first microsecond of a day."""
        return day * DAY_US + self.starts_at_hour * HOUR_US

    def ends(self, day: int) -> int:
        """The first microsecond after a day."""
        return self.begins(day + 1)

    def closes(self, day: int) -> int:
        """The watermark that closes a day: its end and the allowed lateness."""
        return self.ends(day) + self._lateness_us

    def first_open_day(self, through_us: int) -> int:
        """The first day that a stream with this watermark has not closed."""
        shifted = through_us - self._lateness_us - self.starts_at_hour * HOUR_US
        return max(EARLIEST_DAY, shifted // DAY_US)

    def place(
        self,
        times_us: IntArray,
        *,
        after: Watermark,
        may_step_back: bool,
        records: IntArray | None = None,
    ) -> Placed:
        """Place a batch of rows, in stream order, behind a watermark.

        `records`: for each row the record it came in, by any number; None, each in its own.
        `may_step_back`: nothing was closed yet, so the stream may still turn out to be far
        behind its first rows.
        """
        if records is None:
            records = np.arange(len(times_us), dtype=np.int64)
        running, strays, watermark = self._run(
            times_us, records, after, may_step_back=may_step_back
        )
        days = self.days_of(times_us)
        shifted = running - self._lateness_us - self.starts_at_hour * HOUR_US
        open_days = np.maximum(EARLIEST_DAY, shifted // DAY_US)
        open_days = np.where(strays, np.minimum(open_days, days), open_days)
        return Placed(
            days=days,
            open_days=open_days,
            late=days < open_days,
            too_old=(days < self.days_of(running) - self.horizon_days) & ~strays,
            watermark=watermark,
        )

    def _run(
        self, times_us: IntArray, records: IntArray, after: Watermark, *, may_step_back: bool
    ) -> tuple[IntArray, BoolArray, Watermark]:
        """The watermark before each row, which rows are strays, and the watermark at the end."""
        start = after.through_us
        first = int(times_us[0]) if start is None else start
        reached = np.maximum.accumulate(np.concatenate(([first], times_us)))
        step = self.largest_step // timedelta(microseconds=1)
        far = times_us > reached[:-1] + step
        if may_step_back:
            far |= times_us < reached[:-1] - step
        if far.any():
            return self._run_with_strays(
                times_us, records, after, step, may_step_back=may_step_back
            )
        running = reached[:-1].copy()
        if start is None:
            running[0] = BEFORE_ALL_US
        return running, far, Watermark(through_us=int(reached[-1]))

    def _run_with_strays(
        self,
        times_us: IntArray,
        records: IntArray,
        after: Watermark,
        step: int,
        *,
        may_step_back: bool,
    ) -> tuple[IntArray, BoolArray, Watermark]:
        running = np.full(len(times_us), BEFORE_ALL_US, dtype=np.int64)
        strays = np.zeros(len(times_us), dtype=np.bool_)
        through, count, latest = after.through_us, after.strays, after.stray_us
        counted = None
        rows = zip(times_us.tolist(), records.tolist(), strict=True)
        for row, (time, record) in enumerate(rows):
            if through is None:
                through = time
                continue
            running[row] = through
            if time > through + step or (may_step_back and time < through - step):
                strays[row] = True
                together = count > 0 and abs(time - latest) <= step
                more = int(time < through or record != counted)
                count, latest = (count + more, max(latest, time)) if together else (1, time)
                counted = record
                if count >= self.step_count:
                    through, count = latest, 0
            else:
                through, count = max(through, time), 0
        ended = Watermark(through_us=through, strays=count, stray_us=latest if count else 0)
        return running, strays, ended

    @property
    def _lateness_us(self) -> int:
        return self.lateness // timedelta(microseconds=1)


def moment(time_us: int) -> datetime:
    """Microseconds since the epoch as a UTC datetime."""
    return _EPOCH + timedelta(microseconds=time_us)


def microseconds(time: datetime) -> int:
    """A zoned datetime as microseconds since the epoch."""
    return (time - _EPOCH) // timedelta(microseconds=1)


def date_of(day: int) -> date:
    """The calendar date of an event-day."""
    return _EPOCH.date() + timedelta(days=day)


def days_since_epoch(day: date) -> int:
    """The opposite of `date_of`."""
    return (day - _EPOCH.date()).days
