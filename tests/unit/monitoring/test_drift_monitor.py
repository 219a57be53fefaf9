from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest

from headrace.errors import InvalidInput, Permanent
from headrace.profiles import DayStatistics, ProfileSchema, TrainingProfile
from services.monitoring.domain import (
    Finding,
    Kind,
    Monitor,
    MonitorConfig,
    Status,
    decode,
    encode,
)

FIRST = date(2013, 1, 1)
ROWS = 400
SCHEMA = ProfileSchema.infer(
    {"size": np.zeros(1), "colour": np.array(["blue", "red"], dtype=object)}
)
CONFIG = MonitorConfig(false_alarm_days=365, bootstrap_paths=200, repeat_days=7)


def day_of(
    generator: np.random.Generator,
    *,
    size: float = 0.0,
    red: float = 0.5,
    missing: float = 0.0,
    promised: float = 0.0,
    rows: int = ROWS,
) -> DayStatistics:
    """A day whose mean size, share of red, share of missing sizes and calibration are chosen."""
    sizes = generator.normal(size + generator.normal(0, 0.2), 1.0, rows)
    sizes[generator.random(rows) < missing] = np.nan
    colours = np.where(generator.random(rows) < red, "red", "blue").astype(object)
    truth = generator.uniform(0.05, 0.95, rows)
    labels = (generator.random(rows) < truth).astype(np.float64)
    scores = np.clip(truth + promised, 0.0, 1.0)
    return DayStatistics.of(SCHEMA, {"size": sizes, "colour": colours}, scores, labels)


@pytest.fixture(scope="module")
def profile() -> TrainingProfile:
    generator = np.random.default_rng(1)
    days = {FIRST + timedelta(days=i): day_of(generator) for i in range(40)}
    return TrainingProfile(schema=SCHEMA, days=days)


@pytest.fixture(scope="module")
def fresh(profile: TrainingProfile) -> Monitor:
    return Monitor.from_profile(profile, CONFIG)


def watch(
    monitor: Monitor, days: list[DayStatistics], *, start: int = 40
) -> tuple[Monitor, list[Finding]]:
    said: list[Finding] = []
    for offset, statistics in enumerate(days):
        day = FIRST + timedelta(days=start + offset)
        monitor, found = monitor.observe_inputs(day, statistics.inputs)
        said += found
        monitor, found = monitor.observe_performance(day, statistics.performance)
        said += found
    return monitor, said


def days(count: int, *, seed: int = 2, **change: float) -> list[DayStatistics]:
    generator = np.random.default_rng(seed)
    return [day_of(generator, **change) for _ in range(count)]  # type: ignore[arg-type]


def test_days_like_the_training_days_raise_nothing(fresh: Monitor) -> None:
    assert watch(fresh, days(60))[1] == []


@pytest.mark.parametrize(
    ("change", "statistic", "kind"),
    [
        ({"size": 0.8}, "size.mean", Kind.DATA),
        ({"size": -0.8}, "size.mean", Kind.DATA),
        ({"missing": 0.4}, "size.nulls", Kind.DATA),
        ({"red": 0.8}, "colour.distance", Kind.DATA),
        ({"promised": -0.12}, "score.calibration_residual", Kind.PERFORMANCE),
        ({"promised": 0.12}, "score.calibration_residual", Kind.PERFORMANCE),
    ],
)
def test_a_shift_is_found_within_days_and_named(
    fresh: Monitor, change: dict[str, float], statistic: str, kind: Kind
) -> None:
    _, said = watch(fresh, days(10) + days(10, seed=3, **change))
    raised = next(finding for finding in said if finding.kind is kind)
    assert (raised.status, raised.epoch) == (Status.RAISED, 1)
    onset = FIRST + timedelta(days=50)
    assert onset <= raised.day <= onset + timedelta(days=5)
    assert onset - timedelta(days=8) <= raised.onset <= onset + timedelta(days=2)
    assert raised.value > raised.threshold
    leading = raised.shifts[0]
    assert f"{leading.feature}.{leading.statistic}" == raised.statistic
    assert statistic in {f"{shift.feature}.{shift.statistic}" for shift in raised.shifts[:3]}
    assert raised.window_rows == ROWS * raised.window_days


