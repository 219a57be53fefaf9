"""Composition of the registry: the only file that wires everything."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import httpx
from fastapi import APIRouter

from headrace.events import ConversionFinished, ExperimentChanged, RolloutChanged
from headrace.runtime.bus import Subscription
from headrace.runtime.service import Resources, Service
from headrace.runtime.service.model import Background
from services.registry import handlers
from services.registry.api import routers
from services.registry.api.alias_states import tell_untold
from services.registry.api.context import Context
from services.registry.api.conversions import on_conversion_finished
from services.registry.api.live_traffic import on_experiment_changed, on_rollout_changed
from services.registry.api.sources import Sources
from services.registry.settings import Settings
from services.registry.webhooks.deliverer import Deliverer
from services.registry.webhooks.sender import Sender

_CONNECT_RETRIES: Final = 5


def build(settings: Settings) -> Service[Settings]:
    """The registry with its routes and consumers."""
    # Refused connections are tried again for some seconds: tracking may be restarting.
    tracking = httpx.AsyncClient(
        base_url=settings.tracking_url,
        timeout=10,
        transport=httpx.AsyncHTTPTransport(retries=_CONNECT_RETRIES),
    )

    sender = Sender(allowed=settings.webhook_networks, seconds=settings.webhook_seconds)
    committed = asyncio.Event()

    def routes(resources: Resources[Settings]) -> Sequence[APIRouter]:
        sources = Sources(
            blobs=resources.blobs,
            tracking=tracking,
            pool=resources.pool,
            project=settings.project,
        )
        return routers(
            Context(resources=resources, sources=sources, sender=sender, committed=committed.set)
        )

    def background(resources: Resources[Settings]) -> Sequence[Background]:
        deliverer = Deliverer(
            project=settings.project,
            pool=resources.pool,
            sender=sender,
            wake=committed,
            keep=timedelta(days=settings.webhook_keep_days),
            clock=resources.clock,
            metrics=resources.metrics,
            log=resources.log,
        )

        async def close_clients_at_the_end() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await tracking.aclose()
                await sender.close()

        return [deliverer.run, close_clients_at_the_end]

    async def prepare(resources: Resources[Settings]) -> None:
        resources.bus.on_commit(committed.set)
        told = await tell_untold(resources.bus, project=settings.project)
        if told:
            resources.log.info("alias_states_told", aliases=told)

    return Service(
        name="registry",
        settings=settings,
        migrations="services.registry.migrations",
        routes=routes,
        subscriptions=lambda _: [
            Subscription(
                group="registry.events",
                handlers={
                    **handlers.HANDLERS,
                    ConversionFinished: on_conversion_finished,
                    RolloutChanged: on_rollout_changed,
                    ExperimentChanged: on_experiment_changed,
                },
            )
        ],
        background=background,
        prepare=prepare,
    )
