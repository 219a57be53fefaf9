"""The knobs of drift detection; the defaults are the shipped configuration."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MonitorConfig:
    """How sensitive a monitor is. One number matters to its owner: `false_alarm_days`."""

    false_alarm_days: int = 730
    """Expected days between false alarms of all detectors of a version together."""

    allowance: float = 0.5
    """CUSUM reference value in baseline standard deviations: half of the shift worth finding."""

    largest_deviation: float = 4.0
    """Days further out count as this far, so that one freak day alone raises no alarm."""

    repeat_days: int = 14
    """A drift that lasts is told again after this many days."""

    resolved_below: float = 0.5
    """An alarm is over when every statistic is below this share of its threshold."""

    saturation: float = 1.5
    """Statistics stop growing at this multiple of their threshold, so that they can return."""

    min_rows: int = 100
    """Days with fewer rows (or labelled rows, for performance) say too little and are skipped."""

    min_baseline_days: int = 14
    """A profile with fewer such days gives no baseline."""

    baseline_days: int = 366
    """The latest days of the training profile that make the baseline."""

    block_days: int = 1
    """Length of the runs of days that the bootstrap draws together."""

    bootstrap_paths: int = 1_000
    """Drift-free futures drawn to set the thresholds."""

    seed: int = 20130101
