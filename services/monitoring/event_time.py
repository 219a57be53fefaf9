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
LATEST_US: Final = 253_402_300_799_999_999  # 9999-12-31
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class Placed:
    """Where the rows of one batch stand in their stream.

    `open_days`: the first day that the rows before it had not yet closed. `late`: its own day
    was closed by then. `too_old`: so far behind that the stream's memory of it may be gone.
    `through`: the watermark after the batch.
    """

    days: IntArray
    open_days: IntArray
    late: BoolArray
    too_old: BoolArray
    through: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Calendar:
    """How event time is cut into days, and when a day is over."""

    starts_at_hour: int = 0
    lateness: timedelta = timedelta(hours=6)
    horizon_days: int = 14

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

    def place(self, times_us: IntArray, *, before: int | None) -> Placed:
        """Place a batch of rows, in stream order, behind a watermark (`None`: the beginning)."""
        start = BEFORE_ALL_US if before is None else before
        reached = np.maximum.accumulate(np.concatenate(([start], times_us)))
        running = reached[:-1]
        days = self.days_of(times_us)
        shifted = running - self._lateness_us - self.starts_at_hour * HOUR_US
        open_days = np.maximum(EARLIEST_DAY, shifted // DAY_US)
        return Placed(
            days=days,
            open_days=open_days,
            late=days < open_days,
            too_old=days < self.days_of(running) - self.horizon_days,
            through=int(reached[-1]),
        )

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
