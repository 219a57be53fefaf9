"""Feeding a version's monitor, and saying what it found."""

from __future__ import annotations

from typing import Any, assert_never

from headrace.events import AlertRaised, AlertResolved, DriftDetected, Evidence, FeatureShift
from headrace.events.monitoring import AlertKind, Severity
from headrace.profiles import DayStatistics
from headrace.runtime.bus import Event, Tx
from headrace.runtime.ids import new_id
from services.monitoring.domain import Finding, Kind, Status, decode, encode
from services.monitoring.event_time import date_of, days_since_epoch, microseconds, moment
from services.monitoring.handlers.context import Context
from services.monitoring.store import monitors
from services.monitoring.store.days import ClosedDay
from services.monitoring.store.models import MonitoredModel
from services.monitoring.store.monitors import Alert, StoredMonitor


async def observe(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    closed: ClosedDay,
    statistics: DayStatistics,
    cause: Event[Any],
) -> None:
    """Show a closed day to the version's monitor, if that is active and has not seen it.

    Days on which another version made most of the predictions are passed over: their rows are
    a part of the day that need not look like a whole one.
    """
    stored = await monitors.find(tx.connection, model.model_id, closed.version)
    if stored is None or not stored.active:
        return
    if stored.fed_through_day is not None and closed.day <= stored.fed_through_day:
        return
    monitor = decode(stored.state)
    findings: list[Finding] = []
    if closed.leads:
        date = date_of(closed.day)
        monitor, found = monitor.observe_inputs(date, statistics.inputs)
        findings += found
        monitor, found = monitor.observe_performance(date, statistics.performance)
        findings += found
    fed = StoredMonitor(
        version=stored.version,
        active=True,
        schema=stored.schema,
        state=encode(monitor),
        fed_through_day=closed.day,
    )
    await monitors.save(tx.connection, model.model_id, fed)
    for finding in findings:
        await _tell(context, tx, model, closed, finding, cause)


async def raise_quality_alert(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    *,
    version: int,
    title: str,
    at_us: int,
    cause: Event[Any],
) -> None:
    """Say that a version cannot be watched as it should; once while the alert is open."""
    for alert in await monitors.open_alerts(tx.connection, model.model_id):
        if (alert.version, alert.kind, alert.title) == (version, "quality", title):
            return
    alert = Alert(
        alert_id=new_id(),
        version=version,
        kind="quality",
        severity="warning",
        title=title,
        detected_at_us=at_us,
        evidence=None,
        drift_epoch=None,
        correlation_id=None,
    )
    await monitors.raise_alert(tx.connection, model.model_id, alert)
    tx.emit(
        AlertRaised(
            project=context.project,
            alert_id=alert.alert_id,
            model=model.model,
            version=version,
            kind="quality",
            severity="warning",
            title=title,
            detected_at=moment(at_us),
        ),
        cause=cause,
    )


async def note_mismatch(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    closed: ClosedDay,
    reason: str,
    cause: Event[Any],
) -> None:
    """Some of the day's inputs do not fit the version's training profile."""
    await raise_quality_alert(
        context,
        tx,
        model,
        version=closed.version,
        title=f"inputs do not fit the training profile: {reason}",
        at_us=closed.closed_at_us,
        cause=cause,
    )


async def resolve(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    alert: Alert,
    *,
    at_us: int,
    reason: str,
    cause: Event[Any],
) -> None:
    """End an alert."""
    await monitors.resolve_alert(tx.connection, alert.alert_id, at_us=at_us, reason=reason)
    tx.emit(
        AlertResolved(
            project=context.project,
            alert_id=alert.alert_id,
            model=model.model,
            reason=reason,
            resolved_at=moment(at_us),
        ),
        cause=cause,
        correlation_id=alert.correlation_id,
    )


