"""`/api/tracking/v1/runs/{run_id}/...`: watch a run live, draw its metrics, ask it to stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, cast

import orjson
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from headrace.errors import InvalidInput
from headrace.runtime.service import Resources
from services.tracking.api.call import Call, Endpoint, Gate, RouteTable, guarded
from services.tracking.api.documents import Document, columns_document, run_document
from services.tracking.api.metrics import interval_of
from services.tracking.domain.entities import FINAL_STATUSES
from services.tracking.domain.errors import no_run
from services.tracking.domain.resolution import extremes
from services.tracking.settings import Settings
from services.tracking.store import runs, series, writes
from services.tracking.store.live import News, Watcher
from services.tracking.store.writer import Writer

DEFAULT_WIDTH: Final = 1000
MAX_WIDTH: Final = 10_000
_LOOK_SECONDS: Final = 1.0
_BEAT: Final = b": \n\n"


async def chart(call: Call) -> Document:
    """A metric as a screen of `width` pixels shows it: two points a pixel, no spike lost."""
    fields, run_id = call.fields, call.path["run_id"]
    key = fields.required("key")
    width = fields.bounded("width", default=DEFAULT_WIDTH, most=MAX_WIDTH)
    steps = interval_of(fields.integer("start_step"), fields.integer("end_step"))
    async with call.resources.pool.acquire() as connection:
        if await runs.find_run(connection, project=call.project, run_id=run_id) is None:
            raise no_run(run_id)
        columns = await series.series(connection, run_id=run_id, key=key, steps=steps)
    drawn = extremes(columns, parts=width)
    return {"run_id": run_id, "metrics": [columns_document(drawn)] if len(drawn) else []}


async def stop(call: Call) -> Document:
    """Ask a run to stop: what its client logs from now on is refused, so that it ends."""
    run_id = call.path["run_id"]
    async with call.resources.bus.transaction(call.caller) as tx:
        run = await runs.lock_run(tx.connection, project=call.project, run_id=run_id)
        if run.status in FINAL_STATUSES:
            raise InvalidInput(
                f"Run {run_id} has ended already: its status is {run.status}.", field="run_id"
            )
        at = await writes.request_stop(
            tx, run, project=call.project, now_ms=call.resources.clock.now_ms()
        )
    return {"run_id": run_id, "stop_requested_at": at}


def tail(resources: Resources[Settings], gate: Gate, writer: Writer) -> Endpoint:
    """The run as it is, then everything that is logged to it, as server-sent events.

    `run` has the run as `runs/get` answers it and comes first, after a gap, and when its status
    changes; `logged` has what one write brought; `finished` ends the stream.
    """

    async def serve(request: Request) -> Response:
        run_id = cast("str", request.path_params["run_id"])

        async def work() -> Response:
            writer.hub.check_room()
            await _run(resources, run_id)
            return StreamingResponse(
                _events(resources, writer, run_id),
                media_type="text/event-stream",
                headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
            )

        return await guarded(work, resources, gate, request)

    return serve


async def _events(
    resources: Resources[Settings], writer: Writer, run_id: str
) -> AsyncIterator[bytes]:
    with writer.hub.watch(run_id) as watcher:
        shown = await _run(resources, run_id)
        yield _frame("run", shown)
        while not resources.stopping.is_set():
            if _status(shown) in FINAL_STATUSES:
                yield _frame("finished", {"run_id": run_id, "status": _status(shown)})
                return
            for news in await watcher.next(seconds=_LOOK_SECONDS):
                yield _frame("logged", _news_document(news))
            now = await _run_if_changed(resources, watcher, run_id, shown)
            if now is not None:
                shown = now
                yield _frame("run", shown)
            else:
                yield _BEAT


async def _run_if_changed(
    resources: Resources[Settings], watcher: Watcher, run_id: str, shown: Document
) -> Document | None:
    """The run, if its status is another one or the reader missed something."""
    async with resources.pool.acquire() as connection:
        found = await runs.find_run(connection, project=resources.settings.project, run_id=run_id)
    if found is None:
        return {"info": {"run_id": run_id, "status": "KILLED"}}
    if found.status == _status(shown) and not watcher.missed:
        return None
    watcher.missed = False
    return await _run(resources, run_id)


async def _run(resources: Resources[Settings], run_id: str) -> Document:
    async with resources.pool.acquire() as connection:
        run = await runs.get_run(connection, project=resources.settings.project, run_id=run_id)
    return run_document(run)


def _status(run: Document) -> str:
    return str(cast("Document", run["info"])["status"])


def _news_document(news: News) -> Document:
    metrics = []
    if news.columns is not None:
        metrics = [columns_document(news.columns.only(key)) for key in news.columns.keys]
    return {
        "run_id": news.run_id,
        "metrics": metrics,
        "params": dict(news.params),
        "tags": dict(news.tags),
    }


def _frame(kind: str, document: Document) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n"


ROUTES: Final[RouteTable] = (
    ("GET", "/runs/{run_id}/chart", chart),
    ("POST", "/runs/{run_id}/stop", stop),
)
