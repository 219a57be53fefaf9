"""A worker's life: front-end threads answer, one event loop talks to control and serves health."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from headrace.runtime.ids import new_id
from headrace.runtime.service import Resources, Service
from services.serving.settings import Settings
from services.serving.worker.fronts import Front
from services.serving.worker.parts import Parts, wire
from services.serving.worker.prediction_log import PredictionLog
from services.serving.worker.rest import PREFIX, Limits, RestApplication
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


class Worker:
    """One data-plane process."""

    def __init__(self) -> None:
        self._id = new_id()
        self._serving = Serving()
        self._parts: Parts | None = None
        self._rest: RestApplication | None = None

    async def run(self, resources: Resources[Settings]) -> None:
        """Answer until cancelled; then finish calls in hand and ship what was logged."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        parts = wire(resources, worker=self._id, serving=self._serving)
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
        self, parts: Parts, links: Sequence[asyncio.Task[None]], resources: Resources[Settings]
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


def _log_of(predictions: PredictionLog) -> dict[str, int]:
    return {
        "held_rows": predictions.held_rows,
        "logged_rows": predictions.logged_rows,
        "dropped_rows": predictions.dropped_rows,
        "sampled_out_rows": sum(predictions.sampled_out.values()),
    }


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
