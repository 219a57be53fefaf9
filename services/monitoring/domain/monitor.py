"""The monitor of one model version: daily statistics in, findings out. Pure and deterministic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date

from headrace.profiles import InputStatistics, PerformanceStatistics, TrainingProfile
from services.monitoring.domain.baseline import Baseline, Detector, baseline_of
from services.monitoring.domain.config import MonitorConfig
from services.monitoring.domain.cusum import step
from services.monitoring.domain.findings import Finding, Shift, Status
from services.monitoring.domain.signals import Kind, read_inputs, read_performance

RANKED_SHIFTS = 10


@dataclass(frozen=True, kw_only=True)
class Run:
    """A detector's sum and what it was made of since it last left zero."""

    total: float = 0.0
    onset: date | None = None
    days: int = 0
    rows: int = 0
    value_sum: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Where one kind of drift stands. `alarmed_on`: the last day an open alarm was told."""

    last_day: date | None = None
    epoch: int = 0
    alarmed_on: date | None = None


@dataclass(frozen=True, kw_only=True)
class Monitor:
    """Immutable: observing a day gives the next monitor and what there is to say."""

    config: MonitorConfig
    baseline: Baseline
    runs: tuple[Run, ...]
    channels: Mapping[Kind, Channel]

    @classmethod
    def from_profile(cls, profile: TrainingProfile, config: MonitorConfig | None = None) -> Monitor:
        """A fresh monitor; InvalidInput when the profile is too small for a baseline."""
        config = config or MonitorConfig()
        baseline = baseline_of(profile, config)
        return cls(
            config=config,
            baseline=baseline,
            runs=tuple(Run() for _ in baseline.detectors),
            channels={kind: Channel() for kind in Kind},
        )

    def observe_inputs(self, day: date, inputs: InputStatistics) -> tuple[Monitor, list[Finding]]:
        """Take a closed event-day's inputs and scores. A day not after the last one is ignored.

        Weighted rows say what the day was like; how much that says, their effective number.
        """
        rows = round(inputs.weights.effective_rows)
        if rows < self.config.min_rows:
            return self, []
        values = read_inputs(inputs, self.baseline.shares)
        return self._observe(Kind.DATA, day, values, rows)

    def observe_performance(
        self, day: date, performance: PerformanceStatistics
    ) -> tuple[Monitor, list[Finding]]:
        """Take the labels known when the day closed. A day not after the last one is ignored."""
        rows = round(performance.weights.effective_rows)
        if rows < self.config.min_rows:
            return self, []
        values = read_performance(performance)
        return self._observe(Kind.PERFORMANCE, day, values, rows)

    def pressure(self, kind: Kind) -> float:
        """How near the nearest detector is to its threshold: above 1 is an alarm."""
        return max((self.share_of_threshold(i) for i in self.detectors_of(kind)), default=0.0)

    def _observe(
        self, kind: Kind, day: date, values: Mapping[str, float], rows: int
    ) -> tuple[Monitor, list[Finding]]:
        channel = self.channels[kind]
        if channel.last_day is not None and day <= channel.last_day:
            return self, []
        runs = list(self.runs)
        for index in self.detectors_of(kind):
            detector = self.baseline.detectors[index]
            if detector.signal.name in values:
                value = values[detector.signal.name]
                runs[index] = self._advance(runs[index], detector, day, value, rows)
        return _judge(replace(self, runs=tuple(runs)), kind, replace(channel, last_day=day), day)

    def _advance(self, run: Run, detector: Detector, day: date, value: float, rows: int) -> Run:
        deviation = detector.deviation(value, rows, largest=self.config.largest_deviation)
        total = step(run.total, deviation, allowance=self.config.allowance)
        total = min(total, self.config.saturation * detector.threshold)
        if total == 0.0:
            return Run()
        return Run(
            total=total,
            onset=run.onset or day,
            days=run.days + 1,
            rows=run.rows + rows,
            value_sum=run.value_sum + value,
        )

    def detectors_of(self, kind: Kind) -> list[int]:
        """Positions in `baseline.detectors` and `runs`."""
        return [i for i, d in enumerate(self.baseline.detectors) if d.signal.kind is kind]

    def share_of_threshold(self, index: int) -> float:
        return self.runs[index].total / self.baseline.detectors[index].threshold


def _judge(
    monitor: Monitor, kind: Kind, channel: Channel, day: date
) -> tuple[Monitor, list[Finding]]:
    """Open, repeat or close the alarm of this kind."""
    pressure = monitor.pressure(kind)
    status: Status | None = None
    told = channel.alarmed_on
    if told is None:
        if pressure > 1.0:
            channel = replace(channel, epoch=channel.epoch + 1, alarmed_on=day)
            status = Status.RAISED
    elif pressure < monitor.config.resolved_below:
        channel = replace(channel, alarmed_on=None)
        status = Status.RESOLVED
    elif pressure > 1.0 and (day - told).days >= monitor.config.repeat_days:
        channel = replace(channel, alarmed_on=day)
        status = Status.REPEATED
    monitor = replace(monitor, channels={**monitor.channels, kind: channel})
    return monitor, [] if status is None else [_finding(monitor, kind, status, day)]


def _finding(monitor: Monitor, kind: Kind, status: Status, day: date) -> Finding:
    ranked = sorted(monitor.detectors_of(kind), key=monitor.share_of_threshold, reverse=True)
    leader, run = monitor.baseline.detectors[ranked[0]], monitor.runs[ranked[0]]
    moved = [index for index in ranked if monitor.runs[index].days]
    return Finding(
        kind=kind,
        status=status,
        epoch=monitor.channels[kind].epoch,
        day=day,
        detector=f"cusum:{leader.name}",
        statistic=leader.signal.name,
        value=run.total,
        threshold=leader.threshold,
        baseline_mean=leader.mean,
        baseline_spread=leader.spread,
        baseline_days=monitor.baseline.days,
        expected_days_between_false_alarms=float(monitor.config.false_alarm_days),
        onset=run.onset or day,
        window_days=run.days,
        window_rows=run.rows,
        shifts=tuple(_shift(monitor, index) for index in moved[:RANKED_SHIFTS]),
    )


def _shift(monitor: Monitor, index: int) -> Shift:
    detector, run = monitor.baseline.detectors[index], monitor.runs[index]
    current = run.value_sum / run.days
    return Shift(
        feature=detector.signal.feature,
        statistic=detector.signal.statistic,
        baseline=detector.mean,
        current=current,
        deviation=(current - detector.mean) / detector.spread,
        share_of_threshold=monitor.share_of_threshold(index),
    )