def test_one_freak_day_alone_raises_nothing(fresh: Monitor) -> None:
    _, said = watch(fresh, [*days(5), *days(1, size=50.0, missing=0.9), *days(20, seed=4)])
    assert said == []


def test_a_drift_that_lasts_is_repeated_weekly_under_the_same_epoch(fresh: Monitor) -> None:
    _, said = watch(fresh, days(40, size=1.0))
    data = [finding for finding in said if finding.kind is Kind.DATA]
    assert [finding.status for finding in data[:4]] == [Status.RAISED, *[Status.REPEATED] * 3]
    assert {finding.epoch for finding in data} == {1}
    gaps = {(b.day - a.day).days for a, b in pairwise(data)}
    assert gaps == {7}


def test_a_drift_that_passes_is_resolved_and_the_next_one_counts_anew(fresh: Monitor) -> None:
    _, said = watch(fresh, days(6, size=1.0) + days(60, seed=5) + days(10, seed=6, size=1.0))
    data = [(finding.status, finding.epoch) for finding in said if finding.kind is Kind.DATA]
    assert data[0] == (Status.RAISED, 1)
    assert (Status.RESOLVED, 1) in data
    assert data[data.index((Status.RESOLVED, 1)) + 1] == (Status.RAISED, 2)


def test_a_day_told_twice_or_too_late_changes_nothing(fresh: Monitor) -> None:
    drifting = days(3, size=1.0)
    once, _ = watch(fresh, drifting)
    again, said = watch(once, drifting)
    assert said == []
    assert encode(again) == encode(once)


def test_days_with_few_rows_are_skipped_or_weigh_less(fresh: Monitor) -> None:
    few = [day_of(np.random.default_rng(7), size=2.0, rows=50)]
    assert encode(watch(fresh, few)[0]) == encode(fresh)
    detector = fresh.baseline.detectors[0]
    far = detector.mean + 2 * detector.spread
    assert detector.deviation(far, ROWS // 4, largest=4.0) == pytest.approx(1.0)


def test_state_survives_any_restart_exactly(fresh: Monitor) -> None:
    seen = days(5) + days(15, seed=8, size=0.5, promised=-0.1)
    through, said = watch(fresh, seen)
    monitor, told = fresh, list[Finding]()
    for offset, statistics in enumerate(seen):
        monitor, found = watch(decode(encode(monitor)), [statistics], start=40 + offset)
        told += found
    assert told == said
    assert encode(monitor) == encode(through)


def test_the_same_profile_gives_the_same_monitor(profile: TrainingProfile) -> None:
    copy = TrainingProfile.from_bytes(profile.to_bytes())
    assert encode(Monitor.from_profile(profile, CONFIG)) == encode(
        Monitor.from_profile(copy, CONFIG)
    )


def test_the_budget_holds_for_all_detectors_together(profile: TrainingProfile) -> None:
    config = replace(CONFIG, bootstrap_paths=1_000)
    fresh = Monitor.from_profile(profile, config)
    drawn = list(profile.days.values())
    generator = np.random.default_rng(9)
    alarms = 0
    for _ in range(10):
        year = [drawn[i] for i in generator.integers(0, len(drawn), 365)]
        alarms += sum(finding.status is Status.RAISED for finding in watch(fresh, year)[1])
    assert 2 <= alarms <= 18


def test_a_longer_budget_raises_every_threshold(profile: TrainingProfile) -> None:
    short = Monitor.from_profile(profile, replace(CONFIG, false_alarm_days=100)).baseline.detectors
    long = Monitor.from_profile(profile, replace(CONFIG, false_alarm_days=1000)).baseline.detectors
    assert all(b.threshold >= a.threshold for a, b in zip(short, long, strict=True))


def test_a_profile_of_too_few_days_gives_no_baseline(profile: TrainingProfile) -> None:
    with pytest.raises(InvalidInput, match="10 days"):
        Monitor.from_profile(profile.since(FIRST + timedelta(days=30)), CONFIG)


@pytest.mark.parametrize("data", [b"", b"{}", b'{"version":7}', b'{"version":1}', b"[]"])
def test_bytes_that_are_no_monitor_are_refused(data: bytes) -> None:
    with pytest.raises(Permanent):
        decode(data)
