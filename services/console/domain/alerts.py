"""Alerts: why they were raised, and what they started or why they started nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from headrace.events import AlertRaised, AlertResolved, DriftDetected, Evidence, RetrainDecided
from headrace.events.monitoring import AlertKind, Severity
from services.console.domain.facts import Fact

Consequence = Literal["started", "awaiting_data", "suppressed", "undecided", "none"]
Status = Literal["open", "resolved", "repeated"]

_DRIFTS: Final[Mapping[str, AlertKind]] = {
    "data": "data_drift",
    "performance": "performance_drift",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertView:
    """One alert, or a drift alarm that came while the alert of an earlier one stood (`repeated`).

    `consequence` is what the retrain policy made of it; `none`: nobody asked the policy.
    """

    id: str
    kind: AlertKind
    status: Status
    severity: Severity
    title: str
    version: int | None
    detected_at: datetime
    fact: Fact
    resolved: Fact | None
    evidence: Evidence | None
    consequence: Consequence
    reason: str
    turn: str | None

    @property
    def resolution(self) -> str:
        data = self.resolved.data if self.resolved else None
        return data.reason if isinstance(data, AlertResolved) else ""


def alert_views(
    alerts: Iterable[tuple[Fact, Fact | None]],
    decisions: Iterable[Fact],
    drifts: Iterable[Fact],
    *,
    model: str,
) -> tuple[AlertView, ...]:
    """Alerts and repeated alarms of a model, open ones first, then newest first.

    An alert belongs to the drift whose correlation id it carries: the one raised with it.
    """
    decided = {
        fact.correlation_id: fact.data
        for fact in sorted(decisions, key=lambda own: own.rank)
        if isinstance(fact.data, RetrainDecided)
    }
    alarms = {fact.correlation_id: fact for fact in drifts if fact.model == model}
    views = []
    for raised, resolved in alerts:
        drifted = alarms.pop(raised.correlation_id, None) is not None
        views.append(_alert(raised, resolved, decided.get(raised.correlation_id), drifted))
    views += [_repeated(fact, decided.get(fact.correlation_id)) for fact in alarms.values()]
    return tuple(
        sorted(views, key=lambda view: (view.status == "open", *view.fact.rank), reverse=True)
    )


def _alert(
    raised: Fact, resolved: Fact | None, decision: RetrainDecided | None, drifted: bool
) -> AlertView:
    data = raised.data
    if not isinstance(data, AlertRaised):
        raise TypeError(f"{raised.name} is no alert")
    return AlertView(
        id=data.alert_id,
        kind=data.kind,
        status="resolved" if resolved else "open",
        severity=data.severity,
        title=data.title,
        version=data.version,
        detected_at=data.detected_at,
        fact=raised,
        resolved=resolved,
        evidence=data.evidence,
        consequence=_consequence(decision, drifted),
        reason=decision.reason if decision else "",
        turn=_turn(raised, decision),
    )


def _repeated(drift: Fact, decision: RetrainDecided | None) -> AlertView:
    data = drift.data
    if not isinstance(data, DriftDetected):
        raise TypeError(f"{drift.name} is no drift alarm")
    return AlertView(
        id=drift.id,
        kind=_DRIFTS[data.kind],
        status="repeated",
        severity=data.severity,
        title=f"{data.model} version {data.version} still drifts",
        version=data.version,
        detected_at=data.detected_at,
        fact=drift,
        resolved=None,
        evidence=data.evidence,
        consequence=_consequence(decision, True),
        reason=decision.reason if decision else "",
        turn=_turn(drift, decision),
    )


def _consequence(decision: RetrainDecided | None, drifted: bool) -> Consequence:
    if decision is None:
        return "undecided" if drifted else "none"
    return decision.outcome


def _turn(fact: Fact, decision: RetrainDecided | None) -> str | None:
    started = decision is not None and decision.outcome != "suppressed"
    return fact.correlation_id if started else None
