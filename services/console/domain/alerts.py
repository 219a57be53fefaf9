"""Alerts: why they were raised, and what they started or why they started nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from headrace.events import AlertRaised, AlertResolved, Evidence, RetrainDecided
from headrace.events.monitoring import AlertKind, Severity
from services.console.domain.facts import Fact

Consequence = Literal["started", "awaiting_data", "suppressed", "undecided", "none"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AlertView:
    """One alert. `consequence` is what the retrain policy made of it; `none`: nobody asked it."""

    id: str
    kind: AlertKind
    severity: Severity
    title: str
    version: int | None
    detected_at: datetime
    raised: Fact
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
    alerts: Iterable[tuple[Fact, Fact | None]], decisions: Iterable[Fact], drifts: Iterable[Fact]
) -> tuple[AlertView, ...]:
    """Alerts, open ones first, then newest first.

    An alert belongs to the drift whose correlation id it carries: the one raised with it.
    """
    decided: defaultdict[str, list[Fact]] = defaultdict(list)
    for fact in decisions:
        if fact.correlation_id:
            decided[fact.correlation_id].append(fact)
    drifting = {fact.correlation_id for fact in drifts}
    views = [
        _alert(raised, resolved, decided[raised.correlation_id or ""], drifting)
        for raised, resolved in alerts
    ]
    return tuple(
        sorted(views, key=lambda view: (view.resolved is None, *view.raised.rank), reverse=True)
    )


def _alert(
    raised: Fact, resolved: Fact | None, decisions: list[Fact], drifting: set[str | None]
) -> AlertView:
    data = raised.data
    if not isinstance(data, AlertRaised):
        raise TypeError(f"{raised.name} is no alert")
    latest = max(decisions, key=lambda fact: fact.rank).data if decisions else None
    decision = latest if isinstance(latest, RetrainDecided) else None
    drifted = raised.correlation_id is not None and raised.correlation_id in drifting
    consequence: Consequence = "undecided" if drifted else "none"
    return AlertView(
        id=data.alert_id,
        kind=data.kind,
        severity=data.severity,
        title=data.title,
        version=data.version,
        detected_at=data.detected_at,
        raised=raised,
        resolved=resolved,
        evidence=data.evidence,
        consequence=decision.outcome if decision else consequence,
        reason=decision.reason if decision else "",
        turn=raised.correlation_id if decision and decision.outcome != "suppressed" else None,
    )
