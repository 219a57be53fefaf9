"""What the report of the demo is made of, as plain data; `report.json` holds exactly this."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Literal

from headrace.events import Evidence

ArmKey = Literal["january", "timer", "looped"]
Consequence = Literal["started", "awaiting_data", "suppressed", "none"]


@dataclass(frozen=True, kw_only=True)
class Period:
    """Figures of one ISO week or month; None where they are not defined (one class only)."""

    name: str
    first: date
    rows: int
    auc: float | None
    log_loss: float | None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to run the year, on the same rows as the others."""

    key: ArmKey
    title: str
    retrainings: int
    weekly: tuple[Period, ...]
    monthly: tuple[Period, ...]

    @property
    def auc(self) -> float | None:
        """Mean of the weekly figures."""
        return _mean([week.auc for week in self.weekly])

    @property
    def log_loss(self) -> float | None:
        """Mean of the weekly figures."""
        return _mean([week.log_loss for week in self.weekly])


@dataclass(frozen=True, kw_only=True)
class AlertRow:
    """One alert: its evidence, and what it started or why it started nothing."""

    event_id: str
    model: str
    version: int | None
    kind: str
    severity: str
    title: str
    raised_at: datetime
    detected_at: datetime = field(metadata={"clock": "event time"})
    evidence: Evidence | None
    consequence: Consequence
    reason: str


@dataclass(frozen=True, kw_only=True)
class Link:
    """One event of a turn. `event_time` where the event is about data."""

    name: str
    about: str
    event_id: str
    causation_id: str | None
    wall: datetime
    event_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class TimedTurn:
    """One turn of the loop as a chain of events, from the alert on, in the order of their causes.

    `answered_at` is None if no new version came of it; `outcome` says what did, in a word, and
    `reason` why.
    """

    model: str
    version: int | None
    outcome: Literal["answering", "rejected", "failed", "unfinished"]
    reason: str
    detected_at: datetime
    links: tuple[Link, ...]
    answered_at: datetime | None

    @property
    def seconds(self) -> float | None:
        """From the alert to the first answer of the new version."""
        if self.answered_at is None:
            return None
        return (self.answered_at - self.links[0].wall).total_seconds()

    @property
    def lasted(self) -> float:
        """Seconds from the alert to the last event."""
        return self.offset(self.links[-1])

    def offset(self, link: Link) -> float:
        """Seconds of a link after the alert."""
        return (link.wall - self.links[0].wall).total_seconds()


@dataclass(frozen=True, kw_only=True)
class Swap:
    """One version taking over under traffic; requests counted from promotion to first answer."""

    model: str
    version: int
    event_day: date
    swap_ms: float
    load_ms: float
    requests: int
    failed: int


@dataclass(frozen=True, kw_only=True)
class Client:
    """What the client saw over the whole replay."""

    requests: int
    rows: int
    labels: int
    failed: int
    latency_p50_ms: float | None = None
    latency_p99_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Where it was measured."""

    cpu: str
    cores: int
    system: str
    python: str
    versions: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """The whole report, of event-days from `first` up to, not including, `end`.

    `seconds` are parts of the run by name, in the order they happened.
    """

    model: str
    first: date
    end: date
    made_at: datetime
    arms: tuple[Arm, ...]
    alerts: tuple[AlertRow, ...]
    turns: tuple[TimedTurn, ...]
    swaps: tuple[Swap, ...]
    client: Client
    seconds: Mapping[str, float]
    environment: Environment
    event_days_open: float | None = None
    """Event-days that passed at most while a retraining was open."""

    @property
    def last(self) -> date:
        """The last event-day."""
        return self.end - timedelta(days=1)

    def arm(self, key: ArmKey) -> Arm:
        """The arm of that name. Raises StopIteration if there is none."""
        return next(arm for arm in self.arms if arm.key == key)

    @property
    def answered(self) -> tuple[TimedTurn, ...]:
        """Turns that ended with an answer of a new version."""
        return tuple(turn for turn in self.turns if turn.answered_at is not None)

    @property
    def slowest(self) -> float | None:
        """The longest time from an alert to the new version's first answer, in seconds."""
        return max((turn.seconds or 0.0 for turn in self.answered), default=None)


_PACKAGES: Final = (
    "headrace",
    "aiokafka",
    "faststream",
    "mlflow",
    "numpy",
    "onnxruntime",
    "scikit-learn",
    "skl2onnx",
    "tritonclient",
)


def this_machine() -> Environment:
    """The machine and the versions of what runs on it."""
    return Environment(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else _cores(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        versions={name: found for name in _PACKAGES if (found := _version(name))},
    )


def _cores() -> int:
    return os.cpu_count() or 1


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
