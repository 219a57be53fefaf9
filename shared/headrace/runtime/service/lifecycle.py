"""From settings to a running process and back, in the order that loses nothing.

Start: logs, database and migrations, blobs, bus, then HTTP.

Stop, on SIGTERM or when a part dies:
1. readiness says so (and gRPC health, by `on_stop`), and every answer closes its connection;
2. the bus stops fetching, finishes its transactions, commits its offsets and empties the outbox,
   while HTTP goes on answering for `drain_seconds`, so that the front door sends nothing more;
3. the HTTP port is closed and requests in hand are answered;
4. background work is cancelled; 5. blobs, pool and telemetry are closed.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeVar

import uvloop
from starlette.types import ASGIApp

from headrace.runtime.service.fast import FastPath
from headrace.runtime.service.http import application
from headrace.runtime.service.middleware import Surroundings
from headrace.runtime.service.model import Resources, Service
from headrace.runtime.service.protocols import ByProtocol
from headrace.runtime.service.resources import open_resources
from headrace.runtime.service.server import HttpServer
from headrace.runtime.settings import redacted
from headrace.runtime.telemetry import Log, configure_logs

if TYPE_CHECKING:
    from headrace.runtime.bus import Bus, Tail

_BUS_SECONDS: Final = 20
_HTTP_SECONDS: Final = 10
_CANCEL_SECONDS: Final = 10

ResultT = TypeVar("ResultT")


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
        process = await _unless(stop, _prepared(service, stack, log=log))
        if process is not None:
            await process.live(stop)
    log.info("stopped")


class Process:
    """A service that is ready to run."""

    def __init__(self, service: Service[Any], resources: Resources[Any]) -> None:
        self._service = service
        self._resources = resources
        self._tails: Sequence[Tail] = list(service.tails(resources)) if service.tails else []
        settings = resources.settings
        self._server = HttpServer(
            _http(service, resources, self._tails),
            host=settings.http_host,
            port=settings.http_port,
        )

    async def live(self, stop: asyncio.Event) -> None:
        """Run all parts until `stop`, or until one of them dies; raises what it died of."""
        http: asyncio.Future[Any] = asyncio.create_task(
            self._server.run(self._server.listen()), name="http"
        )
        asked: asyncio.Future[Any] = asyncio.create_task(stop.wait(), name="stop")
        working = self._work()
        done, _ = await asyncio.wait({http, asked, *working}, return_when=asyncio.FIRST_COMPLETED)
        self._resources.log.info("stopping", because=[_name(task) for task in done])
        await self._stop(http, {*working, asked} - done)
        for task in done - {asked}:
            task.result()

    def _work(self) -> list[asyncio.Future[Any]]:
        resources = self._resources
        parts: list[tuple[str, Coroutine[Any, Any, None]]] = [
            ("tail", tail.run()) for tail in self._tails
        ]
        if resources.maybe_bus is not None:
            parts.append(("bus", resources.maybe_bus.run()))
        if resources.maybe_database is not None:
            parts.append(("database watch", resources.maybe_database.run()))
        backgrounds = self._service.background(resources) if self._service.background else ()
        return [
            *(asyncio.create_task(part, name=name) for name, part in parts),
            *(asyncio.ensure_future(background()) for background in backgrounds),
        ]

    async def _stop(self, http: asyncio.Future[Any], working: set[asyncio.Future[Any]]) -> None:
        resources = self._resources
        resources.stopping.set()
        results = await asyncio.gather(
            self._told(),
            _stopped(resources.maybe_bus, resources.log),
            asyncio.sleep(resources.settings.drain_seconds),
            return_exceptions=True,
        )
        for failure in results:
            # One part that cannot stop well must not keep the others from it.
            if isinstance(failure, Exception):
                resources.log.error("stop_failed", error=repr(failure))
        self._server.finish()
        await asyncio.wait({http}, timeout=_HTTP_SECONDS)
        await _cancelled(working, resources.log)

    async def _told(self) -> None:
        if self._service.on_stop is not None:
            await self._service.on_stop(self._resources)


def _http(service: Service[Any], resources: Resources[Any], tails: Sequence[Tail]) -> ASGIApp:
    """Protocols by the shortest way, unless requests are traced or must close their connections."""
    app: ASGIApp = application(service, resources, tails=tails)
    protocols = service.protocols(resources) if service.protocols else {}
    if protocols:
        app = ByProtocol(app, protocols)
    app = Surroundings(app, tracer=resources.tracer, stopping=resources.stopping)
    app = _with_fast_path(app, service, resources)
    if not protocols or resources.tracer.on:
        return app
    return ByProtocol(app, protocols, aside=resources.stopping.is_set)


def _with_fast_path(app: ASGIApp, service: Service[Any], resources: Resources[Any]) -> ASGIApp:
    """Requests that are traced take the ordinary path: there they have a span."""
    if service.fast_routes is None or resources.tracer.on:
        return app
    return FastPath(app, service.fast_routes(resources), stopping=resources.stopping)


async def _prepared(service: Service[Any], stack: AsyncExitStack, *, log: Log) -> Process:
    resources = await open_resources(service, stack, log=log)
    if resources.maybe_bus is not None and service.subscriptions:
        resources.maybe_bus.subscribe(service.subscriptions(resources))
    process = Process(service, resources)
    if service.prepare is not None:
        await service.prepare(resources)
    _spare_the_collector()
    return process


async def _unless(stop: asyncio.Event, starting: Coroutine[Any, Any, ResultT]) -> ResultT | None:
    """What it returns, or None if the stop comes first: also a start may wait for a backend."""
    task = asyncio.create_task(starting)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if task.done():
        return task.result()
    task.cancel()
    await asyncio.wait({task}, timeout=_CANCEL_SECONDS)
    return None


def _spare_the_collector() -> None:
    """Keep the cyclic collector from walking what lives as long as the process.

    A batch of events makes thousands of objects and no cycles: with the default thresholds the
    collector took 40 % of monitoring's CPU (56 us a prediction and label, 35 us without).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 100)


async def _stopped(bus: Bus | None, log: Log) -> None:
    """The bus has finished what it had in hand, or had twenty seconds for it."""
    if bus is None:
        return
    try:
        async with asyncio.timeout(_BUS_SECONDS):
            await bus.stop()
    except TimeoutError:
        log.warning("bus_not_finished", after_seconds=_BUS_SECONDS)


async def _cancelled(tasks: Iterable[asyncio.Future[Any]], log: Log) -> None:
    waiting = set(tasks)
    for task in waiting:
        task.cancel()
    if not waiting:
        return
    ended, left = await asyncio.wait(waiting, timeout=_CANCEL_SECONDS)
    if left:
        log.warning("still_running", parts=[_name(task) for task in left])
    for task in ended:
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            log.error("part_failed_at_the_end", part=_name(task), error=repr(failure))


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _name(task: asyncio.Future[Any]) -> str:
    return task.get_name() if isinstance(task, asyncio.Task) else "background"
