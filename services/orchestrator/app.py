"""The orchestrator, wired."""

from __future__ import annotations

from headrace.runtime.service import Resources, Service
from services.orchestrator import api
from services.orchestrator.handlers import SUBSCRIPTION
from services.orchestrator.settings import Settings
from services.orchestrator.work import Work


def build(settings: Settings) -> Service[Settings]:
    """The service for these settings."""
    made: list[Work] = []

    def work(resources: Resources[Settings]) -> Work:
        if not made:
            made.append(
                Work(
                    bus=resources.bus,
                    project=settings.project,
                    lease_seconds=settings.lease_seconds,
                    sweep_seconds=settings.sweep_seconds,
                    log=resources.log,
                )
            )
        return made[0]

    return Service(
        name="orchestrator",
        settings=settings,
        migrations="services.orchestrator.migrations",
        routes=lambda resources: [api.router(resources, work(resources))],
        subscriptions=lambda _: [SUBSCRIPTION],
        background=lambda resources: [work(resources).sweep],
        blobs=False,
    )
