"""PostgreSQL, the bus and S3 of a service that declares them; nobody else loads their libraries."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final, cast

from headrace.runtime import db
from headrace.runtime.blobs import Blobs
from headrace.runtime.bus import Bus, open_bus
from headrace.runtime.database_watch import DatabaseWatch
from headrace.runtime.service.model import Service
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.telemetry import Log, Metrics
from headrace.runtime.tracing import Tracer

_CLOSE_SECONDS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Database:
    """What a service with a schema of its own has."""

    pool: db.BoundedPool
    watch: DatabaseWatch
    bus: Bus


async def open_database(
    service: Service[Any], stack: AsyncExitStack, *, metrics: Metrics, tracer: Tracer, log: Log
) -> Database:
    """Wait for the server, migrate the schema, then the bus over it; `stack` closes the pool."""
    settings = cast("ServiceSettings", service.settings)
    url = settings.database_url.get_secret_value()
    packages = (db.BUS_MIGRATIONS, *([service.migrations] if service.migrations else []))
    await db.wait_until_up(url)
    pool = await db.open_pool(url, schema=service.name)
    stack.push_async_callback(_close, pool)
    await db.migrate(pool, schema=service.name, packages=packages)
    return Database(
        pool=pool,
        watch=DatabaseWatch(url=url, schema=service.name, packages=packages, pool=pool, log=log),
        bus=open_bus(
            service=service.name,
            instance=settings.instance,
            kafka=settings.kafka,
            database_url=url,
            pool=pool,
            metrics=metrics,
            tracer=tracer,
            log=log,
        ),
    )


async def open_blobs(service: Service[Any], stack: AsyncExitStack) -> Blobs:
    """The blob store by the service's settings."""
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
