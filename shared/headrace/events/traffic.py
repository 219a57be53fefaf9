"""Events of traffic: tables, rollouts that drive themselves, rewards of bandits."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace.events.base import EventData, Moment, Name, Part

TableCause = Literal["request", "rollout", "bandit"]


class TrafficArm(Part):
    """A version with a share of the traffic; the champion has what is left."""

    arm: Name
    version: int = Field(ge=1)
    weight: int = Field(ge=0, le=10_000, description="Share in hundredths of a percent")


class TrafficShadow(Part):
    """A version that runs beside a share of the answers."""

    version: int = Field(ge=1)
    weight: int = Field(ge=1, le=10_000, description="Share in hundredths of a percent")


class BucketRange(Part):
    """Buckets that one arm owns."""

    start: int = Field(ge=0, lt=10_000, description="First bucket")
    end: int = Field(gt=0, le=10_000, description="Bucket after the last")
    arm: Name


class TrafficTableChanged(EventData):
    """Every worker routes by this table now."""

    model: Name
    table_version: int = Field(ge=1)
    arms: list[TrafficArm] = Field(default_factory=list)
    shadows: list[TrafficShadow] = Field(default_factory=list)
    experiment: Name | None = None
    salt: str
    cause: TableCause
    author: Name
    reason: str
    changed_at: Moment


class TrafficTableFailed(EventData):
    """A table could not be put in force; the one before stays."""

    model: Name
    table_version: int = Field(ge=1)
    reason: str
    failed_at: Moment


class TrafficState(EventData):
    """By which table a model's keys are routed now; a tombstone says that there is none."""

    model: Name
    table_version: int = Field(ge=1)
    arms: list[TrafficArm] = Field(default_factory=list)
    shadows: list[TrafficShadow] = Field(default_factory=list)
    buckets: list[BucketRange] = Field(default_factory=list, description="All 10,000, in order")
    experiment: Name | None = None
    salt: str
    cause: TableCause
    author: Name
    reason: str
    changed_at: Moment = Field(description="Since when every worker routes by it")


class ArmComparison(Part):
    """One criterion of a rollout: mean losses of both arms, and where their difference lies."""

    criterion: Literal["errors", "latency", "quality"]
    canary_count: int = Field(ge=0, description="Observations of the canary")
    canary_mean: float | None = Field(default=None, description="Mean loss of the canary")
    champion_count: int = Field(ge=0, description="Observations of the champion")
    champion_mean: float | None = Field(default=None, description="Mean loss of the champion")
    difference_low: float = Field(description="Canary minus champion: lower end, at all times")
    difference_high: float = Field(description="Canary minus champion: upper end, at all times")
    tolerance: float = Field(description="How much more loss is all right")


class RolloutChanged(EventData):
    """A rollout took a step or ended; `promote` asks the registry to promote the canary."""

    rollout_id: Name
    model: Name
    version: int = Field(ge=1)
    champion_version: int = Field(ge=1)
    action: Literal["start", "advance", "promote", "abort", "finish"]
    percent: float = Field(ge=0, le=100, description="Share of the canary from now on")
    alpha: float = Field(gt=0, lt=1, description="Probability of a wrong decision, over all steps")
    evidence: list[ArmComparison] = Field(default_factory=list)
    reason: str
    author: Name
    changed_at: Moment


class RewardObserved(EventData):
    """What one prediction earned became known; only the first reward of a prediction counts."""

    model: Name
    prediction_id: Name
    reward: float = Field(allow_inf_nan=False, description="In [0, 1] for a bernoulli bandit")
    observed_at: Moment = Field(description="Event time: when it became known")
