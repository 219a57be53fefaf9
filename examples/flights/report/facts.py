"""Alerts and turns of the report, from the facts that were seen on Kafka."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal, Protocol

from examples.flights.report.data import AlertRow, Consequence, Link, TimedTurn
from headrace.events import (
    AlertRaised,
    DeploymentFailed,
    DriftDetected,
    EventData,
    FirstAnswerServed,
    ModelDeployed,
    ModelPromoted,
    ModelVersionCreated,
    PipelineRunChanged,
    PromotionDecided,
    PromotionRequested,
    RetrainDecided,
    StepChanged,
)

Outcome = Literal["answering", "rejected", "failed", "unfinished"]


class Fact(Protocol):
    """An event as it was seen; `wall` is the clock of its sender."""

    @property
    def id(self) -> str: ...
    @property
    def correlation_id(self) -> str: ...
    @property
    def causation_id(self) -> str | None: ...
    @property
    def wall(self) -> datetime: ...
    @property
    def data(self) -> EventData: ...


def alert_rows(facts: Iterable[Fact]) -> tuple[AlertRow, ...]:
    """Every alert in event-time order, with what the retrain policy made of it.

    While an alert stands, a further drift alarm raises no second one; it is a row all the same.
    """
    known = list(facts)
    decided = _by_turn(fact for fact in known if isinstance(fact.data, RetrainDecided))
    raised = {fact.correlation_id for fact in known if isinstance(fact.data, AlertRaised)}
    rows = []
    for fact in known:
        decisions = decided.get(fact.correlation_id, [])
        if isinstance(fact.data, AlertRaised):
            rows.append(_alert_row(fact, fact.data, decisions))
        elif isinstance(fact.data, DriftDetected) and fact.correlation_id not in raised:
            rows.append(_alert_row(fact, _as_alert(fact.id, fact.data), decisions))
    return tuple(sorted(rows, key=lambda row: (row.detected_at, row.event_id)))


def _as_alert(event_id: str, drift: DriftDetected) -> AlertRaised:
    return AlertRaised(
        alert_id=event_id,
        model=drift.model,
        version=drift.version,
        kind="data_drift" if drift.kind == "data" else "performance_drift",
        severity=drift.severity,
        title=f"{drift.model} version {drift.version} still drifts",
        detected_at=drift.detected_at,
        evidence=drift.evidence,
    )


def timed_turns(facts: Iterable[Fact]) -> tuple[TimedTurn, ...]:
    """The chain of every drift alarm that the retrain policy did not suppress, oldest first."""
    turns = []
    for chain in _by_turn(facts).values():
        links = [fact for fact in chain if type(fact.data) in _TELLERS]
        drift = next((fact for fact in links if isinstance(fact.data, DriftDetected)), None)
        if drift is None or not isinstance(drift.data, DriftDetected) or _suppressed(links):
            continue
        turns.append(_turn(drift.data, links))
    return tuple(sorted(turns, key=lambda turn: turn.links[0].wall))


def _turn(drift: DriftDetected, facts: list[Fact]) -> TimedTurn:
    answered = [fact for fact in facts if isinstance(fact.data, FirstAnswerServed)]
    made = [fact.data.version for fact in facts if isinstance(fact.data, ModelVersionCreated)]
    outcome, reason = _outcome(facts)
    return TimedTurn(
        model=drift.model,
        version=made[-1] if made else None,
        outcome=outcome,
        reason=reason,
        detected_at=drift.detected_at,
        links=tuple(_link(fact) for fact in facts),
        answered_at=answered[0].wall if answered else None,
    )


def _outcome(facts: list[Fact]) -> tuple[Outcome, str]:
    """What came of a turn, and why, by its latest event that decides it."""
    for fact in reversed(facts):
        match fact.data:
            case FirstAnswerServed():
                return "answering", ""
            case PromotionDecided(outcome="rejected", reason=reason):
                return "rejected", reason
            case DeploymentFailed(reason=reason):
                return "failed", f"deployment: {reason}"
            case PipelineRunChanged(state="failed", error=error):
                return "failed", f"pipeline: {error}"
            case _:
                continue
    return "unfinished", ""


def _suppressed(facts: list[Fact]) -> bool:
    outcomes = [fact.data.outcome for fact in facts if isinstance(fact.data, RetrainDecided)]
    return bool(outcomes) and outcomes[-1] == "suppressed"


def _alert_row(fact: Fact, alert: AlertRaised, decisions: list[Fact]) -> AlertRow:
    latest = decisions[-1].data if decisions else None
    decision = latest if isinstance(latest, RetrainDecided) else None
    consequence: Consequence = decision.outcome if decision else "none"
    return AlertRow(
        event_id=fact.id,
        model=alert.model,
        version=alert.version,
        kind=alert.kind,
        severity=alert.severity,
        title=alert.title,
        raised_at=fact.wall,
        detected_at=alert.detected_at,
        evidence=alert.evidence,
        consequence=consequence,
        reason=decision.reason if decision else "",
    )


def _by_turn(facts: Iterable[Fact]) -> defaultdict[str, list[Fact]]:
    """Facts of each correlation id by wall clock, none before its cause."""
    chains: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in sorted(facts, key=lambda own: (own.wall, own.id)):
        chains[fact.correlation_id].append(fact)
    return defaultdict(list, {key: _causal(chain) for key, chain in chains.items()})


def _causal(chain: list[Fact]) -> list[Fact]:
    """Causes first: several processes wrote these times."""
    known = {fact.id: fact for fact in chain}
    placed: dict[str, Fact] = {}

    def place(fact: Fact, ahead: frozenset[str]) -> None:
        cause = known.get(fact.causation_id or "")
        if cause is not None and cause.id not in placed and cause.id not in ahead:
            place(cause, ahead | {fact.id})
        placed.setdefault(fact.id, fact)

    for fact in chain:
        place(fact, frozenset())
    return list(placed.values())


def _link(fact: Fact) -> Link:
    return Link(
        name=type(fact.data).__name__,
        about=_TELLERS[type(fact.data)](fact.data),
        event_id=fact.id,
        causation_id=fact.causation_id,
        wall=fact.wall,
        event_time=getattr(fact.data, "detected_at", None),
    )


def _step(data: StepChanged) -> str:
    took = f" in {data.seconds:.1f} s" if data.seconds is not None else ""
    return f"{data.step} {data.state}{took}"


def _promotion(data: PromotionDecided) -> str:
    pairs = data.evidence.metrics if data.evidence else []
    figures = ", ".join(
        f"{pair.metric} {pair.champion if pair.champion is None else f'{pair.champion:.4f}'}"
        f" to {pair.challenger:.4f}"
        for pair in pairs
    )
    return f"{data.outcome}{f': {figures}' if figures else ''}"


_TELLERS: Final[Mapping[type[EventData], Callable[[Any], str]]] = {
    DriftDetected: lambda data: (
        f"{data.evidence.statistic} {data.evidence.value:.2f} over {data.evidence.threshold:.2f}"
    ),
    RetrainDecided: lambda data: f"{data.outcome}: {data.reason}",
    PipelineRunChanged: lambda data: f"{data.pipeline} {data.state}",
    StepChanged: _step,
    ModelVersionCreated: lambda data: f"v{data.version}",
    PromotionRequested: lambda data: f"v{data.version} by {data.requested_by}",
    PromotionDecided: _promotion,
    ModelPromoted: lambda data: f"v{data.version} is {data.alias}",
    ModelDeployed: lambda data: (
        f"v{data.version} loaded in {data.load_ms:.0f} ms, swapped in {data.swap_ms:.1f} ms"
    ),
    DeploymentFailed: lambda data: f"v{data.version}: {data.reason}",
    FirstAnswerServed: lambda data: f"v{data.version} answered {data.prediction_id}",
}
