"""Experiments: arms of constant shares beside a control, compared by what became of them. No I/O.

The control is the champion. An arm's mean has a confidence sequence and each arm is compared with
the control, as in `evidence`; alpha is split evenly over the arms, so the probability that any arm
is ever wrongly said to differ is at most `alpha`, however often one looks. Values are bounded by
the metric's range, which the mathematics need: what lies outside counts as the nearer end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from math import isfinite
from typing import Literal

from headrace.errors import InvalidInput
from services.serving.domain.driving import Driven
from services.serving.domain.evidence import Observed, Range, confidence, difference, p_value
from services.serving.domain.judging import Judged, Measure, Total
from services.serving.domain.traffic import BUCKETS, CHAMPION_ARM, NAME, Arm

MetricKind = Literal["reward", "label", "brier", "absolute", "wrong"]
Goal = Literal["maximize", "minimize"]


class ExperimentState(StrEnum):
    """How far an experiment is."""

    RUNNING = "running"
    CONCLUDED = "concluded"
    STOPPED = "stopped"


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """What an outcome is: a reward or label between `low` and `high`, or a loss against the label.

    brier, absolute and wrong are losses as rollouts know them, with `scale`.
    """

    kind: MetricKind = "reward"
    goal: Goal = "maximize"
    low: float = 0.0
    high: float = 1.0
    scale: float = 1.0

    @property
    def measure(self) -> Measure:
        """How values in [0, 1] are made of outcomes."""
        match self.kind:
            case "reward" | "label":
                width = self.high - self.low
                return Measure(source=self.kind, worth="bounded", scale=width, low=self.low)
            case "brier" | "absolute" | "wrong":
                return Measure(source="label", worth=self.kind, scale=self.scale)

    @property
    def unit(self) -> tuple[float, float]:
        """What the values 0 and 1 mean: offset and width."""
        bounded = self.measure.worth == "bounded"
        return (self.low, self.high - self.low) if bounded else (0.0, 1.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExperimentPlan:
    """What is compared. `size` outcomes of each arm are planned; nothing ends by that."""

    arms: tuple[Arm, ...]
    metric: Metric
    alpha: float = 0.05
    size: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment(Driven):
    """An experiment as stored; `name` is unique for its model, over all time."""

    experiment_id: str
    name: str
    plan: ExperimentPlan
    state: ExperimentState
    ended_at: datetime | None = None
    ended_by: str | None = None
    winner: str | None = None
    proven: bool = False
    outcome: str | None = None

    @property
    def watched(self) -> Judged:
        """Its predictions: those under its one table."""
        measure = self.plan.metric.measure
        return Judged(model=self.model, measure=measure, first=self.table, last=self.table)

    @property
    def versions(self) -> dict[str, int]:
        """Version of every arm, the control last."""
        return {**{arm.name: arm.version for arm in self.plan.arms}, CHAMPION_ARM: self.champion}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmFound:
    """What is known of an arm, in the metric's units; of the control there is no difference."""

    arm: str
    version: int
    count: int
    mean: float | None
    interval: Range
    difference: Range | None = None
    p_value: float | None = None
    better: bool = False
    worse: bool = False


def check_experiment(name: str, plan: ExperimentPlan) -> None:
    """Raises InvalidInput, naming the field, when it cannot be carried out or compared."""
    if not NAME.fullmatch(name):
        raise InvalidInput(
            "name: expected letters, digits, '.', '_' and '-', at most 63", field="name"
        )
    if not plan.arms:
        raise InvalidInput("arms: expected at least one beside the champion", field="arms")
    for place, arm in enumerate(plan.arms):
        if arm.weight <= 0:
            raise InvalidInput(
                f"arms.{place}.percent: expected over 0: nothing is learnt of an arm without "
                "traffic",
                field=f"arms.{place}.percent",
            )
    if sum(arm.weight for arm in plan.arms) >= BUCKETS:
        raise InvalidInput(
            "arms: expected less than 100 % together: the champion is the control", field="arms"
        )
    _check_metric(plan.metric)


def _check_metric(metric: Metric) -> None:
    if not (isfinite(metric.low) and isfinite(metric.high) and metric.low < metric.high):
        raise InvalidInput("metric.high: expected a number over metric.low", field="metric.high")
    if metric.kind in {"brier", "absolute", "wrong"} and metric.goal == "maximize":
        raise InvalidInput(
            f"metric.goal: {metric.kind} is a loss, expected 'minimize'", field="metric.goal"
        )


def check_winner(experiment: Experiment, winner: str) -> None:
    """Raises InvalidInput when no arm has this name."""
    if winner not in experiment.versions:
        names = ", ".join(sorted(experiment.versions))
        raise InvalidInput(f"winner: expected one of {names}; got {winner[:70]!r}", field="winner")


def read_out(experiment: Experiment, totals: Mapping[str, Total]) -> tuple[ArmFound, ...]:
    """Every arm, the control last; may be asked at any time."""
    control = _observed(totals.get(CHAMPION_ARM, Total()))
    return tuple(
        _found(experiment, arm, _observed(totals.get(arm, Total())), control)
        for arm in experiment.versions
    )


def _found(experiment: Experiment, arm: str, seen: Observed, control: Observed) -> ArmFound:
    plan = experiment.plan
    low, width = plan.metric.unit
    known = ArmFound(
        arm=arm,
        version=experiment.versions[arm],
        count=seen.count,
        mean=None if seen.mean is None else low + width * seen.mean,
        interval=_scaled(confidence(seen, alpha=plan.alpha), low=low, width=width),
    )
    if arm == CHAMPION_ARM:
        return known
    share = plan.alpha / len(plan.arms)
    apart = difference(seen, control, alpha=share)
    higher, lower = apart.low > 0, apart.high < 0
    return replace(
        known,
        difference=_scaled(apart, low=0.0, width=width),
        p_value=min(1.0, len(plan.arms) * _p_value(seen, control)),
        better=higher if plan.metric.goal == "maximize" else lower,
        worse=lower if plan.metric.goal == "maximize" else higher,
    )


def _p_value(seen: Observed, control: Observed) -> float:
    """The least alpha at which the interval of the difference leaves out 0, on either side."""
    return min(p_value(seen, control, tolerance=0.0), p_value(control, seen, tolerance=0.0))


def _observed(total: Total) -> Observed:
    return Observed(count=total.count, total=total.total)


def _scaled(values: Range, *, low: float, width: float) -> Range:
    return Range(low=low + width * values.low, high=low + width * values.high)
