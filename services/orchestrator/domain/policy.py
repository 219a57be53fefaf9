"""The retrain policy of a model: what follows from an alarm, from data, from a promotion.

One drift epoch a model may be open. It opens with an alarm that the policy accepts, waits until
a dataset version covers what the alarm saw, runs the pipeline, and closes with a promotion, a
rejection, or a failed run. Every comparison of times is in event time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Literal


class Phase(StrEnum):
    """Where an epoch is."""

    AWAITING_DATA = "awaiting_data"
    RUNNING = "running"
    CLOSED = "closed"


class EpochOutcome(StrEnum):
    """How an epoch ended."""

    PROMOTED = "promoted"
    REJECTED = "rejected"
    FAILED = "failed"
    SUPERSEDED = "superseded"
    NO_PROMOTION = "no_promotion"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """How a model is retrained; `cooldown_days` is event time between alarms that retrain."""

    pipeline: str
    parameters: Mapping[str, Any]
    cooldown_days: float
    enabled: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Alarm:
    """What the policy needs of a DriftDetected."""

    model: str
    version: int
    drift_epoch: str
    detected_at: datetime
    dataset: str
    labelled_through: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetState:
    """The newest version of a dataset."""

    version: int
    labelled_through: datetime | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
    """An epoch that is not closed."""

    drift_epoch: str
    version: int
    phase: Phase
    labelled_through: datetime
    pipeline_run_id: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelView:
    """Everything the policy knows of a model when an alarm comes.

    `champions` are the versions that have been champion so far. `last_retrained_at` is the
    event time of the last alarm whose retraining did not fail.
    """

    policy: Policy | None = None
    champion: int | None = None
    champions: frozenset[int] = frozenset()
    open_epoch: Epoch | None = None
    last_retrained_at: datetime | None = None
    dataset: DatasetState | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """`dataset_version` is what to train on, with outcome "started"."""

    outcome: Literal["started", "awaiting_data", "suppressed"]
    reason: str
    dataset_version: int | None = None


def decide(alarm: Alarm, view: ModelView) -> Decision:
    """What to do about an alarm."""
    obstacle = _obstacle(alarm, view)
    if obstacle is not None:
        return Decision(outcome="suppressed", reason=obstacle)
    if view.dataset is not None and covers(view.dataset, alarm.labelled_through):
        return started(alarm.dataset, view.dataset)
    return Decision(
        outcome="awaiting_data",
        reason=f"{alarm.dataset} does not yet hold labels through {_text(alarm.labelled_through)}",
    )


def started(dataset: str, state: DatasetState) -> Decision:
    """The decision to train on this version."""
    through = _text(state.labelled_through) if state.labelled_through else "unknown"
    return Decision(
        outcome="started",
        reason=f"{dataset} version {state.version} holds labels through {through}",
        dataset_version=state.version,
    )


def covers(dataset: DatasetState, labelled_through: datetime) -> bool:
    """Whether a dataset version holds every label that was known at that event time."""
    return dataset.labelled_through is not None and dataset.labelled_through >= labelled_through


def outcome_of_promotion(epoch: Epoch, *, version: int, cause: str) -> EpochOutcome | None:
    """What a change of the champion means for the open epoch; None: nothing.

    The promotion of the alarm's own version, or of one before it, is old news that arrived late.
    While a retraining runs, a rollback does not end it: its candidate is still to be judged.
    """
    newer = cause == "promotion" and version > epoch.version
    match epoch.phase:
        case Phase.AWAITING_DATA:
            replaced = newer or (cause == "rollback" and version != epoch.version)
            return EpochOutcome.SUPERSEDED if replaced else None
        case Phase.RUNNING:
            return EpochOutcome.PROMOTED if newer else None
        case Phase.CLOSED:
            return None


def outcome_of_run(state: str, promotion_outcomes: list[str]) -> EpochOutcome | None:
    """What the end of the epoch's run means for it; None: a decision is still to come."""
    if state != "succeeded":
        return EpochOutcome.FAILED
    if not promotion_outcomes:
        return EpochOutcome.NO_PROMOTION
    if all(outcome == "rejected" for outcome in promotion_outcomes):
        return EpochOutcome.REJECTED
    return None


def _obstacle(alarm: Alarm, view: ModelView) -> str | None:
    if view.policy is None:
        return "no policy: this model has no retrain policy"
    if not view.policy.enabled:
        return "disabled: the retrain policy of this model is switched off"
    if alarm.version != view.champion and alarm.version in view.champions:
        return (
            f"version {alarm.version} is no longer champion,"
            f" version {view.champion} has taken its place"
        )
    if view.open_epoch is not None:
        phase = view.open_epoch.phase.value.replace("_", " ")
        return f"epoch open: {view.open_epoch.drift_epoch} is {phase}"
    if view.last_retrained_at is not None:
        until = view.last_retrained_at + timedelta(days=view.policy.cooldown_days)
        if alarm.detected_at < until:
            last = _text(view.last_retrained_at)
            return f"cooldown until {_text(until)}: last retrained by the alarm of {last}"
    return None


def _text(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
