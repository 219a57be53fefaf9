"""Events of traffic: tables, rollouts that drive themselves, experiments, rewards."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headrace.events.base import Digest, EventData, FileRef, Moment, Name, Part

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


class TrafficVersion(Part):
    """Files of a version that a table names."""

    version: int = Field(ge=1)
    digest: Digest
    files: list[FileRef] = Field(description="Every file of the version, with its digest")
    converted: list[FileRef] = Field(default_factory=list)


class ArmEarned(Part):
    """What an arm had earned when the table came into force."""

    arm: Name
    count: int = Field(ge=0, description="Outcomes that counted")
    total: float = Field(description="Sum of their values")
    squares: float = Field(description="Sum of their squared values")


class TrafficDriver(Part):
    """What sets a model's tables, as far as it must be known to go on with it."""

    kind: Literal["rollout", "bandit", "experiment"]
    driver_id: Name = Field(description="Identity of the rollout, bandit or experiment")
    experiment: Name | None = Field(
        default=None, description="Name of the experiment, if it is one"
    )
    plan: str = Field(description="Its plan as JSON, weights in hundredths of a percent")
    step: int = Field(default=0, ge=0, description="Step of a rollout, from 0")
    first_table: int = Field(ge=1, description="First table whose outcomes count")
    earned: list[ArmEarned] = Field(default_factory=list, description="What counts already")
    author: Name
    reason: str
    correlation_id: Name = Field(description="Chain of events that it belongs to")
    started_at: Moment


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
    """By which table a model's keys are routed now; without arms the champion has everything.

    It is all that serving needs to go on with the table after the loss of its database.
    """

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
    champion_version: int | None = Field(
        default=None, ge=1, description="Champion that the table was made beside"
    )
    slow_ms: float | None = Field(default=None, gt=0, description="From where an answer is slow")
    versions: list[TrafficVersion] = Field(default_factory=list, description="What arms name")
    driver: TrafficDriver | None = Field(default=None, description="What sets the next table")


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


class ArmResult(Part):
    """What an experiment says of one arm; intervals hold at all times at once."""

    arm: Name
    version: int = Field(ge=1)
    count: int = Field(ge=0, description="Outcomes of the arm")
    mean: float | None = Field(default=None, description="Mean of its outcomes")
    mean_low: float = Field(description="Lower end of where the mean is")
    mean_high: float = Field(description="Upper end of where the mean is")
    difference_low: float | None = Field(default=None, description="To the control: lower end")
    difference_high: float | None = Field(default=None, description="To the control: upper end")
    p_value: float | None = Field(
        default=None, ge=0, le=1, description="Of no difference to the control, at any time"
    )


class ExperimentChanged(EventData):
    """An experiment began or ended; a conclusion with a winner asks for its promotion."""

    experiment_id: Name
    model: Name
    experiment: Name
    action: Literal["start", "conclude", "stop"] = Field(description="What became of it")
    metric: Literal["reward", "label", "brier", "absolute", "wrong"] = Field(
        description="What an outcome is"
    )
    goal: Literal["maximize", "minimize"] = Field(description="Which means are better")
    alpha: float = Field(gt=0, lt=1, description="Probability of any wrong claim, at all times")
    size: int | None = Field(default=None, ge=1, description="Outcomes planned for an arm")
    arms: list[TrafficArm]
    champion_version: int = Field(ge=1)
    table_version: int = Field(ge=1)
    results: list[ArmResult] = Field(default_factory=list, description="One an arm")
    winner: Name | None = Field(default=None, description="Arm that is to be champion")
    winner_version: int | None = Field(default=None, ge=1, description="Version of that arm")
    proven: bool = Field(default=False, description="Whether the winner is proven to be better")
    reason: str
    author: Name
    changed_at: Moment


class RewardObserved(EventData):
    """What one prediction earned became known; only the first reward of a prediction counts."""

    model: Name
    prediction_id: Name
    reward: float = Field(allow_inf_nan=False, description="In [0, 1] for a bernoulli bandit")
    observed_at: Moment = Field(description="Event time: when it became known")
