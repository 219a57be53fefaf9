"""Composition root of monitoring: the only file that wires everything."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import partial

from headrace.events import LabelObserved, ModelDeployed, PredictionLogged
from headrace.runtime.bus import Subscription
from headrace.runtime.service import Resources, Service
from headrace.runtime.service.model import Background
from services.monitoring import api, handlers
from services.monitoring.domain import MonitorConfig
from services.monitoring.gauges import Gauges
from services.monitoring.handlers import Context
from services.monitoring.settings import Settings


def build(settings: Settings) -> Service[Settings]:
    """The service as it is run."""
    return Service(
        name="monitoring",
        settings=settings,
        migrations="services.monitoring.migrations",
        routes=lambda resources: [api.router(resources)],
        subscriptions=_subscriptions,
        background=_background,
    )


def _subscriptions(resources: Resources[Settings]) -> list[Subscription]:
    context = _context(resources)
    return [
        Subscription(
            group="monitoring.telemetry",
            # A prediction is known by its id; a label that is not later changes nothing (ADR 9).
            twins_harmless=True,
            batches={
                PredictionLogged: partial(handlers.on_predictions_logged, context),
                LabelObserved: partial(handlers.on_labels_observed, context),
            },
        ),
        Subscription(
            group="monitoring.events",
            handlers={ModelDeployed: partial(handlers.on_model_deployed, context)},
        ),
    ]


def _background(resources: Resources[Settings]) -> Sequence[Background]:
    gauges = Gauges(
        metrics=resources.metrics,
        pool=resources.pool,
        project=resources.settings.project,
        log=resources.log,
    )
    return [gauges.run]


def _context(resources: Resources[Settings]) -> Context:
    settings = resources.settings
    return Context(
        project=settings.project,
        calendar=settings.calendar,
        idle_after=timedelta(seconds=settings.idle_after_seconds),
        max_unseen_models=settings.max_unseen_models,
        config=MonitorConfig(),
        blobs=resources.blobs,
        clock=resources.clock,
        started_at=resources.clock.now(),
        log=resources.log,
    )
