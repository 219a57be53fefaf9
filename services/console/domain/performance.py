"""Curves of closed event-days: per day, and smoothed over a week."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import isfinite
from typing import Final, Literal

from services.console.domain.facts import Day

Metric = Literal["auc", "log_loss"]
WEEK: Final = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One metric of one event-day, and the mean of the seven days that end with it."""

    day: date
    value: float
    weekly: float
    labelled: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """One metric of one model over event-days."""

    model: str
    points: tuple[Point, ...]

    @property
    def latest(self) -> float | None:
        """The newest weekly figure."""
        return self.points[-1].weekly if self.points else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Swap:
    """The first event-day on which a version answered."""

    day: date
    version: int


def curve(model: str, days: Iterable[Day], metric: Metric) -> Curve:
    """Daily values (versions of one day weighted by their labels) with their weekly means.

    A weekly mean weighs its days by labels and counts only days that have the metric.
    """
    parts: defaultdict[date, list[tuple[float, int]]] = defaultdict(list)
    for day in days:
        value = day.auc if metric == "auc" else day.log_loss
        if value is not None and isfinite(value) and day.labelled > 0:
            parts[day.day].append((value * day.labelled, day.labelled))
    daily = [
        (when, sum(total for total, _ in own), sum(rows for _, rows in own))
        for when, own in sorted(parts.items())
    ]
    return Curve(model=model, points=tuple(_smoothed(daily)))


def _smoothed(daily: Sequence[tuple[date, float, int]]) -> Iterator[Point]:
    """Points from (day, sum over rows, rows); the window's sums slide along."""
    first, total, rows = 0, 0.0, 0
    for when, day_total, day_rows in daily:
        total, rows = total + day_total, rows + day_rows
        while daily[first][0] <= when - timedelta(days=WEEK):
            total, rows = total - daily[first][1], rows - daily[first][2]
            first += 1
        yield Point(day=when, value=day_total / day_rows, weekly=total / rows, labelled=day_rows)


def swaps(days: Sequence[Day]) -> tuple[Swap, ...]:
    """Event-days on which another version took over, the first version left out."""
    firsts: dict[int, date] = {}
    for day in sorted(days, key=lambda own: (own.day, own.version)):
        if day.predictions > 0:
            firsts.setdefault(day.version, day.day)
    ordered = sorted((day, version) for version, day in firsts.items())
    return tuple(Swap(day=day, version=version) for day, version in ordered[1:])