async def _tell(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    closed: ClosedDay,
    finding: Finding,
    cause: Event[Any],
) -> None:
    alerts = await monitors.open_alerts(tx.connection, model.model_id)
    kind = _alert_kind(finding.kind)
    same = next((a for a in alerts if (a.version, a.kind) == (closed.version, kind)), None)
    match finding.status:
        case Status.RAISED:
            epoch = next((a.drift_epoch for a in alerts if a.drift_epoch), None) or new_id()
            drift = _emit_drift(context, tx, model, closed, finding, epoch, cause)
            await _raise_drift_alert(tx, model, drift, kind, epoch, cause)
        case Status.REPEATED:
            epoch = (same.drift_epoch if same else None) or new_id()
            _emit_drift(context, tx, model, closed, finding, epoch, cause)
        case Status.RESOLVED:
            if same is not None:
                reason = f"{finding.statistic} is back near its baseline"
                await resolve(
                    context, tx, model, same, at_us=closed.closed_at_us, reason=reason, cause=cause
                )
        case _:
            assert_never(finding.status)


def _emit_drift(
    context: Context,
    tx: Tx,
    model: MonitoredModel,
    closed: ClosedDay,
    finding: Finding,
    epoch: str,
    cause: Event[Any],
) -> tuple[str, DriftDetected]:
    """A drift event begins a turn of the loop: its id is the turn's correlation id."""
    through = model.labelled_through_us
    drift = DriftDetected(
        project=context.project,
        model=model.model,
        version=closed.version,
        monitor=finding.detector,
        drift_epoch=epoch,
        kind=finding.kind.value,
        severity=_severity(finding.kind),
        detected_at=moment(closed.closed_at_us),
        evidence=_evidence(context, finding),
        dataset=model.dataset,
        labelled_through=moment(context.calendar.ends(closed.day) if through is None else through),
    )
    identity = new_id()
    tx.emit(drift, cause=cause, event_id=identity, correlation_id=identity)
    return identity, drift


async def _raise_drift_alert(
    tx: Tx,
    model: MonitoredModel,
    told: tuple[str, DriftDetected],
    kind: AlertKind,
    epoch: str,
    cause: Event[Any],
) -> None:
    identity, drift = told
    subject = "inputs" if drift.kind == "data" else "performance"
    alert = AlertRaised(
        project=drift.project,
        alert_id=new_id(),
        model=drift.model,
        version=drift.version,
        kind=kind,
        severity=drift.severity,
        title=f"{drift.model} version {drift.version}: {subject} drifted,"
        f" {drift.evidence.statistic} first",
        detected_at=drift.detected_at,
        evidence=drift.evidence,
    )
    await monitors.raise_alert(
        tx.connection,
        model.model_id,
        Alert(
            alert_id=alert.alert_id,
            version=alert.version,
            kind=kind,
            severity=alert.severity,
            title=alert.title,
            detected_at_us=microseconds(alert.detected_at),
            evidence=drift.evidence.model_dump(mode="json"),
            drift_epoch=epoch,
            correlation_id=identity,
        ),
    )
    tx.emit(alert, cause=cause, correlation_id=identity, causation_id=identity)


def _evidence(context: Context, finding: Finding) -> Evidence:
    calendar = context.calendar
    return Evidence(
        detector=finding.detector,
        statistic=finding.statistic,
        value=finding.value,
        threshold=finding.threshold,
        expected_days_between_false_alarms=finding.expected_days_between_false_alarms,
        baseline_days=finding.baseline_days,
        window_start=moment(calendar.begins(days_since_epoch(finding.onset))),
        window_end=moment(calendar.ends(days_since_epoch(finding.day))),
        window_rows=finding.window_rows,
        onset=moment(calendar.begins(days_since_epoch(finding.onset))),
        features=[
            FeatureShift(
                feature=shift.feature,
                statistic=shift.statistic,
                baseline=shift.baseline,
                current=shift.current,
                deviation=shift.deviation,
            )
            for shift in finding.shifts
        ],
    )


def _alert_kind(kind: Kind) -> AlertKind:
    match kind:
        case Kind.DATA:
            return "data_drift"
        case Kind.PERFORMANCE:
            return "performance_drift"
        case _:
            assert_never(kind)


def _severity(kind: Kind) -> Severity:
    return "warning" if kind is Kind.DATA else "critical"
