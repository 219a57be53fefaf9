"""What is normal for a version: mean, spread and threshold of every detector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from headrace.errors import InvalidInput
from headrace.profiles import DayStatistics, TrainingProfile
from headrace.profiles.training import total
from services.monitoring.domain.config import MonitorConfig
from services.monitoring.domain.cusum import thresholds
from services.monitoring.domain.signals import (
    Kind,
    Shares,
    Signal,
    input_signals,
    performance_signals,
    pooled_shares,
    read_inputs,
    read_performance,
)


@dataclass(frozen=True, kw_only=True)
class Detector:
    """A one-sided CUSUM on one signal: `direction` is +1 for rises, -1 for falls."""

    signal: Signal
    direction: int
    mean: float
    spread: float
    typical_rows: float
    threshold: float

    @property
    def name(self) -> str:
        return f"{self.signal.name}.{'rise' if self.direction > 0 else 'fall'}"

    def deviation(self, value: float, rows: int, *, largest: float) -> float:
        """How far `value` lies on the watched side, in standard deviations of such a day.

        A day with fewer rows than a baseline day scatters more, by at most the root of the
        ratio.
        """
        spread = self.spread * max(1.0, (self.typical_rows / rows) ** 0.5)
        return float(np.clip(self.direction * (value - self.mean) / spread, -largest, largest))


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The detectors of one version, and the shares that categorical distances start from."""

    days: int
    shares: Shares
    detectors: tuple[Detector, ...]


def baseline_of(profile: TrainingProfile, config: MonitorConfig) -> Baseline:
    """Detectors for `profile`; InvalidInput when it has too few days with enough rows."""
    days = _baseline_days(profile, config)
    shares = pooled_shares(total(profile.schema, days).inputs)
    signals = [*input_signals(profile.schema), *performance_signals()]
    matrix = _values(days, signals, shares)
    kept = [i for i in range(len(signals)) if not np.isnan(matrix[:, i]).any()]
    signals, matrix = [signals[i] for i in kept], matrix[:, kept]
    means = matrix.mean(axis=0)
    spreads = np.maximum(matrix.std(axis=0, ddof=1), [s.smallest_spread for s in signals])
    sides = [(i, +1) for i, s in enumerate(signals) if s.rises]
    sides += [(i, -1) for i, s in enumerate(signals) if s.falls]
    columns = [i for i, _ in sides]
    directions = np.array([direction for _, direction in sides])
    deviations = directions * (matrix[:, columns] - means[columns]) / spreads[columns]
    levels = thresholds(deviations, config)
    rows = {
        Kind.DATA: float(np.median([day.inputs.rows for day in days])),
        Kind.PERFORMANCE: float(np.median([day.performance.rows for day in days])),
    }
    detectors = tuple(
        Detector(
            signal=signals[i],
            direction=direction,
            mean=float(means[i]),
            spread=float(spreads[i]),
            typical_rows=rows[signals[i].kind],
            threshold=float(level),
        )
        for (i, direction), level in zip(sides, levels, strict=True)
    )
    return Baseline(days=len(days), shares=shares, detectors=detectors)


def _baseline_days(profile: TrainingProfile, config: MonitorConfig) -> list[DayStatistics]:
    usable: list[tuple[date, DayStatistics]] = [
        (day, statistics)
        for day, statistics in profile.days.items()
        if statistics.performance.rows >= config.min_rows
    ]
    if len(usable) < config.min_baseline_days:
        raise InvalidInput(
            f"the training profile has {len(usable)} days of at least {config.min_rows} labelled"
            f" rows; a baseline needs {config.min_baseline_days}",
            field="profile",
        )
    return [statistics for _, statistics in sorted(usable)[-config.baseline_days :]]


def _values(
    days: Sequence[DayStatistics], signals: Sequence[Signal], shares: Shares
) -> NDArray[np.float64]:
    """Days by signals; NaN where a signal is undefined on a day."""
    matrix = np.full((len(days), len(signals)), np.nan)
    for row, day in enumerate(days):
        values = read_inputs(day.inputs, shares) | read_performance(day.performance)
        matrix[row] = [values.get(signal.name, np.nan) for signal in signals]
    return matrix
