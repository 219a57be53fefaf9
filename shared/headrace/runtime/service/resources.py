"""Opening what a service asked for, in the order in which it is needed."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Any, Final, cast

from headrace.runtime import db
from headrace.runtime.blobs import Blobs
from headrace.runtime.bus import open_bus
from headrace.runtime.clock import SystemClock
from headrace.runtime.database_watch import DatabaseWatch
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.telemetry import Log, Metrics
from headrace.runtime.tracing import open_tracer

_CLOSE_SECONDS: Final = 5


async def open_resources(
    service: Service[Any], stack: AsyncExitStack, *, log: Log
) -> Resources[Any]:
    """What the service is given; `stack` closes it in reverse: blobs, pool, then telemetry."""
    metrics = Metrics()
    tracer = open_tracer(
        service=service.name, instance=service.settings.instance, environment=os.environ
    )
    stack.push_async_callback(tracer.close)
    pool = watch = bus = None
    if service.database:
        settings = cast("ServiceSettings", service.settings)
        url = settings.database_url.get_secret_value()
        packages = (db.BUS_MIGRATIONS, *([service.migrations] if service.migrations else []))
        pool = await _open_database(service, stack, url=url, packages=packages)
        watch = DatabaseWatch(url=url, schema=service.name, packages=packages, pool=pool, log=log)
        bus = open_bus(
            service=service.name,
            instance=settings.instance,
            kafka=settings.kafka,
            database_url=url,
            pool=pool,
            metrics=metrics,
            tracer=tracer,
            log=log,
        )
    return Resources(
        settings=service.settings,
        clock=SystemClock(),
        log=log,
        metrics=metrics,
        tracer=tracer,
        maybe_pool=pool,
        maybe_database=watch,
        maybe_bus=bus,
        maybe_blobs=await _open_blobs(service, stack) if service.blobs else None,
    )


async def _open_database(
    service: Service[Any], stack: AsyncExitStack, *, url: str, packages: tuple[str, ...]
) -> db.BoundedPool:
    await db.wait_until_up(url)
    pool = await db.open_pool(url, schema=service.name)
    stack.push_async_callback(_close, pool)
    await db.migrate(pool, schema=service.name, packages=packages)
    return pool


async def _open_blobs(service: Service[Any], stack: AsyncExitStack) -> Blobs:
    settings = cast("ServiceSettings", service.settings)
    return await stack.enter_async_context(
        Blobs.open(
            endpoint=settings.s3_endpoint,
            bucket=settings.s3_bucket,
            access_key=settings.s3_access_key,
            secret_key=settings.s3_secret_key.get_secret_value(),
        )
    )


async def _close(pool: db.BoundedPool) -> None:
    try:
        await asyncio.wait_for(pool.close(), _CLOSE_SECONDS)
    except TimeoutError:
        pool.terminate()
