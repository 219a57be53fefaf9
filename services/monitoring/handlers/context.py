"""What the handlers of monitoring are given."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from headrace.runtime.blobs import Blobs
from headrace.runtime.clock import Clock
from headrace.runtime.telemetry import Log
from services.monitoring.domain.config import MonitorConfig
from services.monitoring.event_time import Calendar
from services.monitoring.store.models import MonitoredModel


@dataclass(frozen=True, kw_only=True, slots=True)
class Context:
    """Settings and back-ends; `started_at` is when this process began to listen."""

    project: str
    calendar: Calendar
    idle_after: timedelta
    max_unseen_models: int
    config: MonitorConfig
    blobs: Blobs
    clock: Clock
    started_at: datetime
    log: Log

    def closed_before(self, model: MonitoredModel) -> int | None:
        """The first day that stays open; None while nothing can close.

        A day closes when both streams have passed its end, lateness included. A stream that
        was silent for long by the wall clock does not count, so that a model without labels is
        watched too; after a start every stream gets that time again.
        """
        streams = (
            (model.predictions_through_us, model.predictions_arrived_at),
            (model.labels_through_us, model.labels_arrived_at),
        )
        moving = [through for through, arrived in streams if not self._idle(arrived)]
        known = [through for through in moving if through is not None]
        if not known or len(known) < len(moving):
            return None
        return self.calendar.first_open_day(min(known))

    def _idle(self, arrived_at: datetime | None) -> bool:
        since = self.started_at if arrived_at is None else max(arrived_at, self.started_at)
        return self.clock.now() - since > self.idle_after
