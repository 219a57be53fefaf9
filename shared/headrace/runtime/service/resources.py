"""Opening what a service asked for, in the order in which it is needed."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from headrace.runtime.clock import SystemClock
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.telemetry import Log, Metrics
from headrace.runtime.tracing import open_tracer


async def open_resources(
    service: Service[Any], stack: AsyncExitStack, *, log: Log
) -> Resources[Any]:
    """What the service is given; `stack` closes it in reverse: blobs, pool, then telemetry."""
    tracer = open_tracer(
        service=service.name, instance=service.settings.instance, environment=os.environ
    )
    stack.push_async_callback(tracer.close)
    resources = Resources(
        settings=service.settings,
        clock=SystemClock(),
        log=log,
        metrics=Metrics(),
        tracer=tracer,
    )
    if not (service.database or service.blobs):
        return resources
    return await _with_backends(resources, service, stack)


async def _with_backends(
    resources: Resources[Any], service: Service[Any], stack: AsyncExitStack
) -> Resources[Any]:
    from headrace.runtime.service.backends import open_blobs, open_database  # noqa: PLC0415

    if service.database:
        database = await open_database(
            service, stack, metrics=resources.metrics, tracer=resources.tracer, log=resources.log
        )
        resources = replace(
            resources,
            maybe_pool=database.pool,
            maybe_database=database.watch,
            maybe_bus=database.bus,
        )
    if service.blobs:
        resources = replace(resources, maybe_blobs=await open_blobs(service, stack))
    return resources
