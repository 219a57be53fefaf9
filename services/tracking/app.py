"""The composition root of the tracking service."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter
from starlette.exceptions import HTTPException

from headrace.events import ModelVersionCreated, RunReported
from headrace.runtime.bus import Subscription
from headrace.runtime.service import FastRoutes, Resources, Service
from services.tracking import api, handlers
from services.tracking.api import fast, server
from services.tracking.api.call import Gate
from services.tracking.api.traces.otlp import PATH, SpanExports
from services.tracking.settings import Settings
from services.tracking.store.acknowledged import MOST
from services.tracking.store.compactor import Compactor
from services.tracking.store.folder import Folder
from services.tracking.store.log import latest_writes
from services.tracking.store.sweeper import Sweeper
from services.tracking.store.traces.intake import TraceIntake
from services.tracking.store.writer import Writer


def build(settings: Settings) -> Service[Settings]:
    """Tracking: MLflow's REST API in front of PostgreSQL and S3, and intake from Kafka."""
    tracking = Tracking()
    return Service(
        name="tracking",
        settings=settings,
        # `/version` is MLflow's own: clients read the version of its API there.
        version_path="/api/tracking/v1/version",
        migrations="services.tracking.migrations",
        routes=lambda resources: [_router(resources, tracking.parts(resources))],
        fast_routes=lambda resources: _fast_routes(resources, tracking.parts(resources)),
        subscriptions=_subscriptions,
        prepare=lambda resources: _remember(resources, tracking.parts(resources)),
        errors={HTTPException: server.unrouted},
        background=lambda resources: [
            tracking.parts(resources).folder.run,
            tracking.parts(resources).compactor.run,
            tracking.parts(resources).sweeper.run,
        ],
    )


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the process is made of."""

    gate: Gate
    writer: Writer
    intake: TraceIntake
    exports: SpanExports
    folder: Folder
    compactor: Compactor
    sweeper: Sweeper


class Tracking:
    """Makes the parts once, when the resources are there."""

    def __init__(self) -> None:
        self._parts: Parts | None = None

    def parts(self, resources: Resources[Settings]) -> Parts:
        """The parts of this process."""
        if self._parts is None:
            self._parts = _wire(resources)
        return self._parts


def _wire(resources: Resources[Settings]) -> Parts:
    settings = resources.settings
    writer = Writer(pool=resources.pool, project=settings.project)
    folder = Folder(
        bus=resources.bus,
        project=settings.project,
        writer=writer,
        log=resources.log,
    )
    gate = Gate(settings.max_in_flight, most_bytes=settings.max_bytes_in_flight)
    intake = TraceIntake(resources.pool, project=settings.project)
    exports = SpanExports(resources, gate=gate, intake=intake)
    compactor = Compactor(pool=resources.pool, folded=folder.folded, log=resources.log)
    sweeper = Sweeper(
        pool=resources.pool,
        blobs=resources.blobs,
        project=settings.project,
        purge_days=settings.purge_deleted_days,
        clock=resources.clock,
        purged=writer.acknowledged.forget,
        log=resources.log,
    )
    return Parts(
        gate=gate,
        writer=writer,
        intake=intake,
        exports=exports,
        folder=folder,
        compactor=compactor,
        sweeper=sweeper,
    )


def _router(resources: Resources[Settings], parts: Parts) -> APIRouter:
    return api.router(
        resources,
        gate=parts.gate,
        writer=parts.writer,
        folder=parts.folder,
        intake=parts.intake,
        exports=parts.exports,
    )


def _fast_routes(resources: Resources[Settings], parts: Parts) -> FastRoutes:
    calls = fast.routes(gate=parts.gate, writer=parts.writer, log=resources.log)
    return {**calls, PATH: parts.exports.serve_fast}


async def _remember(resources: Resources[Settings], parts: Parts) -> None:
    """What was acknowledged before the start may be sent again after it."""
    async with resources.pool.acquire() as connection:
        for name, run_id in await latest_writes(connection, limit=MOST):
            parts.writer.acknowledged.add(name, run_id)


def _subscriptions(resources: Resources[Settings]) -> list[Subscription]:
    project = resources.settings.project
    reported = handlers.on_runs_reported(project=project, clock=resources.clock)
    registered = handlers.on_version_created(project=project)
    return [
        Subscription(group="tracking.intake", batches={RunReported: reported}),
        Subscription(group="tracking.events", handlers={ModelVersionCreated: registered}),
    ]
