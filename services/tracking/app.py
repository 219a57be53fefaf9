"""The composition root of the tracking service."""

from __future__ import annotations

from headrace.events import RunReported
from headrace.runtime.bus import Subscription
from headrace.runtime.service import Resources, Service
from services.tracking import api, handlers
from services.tracking.settings import Settings


def build(settings: Settings) -> Service[Settings]:
    """Tracking: MLflow's REST API in front of PostgreSQL and S3, and intake from Kafka."""
    return Service(
        name="tracking",
        settings=settings,
        # `/version` is MLflow's own: clients read the version of its API there.
        version_path="/api/tracking/v1/version",
        migrations="services.tracking.migrations",
        routes=lambda resources: [api.router(resources)],
        subscriptions=_subscriptions,
    )


def _subscriptions(resources: Resources[Settings]) -> list[Subscription]:
    intake = handlers.on_run_reported(project=resources.settings.project, clock=resources.clock)
    return [Subscription(group="tracking.intake", handlers={RunReported: intake})]
