"""From settings to a running process and back, in the order that loses nothing.

Start: logs, database and migrations, blobs, bus, then HTTP. Stop on SIGTERM: HTTP refuses new
requests and finishes those in hand, consumers finish or roll back, the relay empties the outbox,
pools close.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, Final, cast

import uvicorn
import uvloop

from headrace.runtime import db
from headrace.runtime.blobs import Blobs
from headrace.runtime.bus import Tail, open_bus
from headrace.runtime.clock import SystemClock
from headrace.runtime.service.http import application
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.settings import PlainSettings, ServiceSettings, redacted
from headrace.runtime.telemetry import Log, Metrics, configure_logs

_STOP_SECONDS: Final = 10


def run(service: Service[Any]) -> None:
    """Run a service until SIGTERM or SIGINT; exits with an error if a part of it dies."""
    log = configure_logs(service=service.name, level=service.settings.log_level)
    uvloop.run(serve(service, log=log))


async def serve(service: Service[Any], *, log: Log, stop: asyncio.Event | None = None) -> None:
    """The whole life of a service inside a running loop; `stop` ends it as SIGTERM does."""
    stop = stop or asyncio.Event()
    _stop_on_signals(stop)
    log.info("starting", settings=redacted(service.settings))
    async with AsyncExitStack() as stack:
        resources = await _open(service, stack, log)
        if resources.maybe_bus is not None and service.subscriptions:
            resources.maybe_bus.subscribe(service.subscriptions(resources))
        tails = list(service.tails(resources)) if service.tails else []
        if service.prepare is not None:
            await service.prepare(resources)
        _spare_the_collector()
        await _run_parts(service, resources, tails, stop)
    log.info("stopped")


def _spare_the_collector() -> None:
    """Keep the cyclic collector from walking what lives as long as the process.

    A batch of events makes thousands of objects and no cycles: with the default thresholds the
    collector took 40 % of monitoring's CPU (56 us a prediction and label, 35 us without).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


async def _open(service: Service[Any], stack: AsyncExitStack, log: Log) -> Resources[Any]:
    settings: PlainSettings = service.settings
    metrics = Metrics()
    pool = bus = blobs = None
    if service.database:
        backed = cast("ServiceSettings", settings)
        url = backed.database_url.get_secret_value()
        await db.wait_until_up(url)
        pool = await db.open_pool(url, schema=service.name)
        stack.push_async_callback(_close_pool, pool)
        packages = (db.BUS_MIGRATIONS, *([service.migrations] if service.migrations else []))
        await db.migrate(pool, schema=service.name, packages=packages)
        bus = open_bus(
            service=service.name,
            instance=settings.instance,
            kafka=backed.kafka,
            database_url=url,
            pool=pool,
            metrics=metrics,
            log=log,
        )
    if service.blobs:
        backed = cast("ServiceSettings", settings)
        blobs = await stack.enter_async_context(
            Blobs.open(
                endpoint=backed.s3_endpoint,
                bucket=backed.s3_bucket,
                access_key=backed.s3_access_key,
                secret_key=backed.s3_secret_key.get_secret_value(),
            )
        )
    return Resources(
        settings=settings,
        clock=SystemClock(),
        log=log,
        metrics=metrics,
        maybe_pool=pool,
        maybe_bus=bus,
        maybe_blobs=blobs,
    )


async def _run_parts(
    service: Service[Any], resources: Resources[Any], tails: Sequence[Tail], stop: asyncio.Event
) -> None:
    server = _http_server(service, resources, tails)
    http = asyncio.create_task(server.serve(), name="http")
    working = [asyncio.create_task(tail.run(), name="tail") for tail in tails]
    if resources.maybe_bus is not None:
        working.append(asyncio.create_task(resources.maybe_bus.run(), name="bus"))
    backgrounds = service.background(resources) if service.background else ()
    working.extend(asyncio.ensure_future(background()) for background in backgrounds)
    stopping = asyncio.create_task(stop.wait(), name="stop")
    done, _ = await asyncio.wait({http, stopping, *working}, return_when=asyncio.FIRST_COMPLETED)
    resources.log.info("stopping", because=[_name(task) for task in done])
    server.should_exit = True
    if service.on_stop is not None:
        await service.on_stop(resources)
    await asyncio.wait({http}, timeout=_STOP_SECONDS)
    for task in (*working, stopping):
        task.cancel()
    await asyncio.wait({*working, stopping}, timeout=_STOP_SECONDS)
    for task in done - {stopping, http}:
        task.result()
    if http in done and not stop.is_set():
        raise RuntimeError("the HTTP server stopped by itself: is the port taken?")


def _http_server(
    service: Service[Any], resources: Resources[Any], tails: Sequence[Tail]
) -> uvicorn.Server:
    config = uvicorn.Config(
        application(service, resources, tails=tails),
        host=resources.settings.http_host,
        port=resources.settings.http_port,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=5,
        timeout_keep_alive=75,
    )
    return _Server(config)


class _Server(uvicorn.Server):
    """Uvicorn without its signal handlers: the lifecycle has them."""

    def capture_signals(self) -> Any:
        return _Nothing()


class _Nothing:
    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        return None


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


async def _close_pool(pool: Any) -> None:
    try:
        await asyncio.wait_for(pool.close(), 5)
    except TimeoutError:
        pool.terminate()


def _name(task: asyncio.Future[Any]) -> str:
    return task.get_name() if isinstance(task, asyncio.Task) else "background"
