"""REST of monitoring, for the console and for clients that watch a replay: read only."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict

from headrace.errors import InvalidInput, NotFound
from headrace.runtime.service import Resources
from services.monitoring.domain import Kind, decode
from services.monitoring.event_time import date_of, days_since_epoch, moment
from services.monitoring.settings import Settings
from services.monitoring.store import days, models, monitors
from services.monitoring.store.days import ClosedDay
from services.monitoring.store.models import MonitoredModel
from services.monitoring.store.monitors import Alert, StoredMonitor

_ALERTS = 50


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Watermarks(_Answer):
    """How far event time has come; `labelled_through` is covered by segments."""

    predictions_through: datetime | None
    labels_through: datetime | None
    last_closed_day: date | None
    labelled_through: datetime | None


class Counts(_Answer):
    """What came in. `late` missed its day, `repeated` came before, `refused` was too old."""

    predictions: int
    predictions_late: int
    predictions_repeated: int
    predictions_refused: int
    predictions_dropped_by_serving: int
    labels: int
    labels_late: int
    labels_repeated: int
    labels_refused: int
    labels_joined: int
    labels_pending: int
    labels_unmatched: int
    segment_rows: int


class DetectorState(_Answer):
    """A detector's statistic beside its threshold; above it is an alarm."""

    name: str
    kind: str
    value: float
    threshold: float
    baseline_mean: float
    baseline_spread: float
    onset: date | None


class MonitorState(_Answer):
    """A version's monitor. `pressure`: highest statistic by threshold, for each kind."""

    version: int
    active: bool
    fed_through: date | None
    baseline_days: int
    pressure: dict[str, float]
    detectors: list[DetectorState]


class AlertState(_Answer):
    """An alert, open while `resolved_at` is empty."""

    alert_id: str
    version: int | None
    kind: str
    severity: str
    title: str
    detected_at: datetime
    evidence: dict[str, Any] | None
    drift_epoch: str | None
    resolved_at: datetime | None
    reason: str | None


class ModelLine(_Answer):
    """One model in the list."""

    model: str
    version: int | None
    watermarks: Watermarks
    open_alerts: int


class ModelState(_Answer):
    """One model whole."""

    model: str
    version: int | None
    watermarks: Watermarks
    counts: Counts
    monitors: list[MonitorState]
    open_alerts: list[AlertState]
    recent_alerts: list[AlertState]


class Day(_Answer):
    """One closed event-day of one version; `labelled` of `predictions` had a label by then.

    Those logged stand for `predictions_estimated`; rates and means are weighted so too.
    """

    version: int
    day: date
    predictions: int
    predictions_estimated: float
    labelled: int
    auc: float | None
    log_loss: float | None
    positive_rate: float | None
    mean_score: float | None


class Page(_Answer):
    """Closed days in order; pass `next_after` as `after` to read on, until it is empty."""

    days: list[Day]
    next_after: date | None


class SegmentState(_Answer):
    """A written segment."""

    day: date
    uri: str
    digest: str
    size: int
    rows: int


