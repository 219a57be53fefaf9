"""What a monitor says: an alarm with its evidence, or that an alarm is over."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from services.monitoring.domain.signals import Kind


class Status(StrEnum):
    """RAISED: a new alarm. REPEATED: the same drift goes on. RESOLVED: it is over."""

    RAISED = "raised"
    REPEATED = "repeated"
    RESOLVED = "resolved"


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How one signal moved since its own onset. `deviation`: in baseline standard deviations."""

    feature: str
    statistic: str
    baseline: float
    current: float
    deviation: float
    share_of_threshold: float


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An alarm, its repetition or its end, for one kind of drift of one version.

    `epoch` counts the version's alarms of this kind from 1; a repetition and the end carry the
    number of the alarm they belong to. `detector`, `statistic`, `value`, `threshold`,
    `baseline_*` belong to the detector furthest above its threshold; `shifts` ranks all that
    moved, the strongest first.
    """

    kind: Kind
    status: Status
    epoch: int
    day: date
    detector: str
    statistic: str
    value: float
    threshold: float
    baseline_mean: float
    baseline_spread: float
    baseline_days: int
    expected_days_between_false_alarms: float
    onset: date
    window_days: int
    window_rows: int
    shifts: tuple[Shift, ...]
