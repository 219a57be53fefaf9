"""Monitoring's own metrics: read from the store, so that they are exact and survive restarts."""

from __future__ import annotations

import asyncio
from typing import Final

import asyncpg

from headrace.runtime.telemetry import Log, Metrics
from services.monitoring.domain import Kind, decode
from services.monitoring.store import models, monitors
from services.monitoring.store.models import MonitoredModel

_PERIOD_SECONDS: Final = 5.0


class Gauges:
    """Refreshes the gauges of every model now and then."""

    def __init__(self, *, metrics: Metrics, pool: asyncpg.Pool, project: str, log: Log) -> None:
        self._pool = pool
        self._project = project
        self._log = log
        self._rows = metrics.gauge(
            "monitoring_rows",
            "Predictions and labels by what became of them",
            "model",
            "state",
        )
        self._coverage = metrics.gauge(
            "monitoring_label_coverage", "Share of predictions with a label", "model"
        )
        self._through = metrics.gauge(
            "monitoring_event_time_seconds", "Watermarks, event time since 1970", "model", "stream"
        )
        self._alerts = metrics.gauge("monitoring_open_alerts", "Alerts that are not over", "model")
        self._pressure = metrics.gauge(
            "monitoring_drift_pressure",
            "Highest detector statistic by its threshold; above 1 is an alarm",
            "model",
            "version",
            "kind",
        )

    async def run(self) -> None:
        """Until cancelled; a database that is away is waited out."""
        while True:
            try:
                await self.refresh()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as why:
                self._log.warning("gauges_not_refreshed", reason=repr(why))
            await asyncio.sleep(_PERIOD_SECONDS)

    async def refresh(self) -> None:
        """Read all models once; retired versions disappear."""
        self._pressure.clear()
        async with self._pool.acquire() as connection:
            for model in await models.every(connection, project=self._project):
                self._count(model)
                alerts = await monitors.open_alerts(connection, model.model_id)
                self._alerts.labels(model.model).set(len(alerts))
                for stored in await monitors.every(connection, model.model_id):
                    if stored.active:
                        self._press(model.model, stored.version, stored.state)

    def _count(self, model: MonitoredModel) -> None:
        for state, count in model.states().items():
            self._rows.labels(model.model, state).set(count)
        if model.predictions:
            self._coverage.labels(model.model).set(model.labels_joined / model.predictions)
        streams = {
            "predictions": model.predictions_through_us,
            "labels": model.labels_through_us,
            "segments": model.labelled_through_us,
        }
        for stream, through in streams.items():
            if through is not None:
                self._through.labels(model.model, stream).set(through / 1_000_000)

    def _press(self, model: str, version: int, state: bytes) -> None:
        monitor = decode(state)
        for kind in Kind:
            gauge = self._pressure.labels(model, str(version), kind.value)
            gauge.set(monitor.pressure(kind))
