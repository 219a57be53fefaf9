"""A rollout that drives itself: steps of traffic, and when to go on, to promote or to stop. No I/O.

Arms are compared within one step only, where both see the same hours at constant weights. The
error that a person allows is split evenly over steps and criteria, so the probability of stopping a
canary that is as good as the champion is at most `alpha` in all, and so is that of promoting one
that is worse than a tolerance allows, however often one looks (`evidence`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Final, Literal

from headrace.errors import InvalidInput
from services.serving.domain.driving import Driven
from services.serving.domain.evidence import Observed, Range, difference
from services.serving.domain.judging import Judged, Measure
from services.serving.domain.traffic import BUCKETS, ArmSeen

CANARY_ARM: Final = "canary"
MAX_STEPS: Final = 20
_Loss = Literal["brier", "absolute", "wrong"]


class RolloutState(StrEnum):
    """How far a rollout is."""

    RUNNING = "running"
    PROMOTING = "promoting"
    PROMOTED = "promoted"
    ABORTED = "aborted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """How a labelled prediction is judged; `tolerance` is how much more loss is still all right.

    brier: squared distance of a probability to a label of 0 or 1. absolute: distance in units of
    `scale`, at most 1. wrong: 1 unless the label is met within `scale`.
    """

    loss: _Loss
    tolerance: float
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutPlan:
    """What a rollout may do. Weights are of 10,000, times in seconds.

    A step lasts at least `step_seconds` and `step_requests` requests of the canary; a rollout that
    proved nothing after `deadline_seconds` is aborted. Without `quality` labels do not matter.
    """

    version: int
    steps: tuple[int, ...] = (100, 500, 2500, 5000)
    alpha: float = 0.05
    step_seconds: float = 60.0
    step_requests: int = 100
    deadline_seconds: float = 86_400.0
    error_tolerance: float = 0.01
    slow_ms: float | None = None
    slow_tolerance: float = 0.05
    quality: Quality | None = None

    @property
    def criteria(self) -> dict[str, float]:
        """What is compared, and how much worse is all right."""
        wanted = {"errors": self.error_tolerance}
        if self.slow_ms is not None:
            wanted["latency"] = self.slow_tolerance
        if self.quality is not None:
            wanted["quality"] = self.quality.tolerance
        return wanted

    @property
    def share(self) -> float:
        """The part of alpha that one criterion in one step may spend."""
        return self.alpha / (len(self.steps) * len(self.criteria))


@dataclass(frozen=True, kw_only=True, slots=True)
class Rollout(Driven):
    """A rollout as stored. `step` counts from 0; `table` is the one that its step needs."""

    rollout_id: str
    plan: RolloutPlan
    state: RolloutState
    step: int
    step_at: datetime
    decided_at: datetime | None = None
    outcome: str | None = None

    @property
    def watched(self) -> Judged | None:
        """Predictions of its present step, where labels count."""
        quality = self.plan.quality
        if quality is None:
            return None
        measure = Measure(source="label", worth=quality.loss, scale=quality.scale)
        return Judged(model=self.model, measure=measure, first=self.table, last=self.table)


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One criterion in one step: what both arms did, and where the difference is."""

    criterion: str
    canary: Observed
    champion: Observed
    difference: Range
    tolerance: float

    @property
    def proven_worse(self) -> bool:
        """Whether the canary loses more than is all right."""
        return self.difference.low > self.tolerance

    @property
    def proven_fine(self) -> bool:
        """Whether the canary does not."""
        return self.difference.high <= self.tolerance

    @property
    def text(self) -> str:
        """For people."""
        return (
            f"{self.criterion}: canary {_shown(self.canary)}, champion {_shown(self.champion)}, "
            f"difference {self.difference.low:+.4f} to {self.difference.high:+.4f}, "
            f"at most {self.tolerance:+.4f} is all right"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """What to do now, and why."""

    act: Literal["wait", "advance", "promote", "abort"]
    findings: tuple[Finding, ...]
    reason: str


def check_rollout(plan: RolloutPlan) -> None:
    """Raises InvalidInput, naming the field, when a plan cannot be carried out."""
    steps = plan.steps
    rising = all(one < other for one, other in pairwise(steps))
    if not 1 <= len(steps) <= MAX_STEPS or not rising or steps[0] < 1 or steps[-1] >= BUCKETS:
        raise InvalidInput(
            f"steps: expected 1 to {MAX_STEPS} rising percentages over 0 and below 100 (the "
            "promotion follows the last), since a comparison needs a champion that still answers",
            field="steps",
        )
    if not 0 < plan.alpha <= 0.5:
        raise InvalidInput("alpha: expected over 0 and at most 0.5", field="alpha")


def findings(plan: RolloutPlan, canary: ArmSeen, champion: ArmSeen) -> tuple[Finding, ...]:
    """Every criterion, judged on what was seen within one step."""
    pairs: Mapping[str, tuple[Observed, Observed]] = {
        "errors": (_errors(canary), _errors(champion)),
        "latency": (_slow(canary), _slow(champion)),
        "quality": (_losses(canary), _losses(champion)),
    }
    return tuple(
        Finding(
            criterion=criterion,
            canary=pairs[criterion][0],
            champion=pairs[criterion][1],
            difference=difference(*pairs[criterion], alpha=plan.share),
            tolerance=tolerance,
        )
        for criterion, tolerance in plan.criteria.items()
    )


def decide(rollout: Rollout, canary: ArmSeen, champion: ArmSeen, *, now: datetime) -> Decision:
    """What follows from what was seen since the step's table is in force; may be asked any time."""
    plan = rollout.plan
    found = findings(plan, canary, champion)
    worse = [finding for finding in found if finding.proven_worse]
    if worse:
        return Decision(act="abort", findings=found, reason=_joined(worse))
    if (now - rollout.started_at).total_seconds() > plan.deadline_seconds:
        unproven = [finding for finding in found if not finding.proven_fine]
        reason = f"nothing proven after {plan.deadline_seconds:g} s; {_joined(unproven)}"
        return Decision(act="abort", findings=found, reason=reason)
    if not _step_is_over(rollout, canary, now=now):
        return Decision(act="wait", findings=found, reason="the step is not over")
    if rollout.step + 1 < len(plan.steps):
        return Decision(act="advance", findings=found, reason=_joined(found))
    if all(finding.proven_fine for finding in found):
        return Decision(act="promote", findings=found, reason=_joined(found))
    return Decision(act="wait", findings=found, reason="the last step has not proven enough")


def _step_is_over(rollout: Rollout, canary: ArmSeen, *, now: datetime) -> bool:
    lasted = (now - rollout.step_at).total_seconds() >= rollout.plan.step_seconds
    return lasted and canary.counts.requests >= rollout.plan.step_requests


def _errors(seen: ArmSeen) -> Observed:
    return Observed(count=seen.counts.requests, total=float(seen.counts.failures))


def _slow(seen: ArmSeen) -> Observed:
    return Observed(count=seen.counts.requests, total=float(seen.counts.slow))


def _losses(seen: ArmSeen) -> Observed:
    return Observed(count=seen.losses.count, total=seen.losses.total)


def _joined(found: Sequence[Finding]) -> str:
    return "; ".join(finding.text for finding in found)


def _shown(observed: Observed) -> str:
    return "nothing seen" if observed.mean is None else f"{observed.mean:.4f} of {observed.count}"
