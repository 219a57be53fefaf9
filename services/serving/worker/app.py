"""Wires a worker: front-end threads answer, one event loop talks to control and serves health."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headrace.runtime.ids import new_id
from headrace.runtime.service import Resources, Service
from headrace.runtime.telemetry import Log
from services.serving.settings import Settings
from services.serving.worker.batches import MAX_ROWS
from services.serving.worker.batching.lane import LaneLimits
from services.serving.worker.calls import Call
from services.serving.worker.control_link import ControlLink
from services.serving.worker.dispatch import Dispatcher
from services.serving.worker.explicit_control import ExplicitControl
from services.serving.worker.fronts import Front, open_front
from services.serving.worker.fronts.streams import Streams
from services.serving.worker.fronts.tls import Tls
from services.serving.worker.inference import Inference
from services.serving.worker.last_assignment import LastAssignment
from services.serving.worker.log_link import LogLink
from services.serving.worker.log_rules import Rules
from services.serving.worker.meters import Meters, StatisticsCollector
from services.serving.worker.methods.logs import LogSwitches
from services.serving.worker.methods.repository import ControlledByEvents, ModelControl
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.residency import Residency
from services.serving.worker.residency.heap import share_one_heap
from services.serving.worker.residency.meters import ResidencyCollector
from services.serving.worker.rest import PREFIX, Limits, RestApplication
from services.serving.worker.routing.meters import ShadowCollector
from services.serving.worker.routing.shadow_link import ShadowLink
from services.serving.worker.routing.shadows import Shadows
from services.serving.worker.statistics import Ledger, NodeStatistics, Statistics
from services.serving.worker.table import Serving

_GRACE_SECONDS: Final = 5.0
_FLUSH_SECONDS: Final = 3.0
_SWITCH_SECONDS: Final = 0.0005
"""How long a thread that packs the prediction log may keep one that answers from running."""


def build(settings: Settings) -> Service[Settings]:
    """The worker as a service without backends; its HTTP port is WORKER_HTTP_PORT."""
    own = settings.model_copy(update={"http_port": settings.worker_http_port})
    worker = Worker()
    return Service(
        name="serving-worker",
        settings=own,
        database=False,
        blobs=False,
        routes=lambda _: [Route("/api/serving/v1/worker", worker.look)],
        protocols=lambda resources: {PREFIX: worker.rest(resources)},
        background=lambda resources: [lambda: worker.run(resources)],
        checks=lambda _: [worker.trouble],
        on_stop=lambda _: worker.retire(),
    )


@dataclass(frozen=True, kw_only=True)
class _Parts:
    front: Front
    control: ControlLink
    log: LogLink
    predictions: PredictionLog
    methods: Mapping[str, Call]
    shadows: ShadowLink


class Worker:
    """One data-plane process."""

    def __init__(self) -> None:
        self._id = new_id()
        self._serving = Serving()
        self._parts: _Parts | None = None
        self._rest: RestApplication | None = None

    async def run(self, resources: Resources[Settings]) -> None:
        """Answer until cancelled; then finish calls in hand and ship what was logged."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        parts = self._wire(resources)
        links = [
            asyncio.create_task(parts.control.run(), name="control-link"),
            asyncio.create_task(parts.log.run(parts.predictions), name="log-link"),
            asyncio.create_task(parts.shadows.run(), name="shadow-link"),
        ]
        applied = asyncio.create_task(parts.control.applied.wait(), name="applied")
        try:
            # Until then a champion would be called unknown, which no client tries again.
            await _one_of(applied, *links)
            await self._answer(parts, links, resources)
        finally:
            await _cancel([applied, *links])

    async def _answer(
        self, parts: _Parts, links: Sequence[asyncio.Task[None]], resources: Resources[Settings]
    ) -> None:
        async with _answering(parts.front):
            self._parts = parts
            self.rest(resources).open(parts.methods)
            resources.log.info("answering", port=parts.front.port, front=resources.settings.front)
            try:
                await _one_of(*links)
            except asyncio.CancelledError:
                await asyncio.to_thread(parts.front.stop, _GRACE_SECONDS)
                await parts.log.flush(parts.predictions, seconds=_FLUSH_SECONDS)
                raise

    async def retire(self) -> None:
        """Say NOT_SERVING from now on; whoever calls all the same is still answered."""
        self._serving.retiring = True

    async def trouble(self) -> str | None:
        """Why this worker is not ready."""
        if self._parts is None:
            return "the gRPC server is not listening yet"
        if not self._serving.ready:
            return "the champions are not loaded yet"
        return None

    def rest(self, resources: Resources[Settings]) -> RestApplication:
        """The protocol over HTTP, made once; it answers when the gRPC front-end does."""
        if self._rest is None:
            settings = resources.settings
            self._rest = RestApplication(
                threads=settings.front_threads,
                limits=Limits(body=settings.max_message_bytes, json=settings.max_json_bytes),
                log=resources.log,
            )
        return self._rest

    async def look(self, _: Request) -> Response:
        """What this worker looks like, for people."""
        parts = self._parts
        status = parts.control.status().model_dump(mode="json") if parts else {}
        shown = {
            "worker": self._id,
            "ready": await self.trouble() is None,
            "grpc_port": parts.front.port if parts else None,
            "prediction_log": _log_of(parts.predictions) if parts else {},
            "log_rules": parts.predictions.rules.versions if parts else {},
            **status,
        }
        return JSONResponse(shown)

    def _model_control(self, settings: Settings) -> ModelControl:
        if settings.model_control == "events":
            return ControlledByEvents()
        return ExplicitControl(socket_path=settings.socket, worker=self._id)

    def _wire(self, resources: Resources[Settings]) -> _Parts:
        settings = resources.settings
        meters = Meters(resources.metrics)
        rules = Rules(hash_key=settings.log_hash_key.get_secret_value())
        residency = Residency(settings.model_memory_bytes)
        if residency.budget:
            share_one_heap()
        resources.metrics.registry.register(ResidencyCollector(residency))
        control = ControlLink(
            socket=settings.socket,
            worker=self._id,
            serving=self._serving,
            limits=settings.sandbox_limits,
            last=LastAssignment(directory=settings.cache_dir, log=resources.log),
            recall_seconds=settings.recall_seconds,
            meters=meters,
            log=resources.log,
            rules=rules,
            residency=residency,
        )
        log = LogLink(
            socket=settings.socket,
            worker=self._id,
            project=settings.project,
            linger_ms=settings.log_linger_ms,
            meters=meters,
            log=resources.log,
        )
        predictions = PredictionLog(
            max_rows=settings.log_max_rows,
            max_bytes=settings.log_max_bytes,
            ship_rows=MAX_ROWS,
            full=log.wake,
            rules=rules,
        )
        folder = settings.socket.with_name(f"{settings.socket.name}.counts")
        ledger = _ledger(folder, settings, resources.log)
        statistics = Statistics(ledger)
        shadows = Shadows()
        inference = Inference(
            serving=self._serving,
            log=predictions,
            statistics=statistics,
            shadows=shadows,
            first_answer=control.status_changed,
            max_rows=settings.max_batch_rows,
            limits=LaneLimits(queue=settings.max_queue),
            lenient=settings.triton_lenient,
        )
        resources.metrics.registry.register(StatisticsCollector(statistics, inference.lanes))
        resources.metrics.registry.register(ShadowCollector(shadows))
        switches = LogSwitches()
        logging.getLogger("headrace").addFilter(switches)
        dispatcher = Dispatcher(
            serving=self._serving,
            inference=inference,
            statistics=NodeStatistics(statistics, ledger=ledger, folder=folder),
            server_name=settings.server_name,
            max_rows=settings.max_batch_rows,
            log_switches=switches,
            model_control=self._model_control(settings),
        )
        methods = dispatcher.methods()
        front = open_front(
            settings.front,
            methods=methods,
            accepting=dispatcher.accepting(),
            address=f"{settings.grpc_host}:{settings.grpc_port}",
            threads=settings.front_threads,
            max_message_bytes=settings.max_message_bytes,
            shared_port=settings.grpc_shared_port,
            streams=Streams(calls=dispatcher.streams(), limit=settings.max_streams),
            tls=_tls(settings),
        )
        return _Parts(
            front=front,
            control=control,
            log=log,
            predictions=predictions,
            methods=methods,
            shadows=ShadowLink(
                socket=settings.socket,
                worker=self._id,
                project=settings.project,
                shadows=shadows,
            ),
        )


def _log_of(predictions: PredictionLog) -> dict[str, int]:
    return {
        "held_rows": predictions.held_rows,
        "logged_rows": predictions.logged_rows,
        "dropped_rows": predictions.dropped_rows,
        "sampled_out_rows": sum(predictions.sampled_out.values()),
    }


def _ledger(folder: Path, settings: Settings, log: Log) -> Ledger:
    """Named for what no two workers of a machine share, so that its successor finds it."""
    try:
        return Ledger.claim(folder, str(settings.worker_http_port))
    except OSError as error:
        log.warning("counts_not_shared", reason=repr(error))
        return Ledger()


def _tls(settings: Settings) -> Tls | None:
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    return Tls(
        certificate=settings.tls_certificate,
        key=settings.tls_key,
        client_ca=settings.tls_client_ca,
    )


@asynccontextmanager
async def _answering(front: Front) -> AsyncIterator[None]:
    front.start()
    try:
        yield
    finally:
        await asyncio.to_thread(front.stop, 0)


async def _one_of(*tasks: asyncio.Task[Any]) -> None:
    """Until one of them ends; raises what it ended with."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    with contextlib.suppress(BaseExceptionGroup):
        await asyncio.gather(*tasks, return_exceptions=True)
