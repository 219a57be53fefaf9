"""AUC and log loss by ISO week and by month, from scores and late labels."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from examples.flights.report.data import Period

_LEAST_PROBABILITY: Final = 1e-15


def weekly(scores: ArrayLike, labels: ArrayLike, days: ArrayLike) -> tuple[Period, ...]:
    """Figures by ISO week, named like 2013-W06. `days`: datetime64 of any unit, one a row."""
    return _periods(scores, labels, days, _week)


def monthly(scores: ArrayLike, labels: ArrayLike, days: ArrayLike) -> tuple[Period, ...]:
    """Figures by calendar month, named like 2013-02."""
    return _periods(scores, labels, days, _month)


def auc(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float | None:
    """Area under the ROC curve, ties counted half (Mann-Whitney U); None with one class only."""
    positives = int(labels.sum())
    negatives = labels.size - positives
    if positives == 0 or negatives == 0:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[inverse]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def log_loss(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float | None:
    """Mean negative log likelihood in nats; scores are clipped away from 0 and 1."""
    if labels.size == 0:
        return None
    clipped = np.clip(scores, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return float(-np.where(labels, np.log(clipped), np.log1p(-clipped)).mean())


def _periods(
    scores: ArrayLike,
    labels: ArrayLike,
    days: ArrayLike,
    period: Callable[[date], tuple[str, date]],
) -> tuple[Period, ...]:
    score = np.asarray(scores, np.float64)
    label = np.asarray(labels, np.float64) > 0.5
    day: NDArray[Any] = np.asarray(days).astype("datetime64[D]")
    if not score.shape == label.shape == day.shape:
        raise ValueError(f"one row each: {score.shape}, {label.shape}, {day.shape}")
    distinct, which = np.unique(day, return_inverse=True)
    names = [period(value.item()) for value in distinct]
    row_periods = np.array([first.toordinal() for _, first in names])[which]
    found = []
    for name, first in sorted(set(names), key=lambda named: named[1]):
        inside = row_periods == first.toordinal()
        found.append(
            Period(
                name=name,
                first=first,
                rows=int(inside.sum()),
                auc=auc(score[inside], label[inside]),
                log_loss=log_loss(score[inside], label[inside]),
            )
        )
    return tuple(found)


def _week(day: date) -> tuple[str, date]:
    year, week, weekday = day.isocalendar()
    return f"{year}-W{week:02d}", day - timedelta(days=weekday - 1)


def _month(day: date) -> tuple[str, date]:
    return f"{day:%Y-%m}", day.replace(day=1)
