"""The knobs of monitoring."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from headrace.runtime.settings import ServiceSettings
from services.monitoring.event_time import Calendar


class Settings(ServiceSettings, env_prefix="HEADRACE_MONITORING_"):
    """Environment variables with the prefix HEADRACE_MONITORING_."""

    day_starts_at_hour: int = Field(
        default=0, ge=0, le=23, description="UTC hour at which an event-day begins"
    )
    allowed_lateness_hours: float = Field(
        default=6.0,
        ge=0,
        le=24 * 31,
        description="Event time that a stream goes past the end of a day before the day closes",
    )
    horizon_days: int = Field(
        default=14,
        ge=1,
        le=3650,
        description="Event-days that a prediction waits for its label, a label for its "
        "prediction, and that anything sent again is recognised",
    )
    idle_after_seconds: float = Field(
        default=900.0,
        gt=0,
        description="A model's stream that was silent for so long (wall clock) no longer holds "
        "back its days",
    )
    max_unseen_models: int = Field(
        default=1000,
        ge=1,
        description="Models known from labels alone; labels of further ones are dead-lettered",
    )

    @property
    def calendar(self) -> Calendar:
        """Event-days as these settings cut them."""
        return Calendar(
            starts_at_hour=self.day_starts_at_hour,
            lateness=timedelta(hours=self.allowed_lateness_hours),
            horizon_days=self.horizon_days,
        )
