"""How often the shipped drift detectors cry wolf: `make bench-drift`.

Trains on January's real flights, then feeds the version's monitor years without any drift,
made by drawing whole days of January with replacement. Two ways: with the out-of-sample scores
of the training profile (what the version's promise is about), and with the trained model's own
answers on those days.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from examples.flights import data, training
from headrace.profiles import DayStatistics, TrainingProfile
from services.monitoring.domain import Monitor, Status

YEARS = 20
ALLOWED = 1.0
"""False alarms a year, on average."""

SEED = 1
CACHE = Path(".cache/flights")
FIRST = date(2014, 1, 1)


def main() -> int:
    """Print both counts; exit code 1 when either is above what is allowed."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = january(data.load(data.fetch(CACHE)))
    fitted, held_out = training.split(rows)
    model = training.fit(fitted)
    profile = training.training_profile(model, fitted, held_out)
    answered = TrainingProfile.of(
        columns=rows.columns,
        days=rows.days,
        scores=model.predict(rows.columns),
        labels=rows.label,
        schema=profile.schema,
    )
    monitor = Monitor.from_profile(profile)
    print(f"{YEARS} drift-free years of resampled January days, shipped configuration")
    print(f"  {monitor.config}")
    rates = [
        report("out-of-sample scores", monitor, list(profile.days.values())),
        report("the model's own answers", monitor, list(answered.days.values())),
    ]
    return int(max(rates) > ALLOWED)


def january(flights: data.Flights) -> training.Rows:
    """January's flights that landed."""
    month = flights.between(date(2013, 1, 1), date(2013, 2, 1))
    landed = month.take(np.flatnonzero(~np.isnan(month.label)))
    return training.Rows(
        columns=landed.columns,
        event_time=landed.event_time,
        observed_at=landed.observed_at,
        label=landed.label,
    )


def report(name: str, monitor: Monitor, days: Sequence[DayStatistics]) -> float:
    """False alarms a year."""
    counts = false_alarms(monitor, days, years=YEARS, seed=SEED)
    rate = sum(counts) / len(counts)
    verdict = "ok" if rate <= ALLOWED else "TOO MANY"
    print(f"  {name}: {sum(counts)} false alarms, {rate:.2f} a year, at most {ALLOWED:g} allowed:")
    print(f"    {verdict}; year by year {' '.join(str(count) for count in counts)}")
    return rate


def false_alarms(
    monitor: Monitor, days: Sequence[DayStatistics], *, years: int, seed: int
) -> list[int]:
    """Alarms, repeated ones included, in each year that the fresh monitor is fed."""
    generator = np.random.default_rng(seed)
    counts = []
    for _ in range(years):
        watching, count = monitor, 0
        for offset, drawn in enumerate(generator.integers(0, len(days), 365)):
            day, statistics = FIRST + timedelta(days=offset), days[drawn]
            watching, inputs = watching.observe_inputs(day, statistics.inputs)
            watching, performance = watching.observe_performance(day, statistics.performance)
            count += sum(f.status is not Status.RESOLVED for f in [*inputs, *performance])
        counts.append(count)
    return counts


if __name__ == "__main__":
    sys.exit(main())