def router(resources: Resources[Settings]) -> APIRouter:
    """Everything under /api/monitoring/v1."""
    routes = APIRouter(prefix="/api/monitoring/v1", tags=["monitoring"])
    pool, project = resources.pool, resources.settings.project

    @routes.get("/models")
    async def list_models() -> list[ModelLine]:
        async with pool.acquire() as connection:
            return [
                ModelLine(
                    model=model.model,
                    version=await monitors.deployed_version(connection, model.model_id),
                    watermarks=_watermarks(model),
                    open_alerts=len(await monitors.open_alerts(connection, model.model_id)),
                )
                for model in await models.every(connection, project=project)
            ]

    @routes.get("/models/{name}")
    async def get_model(name: str) -> ModelState:
        async with pool.acquire() as connection:
            model = _known(await models.find(connection, project=project, model=name), name)
            key = model.model_id
            open_alerts = await monitors.open_alerts(connection, key)
            recent = await monitors.recent_alerts(connection, key, limit=_ALERTS)
            return ModelState(
                model=model.model,
                version=await monitors.deployed_version(connection, key),
                watermarks=_watermarks(model),
                counts=_counts(model),
                monitors=[_monitor(stored) for stored in await monitors.every(connection, key)],
                open_alerts=[_alert(alert) for alert in open_alerts],
                recent_alerts=[_alert(alert) for alert in recent],
            )

    @routes.get("/models/{name}/days")
    async def list_days(name: str, after: date | None = None, limit: int = 2000) -> Page:
        if not 1 <= limit <= 10_000:
            raise InvalidInput(f"limit: expected 1 to 10000, got {limit}", field="limit")
        async with pool.acquire() as connection:
            model = _known(await models.find(connection, project=project, model=name), name)
            begin = None if after is None else days_since_epoch(after)
            found = await days.page(connection, model.model_id, after=begin, limit=limit)
        return Page(
            days=[_day(closed) for closed in found],
            next_after=date_of(found[-1].day) if found and len(found) >= limit else None,
        )

    @routes.get("/models/{name}/segments")
    async def list_segments(name: str) -> list[SegmentState]:
        async with pool.acquire() as connection:
            model = _known(await models.find(connection, project=project, model=name), name)
            return [
                SegmentState(
                    day=date_of(segment.day),
                    uri=segment.uri,
                    digest=segment.digest,
                    size=segment.size,
                    rows=segment.row_count,
                )
                for segment in await days.segments(connection, model.model_id)
            ]

    return routes


def _known(model: MonitoredModel | None, name: str) -> MonitoredModel:
    if model is None:
        raise NotFound(f"model {name!r}: monitoring has never heard of it")
    return model


def _watermarks(model: MonitoredModel) -> Watermarks:
    return Watermarks(
        predictions_through=_moment(model.predictions_through_us),
        labels_through=_moment(model.labels_through_us),
        last_closed_day=_date(model.last_closed_day),
        labelled_through=_moment(model.labelled_through_us),
    )


def _counts(model: MonitoredModel) -> Counts:
    return Counts(
        predictions=model.predictions,
        predictions_late=model.predictions_late,
        predictions_repeated=model.predictions_repeated,
        predictions_refused=model.predictions_refused,
        predictions_dropped_by_serving=model.predictions_dropped,
        labels=model.labels,
        labels_late=model.labels_late,
        labels_repeated=model.labels_repeated,
        labels_refused=model.labels_refused,
        labels_joined=model.labels_joined,
        labels_pending=model.labels_pending,
        labels_unmatched=model.labels_unmatched,
        segment_rows=model.segment_rows,
    )


def _monitor(stored: StoredMonitor) -> MonitorState:
    monitor = decode(stored.state)
    return MonitorState(
        version=stored.version,
        active=stored.active,
        fed_through=_date(stored.fed_through_day),
        baseline_days=monitor.baseline.days,
        pressure={kind.value: monitor.pressure(kind) for kind in Kind},
        detectors=[
            DetectorState(
                name=detector.name,
                kind=detector.signal.kind.value,
                value=run.total,
                threshold=detector.threshold,
                baseline_mean=detector.mean,
                baseline_spread=detector.spread,
                onset=run.onset,
            )
            for detector, run in zip(monitor.baseline.detectors, monitor.runs, strict=True)
        ],
    )


def _alert(alert: Alert) -> AlertState:
    return AlertState(
        alert_id=alert.alert_id,
        version=alert.version,
        kind=alert.kind,
        severity=alert.severity,
        title=alert.title,
        detected_at=moment(alert.detected_at_us),
        evidence=None if alert.evidence is None else dict(alert.evidence),
        drift_epoch=alert.drift_epoch,
        resolved_at=_moment(alert.resolved_at_us),
        reason=alert.reason,
    )


def _day(closed: ClosedDay) -> Day:
    return Day(
        version=closed.version,
        day=date_of(closed.day),
        predictions=closed.predictions,
        predictions_estimated=closed.estimated,
        labelled=closed.labelled,
        auc=closed.auc,
        log_loss=closed.log_loss,
        positive_rate=closed.positive_rate,
        mean_score=closed.mean_score,
    )


def _moment(time_us: int | None) -> datetime | None:
    return None if time_us is None else moment(time_us)


def _date(day: int | None) -> date | None:
    return None if day is None else date_of(day)
